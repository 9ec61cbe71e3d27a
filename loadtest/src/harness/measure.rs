//! The figures: latencies, visibility, and their course through time.

use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// What takes longer counts as this: an hour, in microseconds.
const LONGEST_US: u64 = 3_600_000_000;

/// Microseconds, to three digits.
#[derive(Clone, Debug)]
pub(super) struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_US, 3).expect("these bounds are allowed"))
    }
}

impl Times {
    pub(super) fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX).clamp(1, LONGEST_US));
    }

    pub(super) fn summary(&self) -> Summary {
        let ms = |quantile: f64| self.0.value_at_quantile(quantile) as f64 / 1e3;
        if self.0.is_empty() {
            return Summary::default();
        }
        Summary {
            count: self.0.len(),
            p50: ms(0.5),
            p90: ms(0.9),
            p99: ms(0.99),
            max: self.0.max() as f64 / 1e3,
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    pub(super) fn clear(&mut self) {
        self.0.reset();
    }
}

/// A distribution in short; milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) count: u64,
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
}

/// What reading took.
#[derive(Clone, Debug, Default)]
pub(super) struct Latencies {
    /// First pages, from the moment that they were due. Only answers count, here and below: an error may come fast.
    pub(super) first: Times,
    /// The same since the last sample.
    pub(super) window: Times,
    /// Reads since the last sample that were answered with an error.
    pub(super) window_errors: u64,
    /// First pages, from the moment that they were sent: what a closed loop would have measured.
    pub(super) sent: Times,
    /// Further pages, from the moment that the page before was there.
    pub(super) deeper: Times,
    /// How late this program itself sent reads that didn't have to wait for others.
    pub(super) late: Times,
    /// How late events were sent, all of them.
    pub(super) events_late: Times,
    /// Reads that were due and could not be sent; their waiting is in `first`.
    pub(super) unsent: u64,
    /// Answers that were errors, by status; those of questions too.
    pub(super) errors: BTreeMap<String, u64>,
}

impl Latencies {
    /// Counts an answer that was an error.
    pub(super) fn failed(&mut self, status: &tonic::Status) {
        *self.errors.entry(format!("{:?}", status.code())).or_default() += 1;
    }
}

/// When the sampled followers saw an item: the time from its sending.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pub(super) celebrity: bool,
    /// Sorted.
    pub(super) after: Vec<Duration>,
    /// How many never did.
    pub(super) never: usize,
}

/// One second or more of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Sample {
    /// Seconds since the start of the run.
    pub(super) at: f64,
    /// What was being done.
    pub(super) phase: String,
    /// Events sent a second.
    pub(super) events_per_second: f64,
    /// Tasks that are not done.
    pub(super) lag_tasks: f64,
    /// Age of the oldest of them, in seconds.
    pub(super) lag_seconds: f64,
    /// How far the newest applied event lies behind the clock, in seconds; in live phases only.
    pub(super) stream_lag_seconds: Option<f64>,
    /// References written a second.
    pub(super) deliveries_per_second: f64,
    /// Timelines that fan-out writes to.
    pub(super) enrolled: f64,
    /// Resident memory of the service, in bytes, if it is known.
    pub(super) resident_bytes: Option<f64>,
    /// Cores that the service kept busy, if it is known.
    pub(super) cores: Option<f64>,
    /// Resident memory of this program, in bytes.
    pub(super) own_resident_bytes: Option<f64>,
    /// Cores that this program kept busy.
    pub(super) own_cores: Option<f64>,
    /// First pages read.
    pub(super) reads: u64,
    /// Reads that were answered with an error.
    pub(super) read_errors: u64,
    /// Their latency from the moment that they were due, in milliseconds; none without reads.
    pub(super) read_p50_ms: Option<f64>,
    /// The same.
    pub(super) read_p99_ms: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_summed_up() {
        let mut times = Times::default();
        assert_eq!(times.summary(), Summary::default());
        (1..=100).for_each(|ms| times.record(Duration::from_millis(ms)));
        let summary = times.summary();
        assert_eq!(summary.count, 100);
        assert!((summary.p50 - 50.0).abs() < 0.1 && (summary.p99 - 99.0).abs() < 0.1, "{summary:?}");
        let mut both = times.clone();
        both.add(&times);
        assert_eq!(both.summary().count, 200);
        both.clear();
        assert_eq!(both.summary(), Summary::default());
    }
}
