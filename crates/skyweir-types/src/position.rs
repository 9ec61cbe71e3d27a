//! Where an item stands in a timeline, and the cursors that name such a place (contract, rules 11–16).

use std::hash::Hasher;

use siphasher::sip::SipHasher24;
use thiserror::Error;

use crate::Cid;

/// A 64-bit hash of a record's AT-URI, alike in every process and for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UriHash(pub u64);

impl UriHash {
    /// Hashes `at://DID/COLLECTION/RKEY` without building the string.
    #[must_use]
    pub fn of(did: &str, collection: &str, rkey: &str) -> Self {
        let mut hash = SipHasher24::new_with_keys(0x736b_7977_6569_7201, 0x7572_692d_6861_7368);
        for part in ["at://", did, "/", collection, "/", rkey] {
            hash.write(part.as_bytes());
        }
        Self(hash.finish())
    }
}

/// An item's place: (`sortAt`, CID as a string, hash of the URI). Timelines run from the greatest to the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Milliseconds since 1970, from year 0 to 9999.
    pub sort_at: i64,
    /// [`Cid::order_key`] of the item's own record.
    pub cid_key: [u8; 33],
    /// Settles the order among byte-equal records.
    pub uri_hash: u64,
}

/// Why a cursor is none of ours: clients get `INVALID_ARGUMENT`.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("malformed cursor: expected <milliseconds>__<cid>, as the last response gave it")]
pub struct CursorError;

impl Position {
    /// Above every item.
    pub const TOP: Self = Self { sort_at: i64::MAX, cid_key: [0xff; 33], uri_hash: u64::MAX };

    /// The place of an item.
    #[must_use]
    pub fn new(sort_at: i64, cid: &Cid, uri: UriHash) -> Self {
        Self { sort_at, cid_key: cid.order_key(), uri_hash: uri.0 }
    }

    /// The place just above every item of this millisecond.
    #[must_use]
    pub fn above_ms(sort_at: i64) -> Self {
        Self { sort_at, cid_key: [0xff; 33], uri_hash: u64::MAX }
    }

    /// Whether two places differ in nothing but the hash of the URI.
    #[must_use]
    pub fn same_pair(&self, other: &Self) -> bool {
        self.sort_at == other.sort_at && self.cid_key == other.cid_key
    }

    /// The cursor for "what comes after this item". `inside_run`: the next item has an equal (`sortAt`, CID) pair.
    #[must_use]
    pub fn to_cursor(&self, inside_run: bool) -> String {
        let cid = Cid::from_order_key(&self.cid_key).map(|cid| cid.to_string()).unwrap_or_default();
        if inside_run {
            format!("{}__{cid}.{:016x}", self.sort_at, self.uri_hash)
        } else {
            format!("{}__{cid}", self.sort_at)
        }
    }

    /// Reads a cursor, also one of the official data plane.
    ///
    /// # Errors
    /// [`CursorError`] when it is not of the form `<milliseconds>__<cid>` or `<milliseconds>__<cid>.<hash>`.
    pub fn from_cursor(text: &str) -> Result<Self, CursorError> {
        let (ms, rest) = text.split_once("__").ok_or(CursorError)?;
        let digits = ms.strip_prefix('-').unwrap_or(ms);
        if digits.is_empty() || digits.len() > 15 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(CursorError);
        }
        let sort_at = ms.parse().map_err(|_| CursorError)?;
        let (cid, uri_hash) = match rest.split_once('.') {
            None => (rest, 0),
            Some((cid, hash)) if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
                (cid, u64::from_str_radix(hash, 16).map_err(|_| CursorError)?)
            }
            Some(_) => return Err(CursorError),
        };
        let cid = Cid::parse(cid).map_err(|_| CursorError)?;
        Ok(Self { sort_at, cid_key: cid.order_key(), uri_hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CID: &str = "bafyreib25swk3a6waplk2ie75u4a3qfejnkoiezfowuz7sa74i7tief3di";

    #[test]
    fn cursors_round_trip() {
        let cid = Cid::parse(CID).unwrap();
        let place = Position::new(-5, &cid, UriHash(77));
        assert_eq!(place.to_cursor(false), format!("-5__{CID}"));
        assert_eq!(Position::from_cursor(&place.to_cursor(true)), Ok(place));
        assert_eq!(Position::from_cursor(&place.to_cursor(false)), Ok(Position { uri_hash: 0, ..place }));
    }

    #[test]
    fn malformed_cursors_are_refused() {
        for bad in [
            "",
            "x",
            "12",
            "__",
            "12__",
            "12__x",
            "1.5__bafy",
            "12::bafy",
            "+1__bafy",
            "99999999999999999__x",
        ] {
            assert_eq!(Position::from_cursor(bad), Err(CursorError), "{bad}");
        }
        for bad in [".", ".x", ".00", ".+000000000000001"] {
            assert_eq!(Position::from_cursor(&format!("12__{CID}{bad}")), Err(CursorError), "{bad}");
        }
    }
}
