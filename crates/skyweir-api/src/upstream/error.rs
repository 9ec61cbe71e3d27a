//! Why a call that was passed upstream has no answer from there.

use thiserror::Error;

use super::UpstreamUrl;

/// A call could not be passed on.
#[derive(Clone, Debug, Error)]
pub(crate) enum UpstreamError {
    /// Too many are on their way; try again.
    #[error("overloaded: {0} calls are being passed on already (api.upstream_requests)")]
    Overloaded(usize),
    /// There is no connection.
    #[error("the data plane at {url} (api.upstream) can't be reached: {why}")]
    Unreachable {
        /// Where it was looked for.
        url: UpstreamUrl,
        /// What the system said.
        why: String,
    },
    /// A connection that had never answered broke: the usual reason is that upstream speaks another HTTP.
    #[error(
        "the data plane broke off: {why}; if it speaks HTTP/{other}, set api.upstream_http to \"{other}\""
    )]
    Mute {
        /// How it ended.
        why: String,
        /// The HTTP that isn't set.
        other: &'static str,
    },
    /// The connection broke.
    #[error("the data plane broke off: {0}")]
    Broken(String),
    /// The whole answer wasn't there in time.
    #[error("the data plane took longer than {0} ms (api.upstream_timeout_ms)")]
    TimedOut(u64),
    /// A body is larger than the limit; the same call will be again.
    #[error("larger than the {0} bytes that are passed on (api.upstream_max_bytes)")]
    TooLarge(u64),
}

impl UpstreamError {
    /// Whether it tells that upstream isn't there, or isn't what is expected.
    pub(super) fn is_away(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Mute { .. })
    }

    /// What the metrics call it.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Overloaded(_) => "overload",
            Self::Unreachable { .. } => "unreachable",
            Self::Mute { .. } | Self::Broken(_) => "broken",
            Self::TimedOut(_) => "timeout",
            Self::TooLarge(_) => "too_large",
        }
    }
}
