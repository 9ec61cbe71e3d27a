//! What the cases have in common.

use skyweir_types::{
    ActorId, Cid, Collection, Did, DidHash, ItemId, ItemKind, RecordKey, RecordRef, Reference, Tid, UriHash,
};

use super::{Opened, Subject};
use crate::{CachedState, Delivery, Enrolment, NewItem, RingInfo, Shape, Store, Timelines};

pub(super) fn did(n: u32) -> Did {
    Did::parse(&format!("did:web:a{n}.example")).unwrap()
}

/// A record key of the usual form.
pub(super) fn rkey(n: u64) -> RecordKey {
    RecordKey::parse(&Tid::from_parts(n, 3).to_string()).unwrap()
}

pub(super) fn cid(seed: u8) -> Cid {
    Cid::from_digest(std::array::from_fn(|at| seed.wrapping_mul(37).rotate_left(at as u32 % 8) ^ at as u8))
}

pub(super) fn place(actor: ActorId, collection: Collection, n: u64) -> RecordRef {
    RecordRef { actor, collection, rkey: rkey(n) }
}

pub(super) fn post(author: ActorId, n: u64, sort_at: i64) -> NewItem {
    let kind = ItemKind::Post { is_reply: n.is_multiple_of(2), is_quote: n.is_multiple_of(3) };
    NewItem { author, rkey: rkey(n), cid: cid(n as u8), sort_at, uri_hash: UriHash(n << 20 | 7), kind }
}

/// Interns so many accounts, numbers from 0 up.
pub(super) async fn intern(store: &dyn Store, n: u32) {
    let mut txn = store.begin().await.unwrap();
    for actor in 0..n {
        assert_eq!(txn.intern(&did(actor)).await.unwrap(), ActorId(actor));
    }
    txn.commit().await.unwrap();
}

pub(super) async fn follow(store: &dyn Store, follower: ActorId, subject: ActorId, n: u64) {
    let mut txn = store.begin().await.unwrap();
    txn.add_follow(follower, subject, &rkey(n)).await.unwrap();
    txn.commit().await.unwrap();
}

pub(super) async fn unfollow(store: &dyn Store, follower: ActorId, subject: ActorId, n: u64) {
    let mut txn = store.begin().await.unwrap();
    txn.remove_follow(follower, subject, &rkey(n)).await.unwrap();
    txn.commit().await.unwrap();
}

/// Opens a subject with this cap and some interned accounts.
pub(super) async fn open(subject: &dyn Subject, cap: usize) -> Opened {
    let opened = subject.open(Shape { cap, ..Shape::default() }).await;
    intern(&*opened.store, 20).await;
    opened
}

/// The author of [`reference`].
pub(super) const AUTHOR: ActorId = ActorId(1);

/// Item `n` of [`AUTHOR`] at millisecond `n`.
pub(super) fn reference(n: u64) -> Reference {
    reference_at(n, n as i64)
}

pub(super) fn reference_at(n: u64, sort_at: i64) -> Reference {
    Reference { item: ItemId(n), sort_at, uri_hash: UriHash(n), author: AUTHOR }
}

pub(super) fn enrolment(now_us: i64) -> Enrolment {
    Enrolment { did_hash: DidHash(7), rate: 1.0, now_us }
}

/// Brings a timeline in, with these references, complete above `floor`.
pub(super) async fn enrol(timelines: &dyn Timelines, viewer: ActorId, references: &[Reference], floor: i64) {
    let generation = timelines.begin(viewer, enrolment(5_000_000)).await.unwrap();
    assert!(timelines.publish(viewer, generation, references, floor, 9).await.unwrap());
}

/// Writes one reference to one timeline.
pub(super) async fn apply(timelines: &dyn Timelines, viewer: ActorId, reference: Reference) -> crate::Counts {
    let delivery = Delivery { reference, viewers: vec![viewer].into() };
    timelines.apply(timelines.shard_of(viewer), &[delivery]).await.unwrap()[0]
}

/// All items of a timeline, newest first.
pub(super) async fn items(timelines: &dyn Timelines, viewer: ActorId) -> Vec<u64> {
    let cached = timelines.read(viewer, i64::MAX, usize::MAX).await.unwrap();
    assert!(cached.at_floor);
    cached.entries.iter().map(|entry| entry.item.0).collect()
}

pub(super) async fn state(timelines: &dyn Timelines, viewer: ActorId) -> CachedState {
    timelines.read(viewer, i64::MAX, 0).await.unwrap().state
}

/// What a timeline that is in says of itself.
pub(super) async fn info(timelines: &dyn Timelines, viewer: ActorId) -> RingInfo {
    match state(timelines, viewer).await {
        CachedState::In(info) => info,
        other => panic!("{viewer} is {other:?}"),
    }
}
