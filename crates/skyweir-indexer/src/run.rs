//! The indexer: takes messages from its source, applies them in groups, saves the cursor with them.

use std::sync::Arc;
use std::time::Duration;

use skyweir_store::{SavedCursor, Store, is_move};
use skyweir_types::{AccountStatus, Body};
use thiserror::Error;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::apply::{Applier, Horizons, Outcome};
use crate::group::{Group, next_group};
use crate::repos::Asker;
use crate::source::{self, Ended, FrameReceiver, SavedPosition, Source, SourceStatus, StartAt, unfinished};
use crate::{Config, CursorChoice};
use crate::{metrics, whole};

/// Why the indexer ended against its will.
#[derive(Debug, Error)]
pub enum Error {
    /// The store is corrupt, or failed in a way that trying again can't mend.
    #[error(transparent)]
    Store(#[from] skyweir_store::Error),
    /// The source can't be used as it is configured.
    #[error(transparent)]
    Source(#[from] source::Error),
    /// The store holds a part of an archive, or of a host's repositories.
    #[error(
        "a backfill from {0} was cut off: `skyweir backfill` with the same --from and --data-dir goes on where it was; \
         or start once with --cursor live, without the follows that it hasn't brought"
    )]
    Unfinished(String),
    /// The store holds a part of another one.
    #[error(
        "another store was being moved into this one, and it isn't all here: `skyweir move` with the same --data-dir \
         goes on where it was"
    )]
    Moving,
    /// The archive with which an empty store begins can't be read.
    #[error(
        "{0}; or start once with --cursor live, which begins with what happens from now on, without the follows made \
         before"
    )]
    Load(source::Error),
    /// The saved cursor belongs to another source.
    #[error(
        "the saved cursor belongs to {saved}, not to {asked}: positions of one source mean nothing to another; \
         start once with --cursor live (a gap) or --cursor NUMBER, or with another --data-dir"
    )]
    OtherSource {
        /// The source that the store was fed from.
        saved: String,
        /// The configured source.
        asked: String,
    },
}

/// Consumes one source and applies it to the store.
pub struct Indexer {
    config: Config,
    store: Arc<dyn Store>,
    source: Source,
    cursor: CursorChoice,
    status: Arc<SourceStatus>,
    tasks: bool,
    items_since_us: i64,
    is_part: bool,
}

impl Indexer {
    /// An indexer of this source. `status` is what `/readyz` shows of it.
    #[must_use]
    pub fn new(
        config: Config,
        store: Arc<dyn Store>,
        source: Source,
        cursor: CursorChoice,
        status: Arc<SourceStatus>,
    ) -> Self {
        Self { config, store, source, cursor, status, tasks: true, items_since_us: i64::MIN, is_part: false }
    }

    /// Leaves out posts and reposts from before this time, microseconds since 1970, unless they are stored already.
    #[must_use]
    pub fn items_since(self, items_since_us: i64) -> Self {
        Self { items_since_us, ..self }
    }

    /// Leaves no tasks for the writer: nobody has a timeline yet that they would change.
    pub(crate) fn without_tasks(self) -> Self {
        Self { tasks: false, ..self }
    }

    /// Reads one of many parts, whose begin and end are no news.
    pub(crate) fn of_part(self) -> Self {
        Self { is_part: true, ..self }
    }

    /// Runs until stopped, until a file or archive is read to its end, or until the place is gone, and tells which.
    /// What was received by then is applied, unless there is no room for its tasks: then it comes again.
    ///
    /// # Errors
    /// [`enum@Error`]; everything that may pass by itself is tried again instead.
    pub async fn run(self, stop: CancellationToken) -> Result<Ended, Error> {
        let view = self.store.view().await?;
        let saved = view.cursor().await?;
        let id = self.source.id();
        let start = start_at(self.cursor, saved.as_ref(), &id)?;
        let across = self.source.across_accounts();
        let known = whole::at_start(self.cursor, saved.as_ref(), self.source.kind());
        self.status.whole(known.unwrap_or(view.is_whole().await?));
        let (items_since_us, ends_told) = (self.items_since_us, self.source.ends_told());
        let horizons = Horizons { items_since_us, ends_told, ..self.config.horizons() };
        let mut applier = Applier::load(view.as_ref(), across, horizons).await?;
        if !self.tasks {
            applier = applier.without_tasks();
        }
        drop(view);
        if self.is_part {
            debug!(source = %id, start = ?start, "part begins");
        } else {
            info!(source = %id, start = ?start, "indexer starts");
            metrics::ended(false);
            metrics::reached(applier.stream_us());
        }

        let (sender, frames) = source::queue(&self.config.source);
        let mut reader = JoinSet::new();
        let (status, gaps) = (self.status.as_ref(), self.status.gaps());
        let (asker, resync) = self.source.resync(self.store.clone(), &sender).unzip();
        let reading = self.source.run(start, sender, self.status.clone(), stop.clone());
        reader.spawn(async move {
            match resync {
                None => reading.await,
                Some(resync) => tokio::select! {
                    ended = reading => ended,
                    never = resync.run() => match never {},
                },
            }
        });

        let (config, store) = (&self.config, self.store.as_ref());
        let (pending, is_overrun) = (None, false);
        let mut committer = Committer { config, store, status, id, pending, known, gaps, asker, is_overrun };
        let all_taken = committer.take(frames, &mut applier, &stop).await?;
        committer.flush(&mut applier, &stop).await?;
        match reader.join_next().await {
            Some(Ok(ended)) => {
                let ended = if all_taken { ended? } else { ended.map(|_| Ended::Stopped)? };
                if ended == Ended::EndOfFile && !self.is_part {
                    metrics::ended(true);
                    info!("source has ended, all of it is applied");
                }
                Ok(ended)
            }
            Some(Err(failed)) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
            _ => Ok(Ended::Stopped),
        }
    }
}

pub(crate) fn start_at(
    choice: CursorChoice,
    saved: Option<&SavedCursor>,
    id: &str,
) -> Result<StartAt, Error> {
    match (choice, saved) {
        (_, Some(saved)) if is_move(saved) => Err(Error::Moving),
        (CursorChoice::Live, _) | (CursorChoice::Auto, None) => Ok(StartAt::Live),
        (CursorChoice::At(number), _) => Ok(StartAt::From(number)),
        (CursorChoice::Auto, Some(saved)) if saved.source == id => {
            Ok(StartAt::Resume(SavedPosition { position: saved.position, time_us: saved.time_us }))
        }
        (CursorChoice::Auto, Some(saved)) => Err(match unfinished(&saved.source) {
            Some(live) => Error::Unfinished(live.to_owned()),
            None => Error::OtherSource { saved: saved.source.clone(), asked: id.to_owned() },
        }),
    }
}

/// The pauses before a commit is tried again.
pub(crate) struct Again<'a> {
    delay: Duration,
    most: Duration,
    stop: &'a CancellationToken,
}

impl<'a> Again<'a> {
    pub(crate) fn new(config: &Config, stop: &'a CancellationToken) -> Self {
        Self { delay: Duration::from_millis(50), most: Duration::from_millis(config.retry_most_ms), stop }
    }

    /// Waits, if the store is unavailable; what doesn't pass by itself, or comes after a stop, is an error.
    pub(crate) async fn after(&mut self, refused: skyweir_store::Error) -> skyweir_store::Result<()> {
        let why = match refused {
            skyweir_store::Error::Unavailable(why) if !self.stop.is_cancelled() => why,
            lasting => return Err(lasting),
        };
        metrics::retried();
        warn!(error = %why, retry.ms = self.delay.as_millis() as u64, "commit refused, trying again");
        // a stop cuts the pause short: one attempt is left then
        let _ = self.stop.run_until_cancelled(tokio::time::sleep(self.delay)).await;
        self.delay = (self.delay * 2).min(self.most);
        Ok(())
    }
}

/// A cursor that moved past messages without an event of ours: saved by count and by time.
struct Pending {
    cursor: SavedCursor,
    messages: u64,
    due: Instant,
}

struct Committer<'a> {
    config: &'a Config,
    store: &'a dyn Store,
    status: &'a SourceStatus,
    id: String,
    pending: Option<Pending>,
    /// Whether the store is whole from the next place on, if that changes.
    known: Option<bool>,
    /// Gaps that the store knows of.
    gaps: u64,
    /// Who reads accounts anew.
    asker: Option<Asker>,
    /// More accounts are to be read anew than there is room for, which is told once.
    is_overrun: bool,
}

impl Committer<'_> {
    fn deadline(&self) -> Option<Instant> {
        self.pending.as_ref().map(|pending| pending.due)
    }

    /// Commits group after group until the source has ended, or until a stop finds no room in the task log: whether all
    /// that came is committed.
    async fn take(
        &mut self,
        mut frames: FrameReceiver,
        applier: &mut Applier,
        stop: &CancellationToken,
    ) -> Result<bool, Error> {
        let mut closes = Instant::now() + self.config.group_time();
        while let Some(group) = next_group(&mut frames, self.config, closes, self.deadline()).await {
            closes = Instant::now() + self.config.group_time();
            tokio::select! {
                // what was received before a stop is applied, if that needs no waiting
                biased;
                () = self.store.room() => {}
                () = stop.cancelled() => return Ok(false),
            }
            self.commit(applier, group, stop).await?;
        }
        Ok(true)
    }

    async fn commit(
        &mut self,
        applier: &mut Applier,
        group: Group,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        metrics::messages(group.frames.len() as u64);
        for reason in group.frames.iter().flat_map(|frame| &frame.skipped) {
            metrics::skipped(reason.as_str());
        }
        let now = Instant::now();
        if let Some(position) = group.frames.iter().rev().find_map(|frame| frame.position) {
            let seen = group.frames.iter().map(|frame| frame.time_us).max().unwrap_or(i64::MIN);
            let cursor =
                SavedCursor { source: self.id.clone(), position, time_us: seen.max(applier.stream_us()) };
            let (messages, due) = match &self.pending {
                Some(pending) => (pending.messages, pending.due),
                None => (0, now + self.config.cursor_time()),
            };
            self.pending = Some(Pending { cursor, messages: messages + group.frames.len() as u64, due });
        }
        let due = self
            .pending
            .as_ref()
            .is_some_and(|pending| pending.messages >= self.config.cursor_messages || pending.due <= now);
        if group.events > 0 || due { self.write(applier, &group, stop).await } else { Ok(()) }
    }

    async fn flush(&mut self, applier: &mut Applier, stop: &CancellationToken) -> Result<(), Error> {
        match self.pending {
            Some(_) => self.write(applier, &Group::default(), stop).await,
            None => Ok(()),
        }
    }

    /// One transaction, tried again as a whole while the store is unavailable.
    async fn write(
        &mut self,
        applier: &mut Applier,
        group: &Group,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let began = Instant::now();
        let gaps = self.status.gaps();
        if gaps > self.gaps {
            // perhaps not before this place, but before the next one
            self.known = Some(false);
        }
        let mut again = Again::new(self.config, stop);
        let mut is_first = true;
        let outcomes = loop {
            match self.attempt(applier, group, is_first).await {
                Ok(outcomes) => break outcomes,
                Err(refused) => again.after(refused).await?,
            }
            is_first = false;
        };
        if self.pending.take().is_some() {
            self.gaps = gaps;
            self.known.take().into_iter().for_each(|whole| self.status.whole(whole));
        }
        for (event, outcome) in group.frames.iter().flat_map(|frame| &frame.events).zip(outcomes) {
            metrics::applied(&event.body, outcome);
            let is_marked = match event.body {
                Body::Sync { records_follow, .. } => !records_follow,
                Body::Account(status) => status == AccountStatus::Active,
                _ => false,
            };
            if let Some(asker) = self.asker.as_ref().filter(|_| is_marked && outcome == Outcome::Applied) {
                asker.ask(&event.did);
            }
        }
        self.dropped(applier.take_dropped(), applier.has_much_room());
        metrics::committed(began.elapsed().as_secs_f64(), applier.stream_us());
        if let Some((horizon_ms, swept)) = applier.left() {
            metrics::left(horizon_ms, swept);
        }
        Ok(())
    }

    /// So many accounts lost their marks to others: what they have lost isn't known to be lost any more.
    fn dropped(&mut self, marks: u64, has_much_room: bool) {
        metrics::resyncs_dropped(marks);
        if marks > 0 {
            // as the transaction has said
            self.status.whole(false);
        }
        if marks > 0 && !self.is_overrun {
            let message = "more accounts are to be read anew than can wait";
            self.status.gap("LostCommits", message);
            warn!(reason = "LostCommits", %message, "events may be lost upstream");
        }
        self.is_overrun = marks > 0 || (self.is_overrun && !has_much_room);
    }

    async fn attempt(
        &self,
        applier: &mut Applier,
        group: &Group,
        is_first: bool,
    ) -> skyweir_store::Result<Vec<Outcome>> {
        if !is_first {
            // what the applier holds in memory may be ahead of the store: read it again
            applier.reload(self.store.view().await?.as_ref()).await?;
        }
        let mut txn = self.store.begin().await?;
        let mut outcomes = Vec::with_capacity(group.events);
        for frame in &group.frames {
            match frame.position {
                Some(_) => applier.frame(txn.as_mut(), &frame.events, &mut outcomes).await?,
                None => applier.beside(txn.as_mut(), &frame.events, &mut outcomes).await?,
            }
        }
        applier.end_group(txn.as_mut()).await?;
        if let Some(pending) = &self.pending {
            txn.set_cursor(pending.cursor.clone()).await?;
        }
        let known = self.known.filter(|_| self.pending.is_some());
        if let Some(whole) = if applier.dropped() > 0 { Some(false) } else { known } {
            txn.set_whole(whole).await?;
        }
        txn.commit().await?;
        Ok(outcomes)
    }
}

#[cfg(test)]
mod tests;
