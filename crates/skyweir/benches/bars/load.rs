//! Brings a crowd into a store and its timelines, past the events: loading isn't what is measured.

use anyhow::{Result, ensure};
use skyweir_embedded::{EmbeddedStore, Rings};
use skyweir_store::{Enrolment, NewItem, RecordBody, RecordRow, Store as _, Timelines as _, Txn};
use skyweir_types::{ActorId, Clock, Collection, DidHash, ItemKind, RecordRef, Reference, Tid, UriHash};

use crate::crowd::Crowd;
use crate::events::{cid, did, rkey};
use crate::rng::Rng;

/// Later than any item: a floor here lets nothing in. The year 2286, milliseconds.
pub(crate) const NEVER_MS: i64 = 10_000_000_000_000;
/// How many rows are one transaction.
const TOGETHER: usize = 20_000;
/// 2023-01-01, microseconds, and three years: when the follows were made.
const FOLLOWED_FROM_US: u64 = 1_672_531_200_000_000;
const FOLLOWED_WITHIN_US: u64 = 94_608_000_000_000;

/// Gives accounts their numbers, from 0 on.
pub(crate) async fn accounts(store: &EmbeddedStore, accounts: std::ops::Range<u32>) -> Result<()> {
    let mut next = accounts.start;
    while next < accounts.end {
        let end = accounts.end.min(next + TOGETHER as u32);
        let mut txn = store.begin().await?;
        for account in next..end {
            ensure!(txn.intern(&did(account)?).await? == ActorId(account), "the store is not empty");
        }
        txn.commit().await?;
        next = end;
    }
    Ok(())
}

/// Loads the records of a crowd.
pub(crate) async fn records(store: &EmbeddedStore, crowd: &mut Crowd) -> Result<()> {
    accounts(store, crowd.accounts()).await?;
    let mut rng = Rng::new(7);
    for edges in crowd.edges().chunks(TOGETHER) {
        let mut txn = store.begin().await?;
        for (follower, author) in edges {
            follow(&mut *txn, &mut rng, ActorId(*follower), ActorId(*author)).await?;
        }
        txn.commit().await?;
    }
    let old = crowd.old_items();
    for items in old.chunks(TOGETHER) {
        let mut txn = store.begin().await?;
        for (author, sort_at) in items {
            let reference = item(&mut *txn, *author, *sort_at).await?;
            crowd.items[*author as usize].push(reference);
        }
        txn.commit().await?;
    }
    Ok(())
}

/// A follow, with its record: made at some time, under a rev a moment later.
pub(crate) async fn follow(
    txn: &mut dyn Txn,
    rng: &mut Rng,
    follower: ActorId,
    subject: ActorId,
) -> Result<()> {
    let micros = FOLLOWED_FROM_US + rng.any() % FOLLOWED_WITHIN_US;
    let rkey = rkey(micros, (rng.any() & 1_023) as u16)?;
    let rev = Tid::from_parts(micros + 10_000 + rng.any() % 300_000, 1);
    let key = RecordRef { actor: follower, collection: Collection::Follow, rkey };
    let row = RecordRow { rev, wiped: Tid::ZERO, body: RecordBody::Follow { subject } };
    txn.put_record(&key, row).await?;
    txn.add_follow(follower, subject, &key.rkey).await?;
    Ok(())
}

/// A post as it was applied long ago: no task is left of it.
pub(crate) async fn item(txn: &mut dyn Txn, author: u32, sort_at: i64) -> Result<Reference> {
    let micros = sort_at as u64 * 1_000;
    let (rkey, cid) = (rkey(micros, 1)?, cid(micros));
    let uri_hash = UriHash::of(did(author)?.as_str(), Collection::Post.nsid(), rkey.as_str());
    let kind = ItemKind::Post { is_reply: false, is_quote: false };
    let author = ActorId(author);
    let new = NewItem { author, rkey: rkey.clone(), cid, sort_at, uri_hash, kind };
    let item = txn.add_item(new).await?;
    let key = RecordRef { actor: author, collection: Collection::Post, rkey };
    let rev = Tid::from_parts(micros + 50_000, 1);
    txn.put_record(&key, RecordRow { rev, wiped: Tid::ZERO, body: RecordBody::Post { item, cid } }).await?;
    Ok(Reference { item, sort_at, uri_hash, author })
}

/// Enrols one timeline with these references, newest first; `floor`: none is missing above it.
pub(crate) async fn enrol(rings: &Rings, viewer: u32, references: &[Reference], floor: i64) -> Result<()> {
    enrol_at(rings, viewer, references, floor, 1.0).await
}

/// Enrols one at a rate.
pub(crate) async fn enrol_at(
    rings: &Rings,
    viewer: u32,
    references: &[Reference],
    floor: i64,
    rate: f32,
) -> Result<()> {
    let now_us = Clock::system().now_micros();
    let enrolment = Enrolment { did_hash: DidHash::of(did(viewer)?.as_str()), rate, now_us };
    let viewer = ActorId(viewer);
    let generation = rings.begin(viewer, enrolment).await?;
    ensure!(
        rings.publish(viewer, generation, references, floor, now_us / 1_000).await?,
        "nobody else enrols"
    );
    Ok(())
}

/// Enrols all of a crowd but those who hibernate, as the merge would.
pub(crate) async fn timelines(rings: &Rings, crowd: &Crowd) -> Result<()> {
    let cap = crowd.shape.cap;
    for viewer in 0..crowd.sleepers().start {
        let mut references = crowd.timeline(viewer, cap + 1);
        let floor = references.get(cap).map_or(i64::MIN, |first_below| first_below.sort_at);
        references.truncate(cap);
        enrol(rings, viewer, &references, floor).await?;
    }
    Ok(())
}
