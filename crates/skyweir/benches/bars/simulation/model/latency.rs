//! What a write takes: the figures of Bluesky's text, fitted by lognormal distributions.

use std::f64::consts::PI;

/// The mean of a write, milliseconds, ...
pub(crate) const MEAN_MS: f64 = 0.6;
/// ... its P99, ...
pub(crate) const P99_MS: f64 = 15.0;
/// ... and its P99.9 while there are hot shards.
pub(crate) const P999_MS: f64 = 1_000.0;
/// Chosen, as the text has nothing of them: how many writes are slow, how far the usual and the slow ones spread, ...
const SLOW_SHARE: f64 = 0.02;
const SPREAD: f64 = 0.5;
/// ... and those to a hot shard.
const HOT_SPREAD: f64 = 0.8;
/// How many equally likely latencies stand for all.
const CELLS: usize = 1 << 16;

/// A lognormal distribution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogNormal {
    pub(crate) median_ms: f64,
    pub(crate) sigma: f64,
}

impl LogNormal {
    fn mean(&self) -> f64 {
        self.median_ms * (self.sigma * self.sigma / 2.0).exp()
    }

    /// The share that is greater.
    fn beyond(&self, ms: f64) -> f64 {
        normal_beyond((ms / self.median_ms).ln() / self.sigma)
    }
}

/// The share of a standard normal distribution that is greater: Abramowitz and Stegun, 26.2.17.
fn normal_beyond(z: f64) -> f64 {
    if z < 0.0 {
        return 1.0 - normal_beyond(-z);
    }
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let terms = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let sum = terms.iter().rev().fold(0.0, |sum, term| (sum + term) * t);
    (-z * z / 2.0).exp() / (2.0 * PI).sqrt() * sum
}

/// Some lognormal distributions, each with its share.
#[derive(Clone, Debug)]
pub(crate) struct Mixture(pub(crate) Vec<(f64, LogNormal)>);

impl Mixture {
    /// Writes while all shards are well. No single lognormal has them: its P99 is at most 15 times its mean, and here
    /// it is 25 times. So 2 in 100 are slow, half of them slower than the P99; what they leave of the mean is that of
    /// the others.
    pub(crate) fn calm() -> Self {
        let slow = LogNormal { median_ms: P99_MS, sigma: SPREAD };
        let usual_mean = (MEAN_MS - SLOW_SHARE * slow.mean()) / (1.0 - SLOW_SHARE);
        let usual = LogNormal { median_ms: usual_mean / (SPREAD * SPREAD / 2.0).exp(), sigma: SPREAD };
        Self(vec![(1.0 - SLOW_SHARE, usual), (SLOW_SHARE, slow)])
    }

    /// Writes to a hot shard, when this share of all shards is hot: `beyond` of the writes to all shards then take
    /// [`P999_MS`] or more.
    pub(crate) fn hot(share: f64, beyond: f64) -> Self {
        let median = |median_ms| LogNormal { median_ms, sigma: HOT_SPREAD };
        let median_ms = bisect(1e-3, 1e6, |ms| median(ms).beyond(P999_MS) < beyond / share);
        Self(vec![(1.0, median(median_ms))])
    }

    /// Writes to all shards, `share` of which are hot.
    pub(crate) fn all(share: f64, beyond: f64) -> Self {
        let scaled = |by: f64, mixture: Self| mixture.0.into_iter().map(move |(part, of)| (part * by, of));
        Self(scaled(1.0 - share, Self::calm()).chain(scaled(share, Self::hot(share, beyond))).collect())
    }

    /// Milliseconds.
    pub(crate) fn mean(&self) -> f64 {
        self.0.iter().map(|(share, of)| share * of.mean()).sum()
    }

    /// The milliseconds below which a share of all lies.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        self.quantile_from(1e-3, share)
    }

    fn quantile_from(&self, least: f64, share: f64) -> f64 {
        let beyond = |ms| self.0.iter().map(|(part, of)| part * of.beyond(ms)).sum::<f64>();
        bisect(least, 1e6, |ms| beyond(ms) > 1.0 - share)
    }

    pub(crate) fn table(&self) -> Table {
        let mut ms = 1e-3;
        let cells = (0..CELLS).map(|cell| {
            ms = self.quantile_from(ms, (cell as f64 + 0.5) / CELLS as f64);
            (ms * 1e6 / Table::UNIT_NS as f64) as u32
        });
        Table(cells.collect())
    }
}

/// Where something stops to hold, by the logarithm: to a millionth.
fn bisect(mut from: f64, mut to: f64, holds: impl Fn(f64) -> bool) -> f64 {
    while to > from * 1.000_001 {
        let middle = (from * to).sqrt();
        if holds(middle) { from = middle } else { to = middle }
    }
    to
}

/// Equally likely latencies.
pub(crate) struct Table(Vec<u32>);

impl Table {
    const UNIT_NS: u64 = 100;

    /// The latency, nanoseconds, that belongs to a random number.
    pub(crate) fn at(&self, random: u64) -> u64 {
        u64::from(self.0[(random >> 48) as usize]) * Self::UNIT_NS
    }
}
