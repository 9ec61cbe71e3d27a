//! A proxy before a server that can be cut off: open connections end, and so does each new one, until it is mended.

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) struct Cut {
    pub(crate) address: String,
    is_cut: watch::Sender<bool>,
    _running: JoinSet<()>,
}

impl Cut {
    /// Before this server, which is reached at first.
    pub(crate) async fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let is_cut = watch::Sender::new(false);
        let (server, cut) = (server.to_owned(), is_cut.subscribe());
        let mut running = JoinSet::new();
        running.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                connections.spawn(pass(client, server.clone(), cut.clone()));
            }
        });
        Self { address, is_cut, _running: running }
    }

    pub(crate) fn cut(&self) {
        self.is_cut.send_replace(true);
    }

    pub(crate) fn mend(&self) {
        self.is_cut.send_replace(false);
    }
}

async fn pass(mut client: TcpStream, server: String, mut cut: watch::Receiver<bool>) {
    let passed = async {
        if let Ok(mut server) = TcpStream::connect(&server).await {
            // either end may close as it likes
            let _ = copy_bidirectional(&mut client, &mut server).await;
        }
    };
    tokio::select! {
        biased;
        _ = cut.wait_for(|is_cut| *is_cut) => {}
        () = passed => {}
    }
}
