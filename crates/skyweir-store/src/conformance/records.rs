//! Accounts, records, tombstones, reposts.

use std::collections::BTreeSet;

use skyweir_types::{AccountStatus, ActorId, Collection, ItemId, RecordKey, RecordRef, Tid};

use super::Subject;
use super::kit::{cid, did, intern, place, rkey};
use crate::{AccountRow, Error, RecordBody, RecordRow, Shape, SyncMark};

const A: ActorId = ActorId(0);
const B: ActorId = ActorId(1);

fn tombstone(at_ms: i64) -> RecordRow {
    RecordRow { rev: Tid(5), wiped: Tid::ZERO, body: RecordBody::Tombstone { at_ms } }
}

pub(super) async fn numbers_are_dense_and_stay(subject: &dyn Subject) {
    let store = subject.open(Shape::default()).await.store;
    intern(&*store, 3).await;
    let mut txn = store.begin().await.unwrap();
    assert_eq!(txn.intern(&did(1)).await.unwrap(), B);
    assert_eq!(txn.intern(&did(3)).await.unwrap(), ActorId(3));
    assert_eq!(txn.did(ActorId(3)).await.unwrap(), did(3));
    assert!(matches!(txn.did(ActorId(4)).await, Err(Error::Corrupt(_))));
    txn.commit().await.unwrap();
    let view = store.view().await.unwrap();
    assert_eq!(view.actor(&did(3)).await.unwrap(), Some(ActorId(3)));
    assert_eq!(view.actor(&did(4)).await.unwrap(), None);
    assert_eq!(view.actor_count().await.unwrap(), 4);
    let asked = [ActorId(3), A, ActorId(3)];
    assert_eq!(view.dids(&asked).await.unwrap(), [did(3), did(0), did(3)]);
    assert!(matches!(view.dids(&[A, ActorId(4)]).await, Err(Error::Corrupt(_))));
}

pub(super) async fn every_kind_of_record_comes_back(subject: &dyn Subject) {
    let store = subject.open(Shape::default()).await.store;
    intern(&*store, 2).await;
    let post = place(A, Collection::Post, 1);
    let bodies = [
        RecordBody::Post { item: ItemId(9), cid: cid(1) },
        RecordBody::Repost { item: Some(ItemId(8)), cid: cid(2), subject: Some(post.clone()) },
        RecordBody::Repost { item: None, cid: cid(2), subject: None },
        RecordBody::Follow { subject: B },
        RecordBody::Tombstone { at_ms: -7 },
    ];
    for body in bodies {
        for (rev, wiped) in [(Tid(77), Tid::ZERO), (Tid(3), Tid(4))] {
            for key in [post.clone(), RecordRef { rkey: RecordKey::parse("self").unwrap(), ..post.clone() }] {
                let row = RecordRow { rev, wiped, body: body.clone() };
                let mut txn = store.begin().await.unwrap();
                txn.put_record(&key, row.clone()).await.unwrap();
                txn.commit().await.unwrap();
                let view = store.view().await.unwrap();
                let asked = [place(B, Collection::Post, 1), key.clone(), place(A, Collection::Post, 2), key];
                let found = view.records(&asked).await.unwrap();
                assert_eq!(found, [None, Some(row.clone()), None, Some(row)]);
            }
        }
    }
    let mut txn = store.begin().await.unwrap();
    txn.remove_record(&post).await.unwrap();
    txn.remove_record(&place(B, Collection::Post, 1)).await.unwrap();
    txn.commit().await.unwrap();
    assert_eq!(store.view().await.unwrap().records(&[post]).await.unwrap(), [None]);
}

pub(super) async fn records_of_an_account_come_in_pages(subject: &dyn Subject) {
    let store = subject.open(Shape::default()).await.store;
    intern(&*store, 3).await;
    let mut wanted = BTreeSet::new();
    let mut txn = store.begin().await.unwrap();
    for actor in 0..3 {
        for (n, collection) in Collection::ALL.into_iter().cycle().take(20).enumerate() {
            let key = place(ActorId(actor), collection, n as u64);
            txn.put_record(&key, tombstone(n as i64)).await.unwrap();
            if actor == 1 {
                wanted.insert(key);
            }
        }
    }
    txn.commit().await.unwrap();
    let mut txn = store.begin().await.unwrap();
    // the transaction's own writes take part
    let (gone, new) = (place(B, Collection::Repost, 1), place(B, Collection::Follow, 99));
    txn.remove_record(&gone).await.unwrap();
    txn.put_record(&new, tombstone(1)).await.unwrap();
    assert!(wanted.remove(&gone) && wanted.insert(new));
    let mut orders = BTreeSet::new();
    for n in [1, 3, 20, 21] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = txn.records_of(B, after, n).await.unwrap();
            let ended = page.len() < n;
            found.extend(page.into_iter().map(|(key, _)| key));
            after = found.last().map(|key: &RecordRef| (key.collection, key.rkey.clone()));
            if ended {
                break;
            }
        }
        assert_eq!(found.iter().cloned().collect::<BTreeSet<_>>(), wanted);
        assert_eq!(found.len(), wanted.len());
        orders.insert(found);
    }
    assert_eq!(orders.len(), 1, "the order is fixed");
}

pub(super) async fn tombstones_are_found_by_age(subject: &dyn Subject) {
    let store = subject.open(Shape::default()).await.store;
    intern(&*store, 2).await;
    let key = |n| place(A, Collection::Post, n);
    let mut txn = store.begin().await.unwrap();
    for (n, at_ms) in [30, -5, 10, 20, 40].into_iter().enumerate() {
        txn.put_record(&key(n as u64), tombstone(at_ms)).await.unwrap();
    }
    txn.commit().await.unwrap();
    let mut txn = store.begin().await.unwrap();
    assert_eq!(txn.tombstones_before(30, 9).await.unwrap(), [key(1), key(2), key(3)]);
    assert_eq!(txn.tombstones_before(31, 2).await.unwrap(), [key(1), key(2)]);
    assert_eq!(txn.tombstones_before(i64::MIN, 9).await.unwrap(), []);
    // written again at another time, replaced by a living record, forgotten
    txn.put_record(&key(2), tombstone(35)).await.unwrap();
    let living = RecordBody::Follow { subject: B };
    txn.put_record(&key(1), RecordRow { body: living, ..tombstone(0) }).await.unwrap();
    txn.remove_record(&key(3)).await.unwrap();
    txn.commit().await.unwrap();
    let mut txn = store.begin().await.unwrap();
    assert_eq!(txn.tombstones_before(i64::MAX, 9).await.unwrap(), [key(0), key(2), key(4)]);
    // one that is older than those looked for before
    txn.put_record(&key(5), tombstone(-50)).await.unwrap();
    assert_eq!(txn.tombstones_before(i64::MAX, 9).await.unwrap(), [key(5), key(0), key(2), key(4)]);
    txn.commit().await.unwrap();
    let mut txn = store.begin().await.unwrap();
    assert_eq!(txn.tombstones_before(i64::MAX, 1).await.unwrap(), [key(5)]);
}

pub(super) async fn reposts_of_a_post_come_in_pages(subject: &dyn Subject) {
    let store = subject.open(Shape::default()).await.store;
    intern(&*store, 5).await;
    let named =
        |name: &str| RecordRef { rkey: RecordKey::parse(name).unwrap(), ..place(A, Collection::Post, 0) };
    // keys of which one begins with the other
    let posts = [named("a"), named("ab"), place(A, Collection::Post, 1), place(B, Collection::Post, 1)];
    let repost = |actor: u32, n: u64| place(ActorId(actor), Collection::Repost, n);
    let mut txn = store.begin().await.unwrap();
    for (at, post) in posts.iter().enumerate() {
        for actor in 0..5 {
            for n in 0..=at as u64 {
                txn.link_repost(post, &repost(actor, n)).await.unwrap();
                txn.link_repost(post, &repost(actor, n)).await.unwrap();
            }
        }
    }
    txn.commit().await.unwrap();
    let mut txn = store.begin().await.unwrap();
    txn.unlink_repost(&posts[3], &repost(2, 1)).await.unwrap();
    txn.unlink_repost(&posts[0], &repost(2, 99)).await.unwrap();
    for (post, wanted) in posts.iter().zip([5, 10, 15, 19]) {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = txn.reposts_of(post, after.as_ref(), 4).await.unwrap();
            found.extend_from_slice(&page);
            after = page.last().cloned();
            if page.len() < 4 {
                break;
            }
        }
        assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), wanted);
        assert_eq!(found.len(), wanted);
        assert_eq!(found, txn.reposts_of(post, None, 100).await.unwrap());
    }
    assert!(!txn.reposts_of(&posts[3], None, 100).await.unwrap().contains(&repost(2, 1)));
}

pub(super) async fn account_rows_and_sync_marks(subject: &dyn Subject) {
    let store = subject.open(Shape::default()).await.store;
    intern(&*store, 4).await;
    let mut txn = store.begin().await.unwrap();
    assert_eq!(txn.account(A).await.unwrap(), AccountRow::default());
    let mark = SyncMark { rev: Tid(44), since_ms: -3 };
    let row = AccountRow { status: AccountStatus::Hidden, status_us: 9, gone: Tid(8), sync: Some(mark) };
    for actor in [A, ActorId(2), ActorId(3)] {
        txn.set_account(actor, row).await.unwrap();
    }
    assert_eq!(txn.account(A).await.unwrap(), row);
    txn.commit().await.unwrap();
    let mut txn = store.begin().await.unwrap();
    txn.set_account(ActorId(2), AccountRow { sync: None, ..row }).await.unwrap();
    let later = SyncMark { since_ms: 5, ..mark };
    txn.set_account(ActorId(3), AccountRow { sync: Some(later), ..row }).await.unwrap();
    txn.commit().await.unwrap();
    let view = store.view().await.unwrap();
    let mut marks = view.sync_marks(9).await.unwrap();
    marks.sort_by_key(|(actor, _)| *actor);
    assert_eq!(marks, [(A, mark), (ActorId(3), later)]);
    assert_eq!(view.sync_marks(1).await.unwrap().len(), 1);
    for (actor, expected) in [(A, Some(mark)), (B, None), (ActorId(2), None), (ActorId(3), Some(later))] {
        assert_eq!(view.sync_mark(actor).await.unwrap(), expected, "{actor:?}");
    }
    // one that nobody has, yet
    assert_eq!(view.sync_mark(ActorId(99)).await.unwrap(), None);
    let infos = view.accounts(&[B, A]).await.unwrap();
    assert_eq!([infos[0].status, infos[1].status], [AccountStatus::Active, AccountStatus::Hidden]);
    let mut txn = store.begin().await.unwrap();
    assert_eq!(txn.account(ActorId(2)).await.unwrap(), AccountRow { sync: None, ..row });
    txn.set_account(A, AccountRow { status: AccountStatus::Deleted, ..row }).await.unwrap();
    // what else is known of an account stays
    txn.add_follow(A, B, &rkey(1)).await.unwrap();
    txn.set_account(A, AccountRow { status: AccountStatus::Active, ..row }).await.unwrap();
    assert_eq!(txn.account(A).await.unwrap().sync, Some(mark));
    txn.set_account(A, AccountRow { sync: None, ..row }).await.unwrap();
    txn.commit().await.unwrap();
    // what is committed later doesn't show in a view of before
    assert_eq!(view.sync_mark(A).await.unwrap(), Some(mark));
    let view = store.view().await.unwrap();
    assert_eq!(view.sync_mark(A).await.unwrap(), None);
    assert_eq!(view.accounts(&[A]).await.unwrap()[0].follows, 1);
}
