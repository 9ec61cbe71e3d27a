//! A proxy before the CQL server that loses what is said about commits: the answer, or the request already.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::common::wire::{Wire, frame, stream};

const PREPARE: u8 = 0x09;
const EXECUTE: u8 = 0x0a;
/// What is in the text of the statement that commits, and in no other.
const COMMIT: &[u8] = b"SET seq = ?, entry = ?";

pub(crate) struct Proxy {
    pub(crate) wire: Wire,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// How many answers to commits are to be lost, and how many requests.
    answers: AtomicU32,
    requests: AtomicU32,
    lost: AtomicU32,
    /// The server's names of the statement.
    statements: Mutex<HashSet<Vec<u8>>>,
}

impl Proxy {
    pub(crate) async fn before(server: &str) -> Self {
        let shared = Arc::default();
        Self { wire: Wire::before(server, &shared, pass).await, shared }
    }

    pub(crate) fn lose_answers(&self, n: u32) {
        self.shared.answers.store(n, Ordering::SeqCst);
    }

    pub(crate) fn lose_requests(&self, n: u32) {
        self.shared.requests.store(n, Ordering::SeqCst);
    }

    /// How many were lost.
    pub(crate) fn lost(&self) -> u32 {
        self.shared.lost.load(Ordering::SeqCst)
    }
}

impl Shared {
    /// Whether one more is to be lost.
    fn takes(&self, left: &AtomicU32) -> bool {
        let takes = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        self.lost.fetch_add(takes.into(), Ordering::SeqCst);
        takes
    }
}

/// What one connection is about, by the numbers of its streams.
#[derive(Default)]
struct Streams {
    preparing: Mutex<HashSet<[u8; 2]>>,
    lost: Mutex<HashSet<[u8; 2]>>,
}

/// Both ends are closed with the first thing that is lost.
async fn pass(client: TcpStream, server: TcpStream, shared: Arc<Shared>) {
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let streams = Streams::default();
    tokio::select! {
        () = requests(from_client, to_server, &streams, &shared) => {}
        () = answers(from_server, to_client, &streams, &shared) => {}
    }
}

/// Bytes behind their length of two bytes.
fn short_bytes(bytes: &[u8]) -> Vec<u8> {
    let length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    bytes[2..2 + length].to_vec()
}

async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, streams: &Streams, shared: &Shared) {
    while let Some(frame) = frame(&mut from).await {
        let (stream, body) = (stream(&frame), &frame[9..]);
        if frame[4] == PREPARE && body.windows(COMMIT.len()).any(|window| window == COMMIT) {
            streams.preparing.lock().unwrap().insert(stream);
        }
        if frame[4] == EXECUTE && shared.statements.lock().unwrap().contains(&short_bytes(body)) {
            if shared.takes(&shared.requests) {
                return;
            }
            if shared.takes(&shared.answers) {
                streams.lost.lock().unwrap().insert(stream);
            }
        }
        if to.write_all(&frame).await.is_err() {
            return;
        }
    }
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, streams: &Streams, shared: &Shared) {
    while let Some(frame) = frame(&mut from).await {
        let stream = stream(&frame);
        if streams.preparing.lock().unwrap().remove(&stream) {
            // behind what kind of result it is
            shared.statements.lock().unwrap().insert(short_bytes(&frame[13..]));
        }
        let is_lost = streams.lost.lock().unwrap().remove(&stream);
        if is_lost || to.write_all(&frame).await.is_err() {
            return;
        }
    }
}
