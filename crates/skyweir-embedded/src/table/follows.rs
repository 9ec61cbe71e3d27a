//! Whom an account follows.
//!
//! Table `follows`: key: follower u32 BE, subject u32 BE. The value finds the edge's oldest living follow record. If
//! it is the only one it is a hint of one or three bytes, big-endian: when the record was made, by its key, cut to
//! 6.4 days (and of these the low eight bits) or to 33 seconds. Else it is at least four bytes: the record's key
//! (packed); if there were ever more of them, which are in `duplicates`: the last one's number and the number up to
//! which all are gone, as varints.
//!
//! An edge without records isn't there, nor is one that is in [`super::follow_blocks`]. Who follows whom the other way
//! round is in [`super::followers`].

use skyweir_store::Result;
use skyweir_types::{ActorId, RecordKey, Tid};

use crate::codec::{Reader, push_rkey, push_varint, rkey_tid};

/// 2020-01-01, microseconds, and the bits of a time since then, 17.8 years: other keys are nobody's clock.
const FROM_US: u64 = 1_577_836_800_000_000;
const SPAN: u32 = 49;
const COARSE: u32 = 39;
const FINE: u32 = 25;
/// Who follows fewer others has few records in 6.4 days, if not few at all.
const FEW: u32 = 1_024;
/// Who follows more others may have very many in a few seconds.
const MANY: u32 = 16_384;

/// The key of an edge.
pub(crate) fn key(from: ActorId, to: ActorId) -> [u8; 8] {
    (u64::from(from.0) << 32 | u64::from(to.0)).to_be_bytes()
}

/// Back from [`key`].
pub(crate) fn read_key(bytes: &[u8]) -> Result<(ActorId, ActorId)> {
    let mut reader = Reader::new("follows", bytes);
    let edge = (ActorId(reader.u32()?), ActorId(reader.u32()?));
    reader.end().map(|()| edge)
}

/// About when a record was made, by its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hint {
    Coarse(u8),
    Fine(u32),
}

impl Hint {
    /// The hint at a record of an account that follows so many; `None`: its key has to be kept whole.
    pub(crate) fn at(rkey: &RecordKey, follows: u32) -> Option<Self> {
        Self::at_tid(rkey_tid(rkey)?, follows)
    }

    /// As [`Hint::at`], of a record whose key is a TID.
    pub(crate) fn at_tid(tid: Tid, follows: u32) -> Option<Self> {
        let since = since(tid)?;
        match follows {
            0..FEW => Some(Self::Coarse((since >> COARSE) as u8)),
            FEW..MANY => Some(Self::Fine((since >> FINE) as u32)),
            MANY.. => None,
        }
    }

    /// Appends its bytes.
    pub(crate) fn push(self, out: &mut Vec<u8>) {
        match self {
            Self::Coarse(hint) => out.push(hint),
            Self::Fine(hint) => out.extend_from_slice(&hint.to_be_bytes()[1..]),
        }
    }

    /// Back from [`Hint::push`]; `None` if these bytes are no hint.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        match *bytes {
            [hint] => Some(Self::Coarse(hint)),
            [a, b, c] => Some(Self::Fine(u32::from_be_bytes([0, a, b, c]))),
            _ => None,
        }
    }

    /// Whether it may be this record that is hinted at.
    pub(crate) fn fits(self, rkey: &RecordKey) -> bool {
        rkey_tid(rkey).and_then(since).is_some_and(|since| match self {
            Self::Coarse(hint) => (since >> COARSE) as u8 == hint,
            Self::Fine(hint) => since >> FINE == u64::from(hint),
        })
    }

    /// Where the record's key may be: from the first TID up to but without the second.
    pub(crate) fn windows(self) -> impl Iterator<Item = (Tid, Tid)> {
        let (first, step, bits) = match self {
            Self::Coarse(hint) => (u64::from(hint), 256, COARSE),
            Self::Fine(hint) => (u64::from(hint), 1 << 24, FINE),
        };
        let tid = move |window: u64| Tid::from_parts(FROM_US + (window << bits), 0);
        let windows = (first..1 << (SPAN - bits)).step_by(step);
        windows.map(move |window| (tid(window), tid(window + 1)))
    }
}

fn since(tid: Tid) -> Option<u64> {
    let since = tid.micros().checked_sub(FROM_US)?;
    (since >> SPAN == 0).then_some(since)
}

/// What an edge keeps of its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    /// It has one, and a hint at it.
    Hinted(Hint),
    /// It has one or more.
    Keyed(Keyed),
}

impl Edge {
    /// An edge with one record, of an account that follows so many others.
    pub(crate) fn new(rkey: &RecordKey, follows: u32) -> Self {
        Hint::at(rkey, follows).map_or_else(|| Self::Keyed(Keyed::one(rkey.clone())), Self::Hinted)
    }
}

/// An edge that knows its record's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Keyed {
    /// Key of the oldest living follow record, by arrival.
    pub(crate) first: RecordKey,
    /// The greatest number that a further record has got; 0 if there never was one.
    pub(crate) last: u64,
    /// No further record with this number or a lower one is left: nobody has to look there again.
    pub(crate) gone: u64,
}

impl Keyed {
    /// One record alone.
    pub(crate) fn one(first: RecordKey) -> Self {
        Self { first, last: 0, gone: 0 }
    }
}

/// The bytes of a value.
pub(crate) fn encode(edge: &Edge) -> Vec<u8> {
    let mut out = Vec::with_capacity(9);
    match edge {
        Edge::Hinted(hint) => hint.push(&mut out),
        Edge::Keyed(edge) => {
            push_rkey(&mut out, &edge.first);
            if edge.last > 0 {
                push_varint(&mut out, edge.last);
                push_varint(&mut out, edge.gone);
            }
        }
    }
    out
}

/// Back from [`encode`].
pub(crate) fn decode(bytes: &[u8]) -> Result<Edge> {
    if let Some(hint) = Hint::read(bytes) {
        return Ok(Edge::Hinted(hint));
    }
    let mut reader = Reader::new("follows", bytes);
    let first = reader.rkey()?;
    let (last, gone) = if reader.is_empty() { (0, 0) } else { (reader.varint()?, reader.varint()?) };
    reader.end()?;
    Ok(Edge::Keyed(Keyed { first, last, gone }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::arb;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(a: u32, b: u32, first in arb::rkey(), last in 1u64.., gone: u64, hint: u8, fine in 0..1u32 << 24) {
            prop_assert_eq!(read_key(&key(ActorId(a), ActorId(b))).unwrap(), (ActorId(a), ActorId(b)));
            for edge in [
                Edge::Keyed(Keyed { first: first.clone(), last, gone }),
                Edge::Keyed(Keyed::one(first)),
                Edge::Hinted(Hint::Coarse(hint)),
                Edge::Hinted(Hint::Fine(fine)),
            ] {
                prop_assert_eq!(decode(&encode(&edge)).unwrap(), edge);
            }
        }

        #[test]
        fn a_hint_finds_its_record(since in 0..1u64 << SPAN, clock in 0..1_024u16, follows in 0..20_000u32, other in arb::rkey()) {
            let tid = Tid::from_parts(FROM_US + since, clock);
            let rkey = RecordKey::parse(&tid.to_string()).unwrap();
            let hint = Hint::at(&rkey, follows);
            prop_assert_eq!(hint.is_none(), follows >= MANY);
            let Some(hint) = hint else { return Ok(()) };
            let holds = |tid: Tid| hint.windows().filter(|(from, to)| (*from..*to).contains(&tid)).count();
            prop_assert_eq!(holds(tid), 1);
            prop_assert!(hint.fits(&rkey));
            let held = rkey_tid(&other).map_or(0, holds);
            prop_assert_eq!(held == 1, hint.fits(&other));
        }
    }

    #[test]
    fn keys_that_are_no_clocks_are_kept_whole() {
        for text in ["self", "2222222222222", "bzzzzzzzzzzzz"] {
            assert_eq!(Hint::at(&RecordKey::parse(text).unwrap(), 0), None, "{text}");
        }
    }
}
