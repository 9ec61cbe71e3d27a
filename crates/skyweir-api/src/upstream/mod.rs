//! An existing data plane behind ours: what we don't answer is passed on to it, so that an AppView needs one address.
//!
//! Only gRPC calls of `bsky.Service` are, as they come: heads, bodies and trailers are handed through and nothing is
//! decoded. What is passed on has limits of its own, so that a slow upstream takes no places from our own reads.

mod body;
mod call;
mod dial;
mod error;
mod headers;
mod pool;
mod shared;
mod url;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::Scheme;
use http::{Request, Response, Uri, Version};
use hyper::body::Incoming;
use skyweir_store::{Complete, Completeness};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tonic::body::Body;
use tower::{Layer, Service};

use self::body::{Down, Flow, Up};
use self::call::Call;
use self::dial::{Dial, Tasks};
pub(crate) use self::error::UpstreamError;
use self::pool::{Lease, Pool};
use self::shared::Shared;
pub use self::url::{UpstreamHttp, UpstreamUrl};
use crate::Config;

/// The interface that is passed on.
const SERVICE: &str = "/bsky.Service/";
/// What we answer ourselves. `Ping` isn't: an AppView asks by it whether its data plane is there, and that is both.
const OURS: [&str; 3] = ["GetTimeline", "GetFollowers", "GetFollows"];

/// Passes on to upstream what isn't ours; without an upstream everything is.
#[derive(Clone)]
pub(crate) struct Passing(Option<Arc<Upstream>>);

impl Passing {
    /// `complete` tells whether all follows are known.
    pub(crate) fn new(config: &Config, complete: Arc<dyn Complete>) -> Self {
        let url = config.upstream.clone();
        Self(url.map(|url| Arc::new(Upstream::new(config, url, complete))))
    }
}

impl<S> Layer<S> for Passing {
    type Service = Passed<S>;

    fn layer(&self, inner: S) -> Passed<S> {
        Passed { inner, upstream: self.0.clone() }
    }
}

/// A service with an upstream behind it.
#[derive(Clone)]
pub(crate) struct Passed<S> {
    inner: S,
    upstream: Option<Arc<Upstream>>,
}

type Answering<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

impl<S, E> Service<Request<Body>> for Passed<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = E, Future = Answering<E>>,
    E: 'static,
{
    type Response = Response<Body>;
    type Error = E;
    type Future = Answering<E>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), E>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Answering<E> {
        match self.upstream.as_ref().filter(|upstream| upstream.takes(&request)) {
            Some(upstream) => {
                let upstream = upstream.clone();
                Box::pin(async move { Ok(upstream.pass(request).await) })
            }
            None => self.inner.call(request),
        }
    }
}

/// The limits of one call.
#[derive(Clone, Copy, Debug)]
struct Terms {
    timeout_ms: u64,
    max_bytes: u64,
}

impl Terms {
    fn late(self) -> UpstreamError {
        UpstreamError::TimedOut(self.timeout_ms)
    }

    fn too_large(self) -> UpstreamError {
        UpstreamError::TooLarge(self.max_bytes)
    }
}

/// The data plane behind ours.
struct Upstream {
    url: UpstreamUrl,
    wire: Wire,
    running: Arc<Semaphore>,
    most: usize,
    terms: Terms,
    until_complete: bool,
    complete: Arc<dyn Complete>,
    /// Whether upstream answered when that was last known; its changes are logged.
    reached: AtomicBool,
    tasks: Tasks,
}

enum Wire {
    One(Arc<Pool>),
    Two(Shared),
}

impl Upstream {
    fn new(config: &Config, url: UpstreamUrl, complete: Arc<dyn Complete>) -> Self {
        let tasks = Tasks::default();
        let dial = Dial { url: url.clone(), tasks: tasks.clone() };
        let most = config.upstream_requests.clamp(1, Semaphore::MAX_PERMITS);
        let wire = match config.upstream_http {
            UpstreamHttp::One => Wire::One(Arc::new(Pool::new(dial, config.upstream_connections))),
            UpstreamHttp::Two => {
                Wire::Two(Shared::new(dial, Duration::from_millis(config.keepalive_ms), most))
            }
        };
        Self {
            url,
            wire,
            running: Arc::new(Semaphore::new(most)),
            most,
            terms: Terms { timeout_ms: config.upstream_timeout_ms, max_bytes: config.upstream_max_bytes },
            until_complete: config.upstream_until_complete,
            complete,
            reached: AtomicBool::new(true),
            tasks,
        }
    }

    fn takes(&self, request: &Request<Body>) -> bool {
        let Some(method) = request.uri().path().strip_prefix(SERVICE) else { return false };
        let is_known = || !self.until_complete || self.complete.completeness() == Completeness::Whole;
        let ours = OURS.contains(&method) && is_known();
        !ours && headers::is_grpc(request.headers())
    }

    async fn pass(&self, request: Request<Body>) -> Response<Body> {
        let Ok(place) = self.running.clone().try_acquire_owned() else {
            return Call::begin(None).refuse(UpstreamError::Overloaded(self.most));
        };
        let mut call = Call::begin(Some(place));
        let due = Instant::now() + Duration::from_millis(self.terms.timeout_ms);
        let flow = Arc::<Flow>::default();
        let sent = timeout_at(due, self.send(request, &flow)).await;
        let (answer, lease) = match sent.unwrap_or_else(|_| Err(self.terms.late())) {
            Ok(answered) => answered,
            Err(_) if flow.too_large() => return call.refuse(self.terms.too_large()),
            Err(error) => return call.refuse(error),
        };
        let (mut head, body) = answer.into_parts();
        headers::strip_hops(&mut head.headers);
        call.status(&head.headers);
        let mut answer = Response::new(Body::new(Down::new(body, lease, call, self.terms, due, &self.tasks)));
        (*answer.status_mut(), *answer.headers_mut()) = (head.status, head.headers);
        answer
    }

    async fn send(
        &self,
        request: Request<Body>,
        flow: &Arc<Flow>,
    ) -> Result<(Response<Incoming>, Option<Lease>), UpstreamError> {
        let request = self.outgoing(request, flow);
        let sent = match &self.wire {
            Wire::One(pool) => pool.send(request, flow).await.map(|(answer, lease)| (answer, Some(lease))),
            Wire::Two(shared) => shared.send(request).await.map(|answer| (answer, None)),
        };
        match &sent {
            Ok(_) => self.note(None),
            // a request that failed by itself breaks a connection, too
            Err(error) if error.is_away() && !flow.failed() => self.note(Some(error)),
            Err(_) => {}
        }
        sent
    }

    /// The same call, as it is told to upstream.
    fn outgoing(&self, request: Request<Body>, flow: &Arc<Flow>) -> Request<Up> {
        let (head, body) = request.into_parts();
        let path = head.uri.into_parts().path_and_query;
        let mut outgoing = Request::new(Up::new(body, self.terms.max_bytes, flow));
        *outgoing.method_mut() = head.method;
        *outgoing.headers_mut() = headers::outgoing(head.headers);
        let mut uri = http::uri::Parts::default();
        uri.path_and_query = path;
        match &self.wire {
            Wire::One(_) => {
                *outgoing.version_mut() = Version::HTTP_11;
                headers::set_host(outgoing.headers_mut(), &self.url);
            }
            Wire::Two(_) => {
                *outgoing.version_mut() = Version::HTTP_2;
                (uri.scheme, uri.authority) = (Some(Scheme::HTTP), Some(self.url.authority().clone()));
            }
        }
        *outgoing.uri_mut() = Uri::from_parts(uri).expect("a path, beneath a host or alone");
        outgoing
    }

    /// Says in the log when upstream goes away and when it is back.
    fn note(&self, away: Option<&UpstreamError>) {
        let reached = away.is_none();
        if self.reached.swap(reached, Ordering::Relaxed) == reached {
            return;
        }
        match away {
            Some(error) => tracing::warn!(%error, "calls can't be passed on"),
            None => tracing::info!(upstream.url = %self.url, "calls are passed on again"),
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}
