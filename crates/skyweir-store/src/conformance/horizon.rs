//! Items that have left: nobody sees them from the commit on, whether they are removed or not.

use skyweir_types::{ActorId, Item, ItemId, Position};

use super::Subject;
use super::kit::{apply, enrol, enrolment, info, intern, items, open, post, reference, state};
use crate::{CachedState, Counts, FeedAsk, Shape, Store, View};

const A: ActorId = ActorId(1);
const V: ActorId = ActorId(4);

/// Items of account 1 at milliseconds -1, 0, 0, 3 and 5, not in this order.
async fn stock(store: &dyn Store) -> Vec<ItemId> {
    intern(store, 3).await;
    let mut txn = store.begin().await.unwrap();
    let mut ids = Vec::new();
    for (n, sort_at) in [(1, 3), (2, 0), (3, 5), (4, -1), (5, 0)] {
        ids.push(txn.add_item(post(A, n, sort_at)).await.unwrap());
    }
    txn.commit().await.unwrap();
    ids
}

async fn raise(store: &dyn Store, sort_at: i64) {
    let mut txn = store.begin().await.unwrap();
    txn.raise_horizon(sort_at).await.unwrap();
    txn.commit().await.unwrap();
}

/// The times of the feed in pages of `n`, and of the items that are known.
async fn shown(view: &dyn View, ids: &[ItemId], n: usize) -> (Vec<i64>, Vec<i64>) {
    let (mut feed, mut after) = (Vec::new(), Position::TOP);
    loop {
        let page = view.feeds(&[FeedAsk { author: A, after }], n).await.unwrap().remove(0);
        feed.extend(page.iter().map(|entry| entry.position.sort_at));
        match page.last() {
            Some(last) if page.len() == n => after = last.position,
            _ => break,
        }
    }
    let items = view.items(ids).await.unwrap();
    (feed, items.into_iter().flatten().map(|item| item.sort_at).collect())
}

pub(super) async fn what_is_before_the_horizon_has_left(subject: &dyn Subject) {
    let opened = subject.open(Shape::default()).await;
    let ids = stock(&*opened.store).await;
    let before = opened.store.view().await.unwrap();
    // read once: what is remembered of a read leaves as well
    assert_eq!(shown(&*before, &ids, 9).await, (vec![5, 3, 0, 0, -1], vec![3, 0, 5, -1, 0]));
    assert_eq!(before.horizon().await.unwrap(), i64::MIN);
    for (sort_at, horizon) in [(0, 0), (3, 3), (1, 3)] {
        raise(&*opened.store, sort_at).await;
        let view = opened.store.view().await.unwrap();
        assert_eq!(view.horizon().await.unwrap(), horizon);
        for n in 1..6 {
            let (feed, known) = shown(&*view, &ids, n).await;
            let wanted: &[i64] = if horizon == 0 { &[5, 3, 0, 0] } else { &[5, 3] };
            assert_eq!((&feed[..], known.len()), (wanted, wanted.len()), "pages of {n}, {horizon}");
        }
        // a place that has left itself
        let gone = FeedAsk { author: A, after: Position::above_ms(-1) };
        assert_eq!(view.feeds(&[gone], 9).await.unwrap(), [vec![]]);
    }
    // a view is of its moment
    assert_eq!(shown(&*before, &ids, 2).await.0, [5, 3, 0, 0, -1]);
    drop((before, opened));
    let opened = subject.open(Shape::default()).await;
    let view = opened.store.view().await.unwrap();
    assert_eq!((view.horizon().await.unwrap(), shown(&*view, &ids, 9).await), (3, (vec![5, 3], vec![3, 5])));
}

pub(super) async fn transactions_find_what_has_left_in_the_order_of_its_coming(subject: &dyn Subject) {
    let store = subject.open(Shape::default()).await.store;
    let ids = stock(&*store).await;
    raise(&*store, 4).await;
    let mut txn = store.begin().await.unwrap();
    let times = |items: Vec<Item>| items.iter().map(|item| item.sort_at).collect::<Vec<_>>();
    assert_eq!(times(txn.items_from(ItemId(0), 9).await.unwrap()), [3, 0, 5, -1, 0]);
    assert_eq!(times(txn.items_from(ids[1], 2).await.unwrap()), [0, 5]);
    assert_eq!(txn.item(ids[3]).await.unwrap().map(|item| item.sort_at), Some(-1));
    txn.remove_item(ids[1]).await.unwrap();
    let new = txn.add_item(post(A, 6, 9)).await.unwrap();
    assert_eq!(times(txn.items_from(ids[0], 9).await.unwrap()), [3, 5, -1, 0, 9]);
    assert_eq!((txn.item(ids[1]).await.unwrap(), txn.items_from(new, 0).await.unwrap()), (None, vec![]));
    txn.commit().await.unwrap();
    // dropped, a transaction raises nothing
    let mut txn = store.begin().await.unwrap();
    txn.raise_horizon(100).await.unwrap();
    drop(txn);
    let view = store.view().await.unwrap();
    assert_eq!((view.horizon().await.unwrap(), shown(&*view, &[new], 9).await), (4, (vec![9, 5], vec![9])));
}

pub(super) async fn references_before_a_time_are_dropped(subject: &dyn Subject) {
    let timelines = open(subject, 10).await.timelines;
    enrol(&*timelines, V, &[reference(7), reference(4), reference(2)], i64::MIN).await;
    enrol(&*timelines, ActorId(5), &[reference(9), reference(4)], i64::MIN).await;
    timelines.begin(ActorId(6), enrolment(9)).await.unwrap();
    apply(&*timelines, ActorId(6), reference(3)).await;
    assert_eq!(timelines.drop_before(4).await.unwrap(), 2);
    assert_eq!((items(&*timelines, V).await, info(&*timelines, V).await.floor), (vec![7, 4], 3));
    // one that held none of them is as complete as before
    assert_eq!(info(&*timelines, ActorId(5)).await.floor, i64::MIN);
    let below = Counts { below_floor: 1, ..Counts::default() };
    assert_eq!(apply(&*timelines, V, reference(3)).await, below);
    assert_eq!(apply(&*timelines, ActorId(6), reference(2)).await, below);
    let CachedState::Filling(generation) = state(&*timelines, ActorId(6)).await else { panic!("it fills") };
    assert!(timelines.publish(ActorId(6), generation, &[reference(8)], i64::MIN, 9).await.unwrap());
    assert_eq!(
        (items(&*timelines, ActorId(6)).await, info(&*timelines, ActorId(6)).await.floor),
        (vec![8], 3)
    );
    assert_eq!(timelines.drop_before(4).await.unwrap(), 0);
}
