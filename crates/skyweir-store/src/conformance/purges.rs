//! Purges against edges.

use skyweir_types::{ActorId, ItemId, Reference};

use super::kit::{AUTHOR, apply, enrol, enrolment, follow, info, items, open, reference, unfollow};
use super::{Home, Subject};
use crate::Timelines;

const V: ActorId = ActorId(4);

/// Purges, and says what the timeline holds then: all of `gone` left, or, where rows may stay, as many as it says.
async fn purge(subject: &dyn Subject, timelines: &dyn Timelines, gone: &[u64]) -> Vec<u64> {
    let before = items(timelines, V).await;
    let ids: Vec<_> = gone.iter().copied().map(ItemId).collect();
    let left = timelines.purge(V, AUTHOR, &ids).await.unwrap();
    let after = items(timelines, V).await;
    assert_eq!(left as usize, before.len() - after.len());
    assert!(before.iter().all(|item| after.contains(item) || gone.contains(item)));
    if subject.home() == Home::Memory {
        assert!(after.iter().all(|item| !gone.contains(item)));
    }
    after
}

pub(super) async fn a_purge_looks_at_the_edge_of_that_moment(subject: &dyn Subject) {
    let opened = open(subject, 10).await;
    let (store, timelines) = (&*opened.store, &*opened.timelines);
    enrol(timelines, V, &[5, 4, 3, 2, 1].map(reference), i64::MIN).await;
    let gone = [ItemId(4), ItemId(2), ItemId(9)];
    // a refollow while the purge was on its way
    follow(store, V, AUTHOR, 1).await;
    assert_eq!(timelines.purge(V, AUTHOR, &gone).await.unwrap(), 0);
    unfollow(store, V, AUTHOR, 1).await;
    // a transaction under way shows in nothing
    let mut txn = store.begin().await.unwrap();
    txn.add_follow(V, AUTHOR, &super::kit::rkey(2)).await.unwrap();
    purge(subject, timelines, &[4, 2, 9]).await;
    drop(txn);
    assert_eq!(timelines.purge(V, AUTHOR, &gone).await.unwrap(), 0);
    assert_eq!(timelines.purge(V, AUTHOR, &[]).await.unwrap(), 0);
    // the edge the other way is none
    follow(store, AUTHOR, V, 3).await;
    purge(subject, timelines, &[5]).await;
}

pub(super) async fn own_items_are_never_purged(subject: &dyn Subject) {
    let timelines = open(subject, 10).await.timelines;
    let own = [3, 2, 1].map(|n| Reference { author: V, ..reference(n) });
    enrol(&*timelines, V, &own, i64::MIN).await;
    assert_eq!(timelines.purge(V, V, &own.map(|reference| reference.item)).await.unwrap(), 0);
    assert_eq!(items(&*timelines, V).await, [3, 2, 1]);
}

pub(super) async fn a_purge_leaves_floor_and_others_alone(subject: &dyn Subject) {
    let timelines = open(subject, 3).await.timelines;
    let others = [ActorId(8), ActorId(5)];
    for viewer in [V, others[0], others[1]] {
        enrol(&*timelines, viewer, &[4, 3, 2, 1].map(reference), i64::MIN).await;
    }
    let left = purge(subject, &*timelines, &[3, 1]).await;
    let now = info(&*timelines, V).await;
    assert_eq!((now.floor, now.len), (1, left.len()));
    // the room is free again
    assert_eq!(apply(&*timelines, V, reference(7)).await.written, 1);
    if subject.home() == Home::Memory {
        assert_eq!((items(&*timelines, V).await, info(&*timelines, V).await.floor), (vec![7, 4, 2], 1));
    }
    // and what comes back is there again
    let counts = timelines.fill(V, &[reference(3)], i64::MIN).await.unwrap();
    assert_eq!(items(&*timelines, V).await.contains(&3), counts.written == 1);
    for other in others {
        assert_eq!(items(&*timelines, other).await, [4, 3, 2]);
    }
}

pub(super) async fn a_filling_one_is_purged(subject: &dyn Subject) {
    let timelines = open(subject, 10).await.timelines;
    let generation = timelines.begin(V, enrolment(1)).await.unwrap();
    apply(&*timelines, V, reference(1)).await;
    apply(&*timelines, V, reference(2)).await;
    let left = timelines.purge(V, AUTHOR, &[ItemId(1)]).await.unwrap();
    assert!(timelines.publish(V, generation, &[], i64::MIN, 1).await.unwrap());
    let held = items(&*timelines, V).await;
    match subject.home() {
        Home::Memory => assert_eq!((left, held), (1, vec![2])),
        Home::Rows => assert!(held.contains(&2) && held.len() as u64 == 2 - left),
    }
}
