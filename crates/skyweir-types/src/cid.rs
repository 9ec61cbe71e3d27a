//! CIDs of records: version 1, DAG-CBOR, SHA-256.

use std::cmp::Ordering;
use std::fmt;

use data_encoding::BASE32_NOPAD;

use crate::SyntaxError;
use crate::syntax::cid::base32;

/// The CID of a record. Its order is that of the CIDs as strings (contract, rule 11).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cid([u8; 32]);

const PREFIX: [u8; 4] = [0x01, 0x71, 0x12, 0x20];
/// Bytes of the text form: `b`, and five bits of 36 bytes in each letter.
const TEXT: usize = 59;

impl Cid {
    /// Takes the 36 bytes of a binary CID.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.strip_prefix(&PREFIX)?.try_into().ok()?))
    }

    /// Takes a SHA-256 digest.
    #[must_use]
    pub fn from_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The SHA-256 digest.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// [`SyntaxError`] for everything else, also for CIDs of other kinds.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let wrong = SyntaxError("CID of a record");
        let mut room = [0u8; 128];
        let bytes = base32(text, &mut room).ok_or(wrong)?;
        Self::from_bytes(bytes).ok_or(wrong)
    }

    /// 33 bytes whose order is that of the CIDs as strings: base32 puts `a`–`z` before `2`–`7`, ASCII the other way.
    #[must_use]
    pub fn order_key(&self) -> [u8; 33] {
        // two zero bits, the digest, and zeros up to 52 groups of 5 bits: four windows of 13 groups
        let mut shifted = [0u8; 40];
        for (i, byte) in self.0.iter().enumerate() {
            shifted[i] |= byte >> 2;
            shifted[i + 1] = byte << 6;
        }
        let mut key = [0u8; 40];
        for window in 0..4 {
            let at = window * 8;
            // a window begins 65 bits after the one before: 8 bytes and a bit
            let right = 63 - window;
            let bytes = shifted[at..at + 16].try_into().expect("sixteen bytes");
            let groups = u128::from_be_bytes(bytes) >> right;
            let moved = ((groups & EACH_LOW) + EACH * 6) ^ (groups & EACH_HIGH);
            for (key, byte) in key[at..].iter_mut().zip((moved << right).to_be_bytes()) {
                *key |= byte;
            }
        }
        *key.first_chunk().expect("33 of 40 bytes")
    }

    /// Back from [`Cid::order_key`]; `None` for what is no such key.
    #[must_use]
    pub fn from_order_key(key: &[u8; 33]) -> Option<Self> {
        let mut digest = [0u8; 32];
        let mut out = 0usize;
        for group in 0..52 {
            let value = (take5(key, group * 5) + 26) % 32;
            for bit in (0..5).rev() {
                let set = value >> bit & 1;
                let place = out;
                out += 1;
                match place {
                    0 | 1 | 258.. if set == 1 => return None,
                    0 | 1 | 258.. => {}
                    _ => digest[(place - 2) / 8] |= set << (7 - (place - 2) % 8),
                }
            }
        }
        Some(Self(digest))
    }
}

/// A one in each of 13 groups of 5 bits; their high bits; their other bits.
const EACH: u128 = {
    let (mut each, mut group) = (0, 0);
    while group < 13 {
        each = each << 5 | 1;
        group += 1;
    }
    each
};
const EACH_HIGH: u128 = EACH << 4;
const EACH_LOW: u128 = EACH_HIGH - EACH;

/// Five bits of a byte string from this bit on; zeros behind its end.
fn take5(bytes: &[u8], from: usize) -> u8 {
    let at = |index: usize| u16::from(bytes.get(index).copied().unwrap_or(0));
    let pair = at(from / 8) << 8 | at(from / 8 + 1);
    (pair >> (11 - from % 8) & 31) as u8
}

impl Ord for Cid {
    fn cmp(&self, other: &Self) -> Ordering {
        if self == other { Ordering::Equal } else { self.order_key().cmp(&other.order_key()) }
    }
}

impl PartialOrd for Cid {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0u8; 36];
        bytes[..4].copy_from_slice(&PREFIX);
        bytes[4..].copy_from_slice(&self.0);
        let mut text = [b'b'; TEXT];
        BASE32_NOPAD.encode_mut(&bytes, &mut text[1..]);
        text.make_ascii_lowercase();
        f.write_str(str::from_utf8(&text).expect("base32 is ASCII"))
    }
}

impl fmt::Debug for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_are_in_the_order_of_the_texts(a: [u8; 32], b: [u8; 32], alike in 0..32usize) {
            let mut b = b;
            b[..alike].copy_from_slice(&a[..alike]);
            let (a, b) = (Cid::from_digest(a), Cid::from_digest(b));
            prop_assert_eq!(a.order_key().cmp(&b.order_key()), a.to_string().cmp(&b.to_string()));
            prop_assert_eq!(Cid::from_order_key(&a.order_key()), Some(a));
        }
    }
}
