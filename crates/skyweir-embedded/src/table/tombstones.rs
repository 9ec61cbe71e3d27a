//! Tombstones by age, so that old ones are found without a scan.
//!
//! Table `tombstones`: key: stream time u64 BE (sign flipped), record's place as in `records`; no value.

use skyweir_store::Result;
use skyweir_types::RecordRef;

use super::records::{push_ref, read_ref};
use crate::codec::{Reader, ordered, unordered};

/// The key of a tombstone.
pub(crate) fn key(at_ms: i64, record: &RecordRef) -> Vec<u8> {
    let mut out = bound(at_ms).to_vec();
    push_ref(&mut out, record);
    out
}

/// Below every key of this time or later, above all others.
pub(crate) fn bound(at_ms: i64) -> [u8; 8] {
    ordered(at_ms).to_be_bytes()
}

/// Back from [`key`].
pub(crate) fn read_key(bytes: &[u8]) -> Result<(i64, RecordRef)> {
    let mut reader = Reader::new("tombstones", bytes);
    let at_ms = unordered(reader.u64()?);
    let record = read_ref(&mut reader)?;
    reader.end().map(|()| (at_ms, record))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::arb;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(at_ms: i64, place in arb::record_ref()) {
            prop_assert_eq!(read_key(&key(at_ms, &place)).unwrap(), (at_ms, place));
        }
    }
}
