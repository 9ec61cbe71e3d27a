//! A proxy before the CQL server that keeps answers to batches back until it is told to let them go.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex as Turn, watch};
use tokio::task::JoinSet;

use crate::common::wire::{Wire, frame, stream};

const BATCH: u8 = 0x0d;

pub(crate) struct Proxy {
    pub(crate) wire: Wire,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// How many of the next batches' answers are to be kept.
    to_keep: AtomicU32,
    /// How many were kept so far.
    kept: watch::Sender<u32>,
    /// How many of them may go.
    released: watch::Sender<u32>,
    /// What all batches say, in the order of their coming.
    batches: Mutex<Vec<Vec<u8>>>,
}

impl Proxy {
    pub(crate) async fn before(server: &str) -> Self {
        let shared = Arc::default();
        Self { wire: Wire::before(server, &shared, pass).await, shared }
    }

    /// The answers to so many of the next batches stay here. The server gets the batches.
    pub(crate) fn keep_answers(&self, n: u32) {
        self.shared.to_keep.store(n, Ordering::SeqCst);
    }

    /// Waits until so many answers in all were to be kept.
    pub(crate) async fn kept(&self, n: u32) {
        self.shared.kept.subscribe().wait_for(|kept| *kept >= n).await.unwrap();
    }

    /// Lets all answers go that it has.
    pub(crate) fn release(&self) {
        self.shared.released.send_replace(*self.shared.kept.borrow());
    }

    /// How many statements each batch had, and how often it came: one that is sent again says the same.
    pub(crate) fn batches(&self) -> Vec<(u16, usize)> {
        let batches = self.shared.batches.lock().unwrap();
        let times = |at: usize| batches[at..].iter().filter(|other| **other == batches[at]).count();
        let firsts = (0..batches.len()).filter(|at| !batches[..*at].contains(&batches[*at]));
        // behind what kind of batch it is
        firsts.map(|at| (u16::from_be_bytes([batches[at][1], batches[at][2]]), times(at))).collect()
    }
}

impl Shared {
    /// Notes a batch. If its answer is to be kept: how many were so far, with this one.
    fn batch(&self, body: &[u8]) -> Option<u32> {
        self.batches.lock().unwrap().push(body.to_vec());
        self.to_keep.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).ok()?;
        self.kept.send_modify(|kept| *kept += 1);
        Some(*self.kept.borrow())
    }
}

/// Which answers of a connection are kept, by the numbers of their streams, with their own numbers.
type Kept = Mutex<HashMap<[u8; 2], u32>>;

async fn pass(client: TcpStream, server: TcpStream, shared: Arc<Shared>) {
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let kept = Kept::default();
    tokio::select! {
        () = requests(from_client, to_server, &kept, &shared) => {}
        () = answers(from_server, to_client, &kept, &shared) => {}
    }
}

async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, kept: &Kept, shared: &Shared) {
    while let Some(frame) = frame(&mut from).await {
        if frame[4] == BATCH
            && let Some(number) = shared.batch(&frame[9..])
        {
            kept.lock().unwrap().insert(stream(&frame), number);
        }
        if to.write_all(&frame).await.is_err() {
            return;
        }
    }
}

async fn answers(mut from: OwnedReadHalf, to: OwnedWriteHalf, kept: &Kept, shared: &Shared) {
    let (to, mut late) = (Arc::new(Turn::new(to)), JoinSet::new());
    while let Some(frame) = frame(&mut from).await {
        let number = kept.lock().unwrap().remove(&stream(&frame));
        if let Some(number) = number {
            let (to, mut released) = (Arc::clone(&to), shared.released.subscribe());
            late.spawn(async move {
                released.wait_for(|released| *released >= number).await.unwrap();
                to.lock().await.write_all(&frame).await
            });
        } else if to.lock().await.write_all(&frame).await.is_err() {
            return;
        }
    }
}
