//! Purges against edges.

use skyweir_types::{ActorId, ItemId, Reference};

use super::Subject;
use super::kit::{AUTHOR, apply, enrol, enrolment, follow, info, items, open, reference, unfollow};

const V: ActorId = ActorId(4);

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
    assert_eq!(timelines.purge(V, AUTHOR, &gone).await.unwrap(), 2);
    drop(txn);
    assert_eq!(items(timelines, V).await, [5, 3, 1]);
    assert_eq!(timelines.purge(V, AUTHOR, &gone).await.unwrap(), 0);
    assert_eq!(timelines.purge(V, AUTHOR, &[]).await.unwrap(), 0);
    // the edge the other way is none
    follow(store, AUTHOR, V, 3).await;
    assert_eq!(timelines.purge(V, AUTHOR, &[ItemId(5)]).await.unwrap(), 1);
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
    assert_eq!(timelines.purge(V, AUTHOR, &[ItemId(3), ItemId(1)]).await.unwrap(), 1);
    let now = info(&*timelines, V).await;
    assert_eq!((items(&*timelines, V).await, now.floor, now.len), (vec![4, 2], 1, 2));
    // the room is free again
    assert_eq!(apply(&*timelines, V, reference(7)).await.written, 1);
    assert_eq!((items(&*timelines, V).await, info(&*timelines, V).await.floor), (vec![7, 4, 2], 1));
    for other in others {
        assert_eq!(items(&*timelines, other).await, [4, 3, 2]);
    }
}

pub(super) async fn a_filling_one_is_purged(subject: &dyn Subject) {
    let timelines = open(subject, 10).await.timelines;
    let generation = timelines.begin(V, enrolment(1)).await.unwrap();
    apply(&*timelines, V, reference(1)).await;
    apply(&*timelines, V, reference(2)).await;
    assert_eq!(timelines.purge(V, AUTHOR, &[ItemId(1)]).await.unwrap(), 1);
    assert!(timelines.publish(V, generation, &[], i64::MIN, 1).await.unwrap());
    assert_eq!(items(&*timelines, V).await, [2]);
}
