//! A loaded network is the same as one that came event by event.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::HashMap;

use proptest::prelude::*;
use skyweir_embedded::{Bulk, Config, EmbeddedStore, check};
use skyweir_store::{AccountRow, Load, LoadStep, RecordBody, RecordRow, Store, SyncMark};
use skyweir_types::{AccountStatus, ActorId, Collection, Did, RecordKey, RecordRef, Tid};

fn did(n: u32) -> Did {
    Did::parse(&format!(
        "did:plc:{}",
        "abcdefghijklmnopqrstuvwx".replace('x', &"abcdefghij"[n as usize..=n as usize])
    ))
    .unwrap()
}

/// Follower, key, subject or none, rev.
type Step = (u32, u16, Option<u32>, u64);

fn rkey(n: u16) -> RecordKey {
    let text = if n.is_multiple_of(7) {
        format!("key-{n}")
    } else {
        Tid::from_parts(1_700_000_000_000_000 + u64::from(n), 3).to_string()
    };
    RecordKey::parse(&text).unwrap()
}

fn config(dir: &tempfile::TempDir) -> Config {
    Config { data_dir: dir.path().join("data"), load_mb: 1, ..Config::default() }
}

fn place(follower: u32, key: u16) -> RecordRef {
    RecordRef { actor: ActorId(follower), collection: Collection::Follow, rkey: rkey(key) }
}

/// When a deletion with this rev was, milliseconds.
fn at_ms(rev: u64) -> i64 {
    rev as i64 * 1_000
}

/// What account 9 is: a load keeps it, resyncs under way as well.
fn row() -> AccountRow {
    let sync = Some(SyncMark { rev: Tid(5), since_ms: -7 });
    AccountRow { status: AccountStatus::Hidden, status_us: 77, gone: Tid(4), sync }
}

async fn one_by_one(config: Config, steps: &[Step]) -> EmbeddedStore {
    let store = EmbeddedStore::open(config).unwrap();
    let mut txn = store.begin().await.unwrap();
    for n in 0..10 {
        txn.intern(&did(n)).await.unwrap();
    }
    txn.set_account(ActorId(9), row()).await.unwrap();
    let mut known: HashMap<RecordRef, RecordRow> = HashMap::new();
    for (follower, key, subject, rev) in steps {
        let key = place(*follower, *key);
        let stored = known.get(&key);
        if stored.is_some_and(|stored| Tid(*rev) <= stored.rev) {
            continue;
        }
        let body = match subject {
            Some(subject) => RecordBody::Follow { subject: ActorId(*subject) },
            None => RecordBody::Tombstone { at_ms: at_ms(*rev) },
        };
        let row = RecordRow { rev: Tid(*rev), wiped: Tid::ZERO, body };
        let before = stored.map(|stored| stored.body.clone());
        if before.as_ref() != Some(&row.body) {
            if let Some(RecordBody::Follow { subject }) = before {
                txn.remove_follow(key.actor, subject, &key.rkey).await.unwrap();
            }
            if let RecordBody::Follow { subject } = row.body {
                txn.add_follow(key.actor, subject, &key.rkey).await.unwrap();
            }
        }
        txn.put_record(&key, row.clone()).await.unwrap();
        known.insert(key, row);
    }
    txn.commit().await.unwrap();
    store
}

fn take(bulk: &mut Bulk, (follower, key, subject, rev): &Step) {
    let (rkey, rev, goes_on) = (&rkey(*key), Tid(*rev), false);
    let step = match subject {
        Some(subject) => LoadStep::Put { rkey, rev, subject: ActorId(*subject), goes_on },
        None => LoadStep::Delete { rkey, rev, at_ms: at_ms(rev.0), goes_on },
    };
    bulk.step(ActorId(*follower), step).unwrap();
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
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn loaded_is_as_if_it_had_come_by_events(
        steps in prop::collection::vec((0..10u32, 0..40u16, prop::option::weighted(0.8, 0..10u32), 1..9u64), 0..150),
        cuts in prop::collection::vec((0..150usize, 0..20usize), 0..4),
    ) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
            let keys: Vec<_> = steps.iter().map(|(follower, key, ..)| place(*follower, *key)).collect();
            let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let wanted = one_by_one(config(&other), &steps).await;
            let mut bulk = Bulk::begin(config(&dir)).unwrap();
            for n in 0..10 {
                assert_eq!(bulk.actor(&did(n)).unwrap(), ActorId(n));
            }
            bulk.set_account(ActorId(9), row()).unwrap();
            bulk.reached(b"0").unwrap();
            let mut greatest = [Tid::ZERO; 10];
            for (at, step) in steps.iter().enumerate() {
                // some more come, but nobody says that they are complete
                for (_, lost) in cuts.iter().filter(|(cut, _)| *cut == at) {
                    bulk.sync().unwrap();
                    steps.iter().take(*lost).for_each(|step| take(&mut bulk, step));
                    bulk.note(b"lost").unwrap();
                    bulk.actor(&Did::parse("did:web:lost").unwrap()).unwrap();
                    drop(bulk);
                    bulk = Bulk::begin(config(&dir)).unwrap();
                    assert_eq!(bulk.place(), at.to_string().as_bytes());
                }
                take(&mut bulk, step);
                let of = &mut greatest[step.0 as usize];
                *of = Tid(step.3).max(*of);
                bulk.note(&[at as u8]).unwrap();
                bulk.reached((at + 1).to_string().as_bytes()).unwrap();
            }
            bulk.sync().unwrap();
            drop(bulk);
            let bulk = Bulk::begin(config(&dir)).unwrap();
            assert_eq!((0..10).map(|n| bulk.greatest_rev(ActorId(n))).collect::<Vec<_>>(), greatest);
            assert_eq!((bulk.account(ActorId(9)), bulk.sync_marks().len()), (row(), 1));
            drop(bulk.write(0, &mut |_| {}).await.unwrap());
            // it is all there but for its notes
            let bulk = Bulk::begin(config(&dir)).unwrap();
            assert!(bulk.is_written());
            let mut written = bulk.write(0, &mut |_| {}).await.unwrap();
            let mut notes = written.notes(0).unwrap();
            for at in 0..steps.len() {
                assert_eq!(notes.next().unwrap(), Some((vec![at as u8], at as u64 * 9 + 9)));
            }
            assert_eq!(notes.next().unwrap(), None);
            let store = written.finish().unwrap();
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
    let mut bulk = Bulk::begin(config(&dir)).unwrap();
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
    let mut bulk = Bulk::begin(config(&dir)).unwrap();
    bulk.actor(&did(1)).unwrap();
    assert!(bulk.follow(ActorId(0), ActorId(1), &rkey(1), Tid(1)).is_err(), "account 1 has no number");
    bulk.follow(ActorId(0), ActorId(0), &rkey(1), Tid(1)).unwrap();
    bulk.sync().unwrap();
    drop(bulk);
    // nothing of it was said to be complete: the directory is as empty as before
    drop(EmbeddedStore::open(config(&dir)).unwrap());
    let mut bulk = Bulk::begin(config(&dir)).unwrap();
    assert_eq!(bulk.place(), b"");
    assert_eq!(bulk.actor(&did(2)).unwrap(), ActorId(0));
    let cut = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(bulk.finish(&mut |_| panic!("the process ends here"))).map(drop)
    });
    assert!(cut.await.unwrap_err().is_panic());
    let refused = EmbeddedStore::open(config(&dir)).map(drop).unwrap_err().to_string();
    assert!(refused.contains("cut off"), "{refused}");
    let refused = check(&config(&dir).data_dir).unwrap_err().to_string();
    assert!(refused.contains("cut off"), "{refused}");
    // it begins again without those tables
    let mut bulk = Bulk::begin(config(&dir)).unwrap();
    assert_eq!(bulk.place(), b"");
    assert!(!config(&dir).data_dir.join("db").exists());
    bulk.reached(b"1").unwrap();
    bulk.sync().unwrap();
    drop(bulk);
    let refused = EmbeddedStore::open(config(&dir)).map(drop).unwrap_err().to_string();
    assert!(refused.contains("cut off"), "{refused}");
    let bulk = Bulk::begin(config(&dir)).unwrap();
    assert_eq!(bulk.place(), b"1");
    drop(bulk.finish(&mut |_| {}).await.unwrap());
    drop(EmbeddedStore::open(config(&dir)).unwrap());
    assert!(check(&config(&dir).data_dir).unwrap().is_sound());

    let dir = tempfile::tempdir().unwrap();
    drop(one_by_one(config(&dir), &[]).await);
    let refused = Bulk::begin(config(&dir)).map(drop).unwrap_err().to_string();
    assert!(refused.contains("holds accounts already"), "{refused}");
}

#[test]
fn the_place_is_the_one_that_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let mut bulk = Bulk::begin(config(&dir)).unwrap();
    bulk.actor(&did(0)).unwrap();
    bulk.reached(b"1").unwrap();
    bulk.sync().unwrap();
    // so many that they are written by another thread
    for _ in 0..13_000 {
        bulk.step(ActorId(0), LoadStep::Other { rev: Tid(1) }).unwrap();
    }
    bulk.reached(b"2").unwrap();
    assert_eq!(bulk.place(), b"1", "nobody has waited for it");
    bulk.sync().unwrap();
    assert_eq!(bulk.place(), b"2");
    let run = |n: u32| config(&dir).data_dir.join(format!("loading/steps-{n}.run")).exists();
    assert_eq!(
        (0..4).map(run).collect::<Vec<_>>(),
        [true, true, true, false],
        "two by sync, one because of many"
    );
}

#[tokio::test]
async fn what_has_changed_on_disk_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut bulk = Bulk::begin(config(&dir)).unwrap();
    for n in 0..2 {
        bulk.actor(&did(n)).unwrap();
    }
    bulk.follow(ActorId(0), ActorId(1), &rkey(1), Tid(1)).unwrap();
    bulk.follow(ActorId(1), ActorId(0), &rkey(7), Tid(1)).unwrap();
    bulk.set_account(ActorId(1), row()).unwrap();
    bulk.note(b"a note").unwrap();
    bulk.reached(b"1").unwrap();
    bulk.sync().unwrap();
    drop(bulk);
    let flip = |name: &str, at: usize| {
        let path = config(&dir).data_dir.join("loading").join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).unwrap();
    };
    for name in ["steps-0.run", "names", "accounts", "keys"] {
        let bytes = std::fs::read(config(&dir).data_dir.join("loading").join(name)).unwrap().len();
        assert!(bytes > 0, "{name}");
        for at in 0..bytes {
            flip(name, at);
            assert!(Bulk::begin(config(&dir)).is_err(), "byte {at} of {name}");
            flip(name, at);
        }
    }
    // what is read again is what was written, too
    for name in ["names", "keys"] {
        let bulk = Bulk::begin(config(&dir)).unwrap();
        flip(name, 4);
        assert!(bulk.write(0, &mut |_| {}).await.is_err(), "{name}");
        flip(name, 4);
    }
    drop(Bulk::begin(config(&dir)).unwrap().write(0, &mut |_| {}).await.unwrap());
    // behind the tables only the notes count
    std::fs::write(config(&dir).data_dir.join("loading/names"), b"").unwrap();
    let mut written = Bulk::begin(config(&dir)).unwrap().write(0, &mut |_| {}).await.unwrap();
    for at in 0..14 {
        flip("notes", at);
        assert!(written.notes(0).unwrap().next().is_err(), "byte {at} of the note");
        flip("notes", at);
    }
    assert_eq!(written.notes(0).unwrap().next().unwrap(), Some((b"a note".to_vec(), 14)));
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
    let mut bulk = Bulk::begin(config(&dir)).unwrap();
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
