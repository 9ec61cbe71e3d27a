//! Serves a store's graph to other processes, over cleartext HTTP/2.

mod answers;
mod limits;

use std::sync::Arc;
use std::time::Duration;

use skyweir_proto::skyweir::graph::v1::follower_graph_server::FollowerGraphServer;
use skyweir_store::Store;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::answers::Answers;
use self::limits::Limits;
use crate::metrics::Open;
use crate::snapshots::Snapshots;
use crate::{Config, Error};

/// The largest request, bytes: counts of 10,000 accounts are 40 KB.
const REQUEST_MOST: usize = 64 << 10;

/// A server of the follower graph.
pub struct Server {
    config: Config,
    store: Arc<dyn Store>,
}

impl Server {
    /// A server over this store. Nothing runs yet.
    #[must_use]
    pub fn new(config: Config, store: Arc<dyn Store>) -> Self {
        Self { config, store }
    }

    /// Serves until `stop`, then accepts nothing more, tells streams to go on elsewhere, and gives answers
    /// [`Config::drain_ms`] to end. Has to run on a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// [`enum@Error`] when the store is corrupt or the protocol stack failed. A client never stops it.
    pub async fn run(self, listener: TcpListener, stop: CancellationToken) -> Result<(), Error> {
        let Self { config, store } = self;
        let snapshots = Snapshots::new(&config, Arc::clone(&store));
        let answers = Answers::new(&config, store, snapshots.subscribe(), Limits::new(&config), stop.clone());
        let keepalive = Duration::from_millis(config.keepalive_ms);
        let (sender, incoming) = skyweir_listen::channel();
        let server = tonic::transport::Server::builder()
            // one that asks for more waits; the limit of all answers, and is lower for most
            .max_concurrent_streams(u32::try_from(config.max_streams).unwrap_or(u32::MAX).saturating_add(1))
            .http2_keepalive_interval(Some(keepalive))
            .http2_keepalive_timeout(Some(keepalive))
            .add_service(FollowerGraphServer::new(answers).max_decoding_message_size(REQUEST_MOST))
            .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
        let most = config.max_connections;
        let accept = skyweir_listen::accept(listener, most, 2 * keepalive, Open::connection, sender);
        let until_drained = async {
            tokio::select! {
                () = accept => {}
                () = stop.cancelled() => {}
            }
            // the listener is closed by now
            tokio::time::sleep(Duration::from_millis(config.drain_ms)).await;
        };
        let snapshots = async {
            match snapshots.run(&stop).await {
                Ok(()) => std::future::pending().await,
                Err(error) => error,
            }
        };
        tokio::select! {
            served = server => Ok(served?),
            error = snapshots => Err(error.into()),
            () = until_drained => {
                tracing::warn!(drain.ms = config.drain_ms, "readers of follower pages did not finish in time");
                Ok(())
            }
        }
    }
}
