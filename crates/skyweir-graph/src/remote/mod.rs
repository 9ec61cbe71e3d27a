//! A graph that other processes serve.

mod pages;
mod servers;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use skyweir_proto::skyweir::graph::v1::HighFollowsRequest;
use skyweir_store::{Away, Error, Result};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use self::pages::RemotePages;
use self::servers::{Server, Servers};
use self::streams::Streams;
use crate::error::store_error;
use crate::high_follows::Unfinished;
use crate::{Config, HighFollows, metrics};

/// After a watched server was lost the next one is asked after so long, then after twice as long, ...
const PAUSE_LEAST: Duration = Duration::from_millis(100);
/// ... but never after more than this: far less than a snapshot lasts.
const PAUSE_MOST: Duration = Duration::from_secs(5);

/// The servers, what is open to them, and the newest snapshot.
pub(crate) struct Remote {
    servers: Servers,
    streams: Streams,
    snapshot: watch::Sender<Arc<HighFollows>>,
    page: u32,
    reasonable_limit: u32,
    snapshot_most: usize,
    timeout: Duration,
}

impl Remote {
    pub(crate) fn new(config: Config) -> Arc<Self> {
        Arc::new(Self {
            streams: Streams::new(config.remote_streams),
            snapshot: watch::Sender::default(),
            page: u32::try_from(config.page).unwrap_or(u32::MAX).max(1),
            reasonable_limit: config.reasonable_limit,
            snapshot_most: config.snapshot_most,
            timeout: Duration::from_millis(config.timeout_ms),
            servers: Servers::new(config),
        })
    }

    pub(crate) fn high_follows(&self) -> watch::Receiver<Arc<HighFollows>> {
        self.snapshot.subscribe()
    }

    /// Since when no server gives anything, unless one does.
    pub(crate) fn away(&self) -> Option<Away> {
        self.servers.away()
    }

    /// Watches the snapshots of one server after the other until stopped. The newest one stays while none answers.
    ///
    /// # Errors
    /// Corruption only.
    pub(crate) async fn watch_snapshots(&self, stop: &CancellationToken) -> Result<()> {
        let mut pause = PAUSE_LEAST;
        while let Some(server) = self.servers.in_order().next() {
            let Some(error) = stop.run_until_cancelled(self.watch(server, &mut pause)).await else { break };
            if let error @ Error::Corrupt(_) = server.failed(error) {
                return Err(error);
            }
            metrics::snapshot_failed();
            tracing::debug!(retry.ms = pause.as_millis() as u64, "the former high-follow snapshot stays");
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                break;
            }
            pause = (pause * 2).min(PAUSE_MOST);
        }
        Ok(())
    }

    /// Takes over the snapshots of this server until it fails: why.
    async fn watch(&self, server: &Server, pause: &mut Duration) -> Error {
        let mut client = server.client();
        let asked = client.high_follows(HighFollowsRequest { reasonable_limit: self.reasonable_limit });
        let mut chunks = match tokio::time::timeout(self.timeout, asked).await {
            Ok(Ok(answer)) => {
                // the first snapshot may be a while in coming
                server.answered();
                answer.into_inner()
            }
            Ok(Err(status)) => return store_error(server, &status),
            Err(_) => return server.silent(self.timeout),
        };
        let mut unfinished = Unfinished::default();
        loop {
            let chunk = match chunks.message().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return server.strange("the stream of high-follow snapshots ended"),
                Err(status) => return store_error(server, &status),
            };
            match unfinished.add(chunk, self.snapshot_most) {
                Ok(None) => {}
                Ok(Some(taken)) => {
                    *pause = PAUSE_LEAST;
                    server.answered();
                    metrics::snapshot(taken.len());
                    self.snapshot.send_replace(Arc::new(taken));
                }
                Err(why) => return server.strange(why),
            }
        }
    }
}
