//! What can be set, with its limits and defaults.

use serde::{Deserialize, Serialize};

/// Settings of the follower graph: `[graph]` in `skyweir.toml`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Accounts that follow more than this many others are in the snapshot. Shared with the writer and the API; set by
    /// `[timeline]`.
    #[serde(skip)]
    pub reasonable_limit: u32,
    /// How many followers a page holds, 1 to 100,000 (default 10,000).
    pub page: usize,
    /// The high-follow snapshot is taken anew after this many seconds, at least 1 (default 60).
    pub snapshot_seconds: u64,
    /// How many accounts the snapshot holds at most (default 1,000,000); the rates of further ones are corrected when
    /// they are read.
    pub snapshot_most: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { reasonable_limit: 2_000, page: 10_000, snapshot_seconds: 60, snapshot_most: 1_000_000 }
    }
}
