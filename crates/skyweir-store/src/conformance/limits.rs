//! What timelines take, and which of them are missed least.

use skyweir_types::ActorId;

use super::kit::{apply, enrol, enrolment, open, reference};
use super::{Home, Subject};
use crate::{IdleRule, MemoryUse, Timelines};

const V: ActorId = ActorId(4);
/// Timelines that take more memory than one allocation does.
const MANY: u32 = 300;

fn bytes(timelines: &dyn Timelines) -> u64 {
    timelines.memory().bytes
}

pub(super) async fn memory_is_counted(subject: &dyn Subject) {
    let timelines = open(subject, 50).await.timelines;
    let MemoryUse { bytes: bare, budget } = timelines.memory();
    assert!(budget > bare);
    for viewer in (0..MANY).map(ActorId) {
        enrol(&*timelines, viewer, &[], i64::MIN).await;
    }
    let empty = bytes(&*timelines);
    // at least a number, a generation and a floor each
    assert!(empty >= bare + u64::from(MANY) * 20, "{bare}, then {empty}");
    for n in 1..=50 {
        apply(&*timelines, V, reference(n)).await;
    }
    let full = bytes(&*timelines);
    let references = if subject.home() == Home::Memory { 50 * 8 } else { 0 };
    assert!(full >= empty + references, "{empty}, then {full}");
    for viewer in (0..MANY).map(ActorId) {
        let generation = timelines.begin(viewer, enrolment(6_000_000)).await.unwrap();
        assert!(timelines.leave(viewer, generation).await.unwrap());
    }
    let left = bytes(&*timelines);
    assert!(left + u64::from(MANY) * 20 + references <= full, "{bare}, then {full}, then {left}");
}

pub(super) async fn the_least_useful_come_first(subject: &dyn Subject) {
    let timelines = open(subject, 50).await.timelines;
    // all begin at 5 s
    for viewer in (0..4).map(ActorId) {
        enrol(&*timelines, viewer, &[reference(2), reference(1)], i64::MIN).await;
    }
    timelines.begin(ActorId(9), enrolment(5_000_000)).await.unwrap();
    timelines.touch(ActorId(0), 10_000);
    timelines.touch(ActorId(1), 400_000);
    timelines.touch(ActorId(2), 300_000);
    timelines.touch(ActorId(3), 900_000);
    let found = async |bytes, n| {
        let found = timelines.least_useful(900_000, bytes, n).await.unwrap();
        found.iter().map(|idle| idle.viewer.0).collect::<Vec<_>>()
    };
    assert_eq!(found(u64::MAX, 99).await, [0, 2, 1, 3, 9]);
    assert_eq!(found(u64::MAX, 2).await, [0, 2]);
    assert_eq!(found(1, 99).await, [0]);
    assert_eq!((found(0, 99).await, found(1, 0).await), (vec![], vec![]));
    let one = timelines.least_useful(900_000, 1, 1).await.unwrap()[0];
    assert!(timelines.leave(one.viewer, one.generation).await.unwrap());
    assert_eq!(found(1, 99).await, [2]);
}

pub(super) async fn paging_is_one_visit(subject: &dyn Subject) {
    let timelines = open(subject, 50).await.timelines;
    enrol(&*timelines, V, &[], i64::MIN).await;
    let once = async || {
        let rule = IdleRule { read_before_ms: 0, once_before_ms: 1_000_000 };
        !timelines.idle(rule, 9).await.unwrap().is_empty()
    };
    for second in (5..300).step_by(50) {
        timelines.touch(V, second * 1_000);
    }
    assert!(once().await, "each within a minute of the one before");
    timelines.touch(V, 314_000);
    assert!(once().await);
    timelines.touch(V, 374_000);
    assert!(!once().await);
}
