//! The two edge sets.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `follows` | follower u32 BE, subject u32 BE | keys (packed) of the edge's living follow records, oldest arrival first |
//! | `followers` | subject u32 BE, follower u32 BE | nothing |
//!
//! An edge without records is in neither.

use skyweir_store::Result;
use skyweir_types::{ActorId, RecordKey};

use crate::codec::{Reader, push_rkey};

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
pub(crate) fn encode(rkeys: &[RecordKey]) -> Vec<u8> {
    let mut out = Vec::with_capacity(9 * rkeys.len());
    for rkey in rkeys {
        push_rkey(&mut out, rkey);
    }
    out
}

/// Back from [`encode`].
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<RecordKey>> {
    let mut reader = Reader::new("follows", bytes);
    let mut rkeys = Vec::with_capacity(1);
    while !reader.is_empty() {
        rkeys.push(reader.rkey()?);
    }
    Ok(rkeys)
}

/// The first record key of a value.
pub(crate) fn decode_first(bytes: &[u8]) -> Result<RecordKey> {
    Reader::new("follows", bytes).rkey()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::arb;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(a: u32, b: u32, rkeys in prop::collection::vec(arb::rkey(), 1..5)) {
            prop_assert_eq!(read_key(&key(ActorId(a), ActorId(b))).unwrap(), (ActorId(a), ActorId(b)));
            let value = encode(&rkeys);
            prop_assert_eq!(&decode_first(&value).unwrap(), &rkeys[0]);
            prop_assert_eq!(decode(&value).unwrap(), rkeys);
        }
    }
}
