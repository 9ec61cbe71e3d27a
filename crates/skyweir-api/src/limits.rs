//! Limits on requests, as a tower layer: how many at once and how long each. Both answer `UNAVAILABLE`, the one status
//! that an AppView tries again; tonic's own limits answer with others.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::{Config, Error, metrics};

/// Methods that have a label of their own; whatever else is asked for shares one.
const METHODS: [&str; 10] = [
    "/bsky.Service/GetTimeline",
    "/bsky.Service/GetFollowers",
    "/bsky.Service/GetFollows",
    "/bsky.Service/Ping",
    "/skyweir.v1.TimelineService/GetTimeline",
    "/skyweir.v1.TimelineService/GetFollowerPage",
    "/skyweir.v1.TimelineService/GetFollowPage",
    "/skyweir.v1.TimelineService/GetFollowCounts",
    "/skyweir.v1.TimelineService/GetDelivery",
    "/skyweir.v1.TimelineService/GetStatus",
];
/// An overloaded service is alive: these are never refused.
const HEALTH: &str = "/grpc.health.v1.Health/";

/// Puts the limits around a service. All services made by one layer share one count.
#[derive(Clone)]
pub(crate) struct Limits {
    running: Arc<Semaphore>,
    most: usize,
    timeout: Duration,
}

impl Limits {
    pub(crate) fn new(config: &Config) -> Self {
        let most = config.max_requests.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            running: Arc::new(Semaphore::new(most)),
            most,
            timeout: Duration::from_millis(config.timeout_ms),
        }
    }
}

impl<S> Layer<S> for Limits {
    type Service = Limited<S>;

    fn layer(&self, inner: S) -> Limited<S> {
        Limited { inner, limits: self.clone() }
    }
}

/// A service within limits.
#[derive(Clone)]
pub(crate) struct Limited<S> {
    inner: S,
    limits: Limits,
}

impl<S, B> Service<Request<B>> for Limited<S>
where
    S: Service<Request<B>, Response = Response<Body>> + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    B: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let path = request.uri().path();
        if path.starts_with(HEALTH) {
            return Box::pin(self.inner.call(request));
        }
        let method = METHODS.into_iter().find(|known| *known == path).map_or("other", |known| &known[1..]);
        let asked = Asked { method, began: Instant::now(), code: Code::Cancelled };
        let Ok(permit) = self.limits.running.clone().try_acquire_owned() else {
            let answer = refuse("overload", Error::Overloaded(self.limits.most));
            asked.answered(&answer);
            return Box::pin(std::future::ready(Ok(answer)));
        };
        let timeout = self.limits.timeout;
        let answer = self.inner.call(request);
        Box::pin(async move {
            let (_permit, _open) = (permit, metrics::Open::request());
            let answer = match tokio::time::timeout(timeout, answer).await {
                Ok(answer) => answer?,
                Err(_) => refuse("timeout", Error::TimedOut(timeout.as_millis() as u64)),
            };
            asked.answered(&answer);
            Ok(answer)
        })
    }
}

/// A request on its way. Dropped without an answer, it counts as cancelled: the client has left.
struct Asked {
    method: &'static str,
    began: Instant,
    code: Code,
}

impl Asked {
    /// An error is told by the head of the response; a good answer has its status behind the body.
    fn answered(mut self, answer: &Response<Body>) {
        let code = answer.headers().get("grpc-status");
        self.code = code.map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()));
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        metrics::request(self.method, label(self.code), self.began.elapsed().as_secs_f64());
    }
}

fn refuse(reason: &'static str, error: Error) -> Response<Body> {
    metrics::refused(reason);
    Status::from(error).into_http()
}

fn label(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "cancelled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}
