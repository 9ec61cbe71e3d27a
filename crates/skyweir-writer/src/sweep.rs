//! Writing to shards: sweepers go from shard to shard, and write what has come from all jobs in one call.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;

use skyweir_store::{Counts, Delivery, Error, Result};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, SemaphorePermit};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::context::Context;
use crate::dispatch::finished;
use crate::metrics;
use crate::places::Size;
use crate::shard::{Piece, Pushed, ShardQueue};
use crate::tally::{Range, Tally};

/// Every so-many-th shard is one where large fan-outs wait, if there is one.
const LARGE_EVERY: usize = 4;
/// A sweep begins once so many references have come, ...
const WORTH_A_SWEEP: usize = 4_096;
/// ... or after the jobs had the thread so many times.
const STEPS_BACK: usize = 8;
/// The jobs have the thread again after about so many references.
const AT_A_TIME: usize = 32_768;

/// The queues of all shards, and which of them have something to write.
pub(crate) struct Shards {
    queues: Vec<ShardQueue>,
    ready: Mutex<Ready>,
    wake: Notify,
    /// Told whenever all that was ready is written, or is being written.
    swept: Notify,
    /// References that have come since the last sweep began.
    fresh: AtomicUsize,
}

/// Shards to come to, by the size of what waits there; each is in here at most once a size.
#[derive(Default)]
struct Ready {
    lists: [VecDeque<u32>; 2],
    taken: usize,
}

impl Ready {
    fn next(&mut self) -> Option<(u32, Size)> {
        self.taken = self.taken.wrapping_add(1);
        let sizes = if self.taken.is_multiple_of(LARGE_EVERY) {
            [Size::Large, Size::Small]
        } else {
            [Size::Small, Size::Large]
        };
        sizes.into_iter().find_map(|size| Some((self.lists[size as usize].pop_front()?, size)))
    }
}

impl Shards {
    /// So many shards, each with a queue of this size.
    pub(crate) fn new(shards: u32, size: usize) -> Self {
        let queues = (0..shards).map(|_| ShardQueue::new(size)).collect();
        Self {
            queues,
            ready: Mutex::default(),
            wake: Notify::new(),
            swept: Notify::new(),
            fresh: AtomicUsize::new(0),
        }
    }

    pub(crate) fn queue(&self, shard: u32) -> &ShardQueue {
        &self.queues[shard as usize]
    }

    /// Queues a piece for a shard, in its room. False while a write to the shard makes it wait.
    pub(crate) fn send(&self, shard: u32, piece: Piece, room: SemaphorePermit<'_>) -> bool {
        let size = piece.size;
        self.fresh.fetch_add(piece.delivery.viewers.len(), Ordering::Relaxed);
        let pushed = self.queue(shard).push(piece, room);
        if pushed == Pushed::Tell {
            self.list(shard, size);
        }
        pushed != Pushed::Busy
    }

    /// Ends once all shards that don't make anyone wait are written. To be made before pieces are sent, and awaited
    /// only if one of them doesn't wait.
    pub(crate) fn swept(&self) -> Notified<'_> {
        self.swept.notified()
    }

    fn list(&self, shard: u32, size: Size) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = ready.lists.iter().all(VecDeque::is_empty);
        ready.lists[size as usize].push_back(shard);
        drop(ready);
        if was_empty {
            self.wake.notify_one();
        }
    }

    /// The next shard to come to, with what it has to write.
    fn next(&self, most: usize) -> Option<(u32, Vec<Piece>)> {
        loop {
            let (shard, size) = self.ready.lock().unwrap_or_else(PoisonError::into_inner).next()?;
            if let Some(pieces) = self.queue(shard).take(size, most) {
                return Some((shard, pieces));
            }
        }
    }

    /// Makes room for what was written, and has somebody come for what has come meanwhile.
    fn written(&self, shard: u32, prices: [usize; 2]) {
        let again = self.queue(shard).written(prices);
        for size in [Size::Small, Size::Large] {
            if again[size as usize] {
                self.list(shard, size);
            }
        }
    }
}

/// Writes whatever there is to write, for ever; dropping it leaves the rest in the queues, unfinished.
///
/// A write that is done at once costs no task and no waking. One that makes it wait goes on in a task of its own, at
/// most one for each shard, while the other shards are written.
///
/// # Errors
/// Corruption only.
pub(crate) async fn run(context: Arc<Context>) -> Result<()> {
    let shards = &context.shards;
    let metrics = Arc::new(metrics::Writes::new());
    let most = context.config.shard_batch.max(1);
    let mut slow = JoinSet::new();
    loop {
        // what comes from many jobs is written in one call: 400 references over 128 shards are three a shard
        for _ in 0..STEPS_BACK {
            if shards.fresh.load(Ordering::Relaxed) >= WORTH_A_SWEEP {
                break;
            }
            tokio::task::yield_now().await;
        }
        shards.fresh.store(0, Ordering::Relaxed);
        let mut references = 0;
        while let Some((shard, pieces)) = shards.next(most) {
            references += pieces.iter().map(|piece| piece.delivery.viewers.len()).sum::<usize>();
            let write: Pin<Box<dyn Future<Output = Result<()>> + Send>> =
                Box::pin(write(Arc::clone(&context), Arc::clone(&metrics), shard, pieces));
            go_on(write, &mut slow).await?;
            if references >= AT_A_TIME {
                references = 0;
                // another thread may help, if there is one
                shards.wake.notify_one();
                tokio::task::yield_now().await;
            }
        }
        shards.swept.notify_waiters();
        // in this order, so that what is written together is no matter of luck
        tokio::select! {
            biased;
            Some(ended) = slow.join_next() => finished(ended)?,
            () = shards.wake.notified() => {}
        }
    }
}

/// Polls a write once; if it waits, it goes on by itself.
async fn go_on(
    mut write: Pin<Box<dyn Future<Output = Result<()>> + Send>>,
    slow: &mut JoinSet<Result<()>>,
) -> Result<()> {
    match poll_fn(|task| Poll::Ready(write.as_mut().poll(task))).await {
        Poll::Ready(done) => return done,
        Poll::Pending => slow.spawn(write),
    };
    while let Some(ended) = slow.try_join_next() {
        finished(ended)?;
    }
    Ok(())
}

/// Writes pieces to a shard, and settles with whom they came from.
async fn write(
    context: Arc<Context>,
    metrics: Arc<metrics::Writes>,
    shard: u32,
    pieces: Vec<Piece>,
) -> Result<()> {
    let sizes = pieces.iter().map(|piece| (piece.size, piece.delivery.viewers.len()));
    let prices = context.shards.queue(shard).prices(sizes);
    let (deliveries, tallies): (Vec<_>, Vec<_>) =
        pieces.into_iter().map(|piece| (piece.delivery, (piece.tally, piece.range))).unzip();
    let begun = Instant::now();
    let counts = apply(&context, shard, &deliveries, &tallies).await?;
    let took = begun.elapsed();
    context.work.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    metrics.record(took.as_secs_f64(), &counts);
    context.shards.written(shard, prices);
    context.hot.wrote(shard, &deliveries, &counts);
    for ((tally, range), counts) in tallies.iter().zip(&counts) {
        tally.applied(*range, *counts);
    }
    Ok(())
}

/// Writes until it has succeeded.
async fn apply(
    context: &Context,
    shard: u32,
    deliveries: &[Delivery],
    tallies: &[(Arc<Tally>, Range)],
) -> Result<Vec<Counts>> {
    let references = || deliveries.iter().map(|delivery| delivery.viewers.len());
    let mut pause = context.retry.pause("apply");
    let mut failed = false;
    let counts = loop {
        match context.timelines.apply(shard, deliveries).await {
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
