//! Resyncs under way, so that they are found without a scan of all accounts.
//!
//! Table `syncs`: key: account number, u32 BE; value: rev u64 BE, stream time as signed varint. The account's head
//! holds the same.

use skyweir_store::{Result, SyncMark};
use skyweir_types::Tid;

use crate::codec::{Reader, push_signed};

/// Value of a resync.
pub(crate) fn encode(mark: SyncMark) -> Vec<u8> {
    let mut out = mark.rev.0.to_be_bytes().to_vec();
    push_signed(&mut out, mark.since_ms);
    out
}

/// Back from [`encode`].
pub(crate) fn decode(bytes: &[u8]) -> Result<SyncMark> {
    let mut reader = Reader::new("syncs", bytes);
    let mark = SyncMark { rev: Tid(reader.u64()?), since_ms: reader.signed()? };
    reader.end().map(|()| mark)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::arb;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(rev in arb::tid(), since_ms: i64) {
            let mark = SyncMark { rev, since_ms };
            prop_assert_eq!(decode(&encode(mark)).unwrap(), mark);
        }
    }
}
