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
        recode(&self.0, 2, |value| (value + 6) % 32)
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

/// Five bits of a byte string from this bit on; zeros behind its end.
fn take5(bytes: &[u8], from: usize) -> u8 {
    let at = |index: usize| u16::from(bytes.get(index).copied().unwrap_or(0));
    let pair = at(from / 8) << 8 | at(from / 8 + 1);
    (pair >> (11 - from % 8) & 31) as u8
}

fn recode(digest: &[u8; 32], lead: usize, rank: impl Fn(u8) -> u8) -> [u8; 33] {
    let mut shifted = [0u8; 34];
    for (i, byte) in digest.iter().enumerate() {
        shifted[i] |= byte >> lead;
        shifted[i + 1] |= byte << (8 - lead);
    }
    let mut key = [0u8; 33];
    for group in 0..52 {
        let value = u16::from(rank(take5(&shifted, group * 5)));
        let (byte, bit) = (group * 5 / 8, group * 5 % 8);
        let placed = value << (11 - bit);
        key[byte] |= (placed >> 8) as u8;
        if let Some(next) = key.get_mut(byte + 1) {
            *next |= placed as u8;
        }
    }
    key
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
        write!(f, "b{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase())
    }
}

impl fmt::Debug for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
