//! Follow records of an edge beside its oldest one. Each is two small rows, so that an account that writes the same
//! follow a million times costs as much as any other.
//!
//! | row of table `duplicates` | key | value |
//! | --- | --- | --- |
//! | by arrival | follower u32 BE, subject u32 BE, 0, number u64 BE | record key (packed) |
//! | by record key | follower u32 BE, subject u32 BE, 1, record key (packed) | number u64 BE |

use skyweir_store::Result;
use skyweir_types::{ActorId, RecordKey};

use super::follows;
use crate::codec::{Reader, push_rkey};

const BY_ARRIVAL: u8 = 0;
const BY_KEY: u8 = 1;

/// What the keys of an edge's rows by arrival begin with.
pub(crate) fn prefix(follower: ActorId, subject: ActorId) -> Vec<u8> {
    let mut out = follows::key(follower, subject).to_vec();
    out.push(BY_ARRIVAL);
    out
}

/// The key of a row by arrival.
pub(crate) fn arrival_key(follower: ActorId, subject: ActorId, number: u64) -> Vec<u8> {
    let mut out = prefix(follower, subject);
    out.extend_from_slice(&number.to_be_bytes());
    out
}

/// The value of a row by arrival.
pub(crate) fn encode_rkey(rkey: &RecordKey) -> Vec<u8> {
    let mut out = Vec::with_capacity(9);
    push_rkey(&mut out, rkey);
    out
}

/// Back from [`encode_rkey`].
pub(crate) fn decode_rkey(bytes: &[u8]) -> Result<RecordKey> {
    let mut reader = Reader::new("duplicates", bytes);
    let rkey = reader.rkey()?;
    reader.end().map(|()| rkey)
}

/// The key of a row by record key.
pub(crate) fn record_key(follower: ActorId, subject: ActorId, rkey: &RecordKey) -> Vec<u8> {
    let mut out = follows::key(follower, subject).to_vec();
    out.push(BY_KEY);
    push_rkey(&mut out, rkey);
    out
}

/// The value of a row by record key.
pub(crate) fn decode_number(bytes: &[u8]) -> Result<u64> {
    let mut reader = Reader::new("duplicates", bytes);
    let number = reader.u64()?;
    reader.end().map(|()| number)
}

/// A key, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// Of a row by arrival.
    Arrival(u64),
    /// Of a row by record key.
    Record(RecordKey),
}

/// Back from [`arrival_key`] and [`record_key`]: follower, subject, and which row.
pub(crate) fn read_key(bytes: &[u8]) -> Result<(ActorId, ActorId, Row)> {
    let mut reader = Reader::new("duplicates", bytes);
    let (follower, subject) = (ActorId(reader.u32()?), ActorId(reader.u32()?));
    let row = match reader.u8()? {
        BY_ARRIVAL => Row::Arrival(reader.u64()?),
        BY_KEY => Row::Record(reader.rkey()?),
        _ => return Err(reader.bad()),
    };
    reader.end().map(|()| (follower, subject, row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::arb;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(a: u32, b: u32, number: u64, rkey in arb::rkey()) {
            let (a, b) = (ActorId(a), ActorId(b));
            prop_assert_eq!(read_key(&arrival_key(a, b, number)).unwrap(), (a, b, Row::Arrival(number)));
            prop_assert_eq!(read_key(&record_key(a, b, &rkey)).unwrap(), (a, b, Row::Record(rkey.clone())));
            prop_assert_eq!(decode_rkey(&encode_rkey(&rkey)).unwrap(), rkey);
            prop_assert_eq!(decode_number(&number.to_be_bytes()).unwrap(), number);
        }
    }
}
