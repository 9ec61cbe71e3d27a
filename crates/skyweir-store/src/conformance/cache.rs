//! What timelines keep: counts, idempotence, cap and floor, the draw, reads.

use skyweir_types::{ActorId, DidHash, DrawKey, Reference, UriHash};

use super::Subject;
use super::kit::{AUTHOR, apply, enrol, enrolment, info, items, open, reference, reference_at, state};
use crate::{CachedState, Counts, Delivery, Enrolment, Timelines, Viewers};

const V: ActorId = ActorId(4);
const WRITTEN: Counts = Counts { written: 1, below_floor: 0, sampled_out: 0, hibernating: 0 };
const BELOW: Counts = Counts { written: 0, below_floor: 1, sampled_out: 0, hibernating: 0 };

/// Writes references to timelines of any shards, and sums up.
async fn deliver(timelines: &dyn Timelines, viewers: &[ActorId], references: &[Reference]) -> Counts {
    let mut sum = Counts::default();
    for shard in 0..timelines.shards() {
        let own = viewers.iter().filter(|viewer| timelines.shard_of(**viewer) == shard);
        let viewers: Viewers = own.copied().collect();
        let deliveries: Vec<_> = references
            .iter()
            .map(|reference| Delivery { reference: *reference, viewers: viewers.clone() })
            .collect();
        let counts = timelines.apply(shard, &deliveries).await.unwrap();
        assert_eq!(counts.len(), references.len());
        counts.into_iter().for_each(|one| sum += one);
    }
    sum
}

pub(super) async fn references_are_counted(subject: &dyn Subject) {
    let timelines = open(subject, 10).await.timelines;
    let viewers: Vec<_> = (0..400).map(ActorId).collect();
    for viewer in &viewers[..300] {
        let enrolment = Enrolment { did_hash: DidHash(viewer.0.into()), rate: 0.5, now_us: 1 };
        let generation = timelines.begin(*viewer, enrolment).await.unwrap();
        let floor = if viewer.0 < 100 { 100 } else { i64::MIN };
        assert!(timelines.publish(*viewer, generation, &[], floor, 1).await.unwrap());
    }
    let counts = deliver(&*timelines, &viewers, &[reference(50)]).await;
    assert_eq!(counts.hibernating, 100);
    assert!((120..180).contains(&counts.sampled_out), "{counts:?}");
    assert!((80..120).contains(&counts.written), "{counts:?}");
    assert_eq!(counts.written + counts.below_floor + counts.sampled_out, 300);
    // again, and nothing is there twice
    assert_eq!(deliver(&*timelines, &viewers, &[reference(50)]).await, counts);
    let mut held = 0;
    for viewer in &viewers[..300] {
        held += items(&*timelines, *viewer).await.len() as u64;
    }
    assert_eq!(held, counts.written);
    // each delivery has its own counts, in their order
    let own = |sort_at| Delivery { reference: reference_at(9, sort_at), viewers: vec![AUTHOR].into() };
    let shard = timelines.shard_of(AUTHOR);
    assert_eq!(timelines.apply(shard, &[own(200), own(50)]).await.unwrap(), [WRITTEN, BELOW]);
    assert_eq!(timelines.apply(shard, &[]).await.unwrap(), []);
}

pub(super) async fn writing_twice_is_writing_once(subject: &dyn Subject) {
    let timelines = open(subject, 5).await.timelines;
    enrol(&*timelines, V, &[reference(2), reference(1)], i64::MIN).await;
    for n in [1, 2, 3, 3, 2] {
        assert_eq!(apply(&*timelines, V, reference(n)).await, WRITTEN);
    }
    let counts = timelines.fill(V, &[reference(3), reference(1)], i64::MIN).await.unwrap();
    assert_eq!(counts, Counts { written: 2, ..Counts::default() });
    assert_eq!(items(&*timelines, V).await, [3, 2, 1]);
    // full, and still no reason to trim
    for n in [4, 5, 5, 1] {
        assert_eq!(apply(&*timelines, V, reference(n)).await, WRITTEN);
    }
    assert_eq!(
        (items(&*timelines, V).await, info(&*timelines, V).await.floor),
        (vec![5, 4, 3, 2, 1], i64::MIN)
    );
}

pub(super) async fn the_cap_holds_and_the_floor_rises(subject: &dyn Subject) {
    let timelines = open(subject, 3).await.timelines;
    enrol(&*timelines, V, &[], i64::MIN).await;
    for n in [10, 20, 30] {
        assert_eq!(apply(&*timelines, V, reference(n)).await, WRITTEN);
    }
    assert_eq!(info(&*timelines, V).await.floor, i64::MIN);
    // an old one that doesn't fit raises the floor over itself
    assert_eq!(apply(&*timelines, V, reference(5)).await, BELOW);
    assert_eq!((items(&*timelines, V).await, info(&*timelines, V).await.floor), (vec![30, 20, 10], 5));
    assert_eq!(apply(&*timelines, V, reference(25)).await, WRITTEN);
    assert_eq!((items(&*timelines, V).await, info(&*timelines, V).await.floor), (vec![30, 25, 20], 10));
    // one that left is below the floor, and so is its whole millisecond
    assert_eq!(apply(&*timelines, V, reference(10)).await, BELOW);
    assert_eq!(apply(&*timelines, V, reference_at(99, 10)).await, BELOW);
    let state = info(&*timelines, V).await;
    assert_eq!((state.floor, state.len, state.rate, state.since_ms), (10, 3, 1.0, 9));
}

pub(super) async fn a_trim_takes_whole_milliseconds(subject: &dyn Subject) {
    let timelines = open(subject, 3).await.timelines;
    enrol(&*timelines, V, &[], i64::MIN).await;
    for (n, ms) in [(1, 7), (2, 7), (3, 8)] {
        assert_eq!(apply(&*timelines, V, reference_at(n, ms)).await, WRITTEN);
    }
    assert_eq!(apply(&*timelines, V, reference_at(4, 9)).await, WRITTEN);
    assert_eq!((items(&*timelines, V).await, info(&*timelines, V).await.floor), (vec![4, 3], 7));
    // four of one millisecond, room for three: none stays
    enrol(&*timelines, V, &[], i64::MIN).await;
    for (n, kept) in [(1, WRITTEN), (2, WRITTEN), (3, WRITTEN), (4, BELOW), (5, BELOW)] {
        assert_eq!(apply(&*timelines, V, reference_at(n, 7)).await, kept);
    }
    assert_eq!((items(&*timelines, V).await, info(&*timelines, V).await.floor), (vec![], 7));
}

pub(super) async fn a_read_ends_with_a_whole_millisecond(subject: &dyn Subject) {
    let timelines = open(subject, 10).await.timelines;
    let references = [(9, -4), (5, 3), (4, 2), (3, 2), (2, 2), (1, 1)].map(|(n, ms)| reference_at(n, ms));
    enrol(&*timelines, V, &references, i64::MIN).await;
    for (from_ms, n, wanted, at_floor) in [
        (i64::MAX, 0, &[][..], false),
        (3, 1, &[3], false),
        (3, 2, &[3, 2, 2, 2], false),
        (3, 4, &[3, 2, 2, 2], false),
        (2, 1, &[2, 2, 2], false),
        (2, 4, &[2, 2, 2, 1], false),
        (2, 5, &[2, 2, 2, 1, -4], true),
        (0, 1, &[-4], true),
        (-5, 0, &[], true),
        (i64::MIN, 9, &[], true),
    ] {
        let cached = timelines.read(V, from_ms, n).await.unwrap();
        let found: Vec<_> = cached.entries.iter().map(|entry| entry.sort_at).collect();
        assert_eq!((found.as_slice(), cached.at_floor), (wanted, at_floor), "{n} from {from_ms}");
    }
}

pub(super) async fn the_draw_decides_but_for_own_items(subject: &dyn Subject) {
    let timelines = open(subject, 800).await.timelines;
    let begin = Enrolment { rate: 0.3, ..enrolment(1) };
    let generation = timelines.begin(V, begin).await.unwrap();
    assert!(timelines.publish(V, generation, &[], i64::MIN, 1).await.unwrap());
    let mut wanted = Vec::new();
    for n in 0..300 {
        let author = if n % 10 == 0 { V } else { AUTHOR };
        let reference = Reference { author, uri_hash: UriHash(n * 31), ..reference(n) };
        let kept = author == V || DrawKey::default().keeps(reference.uri_hash, begin.did_hash, 0.3);
        let counts = if n % 2 == 0 {
            apply(&*timelines, V, reference).await
        } else {
            timelines.fill(V, &[reference], i64::MIN).await.unwrap()
        };
        assert_eq!((counts.written, counts.sampled_out), (kept.into(), (!kept).into()));
        if kept {
            wanted.insert(0, n);
        }
    }
    assert!((80..150).contains(&wanted.len()), "{}", wanted.len());
    assert_eq!(items(&*timelines, V).await, wanted);
}

pub(super) async fn every_timeline_has_one_shard(subject: &dyn Subject) {
    let timelines = open(subject, 5).await.timelines;
    assert!(timelines.shards() > 0);
    for n in (0..200).chain([u32::MAX]) {
        let shard = timelines.shard_of(ActorId(n));
        assert!(shard < timelines.shards());
        assert_eq!(shard, timelines.shard_of(ActorId(n)));
    }
}

pub(super) async fn a_page_meets_the_enrolled(subject: &dyn Subject) {
    let timelines = open(subject, 5).await.timelines;
    let all: Vec<_> = (0..20).map(ActorId).collect();
    let retained = |timelines: &dyn Timelines| {
        let mut page = all.clone();
        timelines.retain_enrolled(&mut page);
        page
    };
    assert_eq!((retained(&*timelines), timelines.enrolled()), (vec![], 0));
    let generation = timelines.begin(V, enrolment(1)).await.unwrap();
    enrol(&*timelines, ActorId(9), &[], i64::MIN).await;
    enrol(&*timelines, ActorId(9), &[], i64::MIN).await;
    assert_eq!((retained(&*timelines), timelines.enrolled()), (vec![V, ActorId(9)], 2));
    assert!(timelines.leave(V, generation).await.unwrap());
    assert!(retained(&*timelines).contains(&ActorId(9)));
    assert_eq!((timelines.enrolled(), state(&*timelines, V).await), (1, CachedState::Out));
}

pub(super) async fn a_page_is_split_by_shard(subject: &dyn Subject) {
    let timelines = open(subject, 5).await.timelines;
    let split = |viewers: std::ops::Range<u32>| {
        let mut page = viewers.map(ActorId).collect();
        timelines.retain_enrolled(&mut page);
        timelines.split(page)
    };
    assert_eq!(split(0..20), []);
    for viewer in (0..20).step_by(3) {
        enrol(&*timelines, ActorId(viewer), &[], i64::MIN).await;
    }
    let split = split(1..20);
    let mut all = Vec::new();
    for (shard, viewers) in &split {
        assert!(!viewers.is_empty() && viewers.is_sorted(), "{viewers:?}");
        assert!(viewers.iter().all(|viewer| timelines.shard_of(*viewer) == *shard));
        all.extend(viewers.iter().map(|viewer| viewer.0));
    }
    let mut shards: Vec<_> = split.iter().map(|(shard, _)| shard).collect();
    shards.sort_unstable();
    shards.dedup();
    assert_eq!(shards.len(), split.len(), "each shard once");
    all.sort_unstable();
    assert_eq!(all, [3, 6, 9, 12, 15, 18]);
}
