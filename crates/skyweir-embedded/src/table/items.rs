//! Current items.
//!
//! Table `items`: key: item number, u64 BE. Value: flags (bit 0 repost, 1 reply, 2 quote), author u32 BE, record key
//! (packed), CID (32 bytes), `sort_at` as signed varint, URI hash u64 BE; for a repost its subject's URI and CID as
//! texts with their lengths. A value never changes: a new version of a record is a new item.

use skyweir_store::{NewItem, Result};
use skyweir_types::{ActorId, Item, ItemId, ItemKind, UriHash};

use crate::codec::{Reader, push_rkey, push_signed, push_text};

const REPOST: u8 = 1;
const REPLY: u8 = 2;
const QUOTE: u8 = 4;

/// The key of an item.
pub(crate) fn key(id: ItemId) -> [u8; 8] {
    id.0.to_be_bytes()
}

/// Back from [`key`].
pub(crate) fn read_key(bytes: &[u8]) -> Result<ItemId> {
    let mut reader = Reader::new("items", bytes);
    let id = ItemId(reader.u64()?);
    reader.end().map(|()| id)
}

/// The value of an item.
pub(crate) fn encode(item: &NewItem) -> Vec<u8> {
    let mut out = Vec::with_capacity(72);
    out.push(match item.kind {
        ItemKind::Repost { .. } => REPOST,
        ItemKind::Post { is_reply, is_quote } => {
            (if is_reply { REPLY } else { 0 }) | if is_quote { QUOTE } else { 0 }
        }
    });
    out.extend_from_slice(&item.author.0.to_be_bytes());
    push_rkey(&mut out, &item.rkey);
    out.extend_from_slice(item.cid.digest());
    push_signed(&mut out, item.sort_at);
    out.extend_from_slice(&item.uri_hash.0.to_be_bytes());
    if let ItemKind::Repost { uri, cid } = &item.kind {
        push_text(&mut out, uri);
        push_text(&mut out, cid);
    }
    out
}

/// Back from [`encode`].
pub(crate) fn decode(id: ItemId, bytes: &[u8]) -> Result<Item> {
    let mut reader = Reader::new("items", bytes);
    let flags = reader.u8()?;
    let author = ActorId(reader.u32()?);
    let (rkey, cid, sort_at) = (reader.rkey()?, reader.cid()?, reader.signed()?);
    let uri_hash = UriHash(reader.u64()?);
    let kind = match flags {
        REPOST => ItemKind::Repost { uri: reader.text()?.to_owned(), cid: reader.text()?.to_owned() },
        0..=6 if flags & REPOST == 0 => {
            ItemKind::Post { is_reply: flags & REPLY != 0, is_quote: flags & QUOTE != 0 }
        }
        _ => return Err(reader.bad()),
    };
    reader.end()?;
    Ok(Item { id, author, rkey, cid, sort_at, uri_hash, kind })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::arb;
    use proptest::prelude::*;

    fn kind() -> impl Strategy<Value = ItemKind> {
        prop_oneof![
            any::<(bool, bool)>().prop_map(|(is_reply, is_quote)| ItemKind::Post { is_reply, is_quote }),
            (".{0,60}", ".{0,60}").prop_map(|(uri, cid)| ItemKind::Repost { uri, cid }),
        ]
    }

    proptest! {
        #[test]
        fn round_trip(
            id in (0..1u64 << 47).prop_map(ItemId), author: u32, rkey in arb::rkey(), cid in arb::cid(),
            sort_at: i64, hash: u64, kind in kind(),
        ) {
            let new = NewItem {
                author: ActorId(author), rkey, cid, sort_at, uri_hash: UriHash(hash), kind,
            };
            let item = decode(id, &encode(&new)).unwrap();
            prop_assert_eq!(read_key(&key(id)).unwrap(), item.id);
            let again = NewItem {
                author: item.author, rkey: item.rkey, cid: item.cid, sort_at: item.sort_at,
                uri_hash: item.uri_hash, kind: item.kind,
            };
            prop_assert_eq!(again, new);
        }
    }
}
