//! The record store beside the conformance suite: the directory and the check.
#![expect(clippy::unwrap_used, reason = "these are parts of tests")]

use skyweir_embedded::{Config, EmbeddedStore, check};
use skyweir_store::{NewItem, RecordBody, RecordRow, Store, Task};
use skyweir_types::{
    ActorId, Cid, Collection, Did, ItemId, ItemKind, RecordKey, RecordRef, TaskId, Tid, UriHash,
};
use std::path::Path;
use std::sync::mpsc;

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

#[tokio::test]
async fn no_view_sees_an_author_as_older_than_its_items() {
    let dir = tempfile::tempdir().unwrap();
    // each transaction reads the row of its author's head again, which reaches a minute further
    let store = EmbeddedStore::open(Config { remembered_accounts: 0, ..config(dir.path()) }).unwrap();
    let mut last = 0;
    for sort_at in [100, 5_000, 4_000, 60_000, 60_100, 60_101, 200_000] {
        let mut txn = store.begin().await.unwrap();
        let author = txn.intern(&did(0)).await.unwrap();
        txn.add_item(item(author, sort_at)).await.unwrap();
        txn.commit().await.unwrap();
        last = last.max(sort_at);
        let newest = store.view().await.unwrap().accounts(&[author]).await.unwrap()[0].newest;
        assert!((last..=last + 60_000).contains(&newest), "{newest} after {sort_at}");
    }
}

#[test]
fn a_trim_waits_on_a_thread_that_may_block() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let store = EmbeddedStore::open(config(dir.path())).unwrap();
        let mut txn = store.begin().await.unwrap();
        for n in 1..=3 {
            txn.append(Task::FanOut { item: ItemId(n) }).await.unwrap();
        }
        txn.commit().await.unwrap();
        let left = async || store.view().await.unwrap().tasks(TaskId(1), 9).await.unwrap().len();
        // the one such thread has something else to do
        let (release, held) = mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || held.recv());
        let mut trim = store.trim_tasks(TaskId(3));
        tokio::select! {
            biased;
            _ = &mut trim => panic!("it was done on this thread"),
            () = std::future::ready(()) => assert_eq!(left().await, 3),
        }
        release.send(()).unwrap();
        busy.await.unwrap().unwrap();
        trim.await.unwrap();
        assert_eq!(left().await, 1);
    });
}

/// An account that writes the same follow again and again: each record is rows of its own, and the oldest that is left
/// names the edge.
#[tokio::test]
async fn thousands_of_records_of_one_edge() {
    const RECORDS: u64 = 3_000;
    let rkey = |n: u64| RecordKey::parse(&format!("r{n}")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(config(dir.path())).unwrap();
    let (a, b) = (ActorId(0), ActorId(1));
    let mut txn = store.begin().await.unwrap();
    txn.intern(&did(0)).await.unwrap();
    txn.intern(&did(1)).await.unwrap();
    for n in 0..RECORDS {
        assert_eq!(txn.add_follow(a, b, &rkey(n)).await.unwrap(), n == 0);
        assert!(!txn.add_follow(a, b, &rkey(n / 2)).await.unwrap(), "known already");
        let record = RecordRef { actor: a, collection: Collection::Follow, rkey: rkey(n) };
        let body = RecordBody::Follow { subject: b };
        txn.put_record(&record, RecordRow { rev: Tid(n), wiped: Tid::ZERO, body }).await.unwrap();
    }
    txn.commit().await.unwrap();
    // from the middle, then from the oldest on
    let mut left: Vec<u64> = (0..RECORDS).collect();
    for round in 0..3 {
        let mut txn = store.begin().await.unwrap();
        for _ in 0..500 {
            let at = if round == 0 { left.len() / 2 } else { 0 };
            let n = left.remove(at);
            assert!(!txn.remove_follow(a, b, &rkey(n)).await.unwrap());
            assert!(!txn.remove_follow(a, b, &rkey(n)).await.unwrap(), "gone already");
            let record = RecordRef { actor: a, collection: Collection::Follow, rkey: rkey(n) };
            txn.remove_record(&record).await.unwrap();
        }
        txn.commit().await.unwrap();
        let view = store.view().await.unwrap();
        assert_eq!(view.edges(&[(a, b)]).await.unwrap(), [Some(rkey(left[0]))], "round {round}");
        assert_eq!(view.follows(a, None, 10).await.unwrap(), [b]);
    }
    drop(store);
    let report = check(dir.path()).unwrap();
    assert!(report.is_sound(), "{report}");
    let store = EmbeddedStore::open(config(dir.path())).unwrap();
    let mut txn = store.begin().await.unwrap();
    for (at, n) in left.iter().enumerate() {
        assert_eq!(txn.remove_follow(a, b, &rkey(*n)).await.unwrap(), at + 1 == left.len());
    }
    txn.commit().await.unwrap();
    assert_eq!(store.view().await.unwrap().edges(&[(a, b)]).await.unwrap(), [None]);
}
