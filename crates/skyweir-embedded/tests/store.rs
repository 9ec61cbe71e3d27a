//! The record store beside the conformance suite: the directory and the check.
#![expect(clippy::unwrap_used, reason = "these are parts of tests")]

use skyweir_embedded::{Config, EmbeddedStore, check};
use skyweir_store::{NewItem, Store, Task};
use skyweir_types::{ActorId, Cid, Did, ItemId, ItemKind, RecordKey, TaskId, UriHash};
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
