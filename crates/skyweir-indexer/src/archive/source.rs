//! An archive as a source: planned page by page, downloaded side by side, handed on in the order of the sequence
//! numbers, so that an account's rows stay in theirs.

use std::collections::VecDeque;

use skyweir_types::Clock;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::Wanted;
use super::download::{Downloader, Stop};
use super::http::Gate;
use super::plan::{Plan, plan};
use crate::decode::{AHEAD_US, UNKNOWN_TIME};
use crate::metrics;
use crate::source::{
    ArchiveProgress, Ended, Error, Frame, FrameSender, SourceConfig, SourceStatus, StartAt, Stream,
};

/// How many blocks a download may be ahead.
const AHEAD: usize = 2;

/// What an archive is read for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// The live stream whose archive it is.
    pub(crate) stream: Stream,
    /// Posts and reposts are wanted from this time on, microseconds since 1970.
    pub(crate) items_since_us: i64,
    /// Whether it is read from a place of the stream on, for what was missed there.
    pub(crate) is_missed: bool,
}

struct Reading<'a> {
    archive: &'a Archive,
    config: &'a SourceConfig,
    clock: &'a Clock,
    out: &'a FrameSender,
    status: &'a SourceStatus,
    gate: Gate,
    /// Who has nothing to do.
    idle: Vec<Downloader>,
    /// How many were made.
    made: u64,
    progress: ArchiveProgress,
}

/// Hands on all of an archive that is behind the start. It ends when nothing more is sealed.
pub(crate) async fn run(
    archive: &Archive,
    config: &SourceConfig,
    clock: &Clock,
    start: StartAt,
    out: &FrameSender,
    status: &SourceStatus,
) -> Result<Ended, Error> {
    let progress = ArchiveProgress { reached: start.done(), ..ArchiveProgress::default() };
    let (gate, idle) = (Gate::default(), Vec::new());
    let mut reading = Reading { archive, config, clock, out, status, gate, idle, made: 0, progress };
    let mut planner = reading.downloader()?;
    status.connected();
    let mut gone = 0;
    // where the archive ended when it was first planned: it shall not move while it is read
    let mut tip = None;
    loop {
        let page = match reading.plan(&mut planner, tip).await {
            Ok(page) => page,
            Err(stop) => return reading.stopped(stop),
        };
        let through = page.planned_through_seq;
        if let StartAt::From(live) = start
            && page.sealed_tip_seq < live
            && reading.progress.reached == live
        {
            // the live stream has told more than is sealed
            return Ok(Ended::EndOfFile);
        }
        if page.sealed_tip_seq < reading.progress.reached {
            let why = format!(
                "it ends at {}, below {}, up to which it was read: another instance answers; name the one of before, \
                 or begin with an empty directory",
                page.sealed_tip_seq, reading.progress.reached
            );
            return reading.stopped(Stop::Failed(why));
        }
        if page.sealed_tip_seq == reading.progress.reached {
            return Ok(Ended::EndOfFile);
        }
        if tip != Some(page.sealed_tip_seq) {
            info!(from = reading.progress.reached, to = page.sealed_tip_seq, "reading the archive");
        }
        tip = Some(page.sealed_tip_seq);
        reading.progress.tip = page.sealed_tip_seq;
        status.archive(reading.progress);
        let before = reading.progress.reached;
        let read = reading.page(page).await;
        if reading.progress.reached > before {
            gone = 0;
        }
        match read {
            Ok(()) => {}
            Err(Stop::Gone(why)) if gone + 1 < config.archive_attempts => {
                gone += 1;
                warn!(reason = %why, "planning anew");
                continue;
            }
            Err(stop) => return reading.stopped(stop),
        }
        let frame =
            Frame { position: Some(through), time_us: UNKNOWN_TIME, events: Vec::new(), skipped: Vec::new() };
        if reading.hand_on(frame).await.is_err() {
            return Ok(Ended::Stopped);
        }
    }
}

impl Reading<'_> {
    async fn plan(&self, planner: &mut Downloader, tip: Option<u64>) -> Result<Plan, Stop> {
        loop {
            // at its end it is planned anew: something may be sealed since
            let through = tip.filter(|tip| *tip > self.progress.reached);
            match plan(&mut planner.http, self.progress.reached, through).await {
                Ok(plan) => {
                    planner.succeeded();
                    return Ok(plan);
                }
                Err(failure) => planner.failed("the plan", failure).await?,
            }
        }
    }

    /// Hands on what a page of the plan tells of.
    async fn page(&mut self, page: Plan) -> Result<(), Stop> {
        let wanted = Wanted {
            after: self.progress.reached,
            // what a page brings too much may have a hole before it
            through: page.planned_through_seq,
            items_since_us: self.archive.items_since_us,
            latest_us: self.clock.now_micros().saturating_add(AHEAD_US),
        };
        let mut planned = page.segments.into_iter();
        let mut waiting = VecDeque::new();
        loop {
            while waiting.len() < self.config.archive_downloads
                && let Some(next) = planned.next()
            {
                let mut downloader = self.downloader().map_err(|error| Stop::Failed(error.to_string()))?;
                let (sender, receiver) = mpsc::channel(AHEAD);
                // a set of its own: dropped, it ends the download
                let mut download = JoinSet::new();
                download.spawn(async move {
                    downloader.run(&next, wanted, &sender).await;
                    downloader
                });
                waiting.push_back((receiver, download));
            }
            let Some((first, download)) = waiting.front_mut() else { return Ok(()) };
            match first.recv().await {
                Some(frame) => self.hand_on(frame?).await?,
                None => {
                    self.idle.push(joined(download).await?);
                    waiting.pop_front();
                }
            }
        }
    }

    async fn hand_on(&mut self, mut frame: Frame) -> Result<(), Stop> {
        // plans may overlap: what comes again moves nothing
        frame.position = frame.position.filter(|position| *position > self.progress.reached);
        self.progress.reached = frame.position.unwrap_or(self.progress.reached);
        let events = frame.events.len() as u64;
        self.progress.events += events;
        let (progress, now_us) = (self.progress, self.clock.now_micros());
        self.out.send(frame).await.map_err(|_| Stop::Unheard)?;
        self.status.archive(progress);
        metrics::archive(progress.share(), events);
        self.status.frame(now_us);
        Ok(())
    }

    fn downloader(&mut self) -> Result<Downloader, Error> {
        match self.idle.pop() {
            Some(idle) => Ok(idle),
            None => {
                self.made += 1;
                let seed = self.clock.now_micros().unsigned_abs().wrapping_add(self.made);
                // without the first reading a store would never be whole: that waits for ever
                let patience = self.archive.is_missed.then(|| self.config.archive_patience());
                Downloader::new(&self.archive.stream, self.config, &self.gate, patience, seed)
            }
        }
    }

    fn stopped(&self, stop: Stop) -> Result<Ended, Error> {
        let host = self.archive.stream.authority().to_owned();
        match stop {
            Stop::Unheard => Ok(Ended::Stopped),
            Stop::Failed(why) => Err(Error::Archive { host, why }),
            Stop::Gone(why) => Err(Error::Archive {
                host,
                why: format!("{why}; it plans what it doesn't have: try again later, or another server"),
            }),
        }
    }
}

/// What a download leaves at its end. If it panicked, so do we: nothing behind it may be handed on.
async fn joined<T: 'static>(download: &mut JoinSet<T>) -> Result<T, Stop> {
    match download.join_next().await {
        Some(Ok(left)) => Ok(left),
        Some(Err(failed)) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        _ => Err(Stop::Unheard),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_download_that_panics_ends_the_reading() {
        let mut reading = JoinSet::new();
        reading.spawn(async {
            let mut download = JoinSet::new();
            download.spawn(async { if true { panic!("on purpose") } else { 1 } });
            joined(&mut download).await
        });
        let ended = reading.join_next().await.unwrap();
        assert!(ended.is_err_and(|failed| failed.is_panic()));
        let mut aborted = JoinSet::new();
        aborted.spawn(std::future::pending::<()>());
        aborted.abort_all();
        assert!(matches!(joined(&mut aborted).await, Err(Stop::Unheard)));
    }
}
