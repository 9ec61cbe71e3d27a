//! A loaded network is the same as one that came event by event.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeMap;

use proptest::prelude::*;
use skyweir_embedded::{Bulk, BulkConfig, Config, EmbeddedStore, check};
use skyweir_store::{RecordBody, RecordRow, Store};
use skyweir_types::{ActorId, Collection, Did, RecordKey, RecordRef, Tid};

fn did(n: u32) -> Did {
    Did::parse(&format!(
        "did:plc:{}",
        "abcdefghijklmnopqrstuvwx".replace('x', &"abcdefghij"[n as usize..=n as usize])
    ))
    .unwrap()
}

/// Follower, key, subject, rev.
type Follow = (u32, u16, u32, u64);

fn rkey(n: u16) -> RecordKey {
    let text = if n.is_multiple_of(7) {
        format!("key-{n}")
    } else {
        Tid::from_parts(1_700_000_000_000_000 + u64::from(n), 3).to_string()
    };
    RecordKey::parse(&text).unwrap()
}

fn config(dir: &tempfile::TempDir) -> Config {
    Config { data_dir: dir.path().join("data"), ..Config::default() }
}

async fn one_by_one(config: Config, follows: &[Follow]) -> EmbeddedStore {
    let store = EmbeddedStore::open(config).unwrap();
    let mut txn = store.begin().await.unwrap();
    for n in 0..10 {
        txn.intern(&did(n)).await.unwrap();
    }
    for (follower, key, subject, rev) in follows {
        let key = RecordRef { actor: ActorId(*follower), collection: Collection::Follow, rkey: rkey(*key) };
        let row = RecordRow {
            rev: Tid(*rev),
            wiped: Tid::ZERO,
            body: RecordBody::Follow { subject: ActorId(*subject) },
        };
        txn.put_record(&key, row).await.unwrap();
        txn.add_follow(ActorId(*follower), ActorId(*subject), &key.rkey).await.unwrap();
    }
    txn.commit().await.unwrap();
    store
}

/// All that a store says of ten accounts.
async fn all(store: &EmbeddedStore, keys: &[RecordRef]) -> String {
    let view = store.view().await.unwrap();
    let actors: Vec<ActorId> = (0..10).map(ActorId).collect();
    let mut said =
        format!("{:?} {:?}", view.dids(&actors).await.unwrap(), view.accounts(&actors).await.unwrap());
    for actor in &actors {
        assert_eq!(view.actor(&did(actor.0)).await.unwrap(), Some(*actor));
        let pairs: Vec<_> = actors.iter().map(|subject| (*actor, *subject)).collect();
        said += &format!(
            "\n{:?} {:?} {:?}",
            view.follows(*actor, None, 100).await.unwrap(),
            view.followers(*actor, None, 100).await.unwrap(),
            view.edges(&pairs).await.unwrap()
        );
    }
    said + &format!("\n{:?}", view.records(keys).await.unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn loaded_is_as_if_it_had_come_by_events(rows in prop::collection::vec((0..10u32, 0..40u16, 0..10u32, 1..9u64), 0..120)) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
            // of each record the last version by rev; of equal ones that with the greatest subject
            let mut last = BTreeMap::new();
            for (follower, key, subject, rev) in &rows {
                let kept = last.entry((*follower, *key)).or_insert((*rev, *subject));
                *kept = (*kept).max((*rev, *subject));
            }
            let tid = |key: u16| !key.is_multiple_of(7);
            let loads: Vec<Follow> = rows.iter().filter(|(_, key, ..)| tid(*key)).copied()
                .chain(last.iter().filter(|((_, key), _)| !tid(*key)).map(|((f, k), (rev, s))| (*f, *k, *s, *rev))).collect();
            // the oldest record of an edge is that with the lowest TID, which comes before any other key
            let mut events: Vec<Follow> = last.into_iter().map(|((f, k), (rev, s))| (f, k, s, rev)).collect();
            events.sort_by_key(|(_, key, ..)| (!tid(*key), *key));
            let keys: Vec<_> = events.iter().map(|(f, k, ..)| RecordRef { actor: ActorId(*f), collection: Collection::Follow, rkey: rkey(*k) }).collect();
            let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let wanted = one_by_one(config(&other), &events).await;
            let mut bulk = Bulk::begin(config(&dir), BulkConfig { memory_mb: 1 }).unwrap();
            for n in 0..10 {
                assert_eq!(bulk.actor(&did(n)).unwrap(), ActorId(n));
            }
            for (follower, key, subject, rev) in &loads {
                bulk.follow(ActorId(*follower), ActorId(*subject), &rkey(*key), Tid(*rev)).unwrap();
            }
            let store = bulk.finish(&mut |_| {}).await.unwrap();
            assert_eq!(all(&store, &keys).await, all(&wanted, &keys).await);
            drop(store);
            let report = check(&config(&dir).data_dir).unwrap();
            assert!(report.is_sound(), "{:?}", report.findings);
            let store = EmbeddedStore::open(config(&dir)).unwrap();
            assert_eq!(all(&store, &keys).await, all(&wanted, &keys).await);
        });
    }
}

#[tokio::test]
async fn many_followers_are_in_blocks_that_grow_further() {
    let dir = tempfile::tempdir().unwrap();
    let mut bulk = Bulk::begin(config(&dir), BulkConfig { memory_mb: 1 }).unwrap();
    for n in 0..5_000 {
        bulk.actor(&Did::parse(&format!("did:web:a{n}.example.com")).unwrap()).unwrap();
    }
    let key = |n: u32| {
        RecordKey::parse(&Tid::from_parts(1_700_000_000_000_000 + u64::from(n), 3).to_string()).unwrap()
    };
    for follower in (1..5_000).step_by(2) {
        bulk.follow(ActorId(follower), ActorId(0), &key(follower), Tid(9)).unwrap();
    }
    let store = bulk.finish(&mut |_| {}).await.unwrap();
    let mut txn = store.begin().await.unwrap();
    for follower in (2..200).step_by(2) {
        assert!(txn.add_follow(ActorId(follower), ActorId(0), &key(follower)).await.unwrap());
        let place =
            RecordRef { actor: ActorId(follower), collection: Collection::Follow, rkey: key(follower) };
        let body = RecordBody::Follow { subject: ActorId(0) };
        txn.put_record(&place, RecordRow { rev: Tid(9), wiped: Tid::ZERO, body }).await.unwrap();
    }
    assert!(txn.remove_follow(ActorId(1), ActorId(0), &key(1)).await.unwrap());
    txn.commit().await.unwrap();
    let view = store.view().await.unwrap();
    let followers = view.followers(ActorId(0), None, 10_000).await.unwrap();
    let wanted: Vec<_> = (2..5_000).filter(|n| n % 2 == 1 || *n < 200).map(ActorId).collect();
    assert_eq!(followers, wanted);
    assert_eq!(view.accounts(&[ActorId(0)]).await.unwrap()[0].followers as usize, wanted.len());
    let pairs = [(ActorId(1), ActorId(0)), (ActorId(2), ActorId(0)), (ActorId(3), ActorId(0))];
    assert_eq!(view.edges(&pairs).await.unwrap(), [None, Some(key(2)), Some(key(3))]);
}

#[tokio::test]
async fn what_was_cut_off_or_is_not_empty_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut bulk = Bulk::begin(config(&dir), BulkConfig::default()).unwrap();
    bulk.actor(&did(1)).unwrap();
    assert!(bulk.follow(ActorId(0), ActorId(1), &rkey(1), Tid(1)).is_err(), "account 1 has no number");
    drop(bulk);
    let refused = EmbeddedStore::open(config(&dir)).map(drop).unwrap_err().to_string();
    assert!(refused.contains("cut off"), "{refused}");
    let refused = Bulk::begin(config(&dir), BulkConfig::default()).map(drop).unwrap_err().to_string();
    assert!(refused.contains("cut off"), "{refused}");

    let dir = tempfile::tempdir().unwrap();
    drop(one_by_one(config(&dir), &[]).await);
    let refused = Bulk::begin(config(&dir), BulkConfig::default()).map(drop).unwrap_err().to_string();
    assert!(refused.contains("holds accounts already"), "{refused}");
}

/// Follows in blocks change as those do that came one by one.
#[tokio::test]
async fn many_follows_are_in_blocks_that_change_further() {
    const SUBJECTS: u32 = 3_000;
    // one that has rows only, one with a block, one with very many; the last has further records too
    let follows = [(0, 15), (1, 16), (2, 2_500)];
    let key = |n: u32| {
        let text = Tid::from_parts(1_650_000_000_000_000 + u64::from(n * 7 % SUBJECTS) * 9_999_999_999, 3);
        RecordKey::parse(&text.to_string()).unwrap()
    };
    let further = RecordKey::parse(&Tid::from_parts(1_800_000_000_000_000, 0).to_string()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut bulk = Bulk::begin(config(&dir), BulkConfig { memory_mb: 1 }).unwrap();
    for n in 0..SUBJECTS {
        bulk.actor(&Did::parse(&format!("did:web:a{n}.example.com")).unwrap()).unwrap();
    }
    for (follower, count) in follows {
        for subject in 0..count {
            bulk.follow(ActorId(follower), ActorId(subject), &key(subject), Tid(9)).unwrap();
        }
    }
    bulk.follow(ActorId(2), ActorId(7), &further, Tid(9)).unwrap();
    let mut store = bulk.finish(&mut |_| {}).await.unwrap();
    for round in 0..2 {
        let view = store.view().await.unwrap();
        for (follower, count) in follows {
            // every third one is gone in the second round, but for the edge with another record
            let is_left = |n: &u32| round == 0 || n % 3 != 1 || (follower, *n) == (2, 7);
            let wanted: Vec<_> = (0..count).filter(is_left).map(ActorId).collect();
            assert_eq!(view.follows(ActorId(follower), None, 10_000).await.unwrap(), wanted);
            let pairs: Vec<_> = wanted.iter().map(|subject| (ActorId(follower), *subject)).collect();
            let edges = view.edges(&pairs).await.unwrap();
            for (subject, edge) in wanted.iter().zip(edges) {
                let moved = round == 1 && (follower, subject.0) == (2, 7);
                assert_eq!(edge, Some(if moved { further.clone() } else { key(subject.0) }));
            }
        }
        drop((view, store));
        let report = check(&config(&dir).data_dir).unwrap();
        assert!(report.is_sound(), "{report}");
        store = EmbeddedStore::open(config(&dir)).unwrap();
        let mut txn = store.begin().await.unwrap();
        for (follower, count) in follows {
            for subject in (1..count).step_by(3).filter(|_| round == 0) {
                let rkey = key(subject);
                let gone = txn.remove_follow(ActorId(follower), ActorId(subject), &rkey).await.unwrap();
                assert_eq!(gone, (follower, subject) != (2, 7));
                let actor = ActorId(follower);
                txn.remove_record(&RecordRef { actor, collection: Collection::Follow, rkey }).await.unwrap();
            }
        }
        txn.commit().await.unwrap();
    }
}
