//! One call that is passed on, from its arrival to its last byte: what it takes and how it ends.

use http::{HeaderMap, Response};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};

use super::UpstreamError;
use crate::metrics::{self, Open};

/// A call on its way. Dropped without an end of its own, it counts as cancelled: the client has left,
/// or its deadline has passed.
pub(super) struct Call {
    began: Instant,
    outcome: &'static str,
    /// Whether upstream has given its status.
    good: Option<bool>,
    _place: Option<OwnedSemaphorePermit>,
    _open: Open,
}

impl Call {
    /// A call with its place among those on their way; without, it can only be refused.
    pub(super) fn begin(place: Option<OwnedSemaphorePermit>) -> Self {
        let began = Instant::now();
        Self { began, outcome: "cancelled", good: None, _place: place, _open: Open::passed_request() }
    }

    /// Takes upstream's status from the head of an answer or from its trailers, if it is there.
    pub(super) fn status(&mut self, from: &HeaderMap) {
        if let Some(code) = from.get("grpc-status") {
            self.good = Some(Code::from_bytes(code.as_bytes()) == Code::Ok);
        }
    }

    /// Upstream has answered to the end; well, if it said so.
    pub(super) fn answered(mut self) {
        self.outcome = if self.good == Some(true) { "ok" } else { "error" };
    }

    /// It ends here.
    pub(super) fn failed(mut self, error: &UpstreamError) {
        self.outcome = error.outcome();
    }

    /// It ends here, with nothing sent yet.
    pub(super) fn refuse(self, error: UpstreamError) -> Response<Body> {
        self.failed(&error);
        Status::from(error).into_http()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        metrics::passed(self.outcome, self.began.elapsed().as_secs_f64());
    }
}
