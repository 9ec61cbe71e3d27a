//! How far a backfill is and how fast: a bar where somebody watches, else a line from time to time.

use std::future::Future;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use skyweir_indexer::source::{ArchiveProgress, SourceStatus};
use tokio::time::Instant;
use tracing::info;

/// How often a line says how far it is.
const PACE: Duration = Duration::from_secs(10);
/// How often a bar does.
const BAR_PACE: Duration = Duration::from_secs(1);
/// The bar's steps.
const STEPS: u64 = 10_000;

/// How far something is.
pub(crate) struct Said {
    /// From 0 to 1.
    pub(crate) share: f64,
    pub(crate) line: String,
}

/// Does some work, and tells meanwhile what `say` does, if anything.
pub(crate) async fn beside<T>(
    bar: Option<&ProgressBar>,
    mut say: impl FnMut() -> Option<Said>,
    work: impl Future<Output = T>,
) -> T {
    let mut work = std::pin::pin!(work);
    let every = if bar.is_some() { BAR_PACE } else { PACE };
    let mut due = Instant::now() + every;
    loop {
        tokio::select! {
            done = &mut work => return done,
            () = tokio::time::sleep_until(due) => {
                due = Instant::now() + every;
                match (say(), bar) {
                    (Some(Said { share, line }), Some(bar)) => {
                        bar.set_position((share * STEPS as f64) as u64);
                        bar.set_message(line);
                    }
                    (Some(Said { line, .. }), None) => info!("{line}"),
                    (None, _) => {}
                }
            }
        }
    }
}

/// How far an archive is read, as long as one is: for [`beside`].
pub(crate) fn of_archive(status: &SourceStatus) -> impl FnMut() -> Option<Said> {
    let mut pace = Pace { since: Instant::now(), before: ArchiveProgress::default() };
    move || {
        let progress = status.snapshot().archive;
        let line = pace.line(progress)?;
        Some(Said { share: progress.unwrap_or_default().share(), line })
    }
}

/// A bar for [`beside`], on standard error.
pub(crate) fn bar() -> ProgressBar {
    let bar = ProgressBar::new(STEPS);
    match ProgressStyle::with_template("{bar:30} {msg}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// What the pace is told of: from some seconds ago on.
struct Pace {
    since: Instant,
    before: ArchiveProgress,
}

impl Pace {
    fn line(&mut self, progress: Option<ArchiveProgress>) -> Option<String> {
        let now = Instant::now();
        let line = progress.map(|progress| line(self.before, progress, now - self.since));
        if progress.is_none() || now - self.since >= PACE {
            (self.since, self.before) = (now, progress.unwrap_or_default());
        }
        line
    }
}

/// How far it is, how fast, and how long it will take at that.
fn line(before: ArchiveProgress, now: ArchiveProgress, took: Duration) -> String {
    let seconds = took.as_secs_f64().max(0.001);
    // another archive, or another time, begins at 0
    let events = now.events.saturating_sub(before.events) as f64 / seconds;
    if now.tip == 0 && now.reached > 0 {
        // nobody says how many repositories there are
        let (repositories, pace) = (now.reached, now.reached.saturating_sub(before.reached) as f64 / seconds);
        return format!(
            "{repositories} repositories, {pace:.1} a second, {} events so far, {events:.0} a second",
            now.events
        );
    }
    if now.tip == 0 {
        return "waiting for the host".to_owned();
    }
    let share = now.share() * 100.0;
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
        assert_eq!(line(at(0, 0, 0), at(0, 0, 0), ten), "waiting for the host");
        assert_eq!(
            line(at(100, 0, 10), at(125, 0, 90), ten),
            "125 repositories, 2.5 a second, 90 events so far, 8 a second"
        );
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
}
