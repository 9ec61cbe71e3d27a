//! Sets of ASCII characters, to look a whole text up in.

/// A set of bytes.
pub(super) struct Bytes([bool; 256]);

impl Bytes {
    /// ASCII letters, digits and these.
    pub(super) const fn alphanumeric_and(others: &[u8]) -> Self {
        let mut set = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            set[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let mut i = 0;
        while i < others.len() {
            set[others[i] as usize] = true;
            i += 1;
        }
        Self(set)
    }

    /// Whether each byte of the text is in the set.
    pub(super) fn hold(&self, text: &str) -> bool {
        text.bytes().all(|byte| self.0[usize::from(byte)])
    }
}
