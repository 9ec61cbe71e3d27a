//! HTTP/2 to upstream: one connection, shared by all calls and opened again when it breaks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::TokioTimer;
use tokio::sync::Mutex;

use super::body::Up;
use super::dial::{Dial, never_answered};
use super::{UpstreamError, UpstreamHttp};

/// How many bytes of an answer come before its client has read them.
const WINDOW: u32 = 128 << 10;
/// The largest that HTTP/2 knows.
const LARGEST_WINDOW: u32 = (1 << 31) - 1;

/// The connection to upstream.
pub(super) struct Shared {
    dial: Dial,
    /// So long it may be silent before it is probed, and again before it is given up.
    silence: Duration,
    /// Has room for the windows of all calls: those whose clients don't read hold up no others.
    window: u32,
    open: Mutex<Connection>,
    /// Counts the times that no connection could be opened.
    failures: AtomicU64,
}

#[derive(Default)]
struct Connection {
    /// Counts connections from 1 on.
    number: u64,
    sender: Option<SendRequest<Up>>,
    /// Why the last one couldn't be opened.
    failed: Option<UpstreamError>,
}

impl Shared {
    /// Passes on this many calls at once, on a connection that is given up when it is silent for `keepalive`.
    pub(super) fn new(dial: Dial, keepalive: Duration, most: usize) -> Self {
        let calls = u32::try_from(most).unwrap_or(u32::MAX);
        let window = calls.saturating_mul(WINDOW).min(LARGEST_WINDOW);
        Self { dial, silence: keepalive / 2, window, open: Mutex::default(), failures: AtomicU64::new(0) }
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
    /// caller knows to be. Who waits while one can't be opened has the same answer: not each tries it anew.
    async fn sender(&self, closed: u64) -> Result<(SendRequest<Up>, u64, bool), UpstreamError> {
        let failures = self.failures.load(Ordering::Acquire);
        let mut open = self.open.lock().await;
        if let Some(sender) = &open.sender
            && !sender.is_closed()
            && open.number != closed
        {
            return Ok((sender.clone(), open.number, true));
        }
        if let Some(failed) = &open.failed
            && self.failures.load(Ordering::Acquire) != failures
        {
            return Err(failed.clone());
        }
        match self.open().await {
            Ok(sender) => {
                *open = Connection { number: open.number + 1, sender: Some(sender.clone()), failed: None };
                Ok((sender, open.number, false))
            }
            Err(error) => {
                open.failed = Some(error.clone());
                self.failures.fetch_add(1, Ordering::Release);
                Err(error)
            }
        }
    }

    async fn open(&self) -> Result<SendRequest<Up>, UpstreamError> {
        let io = self.dial.connect().await?;
        // only while calls are open: some servers close a connection that is probed while it is idle
        let (sender, connection) = Builder::new(self.dial.tasks.clone())
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(self.window)
            .keep_alive_interval(self.silence)
            .keep_alive_timeout(self.silence)
            .handshake(io)
            .await
            .map_err(|error| never_answered(&error, UpstreamHttp::One))?;
        self.dial.drive(connection);
        Ok(sender)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::net::{TcpListener, TcpSocket, TcpStream};
    use tokio::task::JoinSet;
    use tokio::time::Instant;
    use tonic::body::Body;

    use super::super::body::Flow;
    use super::super::dial::{CONNECT, Tasks};
    use super::*;

    fn to(listener: &TcpListener) -> Arc<Shared> {
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        Arc::new(Shared::new(Dial { url, tasks: Tasks::default() }, Duration::from_secs(20), 20))
    }

    async fn refused(shared: Arc<Shared>) -> UpstreamError {
        let request = Request::new(Up::new(Body::empty(), 1, &Arc::<Flow>::default()));
        shared.send(request).await.expect_err("nobody answers")
    }

    async fn why(shared: Arc<Shared>) -> String {
        match refused(shared).await {
            UpstreamError::Unreachable { why, .. } => why,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_while_there_is_no_connection_waits_once() {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        // takes the only place of those that wait to be accepted: no further one is answered
        let _first = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let shared = to(&listener);
        let began = Instant::now();
        let mut calls = JoinSet::new();
        for _ in 0..20 {
            calls.spawn(why(shared.clone()));
        }
        for said in calls.join_all().await {
            assert_eq!(said, "no connection within 3 s");
        }
        assert!(began.elapsed() < CONNECT * 2, "{:?}", began.elapsed());
        drop(listener);
        let said = why(shared).await;
        assert!(said.contains("refused"), "who comes later tries again: {said}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_given_up_in_time() {
        // never accepted from: connections come to be, and hear nothing
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let began = Instant::now();
        let error = refused(to(&listener)).await;
        assert!(matches!(error, UpstreamError::Mute { .. }), "{error:?}");
        assert!((20..22).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    }
}
