//! The string formats of lexicons.

use super::{AtUri, Datetime, Tid, is_cid, is_did, is_handle, is_language, is_nsid, is_record_key, is_uri};

/// What a lexicon demands of a string, beyond its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A DID or a handle.
    AtIdentifier,
    /// [`AtUri`].
    AtUri,
    /// [`is_cid`].
    Cid,
    /// [`Datetime`].
    Datetime,
    /// [`is_did`].
    Did,
    /// [`is_handle`].
    Handle,
    /// [`is_language`].
    Language,
    /// [`is_nsid`].
    Nsid,
    /// [`is_record_key`].
    RecordKey,
    /// [`Tid`].
    Tid,
    /// [`is_uri`].
    Uri,
}

impl Format {
    /// Whether the text has this format, in the eyes of the official software in its strict mode.
    #[must_use]
    pub fn accepts(self, text: &str) -> bool {
        match self {
            Self::AtIdentifier => is_did(text) || is_handle(text),
            Self::AtUri => AtUri::parse(text).is_ok(),
            Self::Cid => is_cid(text),
            Self::Datetime => Datetime::parse(text).is_ok(),
            Self::Did => is_did(text),
            Self::Handle => is_handle(text),
            Self::Language => is_language(text),
            Self::Nsid => is_nsid(text),
            Self::RecordKey => is_record_key(text),
            Self::Tid => Tid::parse(text).is_ok(),
            Self::Uri => is_uri(text),
        }
    }
}
