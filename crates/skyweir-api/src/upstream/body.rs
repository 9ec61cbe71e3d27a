//! Bodies on their way through: counted and within the time limit, never decoded.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;
use tonic::body::Body;

use super::call::Call;
use super::pool::Lease;
use super::{Terms, UpstreamError};

/// What became of a request's body.
#[derive(Debug, Default)]
pub(super) struct Flow {
    failed: AtomicBool,
    too_large: AtomicBool,
    sent: AtomicBool,
}

impl Flow {
    /// It ended too early: by the limit, or by the client.
    pub(super) fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// It was larger than the limit.
    pub(super) fn too_large(&self) -> bool {
        self.too_large.load(Ordering::Relaxed)
    }

    /// Nothing more of it is sent.
    pub(super) fn sent(&self) -> bool {
        self.sent.load(Ordering::Relaxed)
    }
}

/// A request's body on its way up.
pub(super) struct Up {
    body: Body,
    left: u64,
    flow: Arc<Flow>,
}

impl Up {
    pub(super) fn new(body: Body, most: u64, flow: &Arc<Flow>) -> Self {
        Self { body, left: most, flow: flow.clone() }
    }
}

impl HttpBody for Up {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                self.flow.failed.store(true, Ordering::Relaxed);
                return Poll::Ready(Some(Err(error.into())));
            }
            None => return Poll::Ready(None),
        };
        match self.left.checked_sub(length(&frame)) {
            Some(left) => self.left = left,
            None => {
                self.flow.failed.store(true, Ordering::Relaxed);
                self.flow.too_large.store(true, Ordering::Relaxed);
                return Poll::Ready(Some(Err("the request is too large".into())));
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.flow.sent.store(true, Ordering::Relaxed);
    }
}

/// An answer's body on its way down. What cuts it off is told in trailers of our own, which is where a gRPC client
/// looks for what has happened.
pub(super) struct Down {
    open: Option<Answer>,
    left: u64,
    terms: Terms,
    due: Pin<Box<Sleep>>,
}

struct Answer {
    // dropped in this order: upstream hears first that nobody listens any more
    body: Incoming,
    lease: Option<Lease>,
    call: Call,
}

impl Down {
    pub(super) fn new(body: Incoming, lease: Option<Lease>, call: Call, terms: Terms, due: Instant) -> Self {
        let mut down = Self {
            open: Some(Answer { body, lease, call }),
            left: terms.max_bytes,
            terms,
            due: Box::pin(sleep_until(due)),
        };
        down.finish_if_over();
        down
    }

    fn finish_if_over(&mut self) {
        if self.open.as_ref().is_some_and(|open| open.body.is_end_stream()) {
            self.finish(None);
        }
    }

    fn finish(&mut self, trailers: Option<&HeaderMap>) {
        let Some(Answer { body, lease, mut call }) = self.open.take() else { return };
        drop(body);
        if let Some(lease) = lease {
            lease.give_back();
        }
        if let Some(trailers) = trailers {
            call.status(trailers);
        }
        call.answered();
    }

    fn cut(&mut self, error: UpstreamError) -> Option<Result<Frame<Bytes>, Infallible>> {
        let Answer { call, .. } = self.open.take()?;
        call.failed(&error);
        let mut trailers = HeaderMap::new();
        // our own messages fit into a header
        Status::from(error).add_header(&mut trailers).ok()?;
        Some(Ok(Frame::trailers(trailers)))
    }
}

impl HttpBody for Down {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        let Some(open) = &mut this.open else { return Poll::Ready(None) };
        if this.due.as_mut().poll(context).is_ready() {
            return Poll::Ready(this.cut(this.terms.late()));
        }
        let frame = match ready!(Pin::new(&mut open.body).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(this.cut(UpstreamError::Broken(error.to_string()))),
            None => {
                this.finish(None);
                return Poll::Ready(None);
            }
        };
        match this.left.checked_sub(length(&frame)) {
            Some(left) => this.left = left,
            None => return Poll::Ready(this.cut(this.terms.too_large())),
        }
        match frame.trailers_ref() {
            // nothing comes behind them
            Some(trailers) => this.finish(Some(trailers)),
            None => this.finish_if_over(),
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.open.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.open.as_ref().map_or_else(|| SizeHint::with_exact(0), |open| open.body.size_hint())
    }
}

fn length(frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, |data| data.len() as u64)
}
