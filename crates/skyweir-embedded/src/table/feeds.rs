//! The feed of each author, newest first.
//!
//! Table `feeds`: key: author u32 BE, then with all bits flipped, so that forward is from new to old: `sort_at` u64
//! BE (sign flipped), CID order key (33 bytes), URI hash u64 BE. Value: item number as varint.

use skyweir_store::{FeedEntry, Result};
use skyweir_types::{ActorId, ItemId, Position};

use crate::codec::{Reader, ordered, push_varint, unordered};

/// The key of an entry; also the bound of what stands strictly after (below) a place.
pub(crate) fn key(author: ActorId, place: &Position) -> Vec<u8> {
    let mut out = Vec::with_capacity(53);
    out.extend_from_slice(&author.0.to_be_bytes());
    out.extend_from_slice(&(!ordered(place.sort_at)).to_be_bytes());
    out.extend(place.cid_key.iter().map(|byte| !byte));
    out.extend_from_slice(&(!place.uri_hash).to_be_bytes());
    out
}

/// Above the keys of all of an author's entries from this time on, below those of all before it.
pub(crate) fn end(author: ActorId, sort_at: i64) -> Vec<u8> {
    let mut out = Vec::with_capacity(12);
    out.extend_from_slice(&author.0.to_be_bytes());
    out.extend_from_slice(&(!ordered(sort_at)).wrapping_add(1).to_be_bytes());
    out
}

/// The value of an entry.
pub(crate) fn encode(item: ItemId) -> Vec<u8> {
    let mut out = Vec::with_capacity(7);
    push_varint(&mut out, item.0);
    out
}

/// Back from [`key`] and [`encode`].
pub(crate) fn read(key: &[u8], value: &[u8]) -> Result<(ActorId, FeedEntry)> {
    let mut reader = Reader::new("feeds", key);
    let author = ActorId(reader.u32()?);
    let sort_at = unordered(!reader.u64()?);
    let mut cid_key = [0; 33];
    for (to, from) in cid_key.iter_mut().zip(reader.take(33)?) {
        *to = !from;
    }
    let position = Position { sort_at, cid_key, uri_hash: !reader.u64()? };
    reader.end()?;
    let mut reader = Reader::new("feeds", value);
    let item = ItemId(reader.varint()?);
    reader.end()?;
    Ok((author, FeedEntry { position, item }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::arb;
    use proptest::prelude::*;
    use skyweir_types::UriHash;

    proptest! {
        #[test]
        fn round_trip(author: u32, sort_at: i64, cid in arb::cid(), hash: u64, item in 0..1u64 << 47) {
            let position = Position::new(sort_at, &cid, UriHash(hash));
            let (read_author, entry) = read(&key(ActorId(author), &position), &encode(ItemId(item))).unwrap();
            prop_assert_eq!(read_author, ActorId(author));
            prop_assert_eq!(entry, FeedEntry { position, item: ItemId(item) });
        }

        #[test]
        fn an_end_is_between(
            a: i64, b: i64, cid in arb::cid(), hash: u64, near in -2..3i64,
        ) {
            for b in [b, a.saturating_add(near)] {
                prop_assume!(b > i64::MIN);
                let at = key(ActorId(7), &Position::new(a, &cid, UriHash(hash)));
                prop_assert_eq!(at < end(ActorId(7), b), a >= b);
                prop_assert!(end(ActorId(7), b) < key(ActorId(8), &Position::TOP));
            }
        }

        #[test]
        fn forward_is_from_new_to_old(a: i64, b: i64, cid in arb::cid(), other in arb::cid(), hash: u64) {
            let (a, b) = (Position::new(a, &cid, UriHash(hash)), Position::new(b, &other, UriHash(!hash)));
            prop_assert_eq!(key(ActorId(7), &a).cmp(&key(ActorId(7), &b)), b.cmp(&a));
        }
    }
}
