//! Which reposts point at a post, so that its end takes them along.
//!
//! Table `reposts`: key: post's account u32 BE, post's record key (packed), reposter u32 BE, repost's record key
//! (packed); no value.

use skyweir_store::Result;
use skyweir_types::{ActorId, Collection, RecordRef};

use crate::codec::{Reader, push_rkey};

/// What the keys of all reposts of a post begin with.
pub(crate) fn prefix(post: &RecordRef) -> Vec<u8> {
    let mut out = Vec::with_capacity(26);
    out.extend_from_slice(&post.actor.0.to_be_bytes());
    push_rkey(&mut out, &post.rkey);
    out
}

/// The key of a note.
pub(crate) fn key(post: &RecordRef, repost: &RecordRef) -> Vec<u8> {
    let mut out = prefix(post);
    out.extend_from_slice(&repost.actor.0.to_be_bytes());
    push_rkey(&mut out, &repost.rkey);
    out
}

/// Back from [`key`]: post and repost.
pub(crate) fn read_key(bytes: &[u8]) -> Result<(RecordRef, RecordRef)> {
    let mut reader = Reader::new("reposts", bytes);
    let post =
        RecordRef { actor: ActorId(reader.u32()?), collection: Collection::Post, rkey: reader.rkey()? };
    let repost =
        RecordRef { actor: ActorId(reader.u32()?), collection: Collection::Repost, rkey: reader.rkey()? };
    reader.end().map(|()| (post, repost))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::arb;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(a in arb::record_ref(), b in arb::record_ref()) {
            let post = RecordRef { collection: Collection::Post, ..a };
            let repost = RecordRef { collection: Collection::Repost, ..b };
            prop_assert_eq!(read_key(&key(&post, &repost)).unwrap(), (post, repost));
        }
    }
}
