//! Views against commits, and what becomes of transactions.

use std::future::poll_fn;
use std::task::Poll;

use skyweir_types::{ActorId, Collection, ItemId, Position, TaskId, Tid};

use super::Subject;
use super::kit::{did, intern, place, post, rkey};
use crate::{Ahead, FeedAsk, RecordBody, RecordRow, SavedCursor, Shape, Store, Task, View};

const A: ActorId = ActorId(0);

fn row(subject: u32) -> RecordRow {
    RecordRow { rev: Tid(1), wiped: Tid::ZERO, body: RecordBody::Follow { subject: ActorId(subject) } }
}

fn cursor(position: u64) -> SavedCursor {
    SavedCursor { source: "file".into(), position, time_us: 0 }
}

/// Changes a bit of everything; `n` counts from 0.
async fn change(store: &dyn Store, n: u32) {
    let mut txn = store.begin().await.unwrap();
    let (a, b) = (txn.intern(&did(0)).await.unwrap(), txn.intern(&did(n + 1)).await.unwrap());
    txn.add_item(post(a, n.into(), 100 + i64::from(n))).await.unwrap();
    txn.add_follow(a, b, &rkey(1)).await.unwrap();
    txn.put_record(&place(a, Collection::Follow, 1), row(n)).await.unwrap();
    txn.append(Task::Fill { viewer: a, author: b }).await.unwrap();
    txn.set_cursor(cursor(n.into())).await.unwrap();
    txn.commit().await.unwrap();
}

/// Everything is as after `n` changes.
async fn is_after(view: &dyn View, n: u32) {
    let info = view.accounts(&[A]).await.unwrap()[0];
    assert_eq!((info.follows, info.newest > i64::MIN), (n, n > 0));
    assert!(n == 0 || info.newest >= 99 + i64::from(n), "{info:?}");
    assert_eq!(view.actor_count().await.unwrap(), if n == 0 { 0 } else { n + 1 });
    assert_eq!(view.actor(&did(n + 1)).await.unwrap(), None);
    assert_eq!(view.follows(A, None, 100).await.unwrap(), (1..=n).map(ActorId).collect::<Vec<_>>());
    let last = (0..n).last();
    assert_eq!(view.followers(ActorId(n + 1), None, 9).await.unwrap(), []);
    assert_eq!(view.edges(&[(A, ActorId(n + 1))]).await.unwrap(), [None]);
    let known: Vec<_> = (1..=n + 1).map(|b| (A, ActorId(b))).collect();
    let any: Vec<_> = (1..=n + 1).map(|b| b <= n).collect();
    assert_eq!(view.has_edges(&known).await.unwrap(), any);
    assert_eq!(view.records(&[place(A, Collection::Follow, 1)]).await.unwrap(), [last.map(row)]);
    assert_eq!(view.cursor().await.unwrap(), last.map(|n| cursor(n.into())));
    assert_eq!(view.next_task().await.unwrap(), TaskId(u64::from(n) + 1));
    assert_eq!(view.tasks(TaskId(0), 100).await.unwrap().len(), n as usize);
    let feed = view.feeds(&[FeedAsk { author: A, after: Position::TOP }], 100).await.unwrap().remove(0);
    let ids: Vec<_> = feed.iter().map(|entry| entry.item).collect();
    assert_eq!(ids.len(), n as usize);
    assert!(view.items(&ids).await.unwrap().iter().all(Option::is_some));
    let high = view.high_follows(2, 10).await.unwrap();
    assert_eq!(high, if n > 2 { vec![(A, n)] } else { vec![] });
}

pub(super) async fn a_view_keeps_its_moment(subject: &dyn Subject) {
    let store = subject.open(Shape::default()).await.store;
    let mut views = vec![store.view().await.unwrap()];
    for n in 0..6 {
        change(&*store, n).await;
        views.push(store.view().await.unwrap());
    }
    for (n, view) in views.iter().enumerate() {
        is_after(&**view, n as u32).await;
    }
}

/// What newer views have read in between, and what is gone meanwhile, changes nothing for an older one.
pub(super) async fn an_old_view_still_sees_what_it_saw(subject: &dyn Subject) {
    let store = subject.open(Shape::default()).await.store;
    intern(&*store, 4).await;
    let mut txn = store.begin().await.unwrap();
    let first = txn.add_item(post(A, 1, 1)).await.unwrap();
    txn.add_follow(A, ActorId(1), &rkey(1)).await.unwrap();
    txn.add_follow(A, ActorId(2), &rkey(2)).await.unwrap();
    txn.commit().await.unwrap();
    let old = store.view().await.unwrap();
    let pairs = [(A, ActorId(1)), (A, ActorId(2)), (A, ActorId(3))];
    let sees = async |view: &dyn View, second| {
        let items = view.items(&[first, second]).await.unwrap();
        let items: Vec<_> = items.iter().map(Option::is_some).collect();
        let follows = view.follows(A, None, 9).await.unwrap().iter().map(|actor| actor.0).collect::<Vec<_>>();
        (items, follows, view.has_edges(&pairs).await.unwrap())
    };
    let before = (vec![true, false], vec![1, 2], vec![true, true, false]);
    // asked by the newer view first, so that it is what others might find
    let mut txn = store.begin().await.unwrap();
    let second = txn.add_item(post(A, 2, 2)).await.unwrap();
    txn.remove_item(first).await.unwrap();
    txn.remove_follow(A, ActorId(1), &rkey(1)).await.unwrap();
    txn.add_follow(A, ActorId(3), &rkey(3)).await.unwrap();
    txn.commit().await.unwrap();
    let new = store.view().await.unwrap();
    let after = (vec![false, true], vec![2, 3], vec![false, true, true]);
    for _ in 0..3 {
        assert_eq!(sees(&*new, second).await, after);
        assert_eq!(sees(&*old, second).await, before);
    }
    let mut txn = store.begin().await.unwrap();
    txn.remove_item(second).await.unwrap();
    txn.remove_follow(A, ActorId(2), &rkey(2)).await.unwrap();
    txn.commit().await.unwrap();
    let newest = (vec![false, false], vec![3], vec![false, false, true]);
    assert_eq!(sees(&*new, second).await, after);
    assert_eq!(sees(&*store.view().await.unwrap(), second).await, newest);
    assert_eq!(sees(&*old, second).await, before);
}

pub(super) async fn a_transaction_sees_its_own_writes(subject: &dyn Subject) {
    let store = subject.open(Shape::default()).await.store;
    let mut txn = store.begin().await.unwrap();
    let actor = txn.intern(&did(0)).await.unwrap();
    assert_eq!(txn.intern(&did(0)).await.unwrap(), actor);
    assert_eq!(txn.did(actor).await.unwrap(), did(0));
    let key = place(actor, Collection::Post, 1);
    txn.put_record(&key, row(1)).await.unwrap();
    assert_eq!(txn.record(&key).await.unwrap(), Some(row(1)));
    txn.remove_record(&key).await.unwrap();
    assert_eq!(txn.record(&key).await.unwrap(), None);
    let item = txn.add_item(post(actor, 1, 5)).await.unwrap();
    txn.remove_item(item).await.unwrap();
    is_after(&*store.view().await.unwrap(), 0).await;
    txn.commit().await.unwrap();
    let view = store.view().await.unwrap();
    assert_eq!(view.items(&[item]).await.unwrap(), [None]);
    assert_eq!(view.feeds(&[FeedAsk { author: actor, after: Position::TOP }], 9).await.unwrap(), [vec![]]);
}

pub(super) async fn a_dropped_transaction_leaves_nothing(subject: &dyn Subject) {
    let store = subject.open(Shape::default()).await.store;
    change(&*store, 0).await;
    let watch = store.next_task();
    let lost = {
        let mut txn = store.begin().await.unwrap();
        let actor = txn.intern(&did(2)).await.unwrap();
        txn.append(Task::Fill { viewer: actor, author: actor }).await.unwrap();
        txn.add_follow(A, actor, &rkey(2)).await.unwrap();
        txn.remove_follow(A, ActorId(1), &rkey(1)).await.unwrap();
        txn.put_record(&place(A, Collection::Follow, 1), row(9)).await.unwrap();
        txn.set_cursor(cursor(9)).await.unwrap();
        txn.add_item(post(actor, 5, 5_000)).await.unwrap()
    };
    is_after(&*store.view().await.unwrap(), 1).await;
    assert!(!watch.has_changed().unwrap());
    change(&*store, 1).await;
    let view = store.view().await.unwrap();
    is_after(&*view, 2).await;
    // an item's number is never given out again, those of accounts and tasks are
    assert_eq!(view.items(&[lost]).await.unwrap(), [None]);
    let feed = view.feeds(&[FeedAsk { author: A, after: Position::TOP }], 1).await.unwrap().remove(0);
    assert!(feed[0].item > lost);
}

pub(super) async fn one_transaction_at_a_time(subject: &dyn Subject) {
    let store = subject.open(Shape::default()).await.store;
    intern(&*store, 1).await;
    let mut first = store.begin().await.unwrap();
    first.append(Task::FanOut { item: ItemId(1) }).await.unwrap();
    let mut second = store.begin();
    let waits = poll_fn(|cx| Poll::Ready(second.as_mut().poll(cx).is_pending())).await;
    assert!(waits, "a second transaction has to wait");
    first.commit().await.unwrap();
    let mut second = second.await.unwrap();
    assert_eq!(second.append(Task::FanOut { item: ItemId(2) }).await.unwrap(), TaskId(2));
    drop(second);
    store.begin().await.unwrap();
}

pub(super) async fn none_asked_none_given(subject: &dyn Subject) {
    let store = subject.open(Shape::default()).await.store;
    for n in 0..4 {
        change(&*store, n).await;
    }
    let view = store.view().await.unwrap();
    assert_eq!(view.follows(A, None, 0).await.unwrap(), []);
    assert_eq!(view.followers(ActorId(1), None, 0).await.unwrap(), []);
    assert_eq!(view.tasks(TaskId(0), 0).await.unwrap(), []);
    assert_eq!(view.high_follows(0, 0).await.unwrap(), []);
    assert_eq!(view.sync_marks(0).await.unwrap(), []);
    assert_eq!(view.feeds(&[FeedAsk { author: A, after: Position::TOP }], 0).await.unwrap(), [vec![]]);
    assert_eq!(view.feeds(&[], 9).await.unwrap(), [] as [Vec<_>; 0]);
    assert_eq!(view.dids(&[]).await.unwrap(), []);
    assert_eq!(view.accounts(&[]).await.unwrap(), []);
    assert_eq!(view.items(&[]).await.unwrap(), []);
    assert_eq!(view.records(&[]).await.unwrap(), []);
    assert_eq!(view.edges(&[]).await.unwrap(), []);
    assert_eq!(view.has_edges(&[]).await.unwrap(), []);
    let mut txn = store.begin().await.unwrap();
    assert_eq!(txn.records_of(A, None, 0).await.unwrap(), []);
    assert_eq!(txn.tombstones_before(i64::MAX, 0).await.unwrap(), []);
    assert_eq!(txn.reposts_of(&place(A, Collection::Post, 1), None, 0).await.unwrap(), []);
}

/// A transaction that was told what it will be asked for answers as one that wasn't.
pub(super) async fn to_look_ahead_changes_nothing(subject: &dyn Subject) {
    let (b, c) = (ActorId(1), ActorId(2));
    let store = subject.open(Shape::default()).await.store;
    intern(&*store, 3).await;
    let [old, new, none] = [1, 2, 3].map(|n| place(A, Collection::Follow, n));
    let mut txn = store.begin().await.unwrap();
    txn.add_follow(A, b, &rkey(1)).await.unwrap();
    txn.put_record(&old, row(1)).await.unwrap();
    txn.commit().await.unwrap();

    let mut txn = store.begin().await.unwrap();
    txn.intern(&did(3)).await.unwrap();
    txn.add_follow(A, c, &rkey(2)).await.unwrap();
    txn.put_record(&new, row(2)).await.unwrap();
    let ahead = Ahead {
        dids: vec![did(1), did(3), did(4)],
        records: vec![old.clone(), new.clone(), none.clone()],
        edges: vec![(b, A), (A, c), (A, b), (A, A), (A, b)],
    };
    txn.look_ahead(ahead.clone()).await.unwrap();
    for (account, number) in [(4, 4), (1, 1), (3, 3), (4, 4), (5, 5)] {
        assert_eq!(txn.intern(&did(account)).await.unwrap(), ActorId(number));
    }
    txn.look_ahead(ahead).await.unwrap();
    assert_eq!(txn.record(&old).await.unwrap(), Some(row(1)));
    assert_eq!(txn.record(&new).await.unwrap(), Some(row(2)));
    assert_eq!(txn.record(&none).await.unwrap(), None);
    // whether the edge is new
    for (follower, subject, n, is_new) in
        [(A, b, 1, false), (A, c, 2, false), (b, A, 4, true), (A, A, 3, true)]
    {
        assert_eq!(txn.add_follow(follower, subject, &rkey(n)).await.unwrap(), is_new);
    }
    txn.put_record(&none, row(0)).await.unwrap();
    txn.put_record(&place(b, Collection::Follow, 4), row(0)).await.unwrap();
    txn.commit().await.unwrap();
    let view = store.view().await.unwrap();
    assert_eq!(view.follows(A, None, 9).await.unwrap(), [A, b, c]);
    assert_eq!(view.followers(A, None, 9).await.unwrap(), [A, b]);
    assert_eq!(
        (view.actor_count().await.unwrap(), view.actor(&did(4)).await.unwrap()),
        (6, Some(ActorId(4)))
    );
}

pub(super) async fn records_survive(subject: &dyn Subject) {
    for n in 0..4 {
        let store = subject.open(Shape::default()).await.store;
        is_after(&*store.view().await.unwrap(), n).await;
        assert_eq!(*store.next_task().borrow(), TaskId(u64::from(n) + 1));
        change(&*store, n).await;
        // what isn't committed is not there after the restart
        let mut txn = store.begin().await.unwrap();
        txn.intern(&did(77)).await.unwrap();
        txn.append(Task::FanOut { item: ItemId(1) }).await.unwrap();
    }
}
