//! Timestamp identifiers.

use std::fmt;

use super::SyntaxError;

const ALPHABET: &[u8; 32] = b"234567abcdefghijklmnopqrstuvwxyz";

/// A timestamp identifier: microseconds and a clock id in 64 bits, 13 characters as text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tid(pub u64);

impl Tid {
    /// The least.
    pub const ZERO: Self = Self(0);

    /// Of a time in microseconds and a clock id below 1024.
    #[must_use]
    pub fn from_parts(micros: u64, clock: u16) -> Self {
        Self((micros << 10 | u64::from(clock & 0x3ff)) & (u64::MAX >> 1))
    }

    /// Microseconds since 1970.
    #[must_use]
    pub fn micros(self) -> u64 {
        self.0 >> 10
    }

    /// Checks and reads a TID.
    ///
    /// # Errors
    /// [`SyntaxError`] when it is none.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        let bytes = text.as_bytes();
        if bytes.len() != 13 || bytes[0] > b'j' {
            return Err(SyntaxError("TID"));
        }
        let mut value = 0u64;
        for byte in bytes {
            let digit = match byte {
                b'2'..=b'7' => byte - b'2',
                b'a'..=b'z' => byte - b'a' + 6,
                _ => return Err(SyntaxError("TID")),
            };
            value = value << 5 | u64::from(digit);
        }
        Ok(Self(value))
    }
}

impl fmt::Display for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0u8; 13];
        for (i, slot) in text.iter_mut().enumerate() {
            *slot = ALPHABET[(self.0 >> (60 - 5 * i) & 31) as usize];
        }
        f.write_str(std::str::from_utf8(&text).expect("the alphabet is ASCII"))
    }
}

impl fmt::Debug for Tid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
