//! Follows and their records, in rows and blocks, beside the in-memory reference: random follows, refollows, unfollows,
//! new revs and deletions of accounts, as many as make blocks fold, split, shrink and vanish, after reopenings too.
#![expect(clippy::unwrap_used, reason = "these are parts of tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proptest::prelude::*;
use skyweir_embedded::{Config, EmbeddedStore, check};
use skyweir_store::{MemoryStore, RecordBody, RecordRow, Store, Txn, View};
use skyweir_types::{ActorId, Collection, Did, RecordKey, RecordRef, Tid};

const FOLLOWERS: u32 = 3;
const ACCOUNTS: u32 = 400;

fn open(dir: &Path) -> EmbeddedStore {
    EmbeddedStore::open(Config { data_dir: dir.to_owned(), cache_mb: 4, memtable_mb: 1, ..Config::default() })
        .unwrap()
}

/// What becomes of records.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// They follow other accounts: so many numbers on.
    Moved(u32),
    /// They have a later rev.
    Touched,
    /// They lost something with a former version, which no block can say.
    Wiped,
    Deleted,
    Forgotten,
}

/// One transaction of an account that follows.
#[derive(Clone, Debug)]
enum Step {
    /// Follows so many accounts, under keys that begin at a time.
    Follow {
        first: u32,
        stride: u32,
        count: u32,
        time: u64,
        gap: u64,
        odd: bool,
    },
    /// So many of the living records, from one on.
    Change {
        from: prop::sample::Index,
        stride: usize,
        count: usize,
        fate: Fate,
        rev: u64,
    },
    /// All records go.
    Leave,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let time = prop_oneof![9 => 1_600_000_000_000_000..1_900_000_000_000_000u64, 1 => 0..9_000_000u64];
    let gap = prop_oneof![Just(1), 1..5_000_000u64, Just(1_000_000_000_000)];
    let follow = (0..ACCOUNTS, 1..9u32, 1..60u32, time, gap, prop::bool::weighted(0.1)).prop_map(
        |(first, stride, count, time, gap, odd)| Step::Follow { first, stride, count, time, gap, odd },
    );
    let fate = prop_oneof![
        (1..9u32).prop_map(Fate::Moved),
        Just(Fate::Touched),
        Just(Fate::Wiped),
        Just(Fate::Deleted),
        Just(Fate::Forgotten),
    ];
    let change = (any::<prop::sample::Index>(), 1..5usize, 1..90usize, fate, any::<u32>()).prop_map(
        |(from, stride, count, fate, rev)| Step::Change { from, stride, count, fate, rev: rev.into() },
    );
    prop_oneof![12 => follow, 8 => change, 1 => Just(Step::Leave), 1 => Just(Step::Reopen)]
}

/// The living records of each account that follows: key and subject.
type Living = Vec<BTreeMap<String, u32>>;

/// A write: whose record, its key, its new row.
type Write = (u32, String, Option<RecordRow>);

fn follow(subject: u32, rev: u64) -> Option<RecordRow> {
    let body = RecordBody::Follow { subject: ActorId(subject) };
    Some(RecordRow { rev: Tid(rev), wiped: Tid::ZERO, body })
}

fn writes(living: &mut Living, follower: u32, step: &Step) -> Vec<Write> {
    let of_one = &mut living[follower as usize];
    let mut writes = Vec::new();
    match *step {
        Step::Follow { first, stride, count, time, gap, odd } => {
            for n in 0..count {
                let time = time + u64::from(n) * gap;
                let tid = Tid::from_parts(time, (first % 1_024) as u16);
                let key = if odd { format!("k{time}") } else { tid.to_string() };
                let subject = (first + n * stride) % ACCOUNTS;
                of_one.insert(key.clone(), subject);
                writes.push((follower, key, follow(subject, tid.0 + u64::from(first) * 1_000)));
            }
        }
        Step::Change { from, stride, count, fate, rev } if !of_one.is_empty() => {
            let from = from.index(of_one.len());
            let some: Vec<_> = of_one.iter().skip(from).step_by(stride).take(count).collect();
            let some: Vec<_> = some.into_iter().map(|(key, subject)| (key.clone(), *subject)).collect();
            for (key, subject) in some {
                let row = match fate {
                    Fate::Moved(by) => follow((subject + by) % ACCOUNTS, rev << 40),
                    Fate::Touched => follow(subject, rev << 30),
                    Fate::Wiped => follow(subject, rev).map(|row| RecordRow { wiped: Tid(7), ..row }),
                    Fate::Deleted => {
                        let body = RecordBody::Tombstone { at_ms: rev as i64 };
                        Some(RecordRow { rev: Tid(rev), wiped: Tid::ZERO, body })
                    }
                    Fate::Forgotten => None,
                };
                match &row {
                    Some(RecordRow { body: RecordBody::Follow { subject }, .. }) => {
                        of_one.insert(key.clone(), subject.0)
                    }
                    _ => of_one.remove(&key),
                };
                writes.push((follower, key, row));
            }
        }
        Step::Leave => {
            writes.extend(of_one.keys().map(|key| (follower, key.clone(), None)));
            of_one.clear();
        }
        Step::Change { .. } | Step::Reopen => {}
    }
    writes
}

/// Does what the indexer does with a record. Returns what the store answered.
async fn write(txn: &mut dyn Txn, (follower, key, row): &Write) -> String {
    let rkey = RecordKey::parse(key).unwrap();
    let key = RecordRef { actor: ActorId(*follower), collection: Collection::Follow, rkey };
    let stored = txn.record(&key).await.unwrap();
    let mut said = format!("{stored:?}");
    let subject = |row: &Option<RecordRow>| match row {
        Some(RecordRow { body: RecordBody::Follow { subject }, .. }) => Some(*subject),
        _ => None,
    };
    let (old, new) = (subject(&stored), subject(row));
    if let Some(old) = old.filter(|old| Some(*old) != new) {
        said += &format!(" {}", txn.remove_follow(key.actor, old, &key.rkey).await.unwrap());
    }
    if let Some(new) = new.filter(|new| Some(*new) != old) {
        said += &format!(" {}", txn.add_follow(key.actor, new, &key.rkey).await.unwrap());
    }
    match row {
        Some(row) => txn.put_record(&key, row.clone()).await.unwrap(),
        None => txn.remove_record(&key).await.unwrap(),
    }
    said
}

/// Applies a step and says all that was answered on the way.
async fn apply(store: &dyn Store, writes: &[Write], page: usize) -> Vec<String> {
    let mut txn = store.begin().await.unwrap();
    let mut said = Vec::new();
    for one in writes {
        said.push(write(&mut *txn, one).await);
    }
    // a transaction sees its own writes
    for follower in (0..FOLLOWERS).map(ActorId) {
        let mut records: Vec<(RecordRef, RecordRow)> = Vec::new();
        loop {
            let after = records.last().map(|(key, _)| (key.collection, key.rkey.clone()));
            let some = txn.records_of(follower, after, page).await.unwrap();
            records.extend_from_slice(&some);
            if some.len() < page {
                break;
            }
        }
        records.sort_by(|a, b| a.0.cmp(&b.0));
        said.push(format!("{records:?}"));
    }
    txn.commit().await.unwrap();
    said
}

/// All that a view says of those who follow.
async fn all(view: &dyn View, keys: &[RecordRef], page: usize) -> Vec<String> {
    let mut said = vec![format!("{:?}", view.records(keys).await.unwrap())];
    for follower in (0..FOLLOWERS).map(ActorId) {
        let mut follows: Vec<ActorId> = Vec::new();
        loop {
            let some = view.follows(follower, follows.last().copied(), page).await.unwrap();
            follows.extend_from_slice(&some);
            if some.len() < page {
                break;
            }
        }
        let pairs: Vec<_> = (0..ACCOUNTS).map(|subject| (follower, ActorId(subject))).collect();
        // one by one too: few are looked up, many are answered from the whole set
        let some = &pairs[..pairs.len().min(3)];
        let (edges, has) = (view.edges(&pairs).await.unwrap(), view.has_edges(&pairs).await.unwrap());
        let (few, has_few) = (view.edges(some).await.unwrap(), view.has_edges(some).await.unwrap());
        let count = view.accounts(&[follower]).await.unwrap()[0].follows;
        said.push(format!("{count} {follows:?} {edges:?} {has:?} {few:?} {has_few:?}"));
    }
    said
}

async fn accounts(store: &dyn Store, count: u32) {
    let mut txn = store.begin().await.unwrap();
    for n in 0..count {
        txn.intern(&Did::parse(&format!("did:web:a{n}.example")).unwrap()).await.unwrap();
    }
    txn.commit().await.unwrap();
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn follows_are_as_in_the_reference(
        steps in prop::collection::vec((0..FOLLOWERS, step()), 1..60), page in 1..200usize,
    ) {
        run(async {
            let dir = tempfile::tempdir().unwrap();
            let (mut store, model) = (open(dir.path()), MemoryStore::default());
            accounts(&store, ACCOUNTS).await;
            accounts(&model, ACCOUNTS).await;
            let mut living: Living = vec![BTreeMap::new(); FOLLOWERS as usize];
            let mut keys = BTreeSet::new();
            for (follower, step) in &steps {
                let before = (store.view().await.unwrap(), model.view().await.unwrap());
                let writes = writes(&mut living, *follower, step);
                keys.extend(writes.iter().map(|(follower, key, _)| (*follower, key.clone())));
                let keys: Vec<_> = keys.iter().map(|(follower, key)| RecordRef {
                    actor: ActorId(*follower), collection: Collection::Follow, rkey: RecordKey::parse(key).unwrap(),
                }).collect();
                assert_eq!(apply(&store, &writes, page).await, apply(&model, &writes, page).await);
                // a view from before keeps its moment, whatever is folded
                assert_eq!(all(&*before.0, &keys, page).await, all(&*before.1, &keys, page).await);
                drop(before);
                if matches!(step, Step::Reopen) {
                    drop(store);
                    store = open(dir.path());
                }
                let (view, wanted) = (store.view().await.unwrap(), model.view().await.unwrap());
                assert_eq!(all(&*view, &keys, page).await, all(&*wanted, &keys, page).await);
            }
            drop(store);
            let report = check(dir.path()).unwrap();
            assert!(report.is_sound(), "{report}");
        });
    }
}

/// Hints of both kinds, many blocks, and one account's whole life.
#[test]
fn an_account_follows_thousands_and_leaves() {
    run(async {
        const MANY: u32 = 3_000;
        let dir = tempfile::tempdir().unwrap();
        let (mut store, model) = (open(dir.path()), MemoryStore::default());
        accounts(&store, MANY).await;
        accounts(&model, MANY).await;
        // neither keys nor subjects come in their order
        let tid =
            |n: u32| Tid::from_parts(1_650_000_000_000_000 + u64::from(n * 1_009 % MANY) * 9_999_999_999, 3);
        let record = |n: u32| (0, tid(n).to_string(), follow(n * 7 % MANY, tid(n).0 + 5_000));
        let rounds: [Vec<Write>; 3] = [
            (0..MANY).map(record).collect(),
            (0..MANY).step_by(3).map(|n| (0, tid(n).to_string(), None)).collect(),
            (0..MANY).map(|n| (0, tid(n).to_string(), None)).collect(),
        ];
        for writes in rounds {
            for some in writes.chunks(40) {
                let mut both = Vec::new();
                for store in [&store as &dyn Store, &model] {
                    let mut txn = store.begin().await.unwrap();
                    let mut said = Vec::new();
                    for one in some {
                        said.push(write(&mut *txn, one).await);
                    }
                    txn.commit().await.unwrap();
                    both.push(said);
                }
                assert_eq!(both[0], both[1]);
            }
            let pairs: Vec<_> = (0..MANY).map(|subject| (ActorId(0), ActorId(subject))).collect();
            let (view, wanted) = (store.view().await.unwrap(), model.view().await.unwrap());
            assert_eq!(view.edges(&pairs).await.unwrap(), wanted.edges(&pairs).await.unwrap());
            let follows = view.follows(ActorId(0), None, 10_000).await.unwrap();
            assert_eq!(follows, wanted.follows(ActorId(0), None, 10_000).await.unwrap());
            drop((view, store));
            let report = check(dir.path()).unwrap();
            assert!(report.is_sound(), "{report}");
            store = open(dir.path());
        }
    });
}
