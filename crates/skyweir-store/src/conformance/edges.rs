//! Follows and followers.

use skyweir_types::ActorId;

use super::Subject;
use super::kit::{follow, intern, rkey, unfollow};
use crate::{Shape, Store};

const A: ActorId = ActorId(0);
const B: ActorId = ActorId(1);

async fn counts(store: &dyn Store, actor: ActorId) -> (u32, u32) {
    let info = store.view().await.unwrap().accounts(&[actor]).await.unwrap()[0];
    (info.follows, info.followers)
}

pub(super) async fn an_edge_lives_as_long_as_one_record(subject: &dyn Subject) {
    let store = subject.open(Shape::default()).await.store;
    intern(&*store, 3).await;
    // arrival decides which is the oldest, not the key
    let mut txn = store.begin().await.unwrap();
    assert!(txn.add_follow(A, B, &rkey(5)).await.unwrap());
    assert!(!txn.add_follow(A, B, &rkey(3)).await.unwrap());
    assert!(!txn.add_follow(A, B, &rkey(9)).await.unwrap());
    assert!(!txn.add_follow(A, B, &rkey(5)).await.unwrap());
    txn.commit().await.unwrap();
    let edge = async || store.view().await.unwrap().edges(&[(B, A), (A, B), (A, A)]).await.unwrap();
    assert_eq!(edge().await, [None, Some(rkey(5)), None]);
    assert_eq!((counts(&*store, A).await, counts(&*store, B).await), ((1, 0), (0, 1)));

    let mut txn = store.begin().await.unwrap();
    assert!(!txn.remove_follow(A, B, &rkey(5)).await.unwrap());
    assert!(!txn.remove_follow(A, B, &rkey(5)).await.unwrap());
    assert!(!txn.remove_follow(B, A, &rkey(3)).await.unwrap());
    txn.commit().await.unwrap();
    assert_eq!(edge().await, [None, Some(rkey(3)), None]);
    assert_eq!((counts(&*store, A).await, counts(&*store, B).await), ((1, 0), (0, 1)));

    let mut txn = store.begin().await.unwrap();
    assert!(!txn.remove_follow(A, B, &rkey(3)).await.unwrap());
    assert!(txn.remove_follow(A, B, &rkey(9)).await.unwrap());
    txn.commit().await.unwrap();
    assert_eq!(edge().await, [None, None, None]);
    assert_eq!((counts(&*store, A).await, counts(&*store, B).await), ((0, 0), (0, 0)));
    let view = store.view().await.unwrap();
    assert_eq!(view.follows(A, None, 9).await.unwrap(), []);
    assert_eq!(view.followers(B, None, 9).await.unwrap(), []);

    let mut txn = store.begin().await.unwrap();
    assert!(!txn.remove_follow(A, B, &rkey(9)).await.unwrap());
    assert!(txn.add_follow(A, B, &rkey(9)).await.unwrap());
    assert!(txn.remove_follow(A, B, &rkey(9)).await.unwrap());
    assert!(txn.add_follow(A, B, &rkey(2)).await.unwrap());
    txn.commit().await.unwrap();
    assert_eq!(edge().await, [None, Some(rkey(2)), None]);
}

pub(super) async fn both_edge_sets_page_by_rising_number(subject: &dyn Subject) {
    let store = subject.open(Shape::default()).await.store;
    intern(&*store, 600).await;
    let mut txn = store.begin().await.unwrap();
    for n in (2..600).rev().step_by(2) {
        txn.add_follow(ActorId(n), B, &rkey(1)).await.unwrap();
        txn.add_follow(B, ActorId(n), &rkey(2)).await.unwrap();
        txn.add_follow(ActorId(n), A, &rkey(3)).await.unwrap();
    }
    txn.commit().await.unwrap();
    let wanted: Vec<_> = (3..600).step_by(2).map(ActorId).collect();
    let view = store.view().await.unwrap();
    for n in [1, 100, 299, 300] {
        let (mut followers, mut follows) = (Vec::new(), Vec::new());
        loop {
            let page = view.followers(B, followers.last().copied(), n).await.unwrap();
            assert_eq!(page, view.follows(B, follows.last().copied(), n).await.unwrap());
            followers.extend_from_slice(&page);
            follows.extend_from_slice(&page);
            if page.len() < n {
                break;
            }
        }
        assert_eq!(followers, wanted, "pages of {n}");
    }
    // after one who is none of them, and after the last
    assert_eq!(view.followers(B, Some(ActorId(4)), 2).await.unwrap(), [ActorId(5), ActorId(7)]);
    assert_eq!(view.followers(B, Some(ActorId(u32::MAX)), 2).await.unwrap(), []);
    assert_eq!(counts(&*store, B).await, (299, 299));
}

pub(super) async fn an_account_may_follow_itself(subject: &dyn Subject) {
    let store = subject.open(Shape::default()).await.store;
    intern(&*store, 2).await;
    follow(&*store, A, A, 1).await;
    let view = store.view().await.unwrap();
    assert_eq!(view.follows(A, None, 9).await.unwrap(), [A]);
    assert_eq!(view.followers(A, None, 9).await.unwrap(), [A]);
    assert_eq!(counts(&*store, A).await, (1, 1));
    unfollow(&*store, A, A, 1).await;
    assert_eq!(counts(&*store, A).await, (0, 0));
}

pub(super) async fn high_follows_are_those_above_the_limit(subject: &dyn Subject) {
    let store = subject.open(Shape::default()).await.store;
    intern(&*store, 10).await;
    let mut txn = store.begin().await.unwrap();
    for follower in 0..10 {
        for subject in 0..follower {
            txn.add_follow(ActorId(follower), ActorId(subject), &rkey(1)).await.unwrap();
        }
    }
    txn.commit().await.unwrap();
    let mut txn = store.begin().await.unwrap();
    txn.remove_follow(ActorId(8), A, &rkey(1)).await.unwrap();
    txn.commit().await.unwrap();
    let view = store.view().await.unwrap();
    let mut high = view.high_follows(6, 100).await.unwrap();
    high.sort_unstable();
    assert_eq!(high, [(ActorId(7), 7), (ActorId(8), 7), (ActorId(9), 9)]);
    assert_eq!(view.high_follows(6, 2).await.unwrap().len(), 2);
    assert_eq!(view.high_follows(9, 100).await.unwrap(), []);
}
