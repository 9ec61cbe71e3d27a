//! Whom accounts follow that follow many, in blocks.
//!
//! Table `follow_blocks`: key: follower u32 BE, the block's bound as subject u32 BE ([`super::blocks`]). Value: kind of
//! hints (0: all coarse, 1: all fine, 2: both), the last subject as varint, the subjects ([`crate::packed`]); if there
//! are both kinds of hints, a bit for each edge, low ones first, which is set for fine ones; the hints, one or three
//! bytes each ([`super::follows`]).
//!
//! An edge is here or in `follows`, never in both. Here are only edges with a hint.

use std::ops::Bound;

use skyweir_store::Result;
use skyweir_types::ActorId;

use super::blocks::{self, Packed};
use super::follows::{self, Edge, Hint};
use super::{Table, actors, after_prefix};
use crate::codec::{Reader, push_varint};
use crate::db::Read;
use crate::packed;

const COARSE: u8 = 0;
const FINE: u8 = 1;
const BOTH: u8 = 2;

/// The table.
pub(crate) enum FollowBlocks {}

/// An edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) subject: ActorId,
    pub(crate) hint: Hint,
}

impl Entry {
    fn is_fine(&self) -> bool {
        matches!(self.hint, Hint::Fine(_))
    }
}

impl Packed for FollowBlocks {
    type Entry = Entry;
    const TABLE: Table = Table::FollowBlocks;
    const LAST: u64 = u32::MAX as u64;

    fn place(entry: &Entry) -> u64 {
        entry.subject.0.into()
    }

    fn key(actor: ActorId, bound: u64) -> Vec<u8> {
        follows::key(actor, ActorId(bound as u32)).to_vec()
    }

    fn read_key(key: &[u8]) -> Result<(ActorId, u64)> {
        let (follower, bound) = follows::read_key(key)?;
        Ok((follower, bound.0.into()))
    }

    fn encode(entries: &[Entry]) -> Vec<u8> {
        let subjects: Vec<u32> = entries.iter().map(|entry| entry.subject.0).collect();
        let fine = entries.iter().filter(|entry| entry.is_fine()).count();
        let kind = match fine {
            0 => COARSE,
            all if all == entries.len() => FINE,
            _ => BOTH,
        };
        let mut out = vec![kind];
        push_varint(&mut out, subjects.last().copied().unwrap_or(0).into());
        out.append(&mut packed::encode(&subjects));
        if kind == BOTH {
            let bit = |(at, entry): (usize, &Entry)| u8::from(entry.is_fine()) << at;
            out.extend(entries.chunks(8).map(|some| some.iter().enumerate().map(bit).sum::<u8>()));
        }
        entries.iter().for_each(|entry| entry.hint.push(&mut out));
        out
    }

    fn decode(value: &[u8]) -> Result<Vec<Entry>> {
        let mut reader = Reader::new("follow_blocks", value);
        let kind = reader.u8()?;
        let last = reader.small()?;
        let mut subjects = Vec::new();
        packed::read(&mut reader, last, &mut subjects)?;
        let fine = match kind {
            COARSE | FINE => &[],
            BOTH => reader.take(subjects.len().div_ceil(8))?,
            _ => return Err(reader.bad()),
        };
        if subjects.len() > blocks::MOST {
            return Err(reader.bad());
        }
        let mut entries = Vec::with_capacity(subjects.len());
        for (at, subject) in subjects.into_iter().enumerate() {
            let is_fine = kind == FINE || fine.get(at / 8).is_some_and(|bits| bits >> (at % 8) & 1 == 1);
            let hint = Hint::read(reader.take(if is_fine { 3 } else { 1 })?).ok_or_else(|| reader.bad())?;
            entries.push(Entry { subject: ActorId(subject), hint });
        }
        reader.end().map(|()| entries)
    }
}

/// What an edge keeps of its records, from its row or its block.
pub(crate) fn edge(read: &impl Read, follower: ActorId, subject: ActorId) -> Result<Option<Edge>> {
    if let Some(bytes) = read.get(Table::Follows, &follows::key(follower, subject))? {
        return follows::decode(&bytes).map(Some);
    }
    let found = blocks::find::<FollowBlocks>(read, follower, subject.0.into())?;
    Ok(found.map(|entry| Edge::Hinted(entry.hint)))
}

/// At most `n` accounts that one follows, after `after`, by rising number.
pub(crate) fn page(
    read: &impl Read,
    follower: ActorId,
    after: Option<ActorId>,
    n: usize,
) -> Result<Vec<ActorId>> {
    let mut page = Vec::with_capacity(n.min(10_000));
    let from = after.map_or(0, |after| u64::from(after.0) + 1);
    if n == 0 || from > FollowBlocks::LAST {
        return Ok(page);
    }
    let (low, high) = (FollowBlocks::key(follower, from), after_prefix(&actors::number(follower)));
    read.scan(Table::Follows, Bound::Included(&low), high.as_deref(), &mut |key, _| {
        page.push(follows::read_key(key)?.1);
        Ok(page.len() < n)
    })?;
    let to = match page.last() {
        Some(last) if page.len() == n => last.0.into(),
        _ => FollowBlocks::LAST + 1,
    };
    let packed = blocks::range::<FollowBlocks>(read, follower, (from, to), n)?;
    if !packed.is_empty() {
        page.extend(packed.iter().map(|entry| entry.subject));
        page.sort();
        page.truncate(n);
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn hint() -> impl Strategy<Value = Hint> {
        prop_oneof![any::<u8>().prop_map(Hint::Coarse), (0..1u32 << 24).prop_map(Hint::Fine)]
    }

    fn entries() -> impl Strategy<Value = Vec<Entry>> {
        let hints = prop_oneof![hint().boxed(), any::<u8>().prop_map(Hint::Coarse).boxed()];
        prop::collection::btree_map(any::<u32>(), hints, 1..=blocks::MOST).prop_map(
            |edges: BTreeMap<_, _>| {
                edges.into_iter().map(|(subject, hint)| Entry { subject: ActorId(subject), hint }).collect()
            },
        )
    }

    proptest! {
        #[test]
        fn round_trip(mut entries in entries(), coarse: bool, fine: bool, actor: u32, bound: u32) {
            for (is_one_kind, hint) in [(coarse, Hint::Coarse(7)), (fine, Hint::Fine(70_000))] {
                entries.iter_mut().filter(|_| is_one_kind).for_each(|entry| entry.hint = hint);
            }
            let bytes = FollowBlocks::encode(&entries);
            prop_assert_eq!(FollowBlocks::decode(&bytes).unwrap(), entries);
            // neither less nor more
            prop_assert!(FollowBlocks::decode(&bytes[..bytes.len() - 1]).is_err());
            prop_assert!(FollowBlocks::decode(&[&bytes[..], &[0]].concat()).is_err());
            let key = FollowBlocks::key(ActorId(actor), bound.into());
            prop_assert_eq!(FollowBlocks::read_key(&key).unwrap(), (ActorId(actor), bound.into()));
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            entries in entries(), at: prop::sample::Index, byte: u8,
            loose in prop::collection::vec(any::<u8>(), 0..100),
        ) {
            let mut changed = FollowBlocks::encode(&entries);
            let at = at.index(changed.len());
            changed[at] = byte;
            for bytes in [changed, loose] {
                if let Ok(entries) = FollowBlocks::decode(&bytes) {
                    prop_assert!(entries.is_sorted_by(|a, b| a.subject < b.subject) && !entries.is_empty());
                }
            }
        }
    }
}
