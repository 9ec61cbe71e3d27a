//! Record keys.

use std::fmt;
use std::sync::Arc;

use super::SyntaxError;
use super::bytes::Bytes;

static IN_KEYS: Bytes = Bytes::alphanumeric_and(b".-_:~");

/// The last part of a record's AT-URI. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey(Arc<str>);

impl RecordKey {
    /// Checks and takes a record key.
    ///
    /// # Errors
    /// [`SyntaxError`] when it is none.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        if is_record_key(text) { Ok(Self(text.into())) } else { Err(SyntaxError("record key")) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether this is a record key.
#[must_use]
pub fn is_record_key(text: &str) -> bool {
    (1..=512).contains(&text.len()) && text != "." && text != ".." && IN_KEYS.hold(text)
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
