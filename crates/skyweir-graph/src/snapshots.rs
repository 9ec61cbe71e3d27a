//! Takes the high-follow snapshot from a store, again and again.

use std::sync::Arc;
use std::time::Duration;

use skyweir_store::{Error, Result, Store};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{Config, HighFollows, metrics};

/// Keeps a snapshot fresh.
pub(crate) struct Snapshots {
    store: Arc<dyn Store>,
    limit: u32,
    most: usize,
    every: Duration,
    newest: watch::Sender<Arc<HighFollows>>,
}

impl Snapshots {
    pub(crate) fn new(config: &Config, store: Arc<dyn Store>) -> Self {
        Self {
            store,
            limit: config.reasonable_limit,
            most: config.snapshot_most,
            every: Duration::from_secs(config.snapshot_seconds.max(1)),
            newest: watch::Sender::default(),
        }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Arc<HighFollows>> {
        self.newest.subscribe()
    }

    /// Takes snapshots until stopped.
    ///
    /// # Errors
    /// Corruption only; everything that may pass by itself is tried again at the next interval.
    pub(crate) async fn run(&self, stop: &CancellationToken) -> Result<()> {
        for number in 1.. {
            match HighFollows::take(&*self.store, number, self.limit, self.most).await {
                Ok(taken) => {
                    metrics::snapshot(taken.len());
                    self.newest.send_replace(Arc::new(taken));
                }
                Err(error @ Error::Corrupt(_)) => return Err(error),
                Err(error) => {
                    metrics::snapshot_failed();
                    tracing::warn!(%error, "high-follow snapshot failed, the former one stays");
                }
            }
            if stop.run_until_cancelled(tokio::time::sleep(self.every)).await.is_none() {
                break;
            }
        }
        Ok(())
    }
}
