//! Syntax of AT Protocol identifiers and of the other strings that lexicons know.
//!
//! Where the official software and the specification differ, this follows the software: what it indexes, counts
//! (contract, rule 5). `tests/interop.rs` lists the differences.

mod at_uri;
mod bytes;
pub(crate) mod cid;
mod datetime;
mod did;
mod format;
mod graphemes;
mod handle;
mod language;
mod nsid;
mod rkey;
mod tid;
mod uri;

pub use at_uri::AtUri;
pub use cid::{is_cid, is_raw_cid, is_raw_cid_bytes};
pub use datetime::Datetime;
pub use did::{Did, is_did};
pub use format::Format;
pub use graphemes::graphemes_within;
pub use handle::is_handle;
pub use language::is_language;
pub use nsid::is_nsid;
pub use rkey::{RecordKey, is_record_key};
pub use tid::Tid;
pub use uri::is_uri;

/// A string is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {0}")]
pub struct SyntaxError(pub &'static str);
