//! Looks at the service from outside, several times a second: what is settled, and the course of the figures.

use super::measure::Sample;
use super::scrape::{self, Metrics, Usage};
use super::shared::{Shared, lock};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const LOOK: Duration = Duration::from_millis(200);
/// The service's own figures may be so old, and the age of a task so much off.
const SLACK: Duration = Duration::from_secs(1);
/// Length of a sample.
const SAMPLE: Duration = Duration::from_secs(1);
/// More samples are never kept: every second one goes, and those that follow are twice as long.
const SAMPLES: usize = 3_600;

/// Microseconds since 1970, by the clock of the machine.
#[expect(clippy::disallowed_methods, reason = "live events carry the time of day; nothing is measured by it")]
pub(super) fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros() as u64)
}

/// Who is looked at.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    pub(super) admin: String,
    /// The service's process, if it is ours.
    pub(super) process: Option<u32>,
}

/// What tells that a state is applied and delivered: the service says when it has applied an event, and how old its
/// oldest undelivered task is. What it had applied by one look is delivered once a later look finds nothing that old.
#[derive(Debug, Default)]
struct Settling {
    /// Applied states, and when they were known to be.
    applied: VecDeque<(u64, Instant)>,
}

impl Settling {
    /// A look that began and ended then; `applied` is what it shows to be applied, if that is more than before.
    fn look(&mut self, began: Instant, ended: Instant, lag: Duration, applied: Option<u64>) -> Option<u64> {
        let mut settled = None;
        while let Some((state, known)) = self.applied.front() {
            if began.saturating_duration_since(*known) <= lag + SLACK {
                break;
            }
            settled = Some(*state);
            self.applied.pop_front();
        }
        self.applied.extend(applied.map(|state| (state, ended)));
        settled
    }
}

/// Looks until told to stop; an error when the admin port no longer answers.
pub(super) async fn run(
    shared: Arc<Shared>,
    observed: Observed,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut settling = Settling::default();
    let mut course = Course::new(&observed);
    while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
        let began = Instant::now();
        let metrics = scrape::metrics(&observed.admin).await?;
        // a service that doesn't say how far behind it is settles nothing
        if let Some(seconds) = metrics.lag_seconds {
            let lag = Duration::from_secs_f64(seconds.clamp(0.0, 1e6));
            let applied = shared.world().witnessed_by(metrics.stream_us);
            if let Some(state) = settling.look(began, Instant::now(), lag, applied) {
                shared.settle(state);
            }
        }
        course.look(&shared, &metrics);
        shared.metrics.send_replace(metrics);
    }
    Ok(())
}

/// The course of the figures.
struct Course {
    process: Option<String>,
    start: Instant,
    last: Instant,
    length: Duration,
    sent: u64,
    deliveries: f64,
    usage: Option<Usage>,
    own: Option<Usage>,
}

impl Course {
    fn new(observed: &Observed) -> Self {
        let now = Instant::now();
        Self {
            process: observed.process.map(|id| id.to_string()),
            start: now,
            last: now,
            length: SAMPLE,
            sent: 0,
            deliveries: 0.0,
            usage: None,
            own: scrape::usage("self"),
        }
    }

    fn look(&mut self, shared: &Shared, metrics: &Metrics) {
        let now = Instant::now();
        if now - self.last < self.length {
            return;
        }
        let seconds = (now - self.last).as_secs_f64();
        let sent = shared.sent.load(Ordering::Relaxed);
        let usage = match &self.process {
            Some(process) => scrape::usage(process),
            None => metrics
                .resident
                .zip(metrics.cpu_seconds)
                .map(|(resident, cpu_seconds)| Usage { resident, cpu_seconds }),
        };
        let own = scrape::usage("self");
        let cores = |before: Option<Usage>, after: Option<Usage>| {
            before.zip(after).map(|(before, after)| (after.cpu_seconds - before.cpu_seconds) / seconds)
        };
        let phase = lock(&shared.phase).clone();
        let live = phase.starts_with("live");
        let (reads, read_errors) = {
            let mut latencies = lock(&shared.latencies);
            (std::mem::take(&mut latencies.window).summary(), std::mem::take(&mut latencies.window_errors))
        };
        let sample = Sample {
            at: (now - self.start).as_secs_f64(),
            phase,
            events_per_second: (sent - self.sent) as f64 / seconds,
            lag_tasks: metrics.lag_tasks,
            lag_seconds: metrics.lag_seconds.unwrap_or(0.0),
            stream_lag_seconds: live.then(|| (now_us() as f64 - metrics.stream_us) / 1e6),
            deliveries_per_second: ((metrics.deliveries - self.deliveries) / seconds).max(0.0),
            enrolled: metrics.enrolled,
            resident_bytes: usage.map(|usage| usage.resident),
            cores: cores(self.usage, usage),
            own_resident_bytes: own.map(|usage| usage.resident),
            own_cores: cores(self.own, own),
            reads: reads.count,
            read_errors,
            read_p50_ms: (reads.count > 0).then_some(reads.p50),
            read_p99_ms: (reads.count > 0).then_some(reads.p99),
        };
        (self.last, self.sent, self.deliveries) = (now, sent, metrics.deliveries);
        (self.usage, self.own) = (usage, own);
        let mut series = lock(&shared.series);
        series.push(sample);
        if series.len() >= SAMPLES {
            let mut at = 0;
            series.retain(|_| {
                at += 1;
                at % 2 == 0
            });
            self.length *= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_settles_once_nothing_older_is_undelivered() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let seconds = Duration::from_secs;
        let mut settling = Settling::default();
        assert_eq!(
            settling.look(at(0), at(10), seconds(0), Some(5)),
            None,
            "the task may be younger than the lag"
        );
        assert_eq!(settling.look(at(1_000), at(1_000), seconds(0), Some(7)), None, "within the slack");
        assert_eq!(settling.look(at(1_100), at(1_100), seconds(9), None), None, "something older is left");
        assert_eq!(settling.look(at(1_100), at(1_100), seconds(0), None), Some(5));
        assert_eq!(settling.look(at(9_000), at(9_000), seconds(6), None), Some(7));
        assert_eq!(settling.look(at(9_000), at(9_000), seconds(0), None), None);
    }
}
