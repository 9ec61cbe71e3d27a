//! What a live phase came to, what bent in it, and whether a long one was flat.

use super::measure::{Latencies, Sample, Seen, Summary, Times};
use super::options::RunOptions;
use super::pump::Speed;
use serde::Serialize;
use std::time::Duration;

/// A phase whose figure grew by less than this share is flat in it.
const FLAT: f64 = 0.15;
/// Growth below this is noise: bytes, seconds, milliseconds.
const NOISE: (f64, f64, f64) = (16e6, 0.25, 1.0);

/// One live phase.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Step {
    /// The pace that was asked for, in events a second.
    pub(super) pace: f64,
    /// What was sent.
    pub(super) sent: Speed,
    /// First pages, from the moment that they were due; milliseconds.
    pub(super) reads: Summary,
    /// The same from the moment that they were sent: without what a closed loop hides.
    pub(super) reads_sent: Summary,
    /// Further pages.
    pub(super) deeper: Summary,
    /// How late this program sent reads that had to wait for no other.
    pub(super) reads_late: Summary,
    /// How late it sent events.
    pub(super) events_late: Summary,
    /// Reads that could not be sent at all.
    pub(super) reads_unsent: u64,
    /// Errors by status.
    pub(super) errors: std::collections::BTreeMap<String, u64>,
    /// Celebrity posts, and other posts: when their sampled followers saw them.
    pub(super) celebrity: Visible,
    pub(super) ordinary: Visible,
    /// Posts that would have been watched, had not too many been watched already.
    pub(super) passed_over: u64,
    /// The greatest age of an undelivered task, in seconds.
    pub(super) lag_seconds: f64,
    /// The mean of busy cores of the service while events were sent, if it is known.
    pub(super) cores: Option<f64>,
    /// The greatest resident memory, in bytes, if it is known.
    pub(super) resident_bytes: Option<f64>,
    /// The mean of references written a second while events were sent.
    pub(super) deliveries_per_second: f64,
    /// What bent first, if anything.
    pub(super) bent: Option<Bent>,
}

/// From sending to being seen, over items; milliseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Visible {
    /// How many items were watched.
    pub(super) items: usize,
    pub(super) first: Summary,
    pub(super) median: Summary,
    pub(super) last: Summary,
    /// Followers that never saw theirs.
    pub(super) never: usize,
}

/// What gave way.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Bent {
    pub(super) what: String,
    /// Seconds after the start of the run.
    pub(super) at: f64,
}

impl Step {
    /// Sums up a phase; `during` of its samples are from before the last event was sent.
    pub(super) fn new(
        pace: f64,
        sent: Speed,
        latencies: &Latencies,
        seen: &[Seen],
        samples: &[Sample],
        during: usize,
        options: &RunOptions,
    ) -> Self {
        // what is waited for afterwards costs little, and would make the means smaller
        let busy = if during == 0 { samples } else { &samples[..during] };
        let most = |value: fn(&Sample) -> Option<f64>| samples.iter().filter_map(value).reduce(f64::max);
        Self {
            pace,
            sent,
            reads: latencies.first.summary(),
            reads_sent: latencies.sent.summary(),
            deeper: latencies.deeper.summary(),
            reads_late: latencies.late.summary(),
            events_late: latencies.events_late.summary(),
            reads_unsent: latencies.unsent,
            errors: latencies.errors.clone(),
            celebrity: visible(seen, true),
            ordinary: visible(seen, false),
            passed_over: 0,
            lag_seconds: most(|sample| Some(sample.lag_seconds)).unwrap_or(0.0),
            cores: mean(busy, |sample| sample.cores),
            resident_bytes: most(|sample| sample.resident_bytes),
            deliveries_per_second: mean(busy, |sample| Some(sample.deliveries_per_second)).unwrap_or(0.0),
            bent: bent(pace, sent, samples, options),
        }
    }
}

fn visible(seen: &[Seen], celebrity: bool) -> Visible {
    let seen: Vec<&Seen> = seen.iter().filter(|seen| seen.celebrity == celebrity).collect();
    let over = |pick: fn(&[Duration]) -> Option<&Duration>| {
        let mut times = Times::default();
        seen.iter().filter_map(|seen| pick(&seen.after)).for_each(|after| times.record(*after));
        times.summary()
    };
    Visible {
        items: seen.len(),
        first: over(|after| after.first()),
        median: over(|after| after.get(after.len() / 2)),
        last: over(|after| after.last()),
        never: seen.iter().map(|seen| seen.never).sum(),
    }
}

fn mean(samples: &[Sample], value: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
    let values: Vec<f64> = samples.iter().filter_map(value).collect();
    if values.is_empty() { None } else { Some(values.iter().sum::<f64>() / values.len() as f64) }
}

/// What went over its bar first and stayed there for two samples running; but this program itself comes before all.
fn bent(pace: f64, sent: Speed, samples: &[Sample], options: &RunOptions) -> Option<Bent> {
    let (p99, lag) = (options.read_p99_bar_ms, options.lag_bar_seconds);
    let first = |what: String, over: &dyn Fn(&Sample) -> bool| {
        let pair = samples.windows(2).find(|pair| pair.iter().all(over))?;
        Some(Bent { what, at: pair[0].at })
    };
    let bars = [
        first(format!("read p99 above {p99} ms"), &|sample| {
            sample.read_p99_ms.is_some_and(|time| time > p99)
        }),
        first("more than 1 % of the reads answered with errors".to_owned(), &|sample| {
            sample.read_errors * 100 > sample.reads + sample.read_errors
        }),
        first(format!("fan-out more than {lag} s behind"), &|sample| sample.lag_seconds > lag),
        // a second more: the newest event of a slow stream is old by itself
        first(format!("indexing more than {} s behind", lag + 1.0), &|sample| {
            sample.stream_lag_seconds.is_some_and(|behind| behind > lag + 1.0)
        }),
    ];
    let first = bars.into_iter().flatten();
    let first = first.min_by(|a, b| a.at.total_cmp(&b.at));
    let slow = sent.per_second < pace * 0.9 && sent.events > 100;
    let held = sent.held_seconds > sent.seconds * 0.1;
    if slow && !held {
        // then all other figures are of a load that isn't the one asked for
        let what = format!("this program itself: it sends {:.0} events a second", sent.per_second);
        return Some(Bent { what, at: samples.first().map_or(0.0, |sample| sample.at) });
    }
    let full = || Bent {
        what: format!("the service takes {:.0} events a second from the socket", sent.per_second),
        at: samples.last().map_or(0.0, |sample| sample.at),
    };
    first.or_else(|| slow.then(full))
}

/// How a figure was in the first and in the last quarter of a phase.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Flatness {
    pub(super) what: &'static str,
    pub(super) unit: &'static str,
    pub(super) first_quarter: f64,
    pub(super) last_quarter: f64,
    pub(super) flat: bool,
}

/// Compares the quarters of the live samples; nothing of figures that aren't known.
pub(super) fn flatness(samples: &[Sample]) -> Vec<Flatness> {
    let quarter = samples.len() / 4;
    if quarter == 0 {
        return Vec::new();
    }
    let (head, tail) = (&samples[..quarter], &samples[samples.len() - quarter..]);
    let compare = |what, unit, noise: f64, scale: f64, value: fn(&Sample) -> Option<f64>| {
        let (first, last) = (mean(head, value)?, mean(tail, value)?);
        let flat = last <= first * (1.0 + FLAT) + noise;
        Some(Flatness { what, unit, first_quarter: first / scale, last_quarter: last / scale, flat })
    };
    [
        compare("resident memory", "MiB", NOISE.0, 1_048_576.0, |sample| sample.resident_bytes),
        compare("lag", "s", NOISE.1, 1.0, |sample| Some(sample.lag_seconds)),
        compare("read p99", "ms", NOISE.2, 1.0, |sample| sample.read_p99_ms),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::options::tests::parse;

    fn samples(lag: impl Fn(usize) -> f64, p99: impl Fn(usize) -> f64) -> Vec<Sample> {
        let sample = |at| Sample {
            at: at as f64,
            lag_seconds: lag(at),
            read_p99_ms: Some(p99(at)),
            resident_bytes: Some(1e9 + 1e6 * at as f64),
            ..Sample::default()
        };
        (0..40).map(sample).collect()
    }

    #[test]
    fn what_bends_first_is_named() {
        let options = parse(&[]);
        let sent = Speed { events: 1_000, seconds: 10.0, per_second: 100.0, held_seconds: 0.0 };
        let bent =
            |samples: &[Sample], pace| bent(pace, sent, samples, &options).map(|bent| (bent.what, bent.at));
        assert_eq!(bent(&samples(|_| 0.0, |_| 1.0), 100.0), None);
        let spike = samples(|_| 0.0, |at| if at == 7 { 50.0 } else { 1.0 });
        assert_eq!(bent(&spike, 100.0), None, "one second is none");
        let mut refused = samples(|_| 0.0, |_| 1.0);
        for sample in &mut refused[5..7] {
            (sample.reads, sample.read_errors) = (98, 2);
        }
        assert!(bent(&refused, 100.0).is_some_and(|(what, at)| what.contains("errors") && at == 5.0));
        let both = samples(|at| at as f64 / 4.0, |at| if at > 20 { 9.0 } else { 1.0 });
        assert_eq!(bent(&both, 100.0), Some(("fan-out more than 1 s behind".to_owned(), 5.0)));
        assert!(bent(&both, 1_000.0).is_some_and(|(what, _)| what.contains("this program")));
        let full = Speed { held_seconds: 5.0, ..sent };
        let full = super::bent(1_000.0, full, &spike, &options);
        assert!(full.is_some_and(|bent| bent.what.contains("the service takes 100 events")));
    }

    #[test]
    fn means_are_of_the_time_with_traffic() {
        let mut samples = samples(|_| 0.0, |_| 1.0);
        for (at, sample) in samples.iter_mut().enumerate() {
            sample.cores = Some(if at < 10 { 1.0 } else { 0.0 });
        }
        let mean = |during| {
            let latencies = Latencies::default();
            Step::new(1.0, Speed::default(), &latencies, &[], &samples, during, &parse(&[])).cores
        };
        assert_eq!((mean(10), mean(0)), (Some(1.0), Some(0.25)));
    }

    #[test]
    fn flat_and_rising_are_told_apart() {
        let flat = |samples: &[Sample]| flatness(samples).iter().map(|one| one.flat).collect::<Vec<_>>();
        assert_eq!(flat(&samples(|_| 0.1, |_| 1.0)), [true, true, true]);
        assert_eq!(flat(&samples(|at| at as f64 / 10.0, |at| at as f64)), [true, false, false]);
        assert!(flatness(&[]).is_empty());
    }

    #[test]
    fn visibility_is_summed_up() {
        let ms = |ms: &[u64]| ms.iter().map(|ms| Duration::from_millis(*ms)).collect::<Vec<_>>();
        let seen = [
            Seen { celebrity: true, after: ms(&[1, 2, 30]), never: 1 },
            Seen { celebrity: false, after: ms(&[7]), never: 0 },
            Seen { celebrity: true, after: ms(&[]), never: 2 },
        ];
        let all = visible(&seen, true);
        assert_eq!((all.items, all.never, all.last.count), (2, 3, 1));
        assert!((all.first.p50 - 1.0).abs() < 0.01 && (all.last.max - 30.0).abs() < 0.1);
        assert_eq!(visible(&seen, false).items, 1);
    }
}
