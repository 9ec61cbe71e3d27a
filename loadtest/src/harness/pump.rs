//! Sends the network's events: the graph and its history as fast as they are taken, live traffic by the clock.

use super::measure::Times;
use super::observe::now_us;
use super::options::{HISTORY_SECONDS, RunOptions};
use super::screen::Screen;
use super::shared::{Shared, lock};
use super::visibility::Visibility;
use crate::event::Event;
use crate::network::{Network, NetworkEvents};
use crate::upstream::Upstream;
use anyhow::ensure;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// So many events are made between two looks at how far the stand-in is.
const CHUNK: usize = 1_000;

pub(super) struct Pump<'a> {
    events: NetworkEvents<'a>,
    network: &'a Network,
    upstream: &'a Upstream,
    shared: Arc<Shared>,
    options: Arc<RunOptions>,
    /// Made, and not due yet.
    pending: Option<Event>,
    /// Whose turn it is to post.
    celebrity: u32,
}

/// How fast something went.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(super) struct Speed {
    pub(super) events: u64,
    pub(super) seconds: f64,
    pub(super) per_second: f64,
    /// How long of that the service took nothing more, though a whole retention was waiting for it.
    pub(super) held_seconds: f64,
}

impl Speed {
    pub(super) fn since(start: Instant, events: u64) -> Self {
        let seconds = start.elapsed().as_secs_f64();
        Self { events, seconds, per_second: events as f64 / seconds.max(1e-9), held_seconds: 0.0 }
    }
}

impl<'a> Pump<'a> {
    pub(super) fn new(
        network: &'a Network,
        upstream: &'a Upstream,
        shared: Arc<Shared>,
        options: Arc<RunOptions>,
    ) -> Self {
        Self { events: network.events(), network, upstream, shared, options, pending: None, celebrity: 0 }
    }

    /// The follow graph, until it is applied.
    pub(super) async fn graph(&mut self, screen: &Screen) -> anyhow::Result<Speed> {
        let (start, bar) = (Instant::now(), screen.bar(self.network.actors().into(), "accounts"));
        let mut count = 0;
        while let Some(event) = self.events.next_of_graph() {
            self.send(event);
            count += 1;
            if count % CHUNK as u64 == 0 {
                bar.set_position(self.events.accounts_begun().into());
                self.taken().await?;
            }
        }
        self.settled().await?;
        bar.finish_and_clear();
        Ok(Speed::since(start, count))
    }

    /// The hour before the measurement, until it is applied.
    pub(super) async fn history(&mut self, screen: &Screen) -> anyhow::Result<Speed> {
        let count = self.network.spec().events;
        let (start, bar) = (Instant::now(), screen.bar(count, "events"));
        self.events.skip_to(now_us() - (HISTORY_SECONDS * 1e6) as u64);
        for sent in 0..count {
            let event = self.events.next_of_traffic();
            self.send(event);
            if sent % CHUNK as u64 == 0 {
                bar.set_position(sent);
                self.taken().await?;
            }
        }
        self.settled().await?;
        bar.finish_and_clear();
        Ok(Speed::since(start, count))
    }

    /// Traffic at this pace until then, each event when its time has come; celebrities post amid it.
    pub(super) async fn live(
        &mut self,
        pace: f64,
        start: Instant,
        end: Instant,
        visibility: &Arc<Visibility>,
    ) -> anyhow::Result<Speed> {
        self.events.set_pace(pace);
        // ahead of the time of day, if chance has drawn out the history
        let base = self.events.skip_to(now_us());
        let every = Duration::from_secs_f64(self.options.celebrity_posts_every);
        let mut celebrity_due = start + every / 2;
        let (mut count, mut late, mut held) = (0, Times::default(), Duration::ZERO);
        loop {
            let event = match self.pending.take() {
                Some(event) => event,
                None => self.events.next_of_traffic(),
            };
            let due = start + Duration::from_micros(event.time_us.saturating_sub(base));
            if due >= end {
                self.pending = Some(event);
                break;
            }
            if due > Instant::now() {
                sleep_until(due).await;
            }
            late.record(Instant::now().saturating_duration_since(due));
            self.watched(event, false, visibility);
            count += 1;
            if !every.is_zero() && self.network.spec().celebrities > 0 && Instant::now() >= celebrity_due {
                celebrity_due += every;
                let event = self.events.post_of(self.celebrity);
                self.celebrity = (self.celebrity + 1) % self.network.spec().celebrities;
                self.watched(event, true, visibility);
                count += 1;
            }
            if count % 64 == 0 {
                let asked = Instant::now();
                self.taken().await?;
                held += asked.elapsed();
                lock(&self.shared.latencies).events_late.add(&late);
                late.clear();
            }
        }
        lock(&self.shared.latencies).events_late.add(&late);
        Ok(Speed { held_seconds: held.as_secs_f64(), ..Speed::since(start, count) })
    }

    fn watched(&self, event: Event, celebrity: bool, visibility: &Arc<Visibility>) {
        let wanted = visibility.wants(&event, celebrity).then(|| event.clone());
        self.send(event);
        if let Some(event) = wanted {
            visibility.watch(&event, celebrity);
        }
    }

    fn send(&self, event: Event) {
        self.shared.note(&event);
        self.upstream.push(event);
        self.shared.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until the stand-in has sent all but what it can keep.
    async fn taken(&self) -> anyhow::Result<()> {
        let keep = self.options.retention as u64 / 2;
        let patience = Duration::from_secs_f64(self.options.patience);
        let taken = self.upstream.sent(self.upstream.last_seq().saturating_sub(keep));
        ensure!(timeout(patience, taken).await.is_ok(), "nobody reads the Jetstream");
        ensure!(
            self.shared.world().item_count() <= self.options.items_limit,
            "more items than --items-limit were sent"
        );
        Ok(())
    }

    /// Waits until everything sent is applied and delivered, as long as there is progress.
    pub(super) async fn settled(&self) -> anyhow::Result<()> {
        let patience = Duration::from_secs_f64(self.options.patience);
        let mut metrics = self.shared.metrics.subscribe();
        let (mut last, mut since) = ((0, 0.0, f64::MAX), Instant::now());
        loop {
            let (settled, newest) = (self.shared.settled(), self.shared.world().newest());
            if settled >= newest {
                return Ok(());
            }
            let progress = {
                let metrics = metrics.borrow_and_update();
                (settled, metrics.stream_us, metrics.lag_tasks)
            };
            if progress.0 > last.0 || progress.1 > last.1 || progress.2 < last.2 {
                (last, since) = (progress, Instant::now());
            }
            ensure!(
                since.elapsed() < patience,
                "{} of {newest} events are applied and delivered, and nothing moves",
                settled
            );
            // the sender lives in `self`; without news the patience decides
            let _ = timeout(Duration::from_secs(1), metrics.changed()).await;
        }
    }
}
