//! What the tables of blocks share: many entries of one account under one key, sorted by their place.
//!
//! A block holds all entries of its account with places above the bound of the block before, up to its own bound, which
//! its key names: the block of a place is the first one found by a scan from that place on. The bound of an account's
//! last block is the greatest place there may be, so an account with blocks has one for each place, unless what was the
//! last one became empty. An entry that is changed leaves its block and becomes a row of another table: nothing is in
//! both.

use std::ops::Bound;

use skyweir_store::Result;
use skyweir_types::ActorId;

use super::{Table, actors, after_prefix};
use crate::db::Read;
use crate::overlay::Overlay;

/// How many entries a block holds at most: so many are decoded for a single one.
pub(crate) const MOST: usize = 128;
/// A block with fewer is put together with the next one when it is written again.
const SMALL: usize = 32;

/// Who follows fewer accounts has rows only.
pub(crate) const FIRST: u32 = 16;

/// A table of blocks.
pub(crate) trait Packed {
    type Entry: Copy + Send;
    const TABLE: Table;
    /// The greatest place.
    const LAST: u64;

    /// Where an entry stands among its account's.
    fn place(entry: &Self::Entry) -> u64;
    /// The key of the block with this bound.
    fn key(actor: ActorId, bound: u64) -> Vec<u8>;
    /// Back from [`Packed::key`].
    fn read_key(key: &[u8]) -> Result<(ActorId, u64)>;
    /// The value of rising entries, at least one and at most [`MOST`].
    fn encode(entries: &[Self::Entry]) -> Vec<u8>;
    /// Back from [`Packed::encode`].
    fn decode(value: &[u8]) -> Result<Vec<Self::Entry>>;
}

/// A block as it is read.
pub(crate) struct Block<E> {
    /// No entry of it is above.
    pub(crate) bound: u64,
    pub(crate) entries: Vec<E>,
}

/// The block that a place belongs to.
pub(crate) fn block<P: Packed>(
    read: &impl Read,
    actor: ActorId,
    place: u64,
) -> Result<Option<Block<P::Entry>>> {
    let (from, to) = (P::key(actor, place), after_prefix(&actors::number(actor)));
    let mut block = None;
    read.scan(P::TABLE, Bound::Included(&from), to.as_deref(), &mut |key, value| {
        block = Some(Block { bound: P::read_key(key)?.1, entries: P::decode(value)? });
        Ok(false)
    })?;
    Ok(block)
}

/// The entry at a place.
pub(crate) fn find<P: Packed>(read: &impl Read, actor: ActorId, place: u64) -> Result<Option<P::Entry>> {
    let Some(Block { entries, .. }) = block::<P>(read, actor, place)? else { return Ok(None) };
    let at = entries.binary_search_by_key(&place, P::place);
    Ok(at.ok().map(|at| entries[at]))
}

/// Up to `n` entries from one place up to but without another, in order.
pub(crate) fn range<P: Packed>(
    read: &impl Read,
    actor: ActorId,
    (from, to): (u64, u64),
    n: usize,
) -> Result<Vec<P::Entry>> {
    let mut found = Vec::new();
    let mut at = from;
    while at < to && at <= P::LAST && found.len() < n {
        let Some(Block { bound, entries }) = block::<P>(read, actor, at)? else { break };
        let wanted = entries.iter().filter(|entry| (from..to).contains(&P::place(entry)));
        found.extend(wanted.take(n - found.len()));
        at = bound.saturating_add(1);
    }
    Ok(found)
}

/// Takes the entry at a place out of its block; `None` if it is in none.
pub(crate) fn take<P: Packed>(overlay: &mut Overlay, actor: ActorId, place: u64) -> Result<Option<P::Entry>> {
    let Some(Block { bound, mut entries }) = block::<P>(overlay, actor, place)? else { return Ok(None) };
    let Ok(at) = entries.binary_search_by_key(&place, P::place) else { return Ok(None) };
    let taken = entries.remove(at);
    if entries.is_empty() {
        overlay.remove(P::TABLE, P::key(actor, bound));
    } else {
        overlay.put(P::TABLE, P::key(actor, bound), P::encode(&entries));
    }
    Ok(Some(taken))
}

/// The blocks, keys and values, of rising entries that are all there is up to this bound: as few as possible, of about
/// the same length.
pub(crate) fn split<P: Packed>(
    actor: ActorId,
    entries: &[P::Entry],
    bound: u64,
) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let blocks = entries.len().div_ceil(MOST).max(1);
    let mut rest = entries;
    (0..blocks).rev().map_while(move |after| {
        let (block, others) = rest.split_at(rest.len().div_ceil(after + 1));
        rest = others;
        let bound = if rest.is_empty() { bound } else { P::place(block.last()?) };
        (!block.is_empty()).then(|| (P::key(actor, bound), P::encode(block)))
    })
}

/// Puts rising entries, none of which is in a block, into the blocks that they belong to.
pub(crate) fn add<P: Packed>(overlay: &mut Overlay, actor: ActorId, mut entries: &[P::Entry]) -> Result<()> {
    let to = after_prefix(&actors::number(actor));
    while let Some(first) = entries.first() {
        let from = P::key(actor, P::place(first));
        let (mut members, mut keys, mut bound) = (Vec::new(), Vec::new(), P::LAST);
        overlay.scan(P::TABLE, Bound::Included(&from), to.as_deref(), &mut |key, value| {
            bound = P::read_key(key)?.1;
            members.append(&mut P::decode(value)?);
            keys.push(key.to_vec());
            Ok(members.len() < SMALL)
        })?;
        let (here, others) = entries.split_at(entries.partition_point(|entry| P::place(entry) <= bound));
        entries = others;
        members.extend_from_slice(here);
        members.sort_by_key(P::place);
        for key in keys {
            overlay.remove(P::TABLE, key);
        }
        for (key, block) in split::<P>(actor, &members, bound) {
            overlay.put(P::TABLE, key, block);
        }
    }
    Ok(())
}
