//! DIDs.

use std::fmt;
use std::sync::Arc;

use super::SyntaxError;
use super::bytes::Bytes;

static IN_DIDS: Bytes = Bytes::alphanumeric_and(b"._:%-");

/// A decentralised identifier, `did:METHOD:…`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Did(Arc<str>);

impl Did {
    /// Checks and takes a DID.
    ///
    /// # Errors
    /// [`SyntaxError`] when it is none.
    pub fn parse(text: &str) -> Result<Self, SyntaxError> {
        if is_did(text) { Ok(Self(text.into())) } else { Err(SyntaxError("DID")) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether this is a DID of any method.
#[must_use]
pub fn is_did(text: &str) -> bool {
    text.len() <= 2_048
        && text.strip_prefix("did:").and_then(|rest| rest.split_once(':')).is_some_and(|(method, id)| {
            !method.is_empty()
                && method.bytes().all(|b| b.is_ascii_lowercase())
                && !id.is_empty()
                && IN_DIDS.hold(id)
                && !id.ends_with([':', '%'])
        })
}

impl fmt::Display for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Did {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
