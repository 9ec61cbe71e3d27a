//! How our gRPC ports accept connections: at most so many at once. Each carries the permit that it runs on, and begins
//! in time or is closed.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Sleep, sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// What every client sends first (RFC 9113, section 3.4). HTTP/2 has no keepalive before it.
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();

/// A client's connection, with what counts it as open.
pub struct Connection<C> {
    stream: TcpStream,
    /// None once the preface is there.
    opening: Option<Opening>,
    _permit: OwnedSemaphorePermit,
    _open: C,
}

/// A connection of which the preface isn't there yet.
struct Opening {
    missing: usize,
    due: Pin<Box<Sleep>>,
}

/// Where accepted connections go.
pub type Sender<C> = mpsc::Sender<io::Result<Connection<C>>>;

/// The connections of a listener, as a stream; whoever drives `accept` fills it.
#[must_use]
pub fn channel<C>() -> (Sender<C>, ReceiverStream<io::Result<Connection<C>>>) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, ReceiverStream::new(receiver))
}

/// Accepts until the other end of the channel is gone. At `most` open connections it stops accepting until one closes.
/// One that hasn't sent its preface after `opening` fails. `open` makes what counts each as open until it is dropped.
pub async fn accept<C>(
    listener: TcpListener,
    most: usize,
    opening: Duration,
    open: impl Fn() -> C,
    connections: Sender<C>,
) {
    let permits = Arc::new(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS)));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // A client that is gone already, or no file descriptor left, which passes when a connection closes.
                tracing::debug!(%error, "accept failed");
                sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        // Pages are small and answered at once: waiting for more to send only costs time.
        if stream.set_nodelay(true).is_err() {
            continue;
        }
        let opening = Some(Opening { missing: PREFACE, due: Box::pin(sleep(opening)) });
        let connection = Connection { stream, opening, _permit: permit, _open: open() };
        if connections.send(Ok(connection)).await.is_err() {
            return;
        }
    }
}

impl<C> Connected for Connection<C> {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl<C: Unpin> AsyncRead for Connection<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Some(opening) = &mut self.opening {
            if read.is_pending() {
                ready!(opening.due.as_mut().poll(context));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            opening.missing = opening.missing.saturating_sub(buffer.filled().len() - before);
            if opening.missing == 0 {
                self.opening = None;
            }
        }
        read
    }
}

impl<C: Unpin> AsyncWrite for Connection<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
