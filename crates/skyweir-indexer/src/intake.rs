//! What is read, one after the other: an archive where nothing is known yet, its stream, and the archive again when the
//! stream no longer has our place.

use std::sync::Arc;

use skyweir_store::{SavedCursor, Store, is_move};
use skyweir_types::Clock;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::archive::{Backfill, give};
use crate::run::start_at;
use crate::source::{
    ArchiveProgress, Ended, Error as SourceError, Source, SourceKind, SourceStatus, is_beginning, missed,
};
use crate::{Config, CursorChoice, Error, Indexer, whole};

/// How an intake begins.
#[derive(Clone, Copy, Debug)]
pub struct Begin {
    /// Where to begin upstream.
    pub cursor: CursorChoice,
    /// Whether an empty store begins with the archive of its stream, if that has one and the cursor is
    /// [`CursorChoice::Auto`].
    pub backfill: bool,
    /// Posts and reposts of such an archive are wanted from this time on, microseconds since 1970.
    pub items_since_us: i64,
    /// Whether timelines are kept of the store already: then whatever is read leaves tasks for them.
    pub has_timelines: bool,
}

/// All that a service reads of its source.
pub struct Intake {
    config: Config,
    store: Arc<dyn Store>,
    kind: SourceKind,
    clock: Clock,
    status: Arc<SourceStatus>,
    cursor: CursorChoice,
    has_timelines: bool,
    first: First,
    loaded: CancellationToken,
}

/// What comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Stream,
    /// The archive, from the begin or from where it was cut off; posts and reposts from this time on. Unless timelines
    /// are kept already no tasks are left: nobody may keep one before it is over.
    Load(i64),
    /// What the stream had no longer, from where its reading was cut off.
    CatchUp,
}

/// Whether timelines may be kept of a store that stands there: whatever is read from then on leaves tasks. For
/// processes that don't read upstream themselves; see [`Intake::loaded`].
#[must_use]
pub fn is_loaded(saved: Option<&SavedCursor>) -> bool {
    saved.is_some_and(|saved| !is_beginning(&saved.source) && !is_move(saved))
}

impl Intake {
    /// Looks where the store stands, and tells `status` whether it is whole.
    ///
    /// # Errors
    /// The store can't go on with this source, or can't be read.
    pub async fn begin(
        config: Config,
        store: Arc<dyn Store>,
        kind: SourceKind,
        begin: Begin,
        clock: Clock,
        status: Arc<SourceStatus>,
    ) -> Result<Self, Error> {
        let Begin { cursor, backfill, items_since_us, has_timelines } = begin;
        let view = store.view().await?;
        let saved = view.cursor().await?;
        let archive = kind.archive(items_since_us).filter(|_| cursor == CursorChoice::Auto);
        let first = match (&archive, &saved) {
            (Some(_), Some(saved)) if missed(&saved.source) == Some(kind.id().as_str()) => First::CatchUp,
            (Some(archive), Some(saved)) if saved.source == archive.id() => First::Load(items_since_us),
            (Some(_), None) if backfill && view.actor_count().await? == 0 => First::Load(items_since_us),
            _ => First::Stream,
        };
        let mut known = None;
        if first == First::Stream {
            start_at(cursor, saved.as_ref(), &kind.id())?;
            known = whole::at_start(cursor, saved.as_ref(), &kind);
        } else {
            status.archive(ArchiveProgress::default());
        }
        status.whole(known.unwrap_or(view.is_whole().await?));
        drop(view);
        let loaded = CancellationToken::new();
        if has_timelines || !matches!(first, First::Load(_)) {
            loaded.cancel();
        }
        Ok(Self { config, store, kind, clock, status, cursor, has_timelines, first, loaded })
    }

    /// Is cancelled once timelines may be kept: what is read from then on leaves tasks.
    #[must_use]
    pub fn loaded(&self) -> CancellationToken {
        self.loaded.clone()
    }

    /// Runs until stopped, or until a file is read to its end.
    ///
    /// # Errors
    /// [`enum@Error`]; everything that may pass by itself is tried again instead.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        let mut exhausted = match self.first {
            First::Stream => None,
            First::CatchUp => self.catch_up(CursorChoice::Auto, &stop).await?,
            First::Load(items_since_us) => {
                self.load(items_since_us, &stop).await?;
                None
            }
        };
        let mut cursor = self.cursor;
        while !stop.is_cancelled() {
            let source = self.source(self.kind.clone())?.with_archive(exhausted);
            let (store, status) = (self.store.clone(), self.status.clone());
            let indexer = Indexer::new(self.config.clone(), store, source, cursor, status);
            if indexer.run(stop.clone()).await? != Ended::PlaceGone {
                break;
            }
            cursor = CursorChoice::Auto;
            if let Some(SavedCursor { position, .. }) = self.store.view().await?.cursor().await? {
                warn!(position, "the stream no longer has our place, reading its archive from there");
                exhausted = self.catch_up(CursorChoice::At(position), &stop).await?;
            }
        }
        Ok(())
    }

    fn source(&self, kind: SourceKind) -> Result<Source, SourceError> {
        Source::new(kind, self.config.source.clone(), self.clock.clone())
    }

    /// The archive of the stream, read from here on.
    fn backfill(&self, archive: SourceKind, from: CursorChoice) -> Result<Backfill, Error> {
        let sources = (self.source(archive)?, self.kind.clone());
        let (config, store, status) = (self.config.clone(), self.store.clone(), self.status.clone());
        Ok(Backfill::of(config, store, sources, from, status))
    }

    /// Fills the store. It has to succeed: without what is missing it would never be whole.
    async fn load(&self, items_since_us: i64, stop: &CancellationToken) -> Result<(), Error> {
        let Some(archive) = self.kind.archive(items_since_us) else { return Ok(()) };
        info!("nothing is known yet, or a part: reading the archive before the stream");
        let backfill = self.backfill(archive, CursorChoice::Auto)?;
        let backfill = if self.has_timelines { backfill.with_tasks() } else { backfill };
        let reached = backfill.read(stop.clone()).await.map_err(|error| match error {
            Error::Source(error) => Error::Load(error),
            other => other,
        })?;
        if let Some(reached) = reached {
            info!(reached, "the archive is read, going on with the stream");
            self.loaded.cancel();
        }
        Ok(())
    }

    /// Reads what the archive has behind a place. Returns the place if that was nothing.
    async fn catch_up(&self, from: CursorChoice, stop: &CancellationToken) -> Result<Option<u64>, Error> {
        let Some(missed) = self.kind.missed() else { return Ok(None) };
        match self.backfill(missed, from)?.with_tasks().read(stop.clone()).await {
            Ok(Some(reached)) => {
                info!(reached, "the archive is read, going on with the stream");
                Ok(Some(reached).filter(|reached| from == CursorChoice::At(*reached)))
            }
            Ok(None) => Ok(None),
            Err(Error::Source(error)) => {
                // a service that stands still would lose more; the stream tells what is lost
                warn!(%error, "the archive can't be read, going on with the stream");
                self.leave_archive(stop).await
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the place back to the stream. Returns it.
    async fn leave_archive(&self, stop: &CancellationToken) -> Result<Option<u64>, Error> {
        let Some(saved) = self.store.view().await?.cursor().await? else { return Ok(None) };
        let position = saved.position;
        let place = SavedCursor { source: self.kind.id(), ..saved };
        give(&self.config, self.store.as_ref(), &place, None, stop).await?;
        self.status.archive_ended();
        Ok(Some(position))
    }
}
