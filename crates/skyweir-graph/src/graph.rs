//! The follower graph as the writer sees it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use skyweir_store::Store;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

/// Settings of the follower graph: `[graph]` in `skyweir.toml`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Accounts that follow more than this many others are in the snapshot. Set by `[timeline]`.
    #[serde(skip)]
    pub reasonable_limit: u32,
    /// How many followers a page holds, 1 to 100,000 (default 10,000).
    pub page: usize,
    /// The high-follow snapshot is taken anew after this many seconds, at least 1 (default 60).
    pub snapshot_seconds: u64,
    /// How many accounts the snapshot holds at most (default 1,000,000).
    pub snapshot_most: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { reasonable_limit: 2_000, page: 10_000, snapshot_seconds: 60, snapshot_most: 1_000_000 }
    }
}

/// Why the graph ended against its will.
#[derive(Debug, Error)]
pub enum Error {
    /// The store is corrupt, or failed in a way that trying again can't mend.
    #[error(transparent)]
    Store(#[from] skyweir_store::Error),
}

/// The follower graph.
pub struct Graph {}

impl Graph {
    /// A graph over this store. Nothing runs yet.
    #[must_use]
    pub fn new(_config: Config, _store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {})
    }

    /// Refreshes the snapshot until stopped.
    ///
    /// # Errors
    /// [`Error`]; everything that may pass by itself is tried again instead.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) -> Result<(), Error> {
        stop.cancelled().await;
        Ok(())
    }
}
