//! Starting with the whole network fast: an archive is read into a load, past the per-event path; what that leaves,
//! posts and reposts, is applied one by one.

use std::sync::Arc;

use skyweir_store::{Load, Notes, SavedCursor, Store};
use skyweir_types::Clock;
use tokio::runtime::Handle;
use tokio::task::{JoinSet, spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::BackfillError;
use super::fold::{Fold, Place};
use super::note;
use crate::apply::{Applier, Left};
use crate::source::{self, Ended, Source, SourceStatus, StartAt, parse_archive};
use crate::{Config, metrics};

/// Under this name the place among the notes is saved while they are applied: nobody else opens the store meanwhile.
const NOTES: &str = "the notes of a load";
/// A group takes so many notes more, lest a commit be cut: behind a restart its later operations wouldn't count.
const FURTHER: usize = 1_000;

/// Reads the archive of a Jetstream v2 into an empty store.
pub struct Loader {
    config: Config,
    archive: Source,
    items_since_us: i64,
    status: Arc<SourceStatus>,
}

impl Loader {
    /// From the host of this URL (see [`parse_archive`]): all follows and account states, posts and reposts from a time
    /// on. `status` is told how far it is.
    ///
    /// # Errors
    /// The URL names no Jetstream v2, or a setting can't work.
    pub fn new(
        config: Config,
        url: &str,
        items_since_us: i64,
        clock: Clock,
        status: Arc<SourceStatus>,
    ) -> Result<Self, BackfillError> {
        let (archive, _) = parse_archive(url, items_since_us)?;
        let archive = Source::new(archive, config.source.clone(), clock)?;
        Ok(Self { config, archive, items_since_us, status })
    }

    /// Refuses a load that was begun from somewhere else.
    ///
    /// # Errors
    /// [`BackfillError::OtherSource`].
    pub fn check(&self, load: &dyn Load) -> Result<(), BackfillError> {
        match Place::decode(load.place())? {
            Some(place) if place.source != self.archive.id() => {
                Err(BackfillError::OtherSource { saved: place.source })
            }
            _ => Ok(()),
        }
    }

    /// Reads all that is sealed, or until stopped; tells whether it is all. What was read is durable then, and the same
    /// goes on there.
    ///
    /// # Errors
    /// [`BackfillError`].
    pub async fn read<L: Load + 'static>(
        &self,
        load: L,
        stop: CancellationToken,
    ) -> Result<(L, bool), BackfillError> {
        self.check(&load)?;
        let mut fold = Fold::new(load, &self.archive.id(), self.config.horizons(), self.items_since_us)?;
        let start = fold.position().map_or(StartAt::Live, StartAt::Resume);
        let (sender, mut frames) = source::queue(&self.config.source);
        let mut reader = JoinSet::new();
        reader.spawn(self.archive.clone().run(start, sender, self.status.clone(), stop));
        let handle = Handle::current();
        let folding = spawn_blocking(move || {
            while let Some(frame) = handle.block_on(frames.recv()) {
                metrics::messages(1);
                frame.skipped.iter().for_each(|reason| metrics::skipped(reason.as_str()));
                fold.frame(&frame)?;
            }
            fold.load.sync().map(|()| fold.load)
        });
        let load = match folding.await {
            Ok(folded) => folded?,
            Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
            // the runtime is shutting down
            Err(_) => return Err(skyweir_store::Error::Unavailable("the load was stopped".into()).into()),
        };
        let ended = reader.join_next().await;
        self.status.archive_ended();
        match ended {
            Some(Ok(ended)) => Ok((load, ended? == Ended::EndOfFile)),
            Some(Err(failed)) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
            _ => Ok((load, false)),
        }
    }

    /// Tombstones of before this time, milliseconds since 1970, are forgotten at the end of what was read.
    ///
    /// # Errors
    /// `Corrupt` when the load's place isn't ours.
    pub fn tombstones_from_ms(&self, load: &dyn Load) -> Result<i64, BackfillError> {
        let stream_us = Place::decode(load.place())?.map_or(i64::MIN, |place| place.stream_us);
        Ok(stream_us.div_euclid(1000).saturating_sub(self.config.horizons().tombstones_ms))
    }

    /// Applies what a load has left to the store that it has filled, or goes on with it, until stopped; tells whether
    /// it is all: then the store is whole, and its place is the archive's, where a [`super::Backfill`] goes on. `notes`
    /// reads them from a number on, `place` is the load's, and `progress` is told numbers. No tasks are left.
    ///
    /// # Errors
    /// [`BackfillError`].
    pub async fn apply_left(
        &self,
        store: Arc<dyn Store>,
        place: &[u8],
        notes: impl FnOnce(u64) -> skyweir_store::Result<Box<dyn Notes>>,
        progress: &(dyn Fn(u64) + Send + Sync),
        stop: CancellationToken,
    ) -> Result<bool, BackfillError> {
        let Some(place) = Place::decode(place)? else { return Ok(true) };
        let view = store.view().await?;
        let from = match view.cursor().await? {
            Some(saved) if saved.source == NOTES => saved.position,
            Some(_) => return Ok(true),
            None => 0,
        };
        let (across, horizons) = (self.archive.across_accounts(), self.config.horizons());
        let applier = Applier::behind_a_load(view.as_ref(), across, horizons).await?;
        drop(view);
        let end = SavedCursor { source: place.source, position: place.position, time_us: place.stream_us };
        self.apply_notes(store.as_ref(), applier, notes(from)?, end, progress, stop).await
    }

    async fn apply_notes(
        &self,
        store: &dyn Store,
        mut applier: Applier,
        mut notes: Box<dyn Notes>,
        end: SavedCursor,
        progress: &(dyn Fn(u64) + Send + Sync),
        stop: CancellationToken,
    ) -> Result<bool, BackfillError> {
        let mut next = note::next(notes.as_mut())?;
        while !stop.is_cancelled() {
            let mut txn = store.begin().await?;
            let (mut reached, mut room) = (None, self.config.group_events + FURTHER);
            let belongs = |left: &Left, room| room > FURTHER || (room > 0 && !left.begins_a_commit());
            while let Some((left, behind)) = next.take_if(|(left, _)| belongs(left, room)) {
                applier.take_left(txn.as_mut(), &left).await?;
                reached = Some(behind);
                room -= 1;
                next = note::next(notes.as_mut())?;
            }
            let cursor = match reached {
                Some(position) => {
                    SavedCursor { source: NOTES.to_owned(), position, time_us: applier.stream_us() }
                }
                None => end.clone(),
            };
            if reached.is_none() {
                applier.reached(end.time_us);
                // it was read from the beginning
                txn.set_whole(true).await?;
            }
            applier.end_group(txn.as_mut()).await?;
            txn.set_cursor(cursor).await?;
            txn.commit().await?;
            match reached {
                Some(position) => progress(position),
                None => return Ok(true),
            }
        }
        Ok(false)
    }
}
