//! Reads beside a load, by a clock of their own: a slow answer keeps no later read waiting, and hides none.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use skyweir_proto::bsky::service_client::ServiceClient;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Channel;

use crate::rng::Rng;
use crate::served::{PAGE, Served, page};

/// Somebody reads this often.
pub(crate) const READ_EVERY: Duration = Duration::from_millis(5);
/// So many answers may be missing at a time; fewer than the service takes at once.
const OPEN: usize = 1_000;
/// The kernel wakes a thread some 60 µs late: it is asked for so much earlier, and the rest is spun.
const EARLIER: Duration = Duration::from_micros(100);

/// Milliseconds from the moment that a read was due until its answer.
type Seen = Arc<Mutex<Vec<f64>>>;

/// Readers at work, until they are stopped or dropped.
pub(crate) struct Reading {
    seen: Seen,
    stop: DropGuard,
    clock: JoinHandle<Result<()>>,
}

impl Reading {
    /// Begins now. The clock has a thread of its own: timers of tasks have whole milliseconds, and wait for the
    /// service.
    pub(crate) fn start(served: &Served) -> Self {
        let (seen, stop) = (Seen::default(), CancellationToken::new());
        let (io, client, readers) =
            (served.io.handle().clone(), served.client.clone(), served.crowd.readers());
        let (into, stopped) = (seen.clone(), stop.clone());
        let clock = std::thread::spawn(move || by_the_clock(&io, &client, readers, &into, &stopped));
        Self { seen, stop: stop.drop_guard(), clock }
    }

    /// What was answered since this was asked last.
    pub(crate) fn take(&self) -> Vec<f64> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends, once all answers are there; those since [`Reading::take`].
    pub(crate) fn stop(self) -> Result<Vec<f64>> {
        drop(self.stop);
        self.clock.join().map_err(|_| anyhow!("the readers panicked"))??;
        Ok(std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn by_the_clock(
    io: &Handle,
    client: &ServiceClient<Channel>,
    readers: std::ops::Range<u32>,
    seen: &Seen,
    stop: &CancellationToken,
) -> Result<()> {
    let mut rng = Rng::new(12);
    let mut open: JoinSet<Result<()>> = JoinSet::new();
    let mut due = Instant::now();
    while !stop.is_cancelled() {
        std::thread::sleep(due.saturating_duration_since(Instant::now() + EARLIER));
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        while let Some(done) = open.try_join_next() {
            done??;
        }
        ensure!(open.len() < OPEN, "{OPEN} reads wait for their answers: the service doesn't keep up");
        let reader = readers.start + rng.below(readers.end - readers.start);
        open.spawn_on(read(client.clone(), reader, due, seen.clone()), io);
        due += READ_EVERY;
    }
    io.block_on(async {
        while let Some(done) = open.join_next().await {
            done??;
        }
        Ok(())
    })
}

async fn read(mut client: ServiceClient<Channel>, reader: u32, due: Instant, seen: Seen) -> Result<()> {
    let shown = page(&mut client, reader).await?;
    let took = due.elapsed().as_secs_f64() * 1e3;
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(took);
    ensure!(shown.items.len() == PAGE, "a page of {} items", shown.items.len());
    Ok(())
}
