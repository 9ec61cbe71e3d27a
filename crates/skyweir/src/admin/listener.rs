//! A listener that holds a limited number of connections, none of them for ever.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// So many connections are open at once; more wait in the kernel's backlog.
const MOST: usize = 64;
/// A connection from which nothing came for so long is closed.
const IDLE: Duration = Duration::from_secs(60);

/// The admin port's listener.
pub(super) struct Limited {
    listener: TcpListener,
    permits: Arc<Semaphore>,
}

impl Limited {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self { listener, permits: Arc::new(Semaphore::new(MOST)) }
    }
}

impl Listener for Limited {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let permit = self.permits.clone().acquire_owned().await.expect("nobody closes the semaphore");
        // axum's own accept waits out what may pass, such as too many open files
        let (stream, from) = Listener::accept(&mut self.listener).await;
        (Connection { stream, idle: Box::pin(sleep(IDLE)), _permit: permit }, from)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection with its permit.
pub(super) struct Connection {
    stream: TcpStream,
    idle: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buf) {
            self.idle.as_mut().reset(Instant::now() + IDLE);
            return Poll::Ready(read);
        }
        ready!(self.idle.as_mut().poll(cx));
        Poll::Ready(Err(ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test]
    async fn connections_wait_for_their_turn() {
        let mut limited = Limited::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let to = limited.local_addr().unwrap();
        let mut held = Vec::new();
        for _ in 0..MOST {
            held.push((TcpStream::connect(to).await.unwrap(), limited.accept().await));
        }
        let waiting = TcpStream::connect(to).await.unwrap();
        tokio::select! {
            biased;
            _ = limited.accept() => panic!("one too many"),
            () = tokio::task::yield_now() => {}
        }
        held.pop();
        let (mut taken, from) = limited.accept().await;
        assert_eq!(from, waiting.local_addr().unwrap());
        drop(waiting);
        assert_eq!(taken.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_silent_connection_is_closed() {
        let mut limited = Limited::new(TcpListener::bind("127.0.0.1:0").await.unwrap());
        let silent = TcpStream::connect(limited.local_addr().unwrap()).await.unwrap();
        let (mut taken, _) = limited.accept().await;
        tokio::time::pause();
        assert_eq!(taken.read(&mut [0]).await.unwrap_err().kind(), ErrorKind::TimedOut);
        drop(silent);
    }
}
