//! What is told of hot timelines and shards.

use serde::Serialize;
use skyweir_store::{CachedState, Result, Timelines, View};
use tokio::time::Instant;

use super::{Counter, HALF_LIFE, Hot, State};

/// What fan-out writes lately, and to whom: as of the last minutes, a write a minute ago counting for half.
#[derive(Clone, Debug, Serialize)]
pub struct HotReport {
    /// References written a second.
    pub writes_per_second: f64,
    /// One reference in so many is sampled now.
    pub sampled_one_in: u32,
    /// The timelines to which most is written, hottest first.
    pub timelines: Vec<HotTimeline>,
    /// The shards to which most is written, hottest first.
    pub shards: Vec<HotShard>,
}

/// A timeline to which much is written.
#[derive(Clone, Debug, Serialize)]
pub struct HotTimeline {
    /// Whose.
    pub did: String,
    /// Where it lives.
    pub shard: u32,
    /// References written a second, by the sample.
    pub writes_per_second: f64,
    /// That figure is too great by no more than this, but for the sample's own chance.
    pub over_by_at_most: f64,
    /// How many accounts it follows.
    pub follows: u32,
    /// The share of references that it keeps; `None` while it fills or hibernates.
    pub rate: Option<f32>,
    /// When its generation was published, milliseconds since 1970; `None` while it fills or hibernates.
    pub enrolled_since_ms: Option<i64>,
}

/// A shard.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct HotShard {
    /// Its number.
    pub shard: u32,
    /// References written a second, by the sample.
    pub writes_per_second: f64,
    /// Its share of all that is written.
    pub share: f64,
}

/// Some figures of hot shards and timelines, for gauges.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Distribution {
    /// Writes a second of each shard, rising.
    pub(crate) shards: Vec<f64>,
    /// The hottest shard's share of all writes.
    pub(crate) shard_share: f64,
    /// The share of the ten hottest timelines, at least.
    pub(crate) timelines_share: f64,
}

/// How many timelines [`Distribution::timelines_share`] is about.
const HOTTEST: usize = 10;

impl State {
    /// By how much a weight has to be multiplied to give writes a second.
    fn per_second(&mut self, now: Instant) -> f64 {
        let half_life = HALF_LIFE.as_secs_f64();
        // what a steady stream of one write a second has come to since the beginning
        let age = (now - self.began).as_secs_f64().max(1.0) / half_life;
        let steady = half_life / std::f64::consts::LN_2 * (1.0 - (-age).exp2());
        1.0 / (steady * self.factor(now))
    }

    pub(super) fn share(&self, weight: f64) -> f64 {
        if self.total > 0.0 { (weight / self.total).clamp(0.0, 1.0) } else { 0.0 }
    }
}

impl Hot {
    /// For gauges.
    pub(crate) fn distribution(&self) -> Distribution {
        let mut state = self.state();
        let per_second = state.per_second(Instant::now());
        let mut shards = state.shards.clone();
        shards.sort_unstable_by(f64::total_cmp);
        let sure: f64 = state.timelines.top(HOTTEST).iter().map(|one| one.count - one.error).sum();
        Distribution {
            shard_share: state.share(shards.last().copied().unwrap_or(0.0)),
            timelines_share: state.share(sure),
            shards: shards.into_iter().map(|weight| weight * per_second).collect(),
        }
    }

    /// The hottest `n` timelines and shards.
    pub(crate) async fn report(
        &self,
        view: &dyn View,
        timelines: &dyn Timelines,
        n: usize,
    ) -> Result<HotReport> {
        let (mut report, top, per_second) = self.figures(n);
        let viewers: Vec<_> = top.iter().map(|one| one.viewer).collect();
        let (dids, accounts) = (view.dids(&viewers).await?, view.accounts(&viewers).await?);
        for ((counter, did), account) in top.iter().zip(dids).zip(accounts) {
            let info = match timelines.read(counter.viewer, i64::MIN, 0).await?.state {
                CachedState::In(info) => Some(info),
                CachedState::Filling(_) | CachedState::Out => None,
            };
            report.timelines.push(HotTimeline {
                did: did.as_str().to_owned(),
                shard: timelines.shard_of(counter.viewer),
                writes_per_second: counter.count * per_second,
                over_by_at_most: counter.error * per_second,
                follows: account.follows,
                rate: info.map(|info| info.rate),
                enrolled_since_ms: info.map(|info| info.since_ms),
            });
        }
        Ok(report)
    }

    /// A report without its timelines, and who they are.
    pub(super) fn figures(&self, n: usize) -> (HotReport, Vec<Counter>, f64) {
        let mut state = self.state();
        let per_second = state.per_second(Instant::now());
        let shard = |(shard, weight): (usize, &f64)| HotShard {
            shard: shard as u32,
            writes_per_second: weight * per_second,
            share: state.share(*weight),
        };
        let mut shards: Vec<_> = state.shards.iter().enumerate().map(shard).collect();
        shards.sort_unstable_by(|one, other| other.share.total_cmp(&one.share));
        shards.truncate(n);
        let report = HotReport {
            writes_per_second: state.total * per_second,
            sampled_one_in: state.stride,
            timelines: Vec::new(),
            shards,
        };
        (report, state.timelines.top(n), per_second)
    }
}
