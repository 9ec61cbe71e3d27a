//! `skyweir backfill`: the whole network into a data directory, with a word from time to time about how far it is.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use skyweir_embedded::{EmbeddedStore, Rings};
use skyweir_indexer::archive::Backfill;
use skyweir_indexer::source::{ArchiveProgress, SourceStatus};
use skyweir_types::Clock;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::cli::{Age, BackfillOptions, ServeOptions};
use crate::config::Config;
use crate::coverage;
use crate::serve::{Signals, install_tls, io_runtime};
use crate::telemetry;

/// How often it says how far it is.
const PACE: Duration = Duration::from_secs(10);

/// Runs it to its end, or until it is told to stop; then it can be run again.
pub(crate) fn command(options: &BackfillOptions) -> Result<ExitCode> {
    let config = Config::load(&ServeOptions {
        config: options.config.clone(),
        data_dir: options.data_dir.clone(),
        log_format: options.log_format,
        log: options.log.clone(),
        ..ServeOptions::default()
    })?;
    telemetry::logs(config.log_format, &config.log)?;
    install_tls()?;
    let from = options.from.clone().unwrap_or_else(|| config.source.clone());
    let io = io_runtime(config.runtime.io_threads)?;
    let ended = io.block_on(run(config, &from, options.items_since));
    io.shutdown_background();
    ended
}

async fn run(config: Config, from: &str, items_since: Age) -> Result<ExitCode> {
    let (clock, status) = (Clock::system(), Arc::new(SourceStatus::default()));
    let mut signals = Signals::new()?;
    let settings = config.store.clone();
    let store = tokio::task::spawn_blocking(move || EmbeddedStore::open(settings)).await;
    let store = store.map_err(|_| anyhow!("opening the data directory panicked, see above"))??;
    let (since, shared) = (since(items_since, clock.now_micros()), Arc::new(store.clone()));
    let is_whole = coverage::is_complete(&config.data_dir);
    let backfill =
        Backfill::begin(config.indexer, shared, from, since, is_whole, clock, status.clone()).await?;
    // the tasks that would keep timelines of before aren't kept: they fill again
    tokio::task::spawn_blocking(move || Rings::forget(&store)).await??;
    // before the place becomes the live stream's: until then nothing looks for the mark
    coverage::complete(&config.data_dir, &backfill.live())?;
    let (live, stop) = (backfill.live(), CancellationToken::new());
    info!(from, data.dir = %config.data_dir.display(), "backfill begins");
    let mut work = std::pin::pin!(backfill.run(stop.clone()));
    let mut pace = Pace::new(&status);
    let reached = loop {
        tokio::select! {
            ended = &mut work => break ended?,
            signal = signals.next() => {
                info!(signal, "stopping");
                stop.cancel();
            }
            () = tokio::time::sleep_until(pace.due) => info!("{}", pace.say(&status)),
        }
    };
    let Some(reached) = reached else {
        info!("stopped before the end: the same command goes on where it was");
        return Ok(ExitCode::FAILURE);
    };
    info!(reached, "backfill is complete; `skyweir serve --source {live}` goes on from there");
    Ok(ExitCode::SUCCESS)
}

/// The time from which on posts and reposts are wanted, microseconds since 1970.
fn since(age: Age, now_us: i64) -> i64 {
    match age {
        Age::All => i64::MIN,
        Age::Hours(hours) => now_us.saturating_sub(i64::from(hours) * 3_600_000_000),
    }
}

/// What was said last, and when the next word is due.
struct Pace {
    said: Instant,
    due: Instant,
    before: ArchiveProgress,
}

impl Pace {
    fn new(status: &SourceStatus) -> Self {
        let said = Instant::now();
        Self { said, due: said + PACE, before: status.snapshot().archive.unwrap_or_default() }
    }

    fn say(&mut self, status: &SourceStatus) -> String {
        let now = Instant::now();
        let progress = status.snapshot().archive.unwrap_or_default();
        let line = line(self.before, progress, now - self.said);
        (self.said, self.due, self.before) = (now, now + PACE, progress);
        line
    }
}

/// How far it is, how fast, and how long it will take at that.
fn line(before: ArchiveProgress, now: ArchiveProgress, took: Duration) -> String {
    if now.tip == 0 {
        return "waiting for the archive's plan".to_owned();
    }
    let share = now.reached as f64 / now.tip as f64 * 100.0;
    let seconds = took.as_secs_f64().max(0.001);
    let events = (now.events - before.events) as f64 / seconds;
    // before the first plan nothing is known of where it began
    let rows =
        if before.tip == 0 { 0.0 } else { now.reached.saturating_sub(before.reached) as f64 / seconds };
    let left = now.tip.saturating_sub(now.reached) as f64 / rows;
    let left = if left.is_finite() { format!(", about {} left", hours(left)) } else { String::new() };
    format!("{share:.1} % of the archive, {} events so far, {events:.0} a second{left}", now.events)
}

fn hours(seconds: f64) -> String {
    let minutes = (seconds / 60.0).ceil() as u64;
    if minutes < 60 { format!("{minutes} min") } else { format!("{} h {} min", minutes / 60, minutes % 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_share_pace_and_time_left() {
        let at = |reached, tip, events| ArchiveProgress { reached, tip, events };
        let ten = Duration::from_secs(10);
        assert_eq!(line(at(0, 0, 0), at(0, 0, 0), ten), "waiting for the archive's plan");
        assert_eq!(
            line(at(0, 0, 0), at(500, 1_000, 90), ten),
            "50.0 % of the archive, 90 events so far, 9 a second"
        );
        assert_eq!(
            line(at(500, 1_000_000, 90), at(1_000, 1_000_000, 190), ten),
            "0.1 % of the archive, 190 events so far, 10 a second, about 5 h 33 min left"
        );
        assert!(line(at(0, 10, 0), at(9, 10, 9), ten).ends_with("about 1 min left"));
    }

    #[test]
    fn ages_become_times() {
        assert_eq!(since(Age::All, 5), i64::MIN);
        assert_eq!(since(Age::Hours(1), 3_600_000_007), 7);
    }
}
