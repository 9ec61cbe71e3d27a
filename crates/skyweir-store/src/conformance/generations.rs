//! Enrolling, filling, publishing, leaving, rates, idleness.

use skyweir_types::{ActorId, Generation};

use super::kit::{apply, enrol, enrolment, info, items, open, reference, reference_at, state};
use super::{Home, Subject};
use crate::{CachedState, Counts, Enrolment, IdleRule};

const V: ActorId = ActorId(4);

pub(super) async fn filling_answers_nothing_and_misses_nothing(subject: &dyn Subject) {
    let timelines = open(subject, 10).await.timelines;
    enrol(&*timelines, V, &[reference(1)], i64::MIN).await;
    let generation = timelines.begin(V, enrolment(6_000_000)).await.unwrap();
    assert_eq!(generation, Generation(6_000_000));
    assert_eq!(apply(&*timelines, V, reference(8)).await.written, 1);
    assert_eq!(timelines.fill(V, &[reference(3)], i64::MIN).await.unwrap().written, 1);
    let cached = timelines.read(V, i64::MAX, 9).await.unwrap();
    assert_eq!((cached.state, cached.entries.len()), (CachedState::Filling(generation), 0));
    // what the former generation held is dropped; the merge may bring what came meanwhile once more
    assert!(timelines.publish(V, generation, &[reference(8), reference(5)], 2, 77).await.unwrap());
    assert_eq!(items(&*timelines, V).await, [8, 5, 3]);
    let info = info(&*timelines, V).await;
    assert_eq!((info.generation, info.floor, info.since_ms, info.len), (generation, 2, 77, 3));
}

pub(super) async fn a_fill_raises_the_floor_first(subject: &dyn Subject) {
    let timelines = open(subject, 10).await.timelines;
    enrol(&*timelines, V, &[reference(9), reference(4), reference(2)], 1).await;
    let counts = timelines.fill(V, &[reference(8), reference(5), reference(3)], 4).await.unwrap();
    assert_eq!(counts, Counts { written: 2, below_floor: 1, ..Counts::default() });
    assert_eq!((items(&*timelines, V).await, info(&*timelines, V).await.floor), (vec![9, 8, 5], 4));
    // a floor never falls
    timelines.fill(V, &[], 3).await.unwrap();
    assert_eq!(info(&*timelines, V).await.floor, 4);
}

pub(super) async fn a_filling_one_notes_floors(subject: &dyn Subject) {
    let timelines = open(subject, 10).await.timelines;
    let generation = timelines.begin(V, enrolment(1)).await.unwrap();
    apply(&*timelines, V, reference(5)).await;
    timelines.fill(V, &[reference(8)], 6).await.unwrap();
    let found = [reference(9), reference(7), reference(6), reference(2)];
    assert!(timelines.publish(V, generation, &found, i64::MIN, 1).await.unwrap());
    assert_eq!((items(&*timelines, V).await, info(&*timelines, V).await.floor), (vec![9, 8, 7], 6));
}

pub(super) async fn a_filling_one_is_not_trimmed_at_its_cap(subject: &dyn Subject) {
    let timelines = open(subject, 3).await.timelines;
    let generation = timelines.begin(V, enrolment(1)).await.unwrap();
    for n in 1..=8 {
        assert_eq!(apply(&*timelines, V, reference(n)).await.written, 1);
    }
    // they were purged meanwhile: had they been trimmed for, the floor would stand high
    let late = [6, 7, 8].map(skyweir_types::ItemId);
    let left = timelines.purge(V, super::kit::AUTHOR, &late).await.unwrap();
    assert!(left == 3 || subject.home() == Home::Rows);
    assert!(timelines.publish(V, generation, &[], i64::MIN, 1).await.unwrap());
    let newest = 8 - left;
    let wanted = (vec![newest, newest - 1, newest - 2], newest as i64 - 3);
    assert_eq!((items(&*timelines, V).await, info(&*timelines, V).await.floor), wanted);
}

pub(super) async fn a_flood_while_filling_raises_the_floor(subject: &dyn Subject) {
    let timelines = open(subject, 2).await.timelines;
    let generation = timelines.begin(V, enrolment(1)).await.unwrap();
    for n in 1..=500 {
        assert_eq!(apply(&*timelines, V, reference(n)).await.written, 1);
    }
    assert!(timelines.publish(V, generation, &[reference(400)], i64::MIN, 1).await.unwrap());
    assert_eq!((items(&*timelines, V).await, info(&*timelines, V).await.floor), (vec![500, 499], 498));
}

pub(super) async fn a_publication_over_the_cap_is_trimmed(subject: &dyn Subject) {
    let timelines = open(subject, 3).await.timelines;
    let found = [(7, 9), (6, 8), (5, 8), (4, 5), (3, 5)].map(|(n, ms)| reference_at(n, ms));
    enrol(&*timelines, V, &found, i64::MIN).await;
    assert_eq!((items(&*timelines, V).await.len(), info(&*timelines, V).await.floor), (3, 5));
    // trimmed inside a millisecond: the whole of it goes
    enrol(&*timelines, V, &[reference_at(8, 9), found[0], found[1], found[2]], 1).await;
    assert_eq!((items(&*timelines, V).await.len(), info(&*timelines, V).await.floor), (2, 8));
}

pub(super) async fn late_publications_are_refused(subject: &dyn Subject) {
    let timelines = open(subject, 10).await.timelines;
    let first = timelines.begin(V, enrolment(1)).await.unwrap();
    let second = timelines.begin(V, enrolment(2)).await.unwrap();
    assert!(!timelines.publish(V, first, &[reference(1)], i64::MIN, 1).await.unwrap());
    assert_eq!(state(&*timelines, V).await, CachedState::Filling(second));
    assert!(timelines.publish(V, second, &[reference(2)], i64::MIN, 1).await.unwrap());
    assert!(!timelines.publish(V, second, &[reference(3)], i64::MIN, 1).await.unwrap());
    assert_eq!(items(&*timelines, V).await, [2]);
    let third = timelines.begin(V, enrolment(3)).await.unwrap();
    assert!(timelines.leave(V, third).await.unwrap());
    assert!(!timelines.publish(V, third, &[reference(4)], i64::MIN, 1).await.unwrap());
    assert_eq!((state(&*timelines, V).await, timelines.enrolled()), (CachedState::Out, 0));
}

pub(super) async fn generations_rise_whatever_the_clock(subject: &dyn Subject) {
    let timelines = open(subject, 10).await.timelines;
    let mut last = Generation(0);
    for now_us in [5_000, 5_000, 4_000, -3, 9_000] {
        let generation = timelines.begin(V, enrolment(now_us)).await.unwrap();
        assert!(generation > last);
        assert!(timelines.leave(V, generation).await.unwrap());
        last = generation;
    }
    assert_eq!(last, Generation(9_000));
}

pub(super) async fn leaving_is_for_one_generation(subject: &dyn Subject) {
    let timelines = open(subject, 10).await.timelines;
    let first = timelines.begin(V, enrolment(1)).await.unwrap();
    assert!(timelines.publish(V, first, &[reference(1)], i64::MIN, 1).await.unwrap());
    let second = timelines.begin(V, enrolment(2)).await.unwrap();
    assert!(!timelines.leave(V, first).await.unwrap());
    assert!(timelines.publish(V, second, &[reference(1)], i64::MIN, 1).await.unwrap());
    assert!(timelines.leave(V, second).await.unwrap());
    assert!(!timelines.leave(V, second).await.unwrap());
    assert_eq!(apply(&*timelines, V, reference(2)).await.hibernating, 1);
    // it comes back empty
    enrol(&*timelines, V, &[], i64::MIN).await;
    assert_eq!(items(&*timelines, V).await, []);
}

pub(super) async fn a_rate_is_only_lowered(subject: &dyn Subject) {
    let timelines = open(subject, 100).await.timelines;
    let half = Enrolment { rate: 0.5, ..enrolment(1) };
    let generation = timelines.begin(V, half).await.unwrap();
    timelines.lower_rate(V, 0.1).await.unwrap();
    let kept = (0..100).map(reference);
    assert!(timelines.publish(V, generation, &kept.rev().collect::<Vec<_>>(), i64::MIN, 1).await.unwrap());
    assert_eq!(info(&*timelines, V).await.rate, 0.5, "a filling one has the rate of its generation");
    timelines.lower_rate(V, 0.7).await.unwrap();
    assert_eq!(info(&*timelines, V).await.rate, 0.5);
    timelines.lower_rate(V, 0.0).await.unwrap();
    // what it holds stays, floor and generation too; what comes is drawn at the new rate
    let now = info(&*timelines, V).await;
    assert_eq!((now.rate, now.len, now.floor, now.generation), (0.0, 100, i64::MIN, generation));
    assert_eq!(apply(&*timelines, V, reference(200)).await.sampled_out, 1);
}

pub(super) async fn idle_timelines_are_found_in_portions(subject: &dyn Subject) {
    let timelines = open(subject, 10).await.timelines;
    for viewer in (0..40).map(ActorId) {
        let generation = timelines.begin(viewer, enrolment(5_000_000)).await.unwrap();
        if viewer.0 < 35 {
            assert!(timelines.publish(viewer, generation, &[], i64::MIN, 1).await.unwrap());
        }
        match viewer.0 % 3 {
            // of the visit that enrolled it, and one more
            1 => timelines.touch(viewer, 64_000),
            2 => timelines.touch(viewer, 100_000),
            _ => {}
        }
        timelines.touch(ActorId(77), 1_000_000);
    }
    // visited again at 100 s: idle only by the first limit
    let rule = |read_before_ms, once_before_ms| IdleRule { read_before_ms, once_before_ms };
    assert_eq!(timelines.idle(rule(5_000, 5_000), 99).await.unwrap(), []);
    assert_eq!(timelines.idle(rule(6_000, 6_000), 99).await.unwrap().len(), 14);
    assert_eq!(timelines.idle(rule(101_000, 0), 99).await.unwrap().len(), 40);
    assert_eq!(timelines.idle(rule(101_000, 0), 0).await.unwrap(), []);
    let mut left = 0;
    loop {
        let idle = timelines.idle(rule(50_000, 200_000), 3).await.unwrap();
        assert!(idle.len() <= 3);
        if idle.is_empty() {
            break;
        }
        for one in idle {
            assert_ne!(one.viewer.0 % 3, 2);
            assert!(timelines.leave(one.viewer, one.generation).await.unwrap());
            left += 1;
        }
    }
    assert_eq!((left, timelines.enrolled()), (27, 13));
    // a new generation is no read
    let again = timelines.begin(ActorId(2), enrolment(900_000_000)).await.unwrap();
    let idle = timelines.idle(rule(101_000, 0), 99).await.unwrap();
    assert_eq!(idle.len(), 13);
    assert!(idle.iter().any(|one| (one.viewer, one.generation) == (ActorId(2), again)));
}

pub(super) async fn nothing_happens_to_one_that_is_out(subject: &dyn Subject) {
    let timelines = open(subject, 10).await.timelines;
    timelines.touch(V, 1);
    timelines.lower_rate(V, 0.1).await.unwrap();
    let counts = timelines.fill(V, &[reference(1), reference(2)], 9).await.unwrap();
    assert_eq!(counts, Counts { hibernating: 2, ..Counts::default() });
    assert_eq!(timelines.purge(V, super::kit::AUTHOR, &[reference(1).item]).await.unwrap(), 0);
    assert!(!timelines.publish(V, Generation(1), &[], i64::MIN, 1).await.unwrap());
    assert!(!timelines.leave(V, Generation(1)).await.unwrap());
    let cached = timelines.read(V, i64::MAX, 9).await.unwrap();
    assert_eq!((cached.state, cached.entries.len(), timelines.enrolled()), (CachedState::Out, 0, 0));
}
