//! The record store beside the conformance suite: the directory, formats, views against commits, the check.

use skyweir_embedded::{Config, EmbeddedStore, check};
use skyweir_store::{NewItem, Store, Task};
use skyweir_types::{ActorId, Cid, Did, ItemKind, RecordKey, TaskId, UriHash};
use std::path::Path;

fn config(dir: &Path) -> Config {
    Config { data_dir: dir.to_owned(), cache_mb: 4, ..Config::default() }
}

fn did(n: u32) -> Did {
    Did::parse(&format!("did:web:a{n}.example")).unwrap()
}

fn item(author: ActorId, sort_at: i64) -> NewItem {
    let kind = ItemKind::Post { is_reply: true, is_quote: false };
    let rkey = RecordKey::parse("self").unwrap();
    NewItem { author, rkey, cid: Cid::from_digest([7; 32]), sort_at, uri_hash: UriHash(1), kind }
}

#[tokio::test]
async fn a_directory_is_used_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(config(dir.path())).unwrap();
    let refused = EmbeddedStore::open(config(dir.path())).err().unwrap().to_string();
    assert!(refused.contains("in use by another process"), "{refused}");
    check(dir.path()).unwrap_err();
    drop(store);
    assert!(check(dir.path()).unwrap().is_sound());
    assert!(check(&dir.path().join("nowhere")).is_err());
}

#[tokio::test]
async fn views_keep_their_moment_of_accounts() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(config(dir.path())).unwrap();
    let rkey = RecordKey::parse("self").unwrap();
    let mut views = vec![store.view().await.unwrap()];
    for n in 0..5 {
        let mut txn = store.begin().await.unwrap();
        let (a, b) = (txn.intern(&did(0)).await.unwrap(), txn.intern(&did(n + 1)).await.unwrap());
        txn.add_item(item(a, 100 + i64::from(n))).await.unwrap();
        txn.add_follow(a, b, &rkey).await.unwrap();
        txn.commit().await.unwrap();
        views.push(store.view().await.unwrap());
    }
    for (n, view) in views.iter().enumerate() {
        let info = view.accounts(&[ActorId(0)]).await.unwrap()[0];
        let newest = if n == 0 { i64::MIN } else { 99 + n as i64 };
        assert_eq!((info.follows as usize, info.newest), (n, newest));
        assert_eq!(view.follows(ActorId(0), None, 100).await.unwrap().len(), n);
        let high = view.high_follows(2, 10).await.unwrap();
        assert_eq!(high, if n > 2 { vec![(ActorId(0), n as u32)] } else { vec![] });
    }
}

#[tokio::test]
async fn a_dropped_transaction_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(config(dir.path())).unwrap();
    let lost = {
        let mut txn = store.begin().await.unwrap();
        let actor = txn.intern(&did(0)).await.unwrap();
        txn.append(Task::Fill { viewer: actor, author: actor }).await.unwrap();
        txn.add_item(item(actor, 5)).await.unwrap()
    };
    let view = store.view().await.unwrap();
    assert_eq!(view.actor(&did(0)).await.unwrap(), None);
    assert_eq!((view.actor_count().await.unwrap(), view.next_task().await.unwrap()), (0, TaskId(1)));
    let mut txn = store.begin().await.unwrap();
    let actor = txn.intern(&did(1)).await.unwrap();
    assert!(txn.add_item(item(actor, 5)).await.unwrap() > lost);
    txn.commit().await.unwrap();
}

#[tokio::test]
async fn the_task_log_is_cut_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3u64 {
        let store = EmbeddedStore::open(config(dir.path())).unwrap();
        let mut watch = store.next_task();
        assert_eq!(*watch.borrow_and_update(), TaskId(round * 2_500 + 1));
        let mut txn = store.begin().await.unwrap();
        for n in 0..2_500 {
            txn.append(Task::Purge { viewer: ActorId(n), author: ActorId(0) }).await.unwrap();
        }
        txn.commit().await.unwrap();
        let next = TaskId(round * 2_500 + 2_501);
        assert_eq!(*watch.borrow_and_update(), next);
        store.trim_tasks(TaskId(next.0 - 3)).await.unwrap();
        store.trim_tasks(TaskId(1)).await.unwrap();
        let tasks = store.view().await.unwrap().tasks(TaskId(0), 10).await.unwrap();
        assert_eq!(tasks.iter().map(|(id, _)| next.0 - id.0).collect::<Vec<_>>(), [3, 2, 1]);
    }
    assert!(check(dir.path()).unwrap().is_sound());
}

#[tokio::test]
async fn the_check_sees_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(config(dir.path())).unwrap();
    let mut txn = store.begin().await.unwrap();
    let actor = txn.intern(&did(0)).await.unwrap();
    // an item and an edge without their records
    txn.add_item(item(actor, 5)).await.unwrap();
    txn.add_follow(actor, actor, &RecordKey::parse("self").unwrap()).await.unwrap();
    txn.commit().await.unwrap();
    drop(store);
    let report = check(dir.path()).unwrap();
    let broken: Vec<_> = report.findings.iter().filter(|f| f.broken > 0).map(|f| f.invariant).collect();
    assert_eq!(broken, ["every edge has its follow records", "every item has its record and its feed entry"]);
    assert_eq!((report.holdings.actors, report.holdings.items, report.holdings.edges), (1, 1, 1));
    assert!(report.to_string().ends_with("not sound"), "{report}");
}
