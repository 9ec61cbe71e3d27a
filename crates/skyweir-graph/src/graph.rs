//! The follower graph: hands out pages and keeps the high-follow snapshot fresh.

use std::sync::Arc;
use std::time::Duration;

use skyweir_store::{Store, View};
use skyweir_types::ActorId;
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{Config, FollowerPages, HighFollows, metrics};

/// Why the graph ended against its will.
#[derive(Debug, Error)]
pub enum Error {
    /// The store is corrupt.
    #[error(transparent)]
    Store(#[from] skyweir_store::Error),
}

/// The follower graph.
pub struct Graph {
    config: Config,
    store: Arc<dyn Store>,
    snapshot: watch::Sender<Arc<HighFollows>>,
}

impl Graph {
    /// A graph over this store. The snapshot is empty until [`Graph::run`] takes one.
    #[must_use]
    pub fn new(config: Config, store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { config, store, snapshot: watch::Sender::new(Arc::default()) })
    }

    /// The followers of an author as of this view, in pages.
    #[must_use]
    pub fn followers(&self, view: Arc<dyn View>, author: ActorId) -> FollowerPages {
        FollowerPages::new(view, author, self.config.page.max(1))
    }

    /// Watches the high-follow snapshot.
    #[must_use]
    pub fn high_follows(&self) -> watch::Receiver<Arc<HighFollows>> {
        self.snapshot.subscribe()
    }

    /// Refreshes the snapshot until stopped.
    ///
    /// # Errors
    /// [`enum@Error`] when the store is corrupt; everything that may pass by itself is tried again at the next interval.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) -> Result<(), Error> {
        let every = Duration::from_secs(self.config.snapshot_seconds.max(1));
        loop {
            self.refresh().await?;
            if stop.run_until_cancelled(tokio::time::sleep(every)).await.is_none() {
                return Ok(());
            }
        }
    }

    /// Takes the snapshot anew.
    ///
    /// # Errors
    /// As [`Graph::run`].
    pub async fn refresh(&self) -> Result<(), Error> {
        let Config { reasonable_limit, snapshot_most, .. } = self.config;
        match HighFollows::take(&*self.store, reasonable_limit, snapshot_most).await {
            Ok(taken) => {
                metrics::snapshot(taken.len());
                self.snapshot.send_replace(Arc::new(taken));
            }
            Err(error @ skyweir_store::Error::Corrupt(_)) => return Err(error.into()),
            Err(error) => {
                metrics::snapshot_failed();
                tracing::warn!(%error, "high-follow snapshot failed, the former one stays");
            }
        }
        Ok(())
    }
}
