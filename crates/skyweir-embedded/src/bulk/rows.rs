//! The rows of a load that are sorted: steps by account, edges by author.

use skyweir_store::Result;

use super::sorter::Row;
use crate::codec::{Reader, push_signed, push_varint};

/// What a step does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// `value` is the subject.
    #[default]
    Put,
    /// `value` is when, in milliseconds.
    Delete,
    /// Only its rev counts, and that is known when it comes.
    Other,
    Wipe,
    /// `rev` is the resync's, `value` when it began, in milliseconds.
    Sweep,
}

/// A step as it waits to be sorted. An account's steps stay in their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) actor: u32,
    pub(super) kind: Kind,
    /// The step before is of the same commit.
    pub(super) goes_on: bool,
    /// `rkey` says where in the file of keys the key stands, which is no TID.
    pub(super) is_text: bool,
    pub(super) rkey: u64,
    pub(super) rev: u64,
    pub(super) value: u64,
}

const KINDS: [Kind; 5] = [Kind::Put, Kind::Delete, Kind::Other, Kind::Wipe, Kind::Sweep];
const KIND: u8 = 7;
const GOES_ON: u8 = 8;
const IS_TEXT: u8 = 16;
const SAME_ACTOR: u8 = 32;
const SAME_REV: u8 = 64;

impl Row for Step {
    type Key = u32;

    fn key(&self) -> u32 {
        self.actor
    }

    fn sort(rows: &mut [Self]) {
        rows.sort_by_key(|row| row.actor);
    }

    fn push(&self, before: &Self, out: &mut Vec<u8>) {
        let flag = |is: bool, flag| if is { flag } else { 0 };
        let (same_actor, same_rev) = (self.actor == before.actor, self.rev == before.rev);
        let flags = flag(self.goes_on, GOES_ON) | flag(self.is_text, IS_TEXT);
        let same = flag(same_actor, SAME_ACTOR) | flag(same_rev, SAME_REV);
        out.push(self.kind as u8 | flags | same);
        if !same_actor {
            push_varint(out, u64::from(self.actor - before.actor));
        }
        if let Kind::Put | Kind::Delete = self.kind {
            out.extend_from_slice(&self.rkey.to_be_bytes());
        }
        if !same_rev {
            // most records' keys are made a moment before their commit
            push_signed(out, self.rev.wrapping_sub(self.rkey) as i64);
        }
        push_signed(out, self.value as i64);
    }

    fn read(before: &Self, reader: &mut Reader<'_>) -> Result<Self> {
        let flags = reader.u8()?;
        let kind = *KINDS.get(usize::from(flags & KIND)).ok_or_else(|| reader.bad())?;
        let mut actor = before.actor;
        if flags & SAME_ACTOR == 0 {
            actor = actor.checked_add(reader.small()?).ok_or_else(|| reader.bad())?;
        }
        let rkey = if let Kind::Put | Kind::Delete = kind { reader.u64()? } else { 0 };
        let rev = match flags & SAME_REV {
            0 => rkey.wrapping_add(reader.signed()? as u64),
            _ => before.rev,
        };
        let (goes_on, is_text) = (flags & GOES_ON != 0, flags & IS_TEXT != 0);
        Ok(Self { actor, kind, goes_on, is_text, rkey, rev, value: reader.signed()? as u64 })
    }
}

/// An edge as it waits to be sorted: subject, follower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge(u64);

impl Edge {
    pub(super) fn new(follower: u32, subject: u32) -> Self {
        Self(u64::from(subject) << 32 | u64::from(follower))
    }

    pub(super) fn follower(self) -> u32 {
        self.0 as u32
    }
}

impl Row for Edge {
    type Key = u32;

    fn key(&self) -> u32 {
        (self.0 >> 32) as u32
    }

    fn sort(rows: &mut [Self]) {
        rows.sort_unstable();
    }

    fn push(&self, before: &Self, out: &mut Vec<u8>) {
        push_varint(out, self.0 - before.0);
    }

    fn read(before: &Self, reader: &mut Reader<'_>) -> Result<Self> {
        before.0.checked_add(reader.varint()?).map(Self).ok_or_else(|| reader.bad())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn step() -> impl Strategy<Value = Step> {
        let numbers = (0..9_u32, 0..5_usize, prop_oneof![Just(7_u64), any::<u64>()]);
        (numbers, any::<(bool, bool, u64, u64)>()).prop_map(|((actor, kind, rev), rest)| {
            let (goes_on, is_text, rkey, value) = rest;
            let kind = KINDS[kind];
            let rkey = if let Kind::Put | Kind::Delete = kind { rkey } else { 0 };
            Step { actor, kind, goes_on, is_text, rkey, rev, value }
        })
    }

    fn round_trip<R: Row + PartialEq + std::fmt::Debug>(mut rows: Vec<R>) {
        R::sort(&mut rows);
        assert!(rows.is_sorted_by_key(R::key));
        let mut bytes = Vec::new();
        let pairs = || std::iter::once(R::default()).chain(rows.iter().copied()).zip(&rows);
        pairs().for_each(|(before, row)| row.push(&before, &mut bytes));
        let mut reader = Reader::new("test", &bytes);
        for (before, row) in pairs() {
            assert_eq!(R::read(&before, &mut reader).unwrap(), *row);
        }
        reader.end().unwrap();
    }

    proptest! {
        #[test]
        fn steps_round_trip(steps in prop::collection::vec(step(), 0..20)) {
            round_trip(steps);
        }

        #[test]
        fn edges_round_trip(edges in prop::collection::vec(any::<(u32, u32)>(), 0..20)) {
            let edges: Vec<_> = edges.into_iter().map(|(follower, subject)| Edge::new(follower, subject)).collect();
            for edge in &edges {
                assert_eq!(Edge::new(edge.follower(), edge.key()), *edge);
            }
            round_trip(edges);
        }
    }
}
