//! A node that knows who may log in, and nothing else; and a way to a real one over TLS.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// What whom it has let in is told, whatever it is that they ask.
pub(crate) const IN: &str = "you are in, and that is all";

/// The role that it knows.
pub(crate) const USER: &str = "skyweir";
pub(crate) const PASSWORD: &str = "open sesame";

const ERROR: u8 = 0x00;
const STARTUP: u8 = 0x01;
const READY: u8 = 0x02;
const AUTHENTICATE: u8 = 0x03;
const OPTIONS: u8 = 0x05;
const SUPPORTED: u8 = 0x06;
const AUTH_RESPONSE: u8 = 0x0f;
const AUTH_SUCCESS: u8 = 0x10;
const SERVER_ERROR: i32 = 0x0000;
const BAD_CREDENTIALS: i32 = 0x0100;

/// What stands behind the port.
#[derive(Clone)]
enum Behind {
    /// Nothing, for whom it knows and for nobody else.
    Password,
    /// Nothing, for everybody.
    Open,
    /// A node without TLS.
    Node(String),
}

pub(crate) struct Node {
    pub(crate) address: String,
    let_in: Arc<AtomicU32>,
    _running: JoinSet<()>,
}

impl Node {
    /// One that asks for a password.
    pub(crate) async fn with_password(tls: Option<ServerConfig>) -> Self {
        Self::start(tls, Behind::Password).await
    }

    /// One that lets everybody in.
    pub(crate) async fn open(tls: Option<ServerConfig>) -> Self {
        Self::start(tls, Behind::Open).await
    }

    /// The way to one that has no TLS itself.
    pub(crate) async fn before(node: &str, tls: ServerConfig) -> Self {
        Self::start(Some(tls), Behind::Node(node.to_owned())).await
    }

    /// How many connections were let in.
    pub(crate) fn let_in(&self) -> u32 {
        self.let_in.load(Ordering::SeqCst)
    }

    async fn start(tls: Option<ServerConfig>, behind: Behind) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let acceptor = tls.map(|tls| TlsAcceptor::from(Arc::new(tls)));
        let let_in = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&let_in);
        let mut running = JoinSet::new();
        running.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let (acceptor, behind, counted) = (acceptor.clone(), behind.clone(), Arc::clone(&counted));
                connections.spawn(async move {
                    let Some(acceptor) = acceptor else { return serve(socket, behind, &counted).await };
                    serve(acceptor.accept(socket).await?, behind, &counted).await
                });
            }
        });
        Self { address, let_in, _running: running }
    }
}

/// Ends with an error where the other side goes away, or shows nothing that is believed.
async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    behind: Behind,
    let_in: &AtomicU32,
) -> io::Result<()> {
    let asks = match behind {
        Behind::Node(node) => {
            let_in.fetch_add(1, Ordering::SeqCst);
            let mut node = TcpStream::connect(node).await?;
            return copy_bidirectional(&mut stream, &mut node).await.map(|_| ());
        }
        Behind::Password => true,
        Behind::Open => false,
    };
    let login = format!("\0{USER}\0{PASSWORD}");
    loop {
        // nine bytes before each body: version, flags, two of the stream, what it is, and four of the body's length
        let mut header = [0; 9];
        stream.read_exact(&mut header).await?;
        if header[0] != 4 {
            return Err(io::Error::other("not what is spoken here"));
        }
        let length = u32::from_be_bytes(header[5..].try_into().unwrap());
        let mut body = vec![0; length as usize];
        stream.read_exact(&mut body).await?;
        let (what, body) = match header[4] {
            OPTIONS => (SUPPORTED, vec![0, 0]),
            STARTUP if asks => (AUTHENTICATE, text("org.apache.cassandra.auth.PasswordAuthenticator")),
            STARTUP => {
                let_in.fetch_add(1, Ordering::SeqCst);
                (READY, vec![])
            }
            AUTH_RESPONSE if body[4..] == *login.as_bytes() => {
                let_in.fetch_add(1, Ordering::SeqCst);
                (AUTH_SUCCESS, (-1_i32).to_be_bytes().to_vec())
            }
            AUTH_RESPONSE => (ERROR, error(BAD_CREDENTIALS, "username and/or password are incorrect")),
            _ => (ERROR, error(SERVER_ERROR, IN)),
        };
        let mut answer = vec![0x84, 0, header[2], header[3], what];
        answer.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
        answer.extend(body);
        stream.write_all(&answer).await?;
        stream.flush().await?;
    }
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap().to_be_bytes();
    [&length, text.as_bytes()].concat()
}

fn error(code: i32, why: &str) -> Vec<u8> {
    [&code.to_be_bytes(), &*text(why)].concat()
}
