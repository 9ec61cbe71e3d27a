//! A shard's bounded queue and its worker, which writes what has come from all jobs in one call.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skyweir_store::{Counts, Delivery, Error, Result, Timelines};
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::hot::Hot;
use crate::metrics;
use crate::retry::Retry;
use crate::tally::{Range, Tally};

/// One item's references for one shard, on their way.
pub(crate) struct Piece {
    pub(crate) delivery: Delivery,
    pub(crate) tally: Arc<Tally>,
    pub(crate) range: Range,
}

/// A shard's queue. What waits in it is paid for by permits, one a reference.
pub(crate) struct ShardQueue {
    pieces: Mutex<VecDeque<Piece>>,
    room: Semaphore,
    size: usize,
    ready: Notify,
}

impl ShardQueue {
    pub(crate) fn new(size: usize) -> Self {
        let size = size.clamp(1, Semaphore::MAX_PERMITS);
        Self { pieces: Mutex::default(), room: Semaphore::new(size), size, ready: Notify::new() }
    }

    fn pieces(&self) -> MutexGuard<'_, VecDeque<Piece>> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many permits so many references pay: no piece is too large for an empty queue.
    fn price(&self, references: usize) -> u32 {
        u32::try_from(references.min(self.size)).unwrap_or(u32::MAX)
    }

    /// Queues a piece; waits while the queue is full, in the order of asking.
    pub(crate) async fn send(&self, piece: Piece) {
        let price = self.price(piece.delivery.viewers.len());
        let permit = match self.room.try_acquire_many(price) {
            Ok(permit) => Ok(permit),
            Err(_) => {
                metrics::shard_full();
                self.room.acquire_many(price).await
            }
        };
        // given back by the worker, once the piece is written
        permit.expect("the room is never closed").forget();
        piece.tally.sent();
        self.pieces().push_back(piece);
        self.ready.notify_one();
    }

    /// Takes pieces of up to `most` references, at least one piece; waits until there is one.
    async fn take(&self, most: usize) -> Vec<Piece> {
        loop {
            {
                let mut pieces = self.pieces();
                let mut references = 0;
                let fits = |piece: &&Piece| {
                    let first = references == 0;
                    references += piece.delivery.viewers.len();
                    first || references <= most
                };
                let count = pieces.iter().take_while(fits).count();
                if count > 0 {
                    return pieces.drain(..count).collect();
                }
            }
            self.ready.notified().await;
        }
    }

    /// Makes room again for what was written.
    fn written(&self, deliveries: &[Delivery]) {
        let prices = deliveries.iter().map(|delivery| self.price(delivery.viewers.len()) as usize);
        self.room.add_permits(prices.sum());
    }
}

/// Writes what comes through one shard's queue.
pub(crate) struct ShardWorker {
    pub(crate) shard: u32,
    pub(crate) queue: Arc<ShardQueue>,
    pub(crate) timelines: Arc<dyn Timelines>,
    /// Nanoseconds that all workers spent writing.
    pub(crate) work: Arc<AtomicU64>,
    pub(crate) hot: Arc<Hot>,
    pub(crate) batch: usize,
    pub(crate) retry: Retry,
}

impl ShardWorker {
    /// Works for ever; dropping it leaves the rest in the queue, unfinished.
    ///
    /// # Errors
    /// Corruption only.
    pub(crate) async fn run(self) -> Result<()> {
        let writes = metrics::Writes::new();
        loop {
            let pieces = self.queue.take(self.batch).await;
            let (deliveries, tallies): (Vec<_>, Vec<_>) =
                pieces.into_iter().map(|piece| (piece.delivery, (piece.tally, piece.range))).unzip();
            let begun = Instant::now();
            let counts = self.write(&deliveries, &tallies).await?;
            let took = begun.elapsed();
            self.work.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
            writes.record(took.as_secs_f64(), &counts);
            self.queue.written(&deliveries);
            self.hot.wrote(self.shard, &deliveries, &counts);
            for ((tally, range), counts) in tallies.iter().zip(&counts) {
                tally.applied(*range, *counts);
            }
        }
    }

    async fn write(&self, deliveries: &[Delivery], tallies: &[(Arc<Tally>, Range)]) -> Result<Vec<Counts>> {
        let references = || deliveries.iter().map(|delivery| delivery.viewers.len());
        let mut pause = self.retry.pause("apply");
        let mut failed = false;
        let counts = loop {
            match self.timelines.apply(self.shard, deliveries).await {
                Ok(counts) => break counts,
                Err(error) => {
                    if !failed {
                        failed = true;
                        tallies.iter().zip(references()).for_each(|((tally, _), n)| tally.failed(n));
                    }
                    pause.after(error).await?;
                }
            }
        };
        if failed {
            tallies.iter().zip(references()).for_each(|((tally, _), n)| tally.recovered(n));
        }
        if counts.len() == deliveries.len() {
            return Ok(counts);
        }
        Err(Error::Corrupt(format!("{} counts for {} deliveries", counts.len(), deliveries.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skyweir_types::{ActorId, ItemId, Reference, UriHash};

    fn piece(references: u32) -> Piece {
        let reference = Reference { item: ItemId(1), sort_at: 1, uri_hash: UriHash(1), author: ActorId(1) };
        let delivery = Delivery { reference, viewers: (0..references).map(ActorId).collect() };
        Piece { delivery, tally: Arc::new(Tally::new(1)), range: Range::Own }
    }

    #[tokio::test]
    async fn a_full_queue_waits_for_its_worker_and_takes_any_piece() {
        let queue = ShardQueue::new(10);
        queue.send(piece(6)).await;
        queue.send(piece(4)).await;
        let mut third = Box::pin(queue.send(piece(50)));
        assert!(futures_ready(third.as_mut()).await.is_none(), "no room for a third");
        let taken = queue.take(8).await;
        assert_eq!(taken.len(), 1, "as many as fit into a batch");
        let deliveries: Vec<_> = taken.into_iter().map(|piece| piece.delivery).collect();
        queue.written(&deliveries);
        assert!(futures_ready(third.as_mut()).await.is_none(), "four references are still there");
        let deliveries: Vec<_> = queue.take(8).await.into_iter().map(|piece| piece.delivery).collect();
        queue.written(&deliveries);
        third.await;
        assert_eq!(
            queue.take(8).await[0].delivery.viewers.len(),
            50,
            "larger than the queue and than a batch"
        );
    }

    /// Polls once.
    async fn futures_ready<F: Future + Unpin>(future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            done = future => Some(done),
            () = std::future::ready(()) => None,
        }
    }
}
