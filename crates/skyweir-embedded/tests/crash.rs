//! A real child process is killed while it commits, again and again: what it acknowledged is there, whole and in
//! order, and writes go on.
#![expect(clippy::unwrap_used, reason = "these are parts of tests")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use skyweir_embedded::{Config, EmbeddedStore, check};
use skyweir_store::{NewItem, RecordBody, RecordRow, SavedCursor, Store, Task};
use skyweir_types::{Cid, Collection, Did, ItemKind, RecordKey, RecordRef, TaskId, Tid, UriHash};

const DIR: &str = "SKYWEIR_CRASH_DIR";
const ROUNDS: usize = 20;

fn open(dir: &Path) -> EmbeddedStore {
    let config =
        Config { data_dir: dir.to_owned(), cache_mb: 4, journal_mb: 64, memtable_mb: 1, ..Config::default() };
    EmbeddedStore::open(config).unwrap()
}

/// How many posts batch `n` has.
fn posts_of(n: u64) -> u64 {
    1 + n * 37 % 151
}

async fn commit(store: &EmbeddedStore, n: u64) {
    let mut txn = store.begin().await.unwrap();
    let author = txn.intern(&Did::parse(&format!("did:web:a{}.example", n % 10)).unwrap()).await.unwrap();
    for post in 0..posts_of(n) {
        let tid = Tid(n << 20 | post);
        let rkey = RecordKey::parse(&tid.to_string()).unwrap();
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&tid.0.to_be_bytes());
        let cid = Cid::from_digest(digest);
        let kind = ItemKind::Post { is_reply: false, is_quote: false };
        let new =
            NewItem { author, rkey: rkey.clone(), cid, sort_at: n as i64, uri_hash: UriHash(tid.0), kind };
        let item = txn.add_item(new).await.unwrap();
        let record = RecordRef { actor: author, collection: Collection::Post, rkey };
        let row = RecordRow { rev: tid, wiped: Tid::ZERO, body: RecordBody::Post { item, cid } };
        txn.put_record(&record, row).await.unwrap();
        txn.append(Task::FanOut { item }).await.unwrap();
    }
    let cursor = SavedCursor { source: "test".into(), position: n, time_us: n as i64 };
    txn.set_cursor(cursor).await.unwrap();
    txn.commit().await.unwrap();
}

async fn position(store: &EmbeddedStore) -> u64 {
    store.view().await.unwrap().cursor().await.unwrap().map_or(0, |cursor| cursor.position)
}

/// Does nothing unless run by the other test.
#[tokio::test]
async fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let store = open(Path::new(&dir));
    for n in position(&store).await + 1.. {
        commit(&store, n).await;
        println!("\nacked {n}");
        std::io::stdout().flush().unwrap();
    }
}

async fn verify(store: &EmbeddedStore, acked: u64) -> u64 {
    let position = position(store).await;
    assert!(position >= acked, "acknowledged {acked}, found {position}");
    assert!(position <= acked + 1, "one commit at a time: acknowledged {acked}, found {position}");
    let view = store.view().await.unwrap();
    let wanted: u64 = (1..=position).map(posts_of).sum();
    assert_eq!(view.next_task().await.unwrap(), TaskId(wanted + 1));
    let mut from = TaskId(1);
    let mut last = (0, 0);
    loop {
        let tasks = view.tasks(from, 1_000).await.unwrap();
        let Some((newest, _)) = tasks.last() else { break };
        let ids: Vec<_> = tasks
            .iter()
            .map(|(_, task)| match task {
                Task::FanOut { item } => *item,
                other => panic!("{other:?}"),
            })
            .collect();
        for ((id, _), item) in tasks.iter().zip(view.items(&ids).await.unwrap()) {
            assert_eq!(*id, from);
            let item = item.unwrap();
            let place = (item.sort_at, item.uri_hash.0);
            assert!(place > last, "{place:?} after {last:?}");
            (last, from) = (place, from.next());
        }
        assert_eq!(from, newest.next());
    }
    assert_eq!(from, TaskId(wanted + 1));
    position
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut reached = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut acked = reached;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut before_kill = 1 + round * 7 % 13;
        for line in &mut lines {
            if let Some(n) = line.unwrap().strip_prefix("acked ") {
                acked = n.parse().unwrap();
                before_kill -= 1;
                if before_kill == 0 {
                    child.kill().unwrap();
                    break;
                }
            }
        }
        for line in lines.map_while(Result::ok) {
            if let Some(n) = line.strip_prefix("acked ") {
                acked = n.parse().unwrap();
            }
        }
        assert!(!child.wait().unwrap().success(), "the child was killed");
        assert!(acked > reached, "round {round} committed something");
        let store = open(dir.path());
        reached = verify(&store, acked).await;
        reached += 1;
        commit(&store, reached).await;
        assert_eq!(verify(&store, reached).await, reached);
    }
    let report = check(dir.path()).unwrap();
    assert!(report.is_sound(), "{report}");
}
