//! The two edge sets.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `follows` | follower u32 BE, subject u32 BE | key (packed) of the edge's oldest living follow record; if there were ever more of them, which are in `duplicates`: the last one's number and the number up to which all are gone, as varints |
//! | `followers` | subject u32 BE, follower u32 BE | nothing |
//!
//! An edge without records is in neither.

use skyweir_store::Result;
use skyweir_types::{ActorId, RecordKey};

use crate::codec::{Reader, push_rkey, push_varint};

/// The key of an edge in either table.
pub(crate) fn key(from: ActorId, to: ActorId) -> [u8; 8] {
    (u64::from(from.0) << 32 | u64::from(to.0)).to_be_bytes()
}

/// Back from [`key`].
pub(crate) fn read_key(bytes: &[u8]) -> Result<(ActorId, ActorId)> {
    let mut reader = Reader::new("follows", bytes);
    let edge = (ActorId(reader.u32()?), ActorId(reader.u32()?));
    reader.end().map(|()| edge)
}

/// The value of `follows`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    /// Key of the oldest living follow record, by arrival.
    pub(crate) first: RecordKey,
    /// The greatest number that a further record has got; 0 if there never was one.
    pub(crate) last: u64,
    /// No further record with this number or a lower one is left: nobody has to look there again.
    pub(crate) gone: u64,
}

/// The bytes of a value.
pub(crate) fn encode(edge: &Edge) -> Vec<u8> {
    let mut out = Vec::with_capacity(9);
    push_rkey(&mut out, &edge.first);
    if edge.last > 0 {
        push_varint(&mut out, edge.last);
        push_varint(&mut out, edge.gone);
    }
    out
}

/// Back from [`encode`].
pub(crate) fn decode(bytes: &[u8]) -> Result<Edge> {
    let mut reader = Reader::new("follows", bytes);
    let first = reader.rkey()?;
    let (last, gone) = if reader.is_empty() { (0, 0) } else { (reader.varint()?, reader.varint()?) };
    reader.end()?;
    Ok(Edge { first, last, gone })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::arb;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(a: u32, b: u32, first in arb::rkey(), last in 1u64.., gone: u64) {
            prop_assert_eq!(read_key(&key(ActorId(a), ActorId(b))).unwrap(), (ActorId(a), ActorId(b)));
            for edge in [Edge { first: first.clone(), last, gone }, Edge { first, last: 0, gone: 0 }] {
                prop_assert_eq!(decode(&encode(&edge)).unwrap(), edge);
            }
        }
    }
}
