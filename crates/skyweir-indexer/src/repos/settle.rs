//! What no repository tells: a repost whose post is gone or was replaced since is no item any more.
//!
//! A live stream tells the post's deletion or update, and that takes the items of its reposts. Of repositories it shows
//! when all are read: the post is in none, or has another CID than the repost names.

use std::collections::HashMap;

use skyweir_store::{RecordBody, RecordRow, Result, Store, Txn};
use skyweir_types::{AccountStatus, ActorId, Collection, ItemId, ItemKind, RecordKey, RecordRef, Tid};

/// How many records are looked at in a transaction.
const PAGE: usize = 1_000;
/// Of so many accounts it is remembered whether all is known.
const MOST_KNOWN: usize = 100_000;

/// A repost with an item, and the post that it names.
struct Repost {
    key: RecordRef,
    row: RecordRow,
    item: ItemId,
    post: RecordRef,
}

/// Takes away the items of such reposts; tells how many. Done again it changes nothing. Posts count as gone that are
/// from a time on, microseconds since 1970, from which all were taken; without one only the CID counts.
pub(super) async fn settle(store: &dyn Store, taken_since_us: Option<i64>) -> Result<u64> {
    let actors = store.view().await?.actor_count().await?;
    let (mut taken, mut whole) = (0, HashMap::new());
    for actor in (0..actors).map(ActorId) {
        // no key of a post is behind it
        let mut after = RecordKey::parse(&"~".repeat(512)).ok().map(|last| (Collection::Post, last));
        loop {
            let mut txn = store.begin().await?;
            let page = txn.records_of(actor, after, PAGE).await?;
            let is_last =
                page.len() < PAGE || page.last().is_some_and(|(key, _)| key.collection > Collection::Repost);
            after = page.last().map(|(key, _)| (key.collection, key.rkey.clone()));
            let reposts: Vec<_> = page.into_iter().filter_map(repost).collect();
            if !reposts.is_empty() {
                let gone = gone(store, txn.as_mut(), reposts, taken_since_us, &mut whole).await?;
                for Repost { key, row, item, .. } in &gone {
                    let RecordBody::Repost { cid, subject, .. } = &row.body else { continue };
                    let body = RecordBody::Repost { item: None, cid: *cid, subject: subject.clone() };
                    txn.remove_item(*item).await?;
                    txn.put_record(key, RecordRow { body, ..row.clone() }).await?;
                }
                if !gone.is_empty() {
                    taken += gone.len() as u64;
                    txn.commit().await?;
                }
            }
            if is_last {
                break;
            }
        }
    }
    Ok(taken)
}

fn repost((key, row): (RecordRef, RecordRow)) -> Option<Repost> {
    match &row.body {
        RecordBody::Repost { item: Some(item), subject: Some(post), .. } => {
            let (item, post) = (*item, post.clone());
            Some(Repost { key, row, item, post })
        }
        _ => None,
    }
}

/// Those whose post is gone, or another one. `whole` remembers whose repositories are known.
async fn gone(
    store: &dyn Store,
    txn: &mut dyn Txn,
    reposts: Vec<Repost>,
    taken_since_us: Option<i64>,
    whole: &mut HashMap<ActorId, bool>,
) -> Result<Vec<Repost>> {
    let view = store.view().await?;
    let ids: Vec<_> = reposts.iter().map(|repost| repost.item).collect();
    let posts: Vec<_> = reposts.iter().map(|repost| repost.post.clone()).collect();
    let (items, posts) = (view.items(&ids).await?, view.records(&posts).await?);
    let mut gone = Vec::new();
    for ((repost, item), post) in reposts.into_iter().zip(items).zip(posts) {
        let Some(ItemKind::Repost { cid: named, .. }) = item.map(|item| item.kind) else { continue };
        let is_gone = match post.map(|row| row.body) {
            Some(RecordBody::Post { cid, .. }) => cid.to_string() != named,
            _ => taken_since_us.is_some_and(|since| is_from(&repost.post.rkey, since)),
        };
        if is_gone && is_whole(txn, repost.post.actor, whole).await? {
            gone.push(repost);
        }
    }
    Ok(gone)
}

/// Whether a post under this key is from this time or later.
fn is_from(rkey: &RecordKey, since_us: i64) -> bool {
    let written = Tid::parse(rkey.as_str()).ok().and_then(|tid| i64::try_from(tid.micros()).ok());
    written.is_none_or(|written| written >= since_us)
}

/// Whether all is known of an account.
async fn is_whole(txn: &mut dyn Txn, actor: ActorId, known: &mut HashMap<ActorId, bool>) -> Result<bool> {
    if let Some(whole) = known.get(&actor) {
        return Ok(*whole);
    }
    let row = txn.account(actor).await?;
    let whole = row.gone > Tid::ZERO && row.status == AccountStatus::Active;
    if known.len() >= MOST_KNOWN {
        known.clear();
    }
    known.insert(actor, whole);
    Ok(whole)
}
