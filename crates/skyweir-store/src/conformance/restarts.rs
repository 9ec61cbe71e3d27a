//! Checkpoints and what comes back of them.

use skyweir_types::{ActorId, DrawKey, ItemId, TaskId};

use super::kit::{AUTHOR, apply, enrol, enrolment, info, intern, items, reference, state};
use super::{Home, Opened, Subject};
use crate::{CachedState, IdleRule, Shape, Store, Task};

const V: ActorId = ActorId(4);
fn shape() -> Shape {
    Shape { shards: 4, cap: 5, draw: DrawKey::new(3), ..Shape::default() }
}

async fn append(store: &dyn Store) {
    let mut txn = store.begin().await.unwrap();
    txn.append(Task::FanOut { item: ItemId(1) }).await.unwrap();
    txn.commit().await.unwrap();
}

/// A new one with some accounts and tasks 1 to 3.
async fn open(subject: &dyn Subject) -> Opened {
    let opened = subject.open(shape()).await;
    assert_eq!(opened.timelines.restored(), TaskId(1));
    intern(&*opened.store, 50).await;
    for _ in 0..3 {
        append(&*opened.store).await;
    }
    opened
}

pub(super) async fn a_checkpoint_comes_back(subject: &dyn Subject) {
    let opened = open(subject).await;
    let timelines = &*opened.timelines;
    for viewer in (0..30).map(ActorId) {
        let held: Vec<_> = (1..=u64::from(viewer.0)).rev().map(reference).collect();
        enrol(timelines, viewer, &held, i64::MIN).await;
    }
    timelines.lower_rate(V, 0.25).await.unwrap();
    timelines.touch(V, 800_000);
    timelines.touch(V, 900_000);
    timelines.begin(ActorId(40), enrolment(1)).await.unwrap();
    timelines.checkpoint(TaskId(2)).await.unwrap();
    let before = (info(timelines, V).await, info(timelines, ActorId(20)).await);
    drop(opened);
    for shards in [4, 4, 3, 16] {
        let opened = subject.open(Shape { shards, ..shape() }).await;
        let timelines = &*opened.timelines;
        assert_eq!((timelines.restored(), timelines.enrolled()), (TaskId(2), 30));
        assert_eq!((info(timelines, V).await, info(timelines, ActorId(20)).await), before);
        assert_eq!(items(timelines, ActorId(20)).await, [20, 19, 18, 17, 16]);
        assert_eq!(items(timelines, V).await, [4, 3, 2, 1]);
        assert_eq!(state(timelines, ActorId(40)).await, CachedState::Out, "a filling one has to begin anew");
        let mut page = (0..50).map(ActorId).collect();
        timelines.retain_enrolled(&mut page);
        assert_eq!(page, (0..30).map(ActorId).collect::<Vec<_>>());
        let rule = IdleRule { read_before_ms: 900_000, once_before_ms: 900_000 };
        let idle = timelines.idle(rule, 99).await.unwrap();
        assert_eq!((idle.len(), idle.iter().any(|one| one.viewer == V)), (29, false));
        timelines.checkpoint(TaskId(2)).await.unwrap();
    }
}

pub(super) async fn what_is_not_checkpointed_is_gone(subject: &dyn Subject) {
    let opened = open(subject).await;
    enrol(&*opened.timelines, V, &[reference(1)], i64::MIN).await;
    drop(opened);
    let opened = subject.open(shape()).await;
    let timelines = &*opened.timelines;
    if subject.home() == Home::Memory {
        assert_eq!((timelines.restored(), timelines.enrolled()), (TaskId(4), 0));
        assert_eq!(state(timelines, V).await, CachedState::Out);
        enrol(timelines, V, &[reference(2), reference(1)], i64::MIN).await;
    } else {
        // whatever is there misses nothing, if the log is read from where it was as the first was enrolled
        assert_eq!((timelines.restored(), timelines.enrolled()), (TaskId(1), 1));
        apply(timelines, V, reference(2)).await;
    }
    timelines.checkpoint(TaskId(3)).await.unwrap();
    apply(timelines, V, reference(3)).await;
    enrol(timelines, ActorId(5), &[], i64::MIN).await;
    append(&*opened.store).await;
    drop(opened);
    let opened = subject.open(shape()).await;
    let timelines = &*opened.timelines;
    let (enrolled, held) = match subject.home() {
        Home::Memory => (1, vec![2, 1]),
        Home::Rows => (2, vec![3, 2, 1]),
    };
    assert_eq!((timelines.restored(), timelines.enrolled()), (TaskId(3), enrolled));
    assert_eq!(items(timelines, V).await, held);
}

pub(super) async fn a_checkpoint_replaces_the_former(subject: &dyn Subject) {
    let opened = open(subject).await;
    let timelines = &*opened.timelines;
    for viewer in [V, ActorId(5), ActorId(6), ActorId(7)] {
        enrol(timelines, viewer, &[reference(1)], i64::MIN).await;
    }
    timelines.checkpoint(TaskId(1)).await.unwrap();
    for n in 2..=8 {
        apply(timelines, V, reference(n)).await;
    }
    let left = info(timelines, ActorId(5)).await.generation;
    assert!(timelines.leave(ActorId(5), left).await.unwrap());
    timelines.begin(ActorId(6), enrolment(9_000_000)).await.unwrap();
    let purged = timelines.purge(ActorId(7), AUTHOR, &[ItemId(1)]).await.unwrap();
    timelines.checkpoint(TaskId(3)).await.unwrap();
    // one that was begun before that and given up: the log is cut already
    timelines.checkpoint(TaskId(2)).await.unwrap();
    drop(opened);
    let opened = subject.open(shape()).await;
    let timelines = &*opened.timelines;
    assert_eq!((timelines.restored(), timelines.enrolled()), (TaskId(3), 2));
    assert_eq!((items(timelines, V).await, info(timelines, V).await.floor), (vec![8, 7, 6, 5, 4], 3));
    assert_eq!(items(timelines, ActorId(7)).await.len() as u64, 1 - purged);
}

pub(super) async fn a_smaller_cap_trims(subject: &dyn Subject) {
    let opened = open(subject).await;
    enrol(&*opened.timelines, V, &[5, 4, 3, 2].map(reference), 1).await;
    opened.timelines.checkpoint(TaskId(1)).await.unwrap();
    drop(opened);
    let opened = subject.open(Shape { cap: 2, ..shape() }).await;
    assert_eq!(items(&*opened.timelines, V).await, [5, 4]);
    assert_eq!(info(&*opened.timelines, V).await.floor, 3);
}

pub(super) async fn another_draw_drops_all(subject: &dyn Subject) {
    let opened = open(subject).await;
    enrol(&*opened.timelines, V, &[reference(1)], i64::MIN).await;
    opened.timelines.checkpoint(TaskId(1)).await.unwrap();
    drop(opened);
    // and the old key brings nothing back
    for draw in [DrawKey::new(4), shape().draw] {
        let timelines = subject.open(Shape { draw, ..shape() }).await.timelines;
        assert_eq!((timelines.restored(), timelines.enrolled()), (TaskId(4), 0));
    }
}

pub(super) async fn generations_rise_over_a_restart(subject: &dyn Subject) {
    let opened = open(subject).await;
    enrol(&*opened.timelines, V, &[], i64::MIN).await;
    let left = opened.timelines.begin(ActorId(5), enrolment(6_000_000)).await.unwrap();
    assert!(opened.timelines.leave(ActorId(5), left).await.unwrap());
    let known = info(&*opened.timelines, V).await.generation;
    opened.timelines.checkpoint(TaskId(1)).await.unwrap();
    drop(opened);
    let timelines = subject.open(shape()).await.timelines;
    // the clock was set back meanwhile
    assert!(timelines.begin(V, enrolment(1)).await.unwrap() > known);
    assert!(timelines.begin(ActorId(5), enrolment(1)).await.unwrap() > left);
}
