//! The rings over a real data directory: checkpoint files, damage, memory; the rest is the conformance
//! suite's.
#![expect(clippy::unwrap_used, reason = "these are parts of tests")]

use std::path::Path;

use skyweir_embedded::{Config, EmbeddedStore, Rings, RingsConfig, check};
use skyweir_store::{CachedState, Delivery, Enrolment, IdleRule, Store, Task, TimelineReads, Timelines};
use skyweir_types::{ActorId, Did, DidHash, DrawKey, ItemId, Reference, TaskId, UriHash};

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

#[tokio::test]
async fn a_checkpoint_writes_only_what_changed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    with_actors(&store, 100).await;
    let rings = Rings::open(&store, &config(8, 10), DrawKey::default()).unwrap();
    for viewer in 0..50 {
        enrol(&rings, ActorId(viewer), (1..=u64::from(viewer)).rev()).await;
    }
    rings.checkpoint(TaskId(1)).await.unwrap();
    enrol(&rings, ActorId(3), (90..95).rev()).await;
    rings.begin(ActorId(60), enrolment(1)).await.unwrap();
    rings.checkpoint(TaskId(2)).await.unwrap();
    drop((rings, store));
    let files = std::fs::read_dir(dir.path().join("rings")).unwrap();
    let mut names: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    let wanted =
        ["1-0.ring", "1-1.ring", "1-2.ring", "1-5.ring", "1-6.ring", "1-7.ring", "2-3.ring", "2-4.ring"];
    assert_eq!(names, wanted);
    let report = check(dir.path()).unwrap();
    assert!(report.is_sound());
    assert_eq!(report.holdings.rings, 50);
    let store = open(dir.path());
    let rings = Rings::open(&store, &config(8, 10), DrawKey::default()).unwrap();
    assert_eq!((rings.restored(), rings.enrolled()), (TaskId(2), 50));
    assert_eq!(items(&rings, ActorId(3)).await, [94, 93, 92, 91, 90]);
    assert_eq!(items(&rings, ActorId(40)).await, (31..=40).rev().collect::<Vec<_>>());
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
async fn a_log_cut_above_the_checkpoint_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    for (kept, cut, sound) in [(1, 1, true), (1, 2, false), (2, 2, true), (3, 3, false)] {
        let store = open(dir.path());
        let rings = Rings::open(&store, &config(2, 10), DrawKey::default()).unwrap();
        if cut == 1 {
            with_actors(&store, 1).await;
        }
        rings.checkpoint(TaskId(kept)).await.unwrap();
        store.trim_tasks(TaskId(cut)).await.unwrap();
        drop((rings, store));
        let report = check(dir.path()).unwrap();
        assert_eq!(report.is_sound(), sound, "{report}");
    }
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
async fn a_file_that_cannot_be_read_now_is_not_thrown_away() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    with_actors(&store, 10).await;
    let rings = Rings::open(&store, &config(4, 10), DrawKey::default()).unwrap();
    enrol(&rings, ActorId(2), 1..3).await;
    rings.checkpoint(TaskId(1)).await.unwrap();
    drop((rings, store));
    let file = dir.path().join("rings/1-2.ring");
    let aside = dir.path().join("aside");
    std::fs::rename(&file, &aside).unwrap();
    // reading a folder fails for another reason than that it is missing
    std::fs::create_dir(&file).unwrap();
    let store = open(dir.path());
    let refused = Rings::open(&store, &config(4, 10), DrawKey::default()).err().unwrap().to_string();
    assert!(refused.contains("1-2.ring"), "{refused}");
    std::fs::remove_dir(&file).unwrap();
    std::fs::rename(&aside, &file).unwrap();
    let rings = Rings::open(&store, &config(4, 10), DrawKey::default()).unwrap();
    assert_eq!((rings.restored(), items(&rings, ActorId(2)).await), (TaskId(1), vec![2, 1]));
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

#[tokio::test]
async fn the_budget_holds_while_references_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    with_actors(&store, 200).await;
    let budget = 700_000;
    let bytes = |rings: &Rings| Timelines::memory(rings).bytes;
    let small = RingsConfig { memory_bytes: budget, ..config(4, 800) };
    let rings = Rings::open(&store, &small, DrawKey::default()).unwrap();
    for viewer in 0..200 {
        enrol(&rings, ActorId(viewer), std::iter::empty()).await;
    }
    let mut written = 0;
    for n in 1..=800 {
        for shard in 0..4 {
            let viewers = (shard..200).step_by(4).map(ActorId).collect();
            let delivery = Delivery { reference: reference(n), viewers };
            written += rings.apply(shard, &[delivery]).await.unwrap()[0].written;
            assert!(bytes(&rings) <= budget, "{} bytes", bytes(&rings));
        }
    }
    // all of it would take 200 × 800 × 12 bytes; whoever found no room keeps the newest that fit
    assert_eq!(written, 200 * 800);
    let mut held = 0;
    for viewer in (0..200).map(ActorId) {
        let CachedState::In(info) = rings.read(viewer, i64::MAX, 0).await.unwrap().state else { panic!() };
        held += info.len;
        assert_eq!(info.floor, if info.len == 800 { i64::MIN } else { 800 - info.len as i64 });
        assert_eq!(items(&rings, viewer).await.first(), Some(&800));
    }
    assert!((20_000..60_000).contains(&held), "{held} references");
    // what leaves makes room
    let before = bytes(&rings);
    for one in rings.least_useful(0, 200_000, 1_000).await.unwrap() {
        assert!(rings.leave(one.viewer, one.generation).await.unwrap());
    }
    assert!(before - bytes(&rings) >= 190_000, "{before}, then {}", bytes(&rings));
    // and a restart counts the same
    let before = bytes(&rings);
    rings.checkpoint(TaskId(1)).await.unwrap();
    assert_eq!(bytes(&rings), before, "what a checkpoint takes is given back");
    drop(rings);
    let rings = Rings::open(&store, &small, DrawKey::default()).unwrap();
    let off = bytes(&rings).abs_diff(before);
    assert!(off < 100_000, "{before}, then {}", bytes(&rings));
    // a smaller budget holds from the start, but for the last ring that came back
    let all = rings.enrolled();
    drop(rings);
    let smaller = RingsConfig { memory_bytes: budget / 2, ..config(4, 800) };
    let rings = Rings::open(&store, &smaller, DrawKey::default()).unwrap();
    assert!(bytes(&rings) <= budget / 2 + 10_000 && (1..all).contains(&rings.enrolled()));
}

#[tokio::test]
async fn a_ring_that_had_no_room_does_not_come_back_later() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    with_actors(&store, 8).await;
    let open_rings = |memory_bytes| {
        Rings::open(&store, &RingsConfig { memory_bytes, ..config(8, 10) }, DrawKey::default()).unwrap()
    };
    let enrolled = |rings: &Rings| {
        let mut all: Vec<_> = (0..8).map(ActorId).collect();
        rings.retain_enrolled(&mut all);
        all
    };
    let rings = open_rings(1 << 30);
    for viewer in 0..8 {
        enrol(&rings, ActorId(viewer), (1..=9).rev()).await;
    }
    rings.checkpoint(TaskId(1)).await.unwrap();
    drop(rings);
    // one ring comes back; what the others miss from now on is below the next checkpoint's task
    let rings = open_rings(1);
    assert!(rings.enrolled() < 8);
    let kept = enrolled(&rings);
    rings.checkpoint(TaskId(2)).await.unwrap();
    drop(rings);
    let rings = open_rings(1 << 30);
    assert_eq!(rings.restored(), TaskId(2));
    assert_eq!(enrolled(&rings), kept);
}

#[tokio::test]
async fn reads_alone_write_no_slice_for_a_while() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    with_actors(&store, 4).await;
    let rings = Rings::open(&store, &config(2, 10), DrawKey::default()).unwrap();
    for viewer in 0..4 {
        enrol(&rings, ActorId(viewer), 1..3).await;
    }
    rings.checkpoint(TaskId(1)).await.unwrap();
    let written = |number: u64| dir.path().join(format!("rings/{number}-1.ring")).exists();
    let mut files = Vec::new();
    for number in 2..=20 {
        rings.touch(ActorId(3), number as i64 * 3_600_000);
        rings.checkpoint(TaskId(1)).await.unwrap();
        files.extend(written(number).then_some(number));
    }
    assert_eq!(files, [17]);
    drop(rings);
    let rings = Rings::open(&store, &config(2, 10), DrawKey::default()).unwrap();
    let rule = IdleRule { read_before_ms: 17 * 3_600_000, once_before_ms: 0 };
    let idle = rings.idle(rule, 99).await.unwrap();
    assert!(idle.iter().all(|one| one.viewer != ActorId(3)) && idle.len() == 3, "{idle:?}");
}
