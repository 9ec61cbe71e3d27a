//! What can be wrong with a repository.

use thiserror::Error;

use crate::Skip;

/// A repository that can't be read. Another download may help; else its host has it so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RepoFault {
    /// The archive contradicts itself, or is none.
    #[error("its archive is wrong: {0}")]
    Car(&'static str),
    /// A block isn't what its CID says.
    #[error("a block has another hash than its CID says")]
    Hash,
    /// The commit is none, or another account's.
    #[error("its commit is wrong: {0}")]
    Commit(&'static str),
    /// The rev would lock out all that comes.
    #[error("its rev is more than five minutes ahead")]
    FutureRev,
    /// It is older than what its account is known to have: another copy, or a later one, may not be.
    #[error("its rev is older than what is known of its account")]
    OlderRev,
    /// The tree is none.
    #[error("its tree is wrong: {0}")]
    Tree(&'static str),
    /// The archive ends, and something is still waited for.
    #[error("{0} of its blocks are missing")]
    Missing(usize),
    /// Between two readings the repository became another.
    #[error("it changed while it was read twice")]
    Changed,
    /// Its blocks are so much out of order that putting them into it takes too much memory.
    #[error("putting its blocks in order takes more than {most} bytes (repo_held_bytes)")]
    Held {
        /// The limit, bytes.
        most: usize,
    },
    /// It is longer than it may be.
    #[error("it is longer than {most} bytes (repo_bytes)")]
    TooLong {
        /// The limit, bytes.
        most: u64,
    },
}

impl RepoFault {
    /// As what it is counted when it is given up.
    pub(super) fn skip(self) -> Skip {
        match self {
            Self::Held { .. } | Self::TooLong { .. } => Skip::RepoTooLarge,
            Self::FutureRev => Skip::FutureRev,
            Self::OlderRev => Skip::RepoUnreachable,
            _ => Skip::RepoDamaged,
        }
    }

    /// Whether a second reading, the tree first, may do what one alone could not.
    pub(super) fn needs_two_passes(self) -> bool {
        matches!(self, Self::Missing(_) | Self::Held { .. })
    }
}
