//! What can go wrong with storage, by what the caller can do about it.

use thiserror::Error;

/// A storage operation failed.
#[derive(Clone, Debug, Error)]
pub enum Error {
    /// What is stored contradicts itself: our own corruption, which always stops us.
    #[error("corrupt data: {0}; run `skyweir check`, and restore or rebuild the data directory")]
    Corrupt(String),
    /// The medium or server refused; trying again later may help.
    #[error("storage is unavailable: {0}")]
    Unavailable(String),
    /// A configured limit was reached.
    #[error("limit reached: {0}")]
    Limit(String),
}
