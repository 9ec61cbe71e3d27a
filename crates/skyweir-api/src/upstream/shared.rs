//! HTTP/2 to upstream: one connection, shared by all calls and opened again when it breaks.

use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::TokioTimer;
use tokio::sync::Mutex;

use super::body::Up;
use super::dial::{Dial, never_answered};
use super::{UpstreamError, UpstreamHttp};

/// The connection to upstream.
pub(super) struct Shared {
    dial: Dial,
    keepalive: Duration,
    open: Mutex<Connection>,
}

#[derive(Default)]
struct Connection {
    /// Counts connections from 1 on.
    number: u64,
    sender: Option<SendRequest<Up>>,
}

impl Shared {
    pub(super) fn new(dial: Dial, keepalive: Duration) -> Self {
        Self { dial, keepalive, open: Mutex::default() }
    }

    /// Sends a call and waits for the head of the answer.
    pub(super) async fn send(&self, mut request: Request<Up>) -> Result<Response<Incoming>, UpstreamError> {
        let mut closed = 0;
        loop {
            let (mut sender, number, kept) = self.sender(closed).await?;
            match sender.try_send_request(request).await {
                Ok(answer) => return Ok(answer),
                Err(mut failed) => match failed.take_message() {
                    // upstream closed it, and nothing was sent on it
                    Some(unsent) if kept => (request, closed) = (unsent, number),
                    _ if kept => return Err(UpstreamError::Broken(failed.into_error().to_string())),
                    _ => return Err(never_answered(&failed.into_error(), UpstreamHttp::One)),
                },
            }
        }
    }

    /// The connection, its number, and whether others have used it; a new one if it is closed, or is the one that this
    /// caller knows to be.
    async fn sender(&self, closed: u64) -> Result<(SendRequest<Up>, u64, bool), UpstreamError> {
        let mut open = self.open.lock().await;
        if let Some(sender) = &open.sender
            && !sender.is_closed()
            && open.number != closed
        {
            return Ok((sender.clone(), open.number, true));
        }
        let io = self.dial.connect().await?;
        // only while calls are open: some servers close a connection that is probed while it is idle
        let (sender, connection) = Builder::new(self.dial.tasks.clone())
            .timer(TokioTimer::new())
            .keep_alive_interval(self.keepalive)
            .keep_alive_timeout(self.keepalive)
            .handshake(io)
            .await
            .map_err(|error| never_answered(&error, UpstreamHttp::One))?;
        self.dial.drive(connection);
        *open = Connection { number: open.number + 1, sender: Some(sender.clone()) };
        Ok((sender, open.number, false))
    }
}
