//! Hot timelines and shards: who draws most of what fan-out writes, as of the last minutes, from a sample.

mod report;
mod sketch;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use skyweir_graph::HighFollows;
use skyweir_store::{Counts, Delivery};
use skyweir_types::{ActorId, rate_for};
use tokio::sync::watch;
use tokio::time::Instant;

pub(crate) use self::report::Distribution;
pub use self::report::{HotReport, HotShard, HotTimeline};
use self::sketch::{Counter, Sketch};

/// Timelines that are counted; whoever draws more than a 512th of all writes is among them.
const COUNTERS: usize = 512;
/// After this time a write counts for half.
const HALF_LIFE: Duration = Duration::from_secs(60);
/// Half-lives after which everything is scaled, so that weights stay far from the limits of their type.
const SCALE_AFTER: f64 = 64.0;
/// The share of references that is sampled follows their rate: so many samples take between ...
const SAMPLES: u32 = 256;
/// ... this time, else one reference in half as many is taken, or ...
const LEAST: Duration = Duration::from_millis(100);
/// ... this time: so that the sketch costs a thousandth of a core, however much is written.
const MOST: Duration = Duration::from_millis(400);
/// One reference in at most so many is sampled.
const STRIDE_MOST: u32 = 1 << 14;

/// What is known of hot timelines and shards.
pub(crate) struct Hot {
    /// References until the next sample.
    left: AtomicI64,
    state: Mutex<State>,
    /// Whose references are sampled out, and by how much.
    high_follows: watch::Receiver<Arc<HighFollows>>,
    reasonable_limit: u32,
}

struct State {
    timelines: Sketch,
    shards: Vec<f64>,
    total: f64,
    began: Instant,
    /// The moment at which a write weighs as much as it is; later ones weigh more.
    base: Instant,
    /// One reference in so many is sampled, and weighs as many.
    stride: u32,
    /// What the gap before the next sample was drawn for.
    weight: f64,
    /// Samples since this moment.
    taken: u32,
    since: Instant,
    random: u64,
}

impl Hot {
    pub(crate) fn new(
        shards: u32,
        reasonable_limit: u32,
        high_follows: watch::Receiver<Arc<HighFollows>>,
    ) -> Self {
        let now = Instant::now();
        let state = State {
            timelines: Sketch::new(COUNTERS),
            shards: vec![0.0; shards as usize],
            total: 0.0,
            began: now,
            base: now,
            stride: 1,
            weight: 1.0,
            taken: 0,
            since: now,
            random: 0x9e37_79b9_7f4a_7c15,
        };
        Self { left: AtomicI64::new(1), state: Mutex::new(state), high_follows, reasonable_limit }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a sample of what was written to a shard.
    pub(crate) fn wrote(&self, shard: u32, deliveries: &[Delivery], counts: &[Counts]) {
        let references: i64 = deliveries.iter().map(|delivery| delivery.viewers.len() as i64).sum();
        let next = self.left.fetch_sub(references, Ordering::Relaxed);
        // below 1: another thread is at its sample, and this one can do without
        if next > references || next < 1 {
            return;
        }
        let mut state = self.state();
        let (now, high_follows) = (Instant::now(), self.high_follows.borrow());
        // counted from the first reference of this delivery on, beginning with 1
        let (mut next, mut gaps) = (next, 0);
        for (delivery, counts) in deliveries.iter().zip(counts) {
            let viewers = &delivery.viewers;
            let taken = counts.written + counts.sampled_out;
            while next <= viewers.len() as i64 {
                let viewer = viewers[next as usize - 1];
                let rate = if viewer == delivery.reference.author {
                    1.0
                } else {
                    high_follows.get(viewer).map_or(1.0, |follows| rate_for(follows, self.reasonable_limit))
                };
                let written = taken as f64 / viewers.len() as f64 * f64::from(rate);
                state.note(shard, viewer, written, now);
                let gap = state.gap(now);
                next += gap;
                gaps += gap;
            }
            next -= viewers.len() as i64;
        }
        // others may have gone on meanwhile, past the next sample too
        while self.left.fetch_add(gaps, Ordering::Relaxed) + gaps < 1 {
            gaps = state.gap(now);
        }
    }
}

impl State {
    /// A sampled reference, of which this much was written.
    fn note(&mut self, shard: u32, viewer: ActorId, written: f64, now: Instant) {
        let weight = written * self.weight * self.factor(now);
        self.timelines.add(viewer, weight);
        self.total += weight;
        if let Some(shard) = self.shards.get_mut(shard as usize) {
            *shard += weight;
        }
    }

    /// What a write at this moment weighs.
    fn factor(&mut self, now: Instant) -> f64 {
        let age = (now - self.base).as_secs_f64() / HALF_LIFE.as_secs_f64();
        if age < SCALE_AFTER {
            return age.exp2();
        }
        let faded = (-age).exp2();
        self.timelines.scale(faded);
        self.shards.iter_mut().for_each(|shard| *shard *= faded);
        self.total *= faded;
        self.base = now;
        1.0
    }

    /// Draws how many references it is to the next sample: unevenly, so that no pattern of theirs is followed.
    fn gap(&mut self, now: Instant) -> i64 {
        self.taken += 1;
        let took = now - self.since;
        if self.taken >= SAMPLES || took >= MOST {
            if took < LEAST {
                self.stride = (self.stride * 2).min(STRIDE_MOST);
            } else if took >= MOST {
                self.stride = (self.stride / 2).max(1);
            }
            (self.taken, self.since) = (0, now);
        }
        self.weight = f64::from(self.stride);
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        1 + (self.random % u64::from(self.stride * 2 - 1)) as i64
    }
}

#[cfg(test)]
mod tests;
