//! HTTP/1.1 to upstream: connections that are kept, each for one call at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::body::{Flow, Up};
use super::dial::{Dial, never_answered};
use super::{UpstreamError, UpstreamHttp};

/// How long an idle connection is used again: Node.js closes its side after five seconds, and a call that crosses that
/// is lost.
const IDLE: Duration = Duration::from_secs(4);

/// Connections to upstream. Each is idle, or belongs to a call that holds one of the places; a new one is opened only
/// when none is idle, so there are never more than places.
pub(super) struct Pool {
    dial: Dial,
    places: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    sender: SendRequest<Up>,
    since: Instant,
}

/// A connection that belongs to a call. Dropped, it is closed, and upstream hears that the call is over.
pub(super) struct Lease {
    sender: SendRequest<Up>,
    flow: Arc<Flow>,
    pool: Arc<Pool>,
    place: OwnedSemaphorePermit,
}

impl Pool {
    pub(super) fn new(dial: Dial, connections: usize) -> Self {
        let places = Semaphore::new(connections.clamp(1, Semaphore::MAX_PERMITS));
        Self { dial, places: Arc::new(places), idle: Mutex::default() }
    }

    /// Sends a call on a connection of its own and waits for the head of the answer; without a free place for that as
    /// well, in the order of asking.
    pub(super) async fn send(
        self: &Arc<Self>,
        mut request: Request<Up>,
        flow: &Arc<Flow>,
    ) -> Result<(Response<Incoming>, Lease), UpstreamError> {
        let place = self.places.clone().acquire_owned().await.expect("places are never closed");
        loop {
            let (mut sender, kept) = match self.take().await {
                Some(sender) => (sender, true),
                None => (self.open().await?, false),
            };
            match sender.try_send_request(request).await {
                Ok(answer) => {
                    let lease = Lease { sender, flow: flow.clone(), pool: self.clone(), place };
                    return Ok((answer, lease));
                }
                Err(mut failed) => match failed.take_message() {
                    // closed while it was idle, and nothing was sent on it
                    Some(unsent) if kept => request = unsent,
                    _ if kept => return Err(UpstreamError::Broken(failed.into_error().to_string())),
                    _ => return Err(never_answered(&failed.into_error(), UpstreamHttp::Two)),
                },
            }
        }
    }

    /// An idle connection, the one that was used last.
    async fn take(&self) -> Option<SendRequest<Up>> {
        loop {
            let Idle { mut sender, since } = self.idle().pop()?;
            if since.elapsed() < IDLE && sender.ready().await.is_ok() {
                return Some(sender);
            }
        }
    }

    async fn open(&self) -> Result<SendRequest<Up>, UpstreamError> {
        let io = self.dial.connect().await?;
        let (sender, connection) =
            handshake(io).await.map_err(|error| never_answered(&error, UpstreamHttp::Two))?;
        self.dial.drive(connection);
        Ok(sender)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// The answer was read to its end: the connection may serve another call.
    pub(super) fn give_back(self) {
        let Self { sender, flow, pool, place } = self;
        // one whose request is still being sent would let the next call wait for that
        if flow.sent() && !sender.is_closed() {
            let mut idle = pool.idle();
            idle.retain(|idle| idle.since.elapsed() < IDLE);
            idle.push(Idle { sender, since: Instant::now() });
        }
        drop(place);
    }
}
