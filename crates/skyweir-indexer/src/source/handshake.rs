//! Opening a connection, and reading the body of a refusal, where the protocol says what is wrong.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::uri::Authority;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_websockets::{Connector, MaybeTlsStream};

use super::Error;
use super::http::{Answer, answer};
use super::kind::Stream;

/// No refusal says more.
const MOST_REFUSAL: usize = 64 * 1_024;

pub(crate) type Transport = MaybeTlsStream<TcpStream>;

/// How connections of this stream are wrapped.
pub(crate) fn connector(stream: &Stream) -> Result<Connector, Error> {
    if !stream.tls {
        return Ok(Connector::Plain);
    }
    // asked first, as the connector would panic
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        return Err(Error::Tls("no crypto provider is installed".to_owned()));
    }
    Connector::new().map_err(|error| Error::Tls(error.to_string()))
}

/// Opens a connection to the stream's host.
pub(crate) async fn open(stream: &Stream, connector: &Connector) -> Result<Transport, String> {
    let authority: Authority = stream.authority.parse().map_err(|_| "the host is no host".to_owned())?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let port = authority.port_u16().unwrap_or(if stream.tls { 443 } else { 80 });
    let socket = TcpStream::connect((host, port)).await.map_err(|error| error.to_string())?;
    connector.wrap(host, socket).await.map_err(|error| error.to_string())
}

/// A connection that remembers what was read from it during the handshake.
pub(super) struct Tap {
    inner: Transport,
    seen: Option<Vec<u8>>,
}

impl Tap {
    pub(super) fn new(inner: Transport) -> Self {
        Self { inner, seen: Some(Vec::new()) }
    }

    /// The handshake is over.
    pub(super) fn forget(&mut self) {
        self.seen = None;
    }

    /// The refusal.
    pub(super) async fn refusal(mut self) -> Option<Answer> {
        let seen = self.seen.take().unwrap_or_default();
        answer(self.inner, seen, MOST_REFUSAL).await
    }
}

impl AsyncRead for Tap {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let tap = self.get_mut();
        let before = buf.filled().len();
        let polled = Pin::new(&mut tap.inner).poll_read(cx, buf);
        if let Some(seen) = tap.seen.as_mut().filter(|seen| seen.len() < MOST_REFUSAL) {
            seen.extend_from_slice(&buf.filled()[before..]);
        }
        polled
    }
}

impl AsyncWrite for Tap {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
