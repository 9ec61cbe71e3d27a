//! Connections to upstream, and the tasks that drive them.

use std::future::Future;
use std::time::Duration;

use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{UpstreamError, UpstreamHttp, UpstreamUrl};
use crate::metrics::Open;

/// A data plane is near: what takes longer to connect to isn't there.
pub(super) const CONNECT: Duration = Duration::from_secs(3);

/// Opens connections to upstream.
pub(super) struct Dial {
    pub(super) url: UpstreamUrl,
    pub(super) tasks: Tasks,
}

impl Dial {
    pub(super) async fn connect(&self) -> Result<TokioIo<TcpStream>, UpstreamError> {
        let unreachable = |why: String| UpstreamError::Unreachable { url: self.url.clone(), why };
        let connected = timeout(CONNECT, TcpStream::connect(self.url.address())).await;
        let stream = connected
            .map_err(|_| unreachable(format!("no connection within {} s", CONNECT.as_secs())))?
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
            .map_err(|error| unreachable(error.to_string()))?;
        Ok(TokioIo::new(stream))
    }

    /// Runs a connection to its end.
    pub(super) fn drive<T>(&self, connection: impl Future<Output = T> + Send + 'static) {
        let open = Open::upstream_connection();
        self.tasks.execute(async move {
            // whatever ends it, the calls on it hear of it
            let _ = connection.await;
            drop(open);
        });
    }
}

/// A connection that has never answered failed.
pub(super) fn never_answered(error: &hyper::Error, other: UpstreamHttp) -> UpstreamError {
    let other = match other {
        UpstreamHttp::One => "1.1",
        UpstreamHttp::Two => "2",
    };
    UpstreamError::Mute { why: error.to_string(), other }
}

/// The tasks of connections; they end with the one who passes calls on.
#[derive(Clone, Default)]
pub(super) struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }
}

impl<F> Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, work: F) {
        let stop = self.stop.clone();
        self.tracker.spawn(async move {
            // cut short or not, nobody asks
            let _ = stop.run_until_cancelled_owned(work).await;
        });
    }
}
