//! Follows and followers.

use skyweir_types::{ActorId, Collection, RecordKey, RecordRef, Tid};

use super::Subject;
use super::kit::{follow, intern, rkey, unfollow};
use crate::{RecordBody, RecordRow, Shape, Store, Txn};

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
    let edge = async || {
        let view = store.view().await.unwrap();
        let pairs = [(B, A), (A, B), (A, A)];
        let edges = view.edges(&pairs).await.unwrap();
        let there: Vec<_> = edges.iter().map(Option::is_some).collect();
        assert_eq!(view.has_edges(&pairs).await.unwrap(), there);
        edges
    };
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

/// A follow record of A with its edge, as events bring them.
async fn write(txn: &mut dyn Txn, subject: ActorId, rkey: &RecordKey, lives: bool) -> bool {
    let key = RecordRef { actor: A, collection: Collection::Follow, rkey: rkey.clone() };
    let (changed, body) = if lives {
        (txn.add_follow(A, subject, rkey).await.unwrap(), RecordBody::Follow { subject })
    } else {
        (txn.remove_follow(A, subject, rkey).await.unwrap(), RecordBody::Tombstone { at_ms: 1 })
    };
    txn.put_record(&key, RecordRow { rev: Tid(1), wiped: Tid::ZERO, body }).await.unwrap();
    changed
}

/// How many one account follows at once. Each is a dozen rows, which on three nodes are written thrice.
const MANY: u32 = 600;

/// Keys as clients make them, so that a store may find records by their time.
pub(super) async fn the_record_of_an_edge_is_the_oldest_that_lives(subject: &dyn Subject) {
    let opened = subject.open(Shape::default()).await;
    let store = &*opened.store;
    intern(store, MANY).await;
    // days and microseconds apart, some in the same moment as others
    let key = |n: u64, apart: u64| {
        let micros = 1_700_000_000_000_000 + n / 3 * apart;
        RecordKey::parse(&Tid::from_parts(micros, (n % 3) as u16).to_string()).unwrap()
    };
    for apart in [1, 90_000_000_000] {
        let (first, twin, late) = (key(30, apart), key(31, apart), key(6_000, apart));
        let edge = async || store.view().await.unwrap().edges(&[(A, B), (A, A), (A, B)]).await.unwrap();
        let is = |rkey: &RecordKey| [Some(rkey.clone()), None, Some(rkey.clone())];
        let mut txn = store.begin().await.unwrap();
        assert!(write(&mut *txn, B, &first, true).await);
        assert!(!write(&mut *txn, B, &first, true).await, "known already");
        assert!(!txn.remove_follow(A, B, &twin).await.unwrap(), "none of its records");
        assert!(!txn.remove_follow(A, B, &late).await.unwrap(), "none of its records");
        txn.commit().await.unwrap();
        assert_eq!(edge().await, is(&first));
        // the same moment, then another
        for rkey in [&twin, &late] {
            let mut txn = store.begin().await.unwrap();
            assert!(!write(&mut *txn, B, rkey, true).await);
            assert!(!write(&mut *txn, B, &first, true).await, "known already");
            txn.commit().await.unwrap();
            assert_eq!(edge().await, is(&first));
        }
        let mut txn = store.begin().await.unwrap();
        assert!(!write(&mut *txn, B, &first, false).await);
        txn.commit().await.unwrap();
        assert_eq!(edge().await, is(&twin));
        let mut txn = store.begin().await.unwrap();
        assert!(!write(&mut *txn, B, &late, false).await);
        assert!(write(&mut *txn, B, &twin, false).await);
        assert!(write(&mut *txn, B, &late, true).await);
        assert!(write(&mut *txn, B, &late, false).await);
        assert!(write(&mut *txn, B, &late, true).await);
        txn.commit().await.unwrap();
        assert_eq!(edge().await, is(&late));
        // one that follows very many, in a burst and over years
        let mut txn = store.begin().await.unwrap();
        for n in 2..MANY {
            assert!(write(&mut *txn, ActorId(n), &key(n.into(), apart), true).await);
        }
        txn.commit().await.unwrap();
        let view = store.view().await.unwrap();
        let pairs: Vec<_> = (2..MANY).map(|n| (A, ActorId(n))).collect();
        let wanted: Vec<_> = (2..MANY).map(|n| Some(key(n.into(), apart))).collect();
        assert_eq!(view.edges(&pairs).await.unwrap(), wanted);
        let mut txn = store.begin().await.unwrap();
        for n in 2..MANY {
            assert!(write(&mut *txn, ActorId(n), &key(n.into(), apart), false).await);
        }
        assert!(write(&mut *txn, B, &late, false).await);
        txn.commit().await.unwrap();
        assert_eq!(counts(store, A).await, (0, 0));
    }
}
