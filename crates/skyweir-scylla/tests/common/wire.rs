//! Proxies before a CQL server, and the frames that go through them.

use std::sync::Arc;

use tokio::io::AsyncReadExt as _;
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A listener that connects each client to the server; closed when dropped.
pub(crate) struct Wire {
    pub(crate) address: String,
    _running: JoinSet<()>,
}

impl Wire {
    /// Before this server; `pass` is what becomes of a client's and the server's end, with what all of them share.
    pub(crate) async fn before<S, F>(
        server: &str,
        shared: &Arc<S>,
        pass: fn(TcpStream, TcpStream, Arc<S>) -> F,
    ) -> Self
    where
        S: Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (server, shared) = (server.to_owned(), Arc::clone(shared));
        let mut running = JoinSet::new();
        running.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(&server).await.unwrap();
                connections.spawn(pass(client, server, Arc::clone(&shared)));
            }
        });
        Self { address, _running: running }
    }
}

/// A frame: its body, and before it its header of nine bytes, with the stream in the third and fourth and what it is in
/// the fifth. `None` when the connection ends.
pub(crate) async fn frame(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut frame = vec![0; 9];
    from.read_exact(&mut frame).await.ok()?;
    let length = u32::from_be_bytes(frame[5..].try_into().unwrap());
    frame.resize(9 + length as usize, 0);
    from.read_exact(&mut frame[9..]).await.ok()?;
    Some(frame)
}

/// The number by which an answer belongs to its request.
pub(crate) fn stream(frame: &[u8]) -> [u8; 2] {
    [frame[2], frame[3]]
}
