//! Bodies on their way through: counted and within the time limit, never decoded.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::rt::Executor as _;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use tonic::body::Body;

use super::call::Call;
use super::dial::Tasks;
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
    answer: Arc<Mutex<Option<Answer>>>,
    over: bool,
    left: u64,
    terms: Terms,
    /// Comes when the time is over and the answer was taken away.
    late: oneshot::Receiver<()>,
}

struct Answer {
    // dropped in this order: upstream hears first that nobody listens any more
    body: Incoming,
    lease: Option<Lease>,
    call: Call,
}

impl Down {
    pub(super) fn new(
        body: Incoming,
        lease: Option<Lease>,
        call: Call,
        terms: Terms,
        due: Instant,
        tasks: &Tasks,
    ) -> Self {
        let is_over = body.is_end_stream();
        let answer = Arc::new(Mutex::new(Some(Answer { body, lease, call })));
        let (tell, late) = oneshot::channel();
        let watched = Arc::downgrade(&answer);
        let mut down = Self { answer, over: false, left: terms.max_bytes, terms, late };
        if is_over {
            down.finish(None);
        } else {
            tasks.execute(end_when_due(watched, terms, due, tell));
        }
        down
    }

    fn finish(&mut self, trailers: Option<&HeaderMap>) {
        self.over = true;
        let Some(Answer { body, lease, mut call }) = take(&self.answer) else { return };
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
        self.over = true;
        fail(&self.answer, &error);
        let mut trailers = HeaderMap::new();
        // our own messages fit into a header
        Status::from(error).add_header(&mut trailers).ok()?;
        Some(Ok(Frame::trailers(trailers)))
    }
}

/// Takes an answer away when its time is over. A body can't do that for itself: it isn't asked while its client doesn't
/// read.
async fn end_when_due(
    answer: Weak<Mutex<Option<Answer>>>,
    terms: Terms,
    due: Instant,
    mut tell: oneshot::Sender<()>,
) {
    if timeout_at(due, tell.closed()).await.is_ok() {
        return;
    }
    if let Some(answer) = answer.upgrade() {
        fail(&answer, &terms.late());
        // it may have gone this moment
        let _ = tell.send(());
    }
}

fn fail(answer: &Mutex<Option<Answer>>, error: &UpstreamError) {
    if let Some(Answer { call, .. }) = take(answer) {
        call.failed(error);
    }
}

fn take(answer: &Mutex<Option<Answer>>) -> Option<Answer> {
    lock(answer).take()
}

fn lock(answer: &Mutex<Option<Answer>>) -> MutexGuard<'_, Option<Answer>> {
    answer.lock().unwrap_or_else(PoisonError::into_inner)
}

impl HttpBody for Down {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = &mut *self;
        if this.over {
            return Poll::Ready(None);
        }
        if Pin::new(&mut this.late).poll(context).is_ready() {
            return Poll::Ready(this.cut(this.terms.late()));
        }
        let (polled, is_last) = match &mut *lock(&this.answer) {
            Some(Answer { body, .. }) => {
                (ready!(Pin::new(&mut *body).poll_frame(context)), body.is_end_stream())
            }
            // taken away this moment, which is about to be told
            None => return Poll::Pending,
        };
        let frame = match polled {
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
            None if is_last => this.finish(None),
            None => {}
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.over
    }

    fn size_hint(&self) -> SizeHint {
        match &*lock(&self.answer) {
            Some(answer) => answer.body.size_hint(),
            None if self.over => SizeHint::with_exact(0),
            None => SizeHint::default(),
        }
    }
}

fn length(frame: &Frame<Bytes>) -> u64 {
    frame.data_ref().map_or(0, |data| data.len() as u64)
}
