//! What a server does at once, and for how long.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use crate::error::status;
use crate::metrics::Open;
use crate::{Config, metrics};

/// Shared by all connections.
#[derive(Clone)]
pub(super) struct Limits {
    streams: Arc<Semaphore>,
    max_streams: usize,
    reads: Arc<Semaphore>,
    timeout: Duration,
}

/// What an open stream counts as.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    _open: Open,
}

impl Limits {
    pub(super) fn new(config: &Config) -> Self {
        let semaphore = |most: usize| Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS)));
        Self {
            streams: semaphore(config.max_streams),
            max_streams: config.max_streams,
            reads: semaphore(config.pages_at_once),
            timeout: Duration::from_millis(config.timeout_ms),
        }
    }

    /// A place for a stream, as long as there is one.
    pub(super) fn stream(&self) -> Result<Place, Status> {
        match Arc::clone(&self.streams).try_acquire_owned() {
            Ok(permit) => Ok(Place { _permit: permit, _open: Open::stream() }),
            Err(_) => {
                metrics::refused("streams");
                let most = self.max_streams;
                Err(Status::unavailable(format!("{most} streams are open already (graph.max_streams)")))
            }
        }
    }

    /// Reads from the store, in its turn and in time.
    pub(super) async fn read<T>(
        &self,
        read: impl Future<Output = skyweir_store::Result<T>>,
    ) -> Result<T, Status> {
        let in_turn = async {
            let _turn = self.reads.acquire().await.map_err(|_| Status::internal("turns have ended"))?;
            read.await.map_err(status)
        };
        let Ok(read) = tokio::time::timeout(self.timeout, in_turn).await else {
            metrics::refused("timeout");
            let ms = self.timeout.as_millis();
            return Err(Status::unavailable(format!(
                "the store gave no answer within {ms} ms (graph.timeout_ms)"
            )));
        };
        read
    }
}
