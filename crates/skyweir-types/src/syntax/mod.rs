//! Syntax of AT Protocol identifiers.

mod did;
mod rkey;
mod tid;

pub use did::Did;
pub use rkey::RecordKey;
pub use tid::Tid;

/// A string is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid {0}")]
pub struct SyntaxError(pub &'static str);
