//! The writer: takes tasks from the log, turns them into references, reports how far it is.

use std::sync::Arc;

use skyweir_graph::Graph;
use skyweir_store::{Store, Timelines};
use skyweir_types::Clock;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::{Config, Handle};

/// What the writer works with.
#[derive(Clone)]
pub struct Deps {
    /// Records and the task log.
    pub store: Arc<dyn Store>,
    /// The cache that it writes.
    pub timelines: Arc<dyn Timelines>,
    /// Follower pages and the high-follow snapshot.
    pub graph: Arc<Graph>,
    /// The wall clock.
    pub clock: Clock,
}

/// Why the writer ended against its will.
#[derive(Debug, Error)]
pub enum Error {
    /// The store is corrupt, or failed in a way that trying again can't mend.
    #[error(transparent)]
    Store(#[from] skyweir_store::Error),
}

/// Works through the task log.
pub struct Writer {}

impl Writer {
    /// A writer and its handle. Nothing runs yet.
    #[must_use]
    pub fn new(_config: Config, _deps: Deps) -> (Self, Handle) {
        (Self {}, Handle {})
    }

    /// Works until stopped, then finishes what it has begun, within a limit, and saves the timelines.
    ///
    /// # Errors
    /// [`Error`]; everything that may pass by itself is tried again instead.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        stop.cancelled().await;
        Ok(())
    }
}
