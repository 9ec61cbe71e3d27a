//! A proxy before a server that lets through so much of what is asked of it, and then nothing more: whoever asks stands
//! still wherever that is, however fast it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) struct Freezer {
    pub(crate) address: String,
    frozen: CancellationToken,
    running: JoinSet<()>,
}

impl Freezer {
    /// Before this server, for so many bytes over all connections.
    pub(crate) async fn before(server: &str, bytes: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (left, frozen) = (Arc::new(AtomicUsize::new(bytes)), CancellationToken::new());
        let (server, told) = (server.to_owned(), frozen.clone());
        let mut running = JoinSet::new();
        running.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = TcpStream::connect(&server).await.unwrap();
                connections.spawn(pass(client, server, Arc::clone(&left), told.clone()));
            }
        });
        Self { address, frozen, running }
    }

    /// Waits until it lets nothing more through. Fails when the proxy does: nobody would be told by it any more.
    pub(crate) async fn frozen(&mut self) {
        tokio::select! {
            () = self.frozen.cancelled() => {}
            Some(ended) = self.running.join_next() => panic!("the proxy has ended: {ended:?}"),
        }
    }
}

/// Both ends stay open as long as the proxy is there, or one of them closes.
async fn pass(client: TcpStream, server: TcpStream, left: Arc<AtomicUsize>, frozen: CancellationToken) {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let asked = async {
        let mut some = vec![0; 1_024];
        while let Ok(n @ 1..) = from_client.read(&mut some).await {
            if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(n)).is_err() {
                left.store(0, Ordering::SeqCst);
                frozen.cancel();
                return std::future::pending().await;
            }
            if to_server.write_all(&some[..n]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = asked => {}
        _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
    }
}
