//! Starting with the whole network: an archive is read into the store, up to where the live stream goes on.

use std::sync::Arc;

use skyweir_store::{SavedCursor, Store};
use skyweir_types::Clock;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::source::{self, Ended, Source, SourceKind, SourceStatus, parse_archive};
use crate::{Config, CursorChoice, Indexer};

/// Why a backfill ended against its will.
#[derive(Debug, Error)]
pub enum BackfillError {
    /// Reading or applying failed. What is applied stays, and the next backfill goes on there.
    #[error(transparent)]
    Indexer(#[from] crate::Error),
    /// What is in the store comes from somewhere else, or from an unknown place.
    #[error(
        "the data directory was filled from {saved}: a backfill begins with an empty directory, or goes on from the \
         same host's archive or stream; name another --data-dir, or that host with --from"
    )]
    OtherSource {
        /// Where it comes from.
        saved: String,
    },
    /// The store was begun with the live stream.
    #[error(
        "the data directory was begun with the live stream, so what was before that is missing, and a backfill can't \
         go back: name another --data-dir, an empty one"
    )]
    BegunLive,
}

impl From<skyweir_store::Error> for BackfillError {
    fn from(error: skyweir_store::Error) -> Self {
        Self::Indexer(error.into())
    }
}

impl From<source::Error> for BackfillError {
    fn from(error: source::Error) -> Self {
        Self::Indexer(error.into())
    }
}

/// Reads the archive of a Jetstream v2 into a store that nothing else writes to. It leaves no tasks: whoever keeps
/// timelines of the store has to begin them anew.
pub struct Backfill {
    config: Config,
    store: Arc<dyn Store>,
    archive: Source,
    live: SourceKind,
    start: CursorChoice,
    status: Arc<SourceStatus>,
    tasks: bool,
}

impl Backfill {
    /// From the host of this URL (see [`parse_archive`]): all follows and account states, posts and reposts from a time
    /// on. Of a whole store that the live stream has fed what it has missed since is read, if it is sealed already.
    /// `status` is told how far it is. As soon as something is read, nothing but a backfill goes on from the store's
    /// place.
    ///
    /// # Errors
    /// The URL names no Jetstream v2, a setting can't work, or the store holds something else.
    pub async fn begin(
        config: Config,
        store: Arc<dyn Store>,
        url: &str,
        items_since_us: i64,
        clock: Clock,
        status: Arc<SourceStatus>,
    ) -> Result<Self, BackfillError> {
        let (archive, live) = parse_archive(url, items_since_us)?;
        let archive = Source::new(archive, config.source.clone(), clock)?;
        let view = store.view().await?;
        let start = match view.cursor().await? {
            Some(saved) if saved.source == archive.id() => CursorChoice::Auto,
            // it stays the live stream's until something is read: all that is sealed may be known
            Some(saved) if saved.source == live.id() && view.is_whole().await? => {
                CursorChoice::At(saved.position)
            }
            Some(saved) if saved.source == live.id() => return Err(BackfillError::BegunLive),
            Some(saved) => return Err(BackfillError::OtherSource { saved: saved.source }),
            None if view.actor_count().await? > 0 => {
                return Err(BackfillError::OtherSource {
                    saved: "a source that has left no place".to_owned(),
                });
            }
            None => CursorChoice::Auto,
        };
        Ok(Self::of(config, store, (archive, live), start, status))
    }

    /// Of an archive and its live stream, from a place of either on.
    pub(crate) fn of(
        config: Config,
        store: Arc<dyn Store>,
        (archive, live): (Source, SourceKind),
        start: CursorChoice,
        status: Arc<SourceStatus>,
    ) -> Self {
        Self { config, store, archive, live, start, status, tasks: false }
    }

    /// Leaves tasks as a stream does: for a store of which timelines are kept.
    pub(crate) fn with_tasks(self) -> Self {
        Self { tasks: true, ..self }
    }

    /// The live stream that goes on behind the archive.
    #[must_use]
    pub fn live(&self) -> String {
        self.live.id()
    }

    /// Runs until all that is sealed is applied, or until stopped. Returns the place at which the live stream goes on,
    /// or `None` when it was stopped before: then the next run goes on where it was.
    ///
    /// Each step saves its place with its effects, under the archive's name; the last one gives it to the live stream.
    ///
    /// # Errors
    /// [`BackfillError`].
    pub async fn run(self, stop: CancellationToken) -> Result<Option<u64>, BackfillError> {
        Ok(self.read(stop).await?)
    }

    pub(crate) async fn read(self, stop: CancellationToken) -> Result<Option<u64>, crate::Error> {
        let (live, store, status) = (self.live(), self.store.clone(), self.status.clone());
        let indexer = Indexer::new(self.config, self.store, self.archive, self.start, self.status);
        let indexer = if self.tasks { indexer } else { indexer.without_tasks() };
        let ended = indexer.run(stop).await;
        status.archive_ended();
        if ended? == Ended::Stopped {
            return Ok(None);
        }
        let saved = store.view().await?.cursor().await?;
        let mut txn = store.begin().await?;
        let (position, time_us) = match &saved {
            Some(saved) => (saved.position, saved.time_us),
            None => {
                // nothing is sealed yet, so nothing is missing
                txn.set_whole(true).await?;
                (0, i64::MIN)
            }
        };
        txn.set_cursor(SavedCursor { source: live, position, time_us }).await?;
        txn.commit().await?;
        Ok(Some(position))
    }
}
