//! The rings over a real data directory: checkpoints, restarts, damage, purges against edges.

use std::path::Path;

use skyweir_embedded::{Config, EmbeddedStore, Rings, RingsConfig, check};
use skyweir_store::{CachedState, Delivery, Enrolment, IdleRule, RingInfo, Store, Task, Timelines};
use skyweir_types::{ActorId, Did, DidHash, DrawKey, ItemId, RecordKey, Reference, TaskId, UriHash};

fn config(slices: u32, cap: usize) -> RingsConfig {
    RingsConfig { slices, cap, ..RingsConfig::default() }
}

fn open(dir: &Path) -> EmbeddedStore {
    EmbeddedStore::open(Config { data_dir: dir.to_owned(), cache_mb: 4, ..Config::default() }).unwrap()
}

async fn with_actors(store: &EmbeddedStore, n: u32) {
    let mut txn = store.begin().await.unwrap();
    for actor in 0..n {
        txn.intern(&Did::parse(&format!("did:web:a{actor}.example")).unwrap()).await.unwrap();
    }
    txn.append(Task::FanOut { item: ItemId(1) }).await.unwrap();
    txn.commit().await.unwrap();
}

fn reference(n: u64) -> Reference {
    Reference { item: ItemId(n), sort_at: n as i64, uri_hash: UriHash(n), author: ActorId(1) }
}

fn enrolment(now_us: i64) -> Enrolment {
    Enrolment { did_hash: DidHash(7), rate: 1.0, now_us }
}

async fn enrol(rings: &Rings, viewer: ActorId, items: impl Iterator<Item = u64>) {
    let generation = rings.begin(viewer, enrolment(5_000_000)).await.unwrap();
    let references: Vec<_> = items.map(reference).collect();
    assert!(rings.publish(viewer, generation, &references, i64::MIN, 9).await.unwrap());
}

async fn items(rings: &Rings, viewer: ActorId) -> Vec<u64> {
    let cached = rings.read(viewer, i64::MAX, 1_000).await.unwrap();
    cached.entries.iter().map(|entry| entry.item.0).collect()
}

async fn info(rings: &Rings, viewer: ActorId) -> RingInfo {
    match rings.read(viewer, 0, 1).await.unwrap().state {
        CachedState::In(info) => info,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_checkpoint_brings_rings_back_whatever_the_slices() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    with_actors(&store, 100).await;
    let rings = Rings::open(&store, &config(8, 10), DrawKey::default()).unwrap();
    assert_eq!(rings.restored(), TaskId(2));
    for viewer in 0..50 {
        enrol(&rings, ActorId(viewer), (1..=u64::from(viewer)).rev()).await;
    }
    rings.begin(ActorId(60), enrolment(1)).await.unwrap();
    rings.checkpoint(TaskId(2)).await.unwrap();
    // a second one writes only what changed
    enrol(&rings, ActorId(3), (90..95).rev()).await;
    rings.checkpoint(TaskId(2)).await.unwrap();
    let before = info(&rings, ActorId(40)).await;
    drop((rings, store));
    assert!(check(dir.path()).unwrap().is_sound());
    assert_eq!(check(dir.path()).unwrap().holdings.rings, 50);

    for slices in [8, 8, 3, 16] {
        let store = open(dir.path());
        let rings = Rings::open(&store, &config(slices, 10), DrawKey::default()).unwrap();
        assert_eq!((rings.restored(), rings.enrolled()), (TaskId(2), 50));
        assert_eq!(info(&rings, ActorId(40)).await, before);
        assert_eq!(items(&rings, ActorId(40)).await, (31..=40).rev().collect::<Vec<_>>());
        assert_eq!(items(&rings, ActorId(3)).await, [94, 93, 92, 91, 90]);
        assert_eq!(rings.read(ActorId(60), 0, 1).await.unwrap().state, CachedState::Out);
        let mut page = (0..100).map(ActorId).collect();
        rings.retain_enrolled(&mut page);
        assert_eq!(page, (0..50).map(ActorId).collect::<Vec<_>>());
        let again = rings.begin(ActorId(3), enrolment(0)).await.unwrap();
        assert!(again > before.generation);
        rings.leave(ActorId(3), again).await.unwrap();
        enrol(&rings, ActorId(3), (90..95).rev()).await;
        rings.checkpoint(TaskId(2)).await.unwrap();
    }
}

#[tokio::test]
async fn a_failed_checkpoint_leaves_the_former_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    with_actors(&store, 10).await;
    let rings = Rings::open(&store, &config(2, 10), DrawKey::default()).unwrap();
    enrol(&rings, ActorId(2), 1..3).await;
    rings.checkpoint(TaskId(1)).await.unwrap();
    enrol(&rings, ActorId(2), 1..6).await;
    // a folder stands where the next file has to go
    let obstacle = dir.path().join("rings/2-0.ring");
    std::fs::create_dir(&obstacle).unwrap();
    std::fs::write(obstacle.join("x"), "x").unwrap();
    rings.checkpoint(TaskId(2)).await.unwrap_err();
    drop((rings, store));

    let store = open(dir.path());
    let rings = Rings::open(&store, &config(2, 10), DrawKey::default()).unwrap();
    assert_eq!((rings.restored(), items(&rings, ActorId(2)).await), (TaskId(1), vec![2, 1]));
    enrol(&rings, ActorId(2), 1..6).await;
    std::fs::remove_dir_all(&obstacle).unwrap();
    rings.checkpoint(TaskId(2)).await.unwrap();
    drop((rings, store));
    let store = open(dir.path());
    let rings = Rings::open(&store, &config(2, 10), DrawKey::default()).unwrap();
    assert_eq!((rings.restored(), items(&rings, ActorId(2)).await), (TaskId(2), vec![5, 4, 3, 2, 1]));
}

#[tokio::test]
async fn damage_another_draw_or_the_command_drop_all_rings() {
    for way in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        with_actors(&store, 10).await;
        let rings = Rings::open(&store, &config(4, 10), DrawKey::default()).unwrap();
        for viewer in 0..10 {
            enrol(&rings, ActorId(viewer), 1..3).await;
        }
        rings.checkpoint(TaskId(1)).await.unwrap();
        drop((rings, store));
        let file = dir.path().join("rings/1-2.ring");
        let mut draw = DrawKey::default();
        match way {
            0 => std::fs::remove_file(&file).unwrap(),
            1 => {
                let mut bytes = std::fs::read(&file).unwrap();
                bytes[40] ^= 1;
                std::fs::write(&file, bytes).unwrap();
                assert!(!check(dir.path()).unwrap().is_sound());
            }
            2 => draw = DrawKey::new(5),
            _ => Rings::drop_all(dir.path()).unwrap(),
        }
        let store = open(dir.path());
        let rings = Rings::open(&store, &config(4, 10), draw).unwrap();
        assert_eq!((rings.restored(), rings.enrolled()), (TaskId(2), 0), "way {way}");
        assert_eq!(std::fs::read_dir(dir.path().join("rings")).unwrap().count(), 0);
        enrol(&rings, ActorId(1), 1..3).await;
        rings.checkpoint(TaskId(2)).await.unwrap();
    }
}

#[tokio::test]
async fn a_purge_looks_at_the_edge_of_that_moment() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    with_actors(&store, 10).await;
    let rings = Rings::open(&store, &config(4, 10), DrawKey::default()).unwrap();
    let (viewer, author) = (ActorId(2), ActorId(1));
    let rkey = RecordKey::parse("3kdgeujwlq32y").unwrap();
    enrol(&rings, viewer, 1..6).await;
    let mut txn = store.begin().await.unwrap();
    txn.add_follow(viewer, author, &rkey).await.unwrap();
    txn.commit().await.unwrap();
    assert_eq!(rings.purge(viewer, author, &[ItemId(4), ItemId(2)]).await.unwrap(), 0);
    let mut txn = store.begin().await.unwrap();
    txn.remove_follow(viewer, author, &rkey).await.unwrap();
    txn.commit().await.unwrap();
    assert_eq!(rings.purge(viewer, viewer, &[ItemId(4), ItemId(2)]).await.unwrap(), 0);
    assert_eq!(rings.purge(viewer, author, &[ItemId(4), ItemId(2), ItemId(9)]).await.unwrap(), 2);
    assert_eq!(items(&rings, viewer).await, [5, 3, 1]);
}

#[tokio::test]
async fn what_becomes_of_references_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let rings = Rings::open(&store, &config(1, 10), DrawKey::default()).unwrap();
    let viewers: Vec<_> = (0..4_000).map(ActorId).collect();
    for viewer in &viewers[..3_000] {
        let enrolment = Enrolment { did_hash: DidHash(viewer.0.into()), rate: 0.5, now_us: 1 };
        let generation = rings.begin(*viewer, enrolment).await.unwrap();
        let floor = if viewer.0 < 1_000 { 100 } else { i64::MIN };
        rings.publish(*viewer, generation, &[], floor, 1).await.unwrap();
    }
    let delivery = Delivery { reference: reference(50), viewers };
    let counts = rings.apply(0, &[delivery.clone()]).await.unwrap()[0];
    assert_eq!(counts.hibernating, 1_000);
    assert!((1_400..1_600).contains(&counts.sampled_out), "{counts:?}");
    assert!((900..1_100).contains(&counts.written), "{counts:?}");
    assert_eq!(counts.written + counts.below_floor + counts.sampled_out, 3_000);
    // again, and nothing is there twice
    assert_eq!(rings.apply(0, &[delivery]).await.unwrap()[0], counts);
    let mut held = 0;
    for viewer in 0..3_000 {
        held += items(&rings, ActorId(viewer)).await.len() as u64;
    }
    assert_eq!(held, counts.written);
    // own items are never lost to the draw
    let own = Delivery { reference: reference(51), viewers: vec![ActorId(1)] };
    let own = rings.apply(0, &[own]).await.unwrap()[0];
    assert_eq!((own.sampled_out, own.below_floor), (0, 1));
}

#[tokio::test]
async fn idle_timelines_are_found_in_portions() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let rings = Rings::open(&store, &config(4, 10), DrawKey::default()).unwrap();
    for viewer in 0..40 {
        enrol(&rings, ActorId(viewer), 1..2).await;
        for _ in 0..viewer % 3 {
            rings.touch(ActorId(viewer), 100_000);
        }
    }
    // read once (or never again): idle from 200 s on; read twice: not
    let rule = IdleRule { read_before_ms: 50_000, once_before_ms: 200_000 };
    let mut left = 0;
    loop {
        let idle = rings.idle(rule, 3).await.unwrap();
        if idle.is_empty() {
            break;
        }
        for one in idle {
            assert_ne!(one.viewer.0 % 3, 2);
            assert!(rings.leave(one.viewer, one.generation).await.unwrap());
            left += 1;
        }
    }
    assert_eq!((left, rings.enrolled()), (27, 13));
}

#[tokio::test]
async fn timelines_are_small() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let rings = Rings::open(&store, &config(16, 100), DrawKey::default()).unwrap();
    let bare = rings.memory();
    for viewer in 0..20_000 {
        enrol(&rings, ActorId(viewer), std::iter::empty()).await;
    }
    let empty = rings.memory();
    assert!(empty - bare <= 150 * 20_000, "{} bytes an empty one", (empty - bare) / 20_000);
    for n in 1..=150 {
        for shard in 0..16 {
            let viewers = (shard..20_000).step_by(16).map(ActorId).collect();
            rings.apply(shard, &[Delivery { reference: reference(n), viewers }]).await.unwrap();
        }
    }
    let each = (rings.memory() - empty) as f64 / (100.0 * 20_000.0);
    assert!(each <= 12.0, "{each} bytes a reference");
}
