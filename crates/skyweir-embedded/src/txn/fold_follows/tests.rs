//! Directories of the format before blocks, folds that one transaction can't end, and blocks that can't be read.

use std::path::Path;

use skyweir_store::{Error, RecordBody, RecordRow, Store};
use skyweir_types::{Collection, Did, RecordRef};

use super::*;
use crate::codec::tid_rkey;
use crate::db::Db;
use crate::table::blocks::Packed;
use crate::table::{actors, followers, meta};
use crate::{Config, EmbeddedStore, check};

const FOLLOWER: ActorId = ActorId(0);
/// More than two transactions look at.
const MANY: u32 = 10_000;
const FORMAT_WITHOUT_BLOCKS: [u8; 4] = 2u32.to_be_bytes();

fn config(dir: &Path) -> Config {
    Config { data_dir: dir.to_owned(), ..Config::default() }
}

fn tid(n: u32) -> Tid {
    Tid::from_parts(1_650_000_000_000_000 + u64::from(n) * 9_999_999_999, 3)
}

fn follow(n: u32) -> (RecordRef, RecordRow) {
    let rkey = tid_rkey(tid(n)).unwrap();
    let body = RecordBody::Follow { subject: ActorId(n) };
    let row = RecordRow { rev: Tid(tid(n).0 + 9_000), wiped: Tid::ZERO, body };
    (RecordRef { actor: FOLLOWER, collection: Collection::Follow, rkey }, row)
}

/// A directory as the program before blocks left it: account 0 follows all others but the last ten.
async fn without_blocks(dir: &Path) {
    let store = EmbeddedStore::open(config(dir)).unwrap();
    let mut txn = store.begin().await.unwrap();
    for n in 0..MANY {
        txn.intern(&Did::parse(&format!("did:web:a{n}.example")).unwrap()).await.unwrap();
    }
    txn.commit().await.unwrap();
    drop(store);
    let db = Db::open(&config(dir)).unwrap();
    let mut batch = db.synced_batch(0);
    let followed = 1..MANY - 10;
    for n in followed.clone() {
        let (key, row) = follow(n);
        let edge = Edge::new(&key.rkey, n - 1);
        batch.put(Table::Records, records::key(&key), records::encode(&key.rkey, &row));
        batch.put(Table::Follows, follows::key(FOLLOWER, ActorId(n)).to_vec(), follows::encode(&edge));
        batch.put(Table::Followers, followers::row_key(ActorId(n), 0, FOLLOWER.0), []);
        let head = Head { followers: 1, ..Head::default() };
        batch.put(Table::Heads, actors::number(ActorId(n)), head.encode());
    }
    let head = Head { follows: followed.len() as u32, ..Head::default() };
    batch.put(Table::Heads, actors::number(FOLLOWER), head.encode());
    batch.put(Table::Meta, meta::KEY_FORMAT, FORMAT_WITHOUT_BLOCKS);
    batch.commit().unwrap();
}

/// How many rows of records and of edges are left.
fn rows(store: &EmbeddedStore) -> [usize; 2] {
    let moment = store.inner.db.snapshot();
    [Table::Records, Table::Follows].map(|table| {
        let mut rows = 0;
        let count = &mut |_: &[u8], _: &[u8]| {
            rows += 1;
            Ok(true)
        };
        moment.scan(table, Bound::Unbounded, None, count).unwrap();
        rows
    })
}

async fn follow_now(store: &EmbeddedStore, n: u32) {
    let (key, row) = follow(n);
    let mut txn = store.begin().await.unwrap();
    assert!(txn.add_follow(FOLLOWER, ActorId(n), &key.rkey).await.unwrap());
    txn.put_record(&key, row).await.unwrap();
    txn.commit().await.unwrap();
}

async fn compare(store: &EmbeddedStore, follows: u32) {
    let view = store.view().await.unwrap();
    let wanted: Vec<_> = (1..=follows).map(ActorId).collect();
    assert_eq!(view.follows(FOLLOWER, None, MANY as usize).await.unwrap(), wanted);
    let some: Vec<_> = (1..=follows).step_by(97).collect();
    let keys: Vec<_> = some.iter().map(|n| follow(*n).0).collect();
    let found = view.records(&keys).await.unwrap();
    assert_eq!(found, some.iter().map(|n| Some(follow(*n).1)).collect::<Vec<_>>());
    let pairs: Vec<_> = some.iter().map(|n| (FOLLOWER, ActorId(*n))).collect();
    let found = view.edges(&pairs).await.unwrap();
    assert_eq!(found, keys.into_iter().map(|key| Some(key.rkey)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_directory_without_blocks_is_folded_bit_by_bit() {
    let dir = tempfile::tempdir().unwrap();
    without_blocks(dir.path()).await;
    let format = || {
        let db = Db::open(&config(dir.path())).unwrap();
        db.snapshot().get(Table::Meta, meta::KEY_FORMAT).unwrap().unwrap().to_vec()
    };
    let report = check(dir.path()).unwrap();
    assert!(report.is_sound(), "{report}");
    assert_eq!(format(), FORMAT_WITHOUT_BLOCKS, "a check changes nothing");
    let store = EmbeddedStore::open(config(dir.path())).unwrap();
    let mut follows = MANY - 11;
    compare(&store, follows).await;
    let mut left = vec![rows(&store)[0]];
    for _ in 0..3 {
        follows += 1;
        follow_now(&store, follows).await;
        compare(&store, follows).await;
        left.push(rows(&store)[0]);
    }
    assert!(left[0] > left[1] && left[1] > left[2] && left[2] > ROWS / 8, "{left:?}");
    assert_eq!(rows(&store), [0, 0], "all are folded");
    // a few more are not worth it
    for _ in 0..3 {
        follows += 1;
        follow_now(&store, follows).await;
    }
    assert_eq!(rows(&store), [3, 3]);
    compare(&store, follows).await;
    drop(store);
    assert_eq!(format(), meta::FORMAT.to_be_bytes());
    let report = check(dir.path()).unwrap();
    assert!(report.is_sound(), "{report}");
}

#[tokio::test]
async fn the_check_sees_what_is_twice_or_in_no_place() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(config(dir.path())).unwrap();
    let mut txn = store.begin().await.unwrap();
    for n in 0..=FIRST {
        txn.intern(&Did::parse(&format!("did:web:a{n}.example")).unwrap()).await.unwrap();
    }
    txn.commit().await.unwrap();
    for n in 1..=FIRST {
        follow_now(&store, n).await;
    }
    assert_eq!(rows(&store), [0, 0], "so many are folded");
    drop(store);
    assert!(check(dir.path()).unwrap().is_sound());
    let change = |table: Table, key: &[u8], value: &[u8]| {
        let db = Db::open(&config(dir.path())).unwrap();
        let mut batch = db.synced_batch(1);
        batch.put(table, key.to_vec(), value.to_vec());
        batch.commit().unwrap();
    };
    let broken = || {
        let findings = check(dir.path()).unwrap().findings;
        findings.into_iter().filter(|f| f.broken > 0).map(|f| f.invariant).collect::<Vec<_>>()
    };
    // a record that is a row as well
    let (key, row) = follow(3);
    change(Table::Records, &records::key(&key), &records::encode(&key.rkey, &row));
    let twice = "what is in a block is in its place, and in no row";
    let found = broken();
    assert!(found.contains(&twice), "{found:?}");
    assert!(found.contains(&"rows that can be folded are as their accounts' heads say"), "{found:?}");
    // a block of an account that knows of none
    let entry = record_blocks::Entry { tid: tid(1), rev: tid(1), subject: ActorId(0) };
    change(Table::RecordBlocks, &RecordBlocks::key(ActorId(5), u64::MAX), &RecordBlocks::encode(&[entry]));
    let report = check(dir.path()).unwrap();
    let of_blocks = report.findings.iter().find(|finding| finding.invariant == twice).unwrap();
    assert_eq!(of_blocks.broken, 2, "{report}");
    // bytes that are no block
    change(Table::RecordBlocks, &RecordBlocks::key(FOLLOWER, u64::MAX), &[9; 30]);
    change(Table::FollowBlocks, &FollowBlocks::key(FOLLOWER, FollowBlocks::LAST), &[9; 30]);
    assert!(matches!(check(dir.path()), Err(Error::Corrupt(_))));
    let store = EmbeddedStore::open(config(dir.path())).unwrap();
    let view = store.view().await.unwrap();
    assert!(matches!(view.records(&[follow(2).0]).await, Err(Error::Corrupt(_))));
    assert!(matches!(view.follows(FOLLOWER, None, 9).await, Err(Error::Corrupt(_))));
    assert!(matches!(view.edges(&[(FOLLOWER, ActorId(2))]).await, Err(Error::Corrupt(_))));
}
