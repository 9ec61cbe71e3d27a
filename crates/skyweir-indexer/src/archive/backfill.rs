//! Starting with the whole network: an archive is read into the store, up to where the live stream goes on.

use std::sync::Arc;

use skyweir_store::{SavedCursor, Store};
use skyweir_types::Clock;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::run::Again;
use crate::source::{
    self, Ended, Source, SourceKind, SourceStatus, Stream, missed, parse_archive, parse_repositories,
    unfinished,
};
use crate::{Config, CursorChoice, Indexer, repos};

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
    /// The store isn't whole, and an archive is read forward only.
    #[error(
        "follows are missing in the data directory: it was begun with the live stream, or events were lost since; a \
         backfill from an archive can't go back: name another --data-dir, an empty one"
    )]
    NotWhole,
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

/// Reads the archive of a Jetstream v2, or the repositories of a relay or PDS, into a store that nothing else writes
/// to. It leaves no tasks: whoever keeps timelines of the store has to begin them anew.
pub struct Backfill {
    config: Config,
    store: Arc<dyn Store>,
    way: Way,
    live: SourceKind,
    start: CursorChoice,
    status: Arc<SourceStatus>,
    tasks: bool,
}

/// What a host offers.
enum Way {
    /// The archive of a Jetstream v2.
    Archive(Box<Source>),
    /// Repositories, for posts and reposts from this time on, microseconds since 1970.
    Repositories(Stream, i64, Clock),
}

impl Backfill {
    /// From the host of this URL (see [`parse_archive`]), or from its repositories, if it has no archive: all follows
    /// and account states, posts and reposts from a time on. Of a whole store that the live stream has fed what it has
    /// missed since is read, if it is sealed already; repositories tell all in any case. `status` is told how far it
    /// is. As soon as something is read, nothing but a backfill goes on from the store's place.
    ///
    /// # Errors
    /// The URL names neither, a setting can't work, or the store holds something else.
    pub async fn begin(
        config: Config,
        store: Arc<dyn Store>,
        url: &str,
        items_since_us: i64,
        clock: Clock,
        status: Arc<SourceStatus>,
    ) -> Result<Self, BackfillError> {
        let view = store.view().await?;
        let saved = view.cursor().await?;
        let name = saved.as_ref().map_or("", |saved| saved.source.as_str());
        let (way, live) = way(&config, url, items_since_us, name, clock).await?;
        let is_ours = unfinished(name) == Some(live.id().as_str());
        let is_missed = missed(name) == Some(live.id().as_str());
        let start = match saved {
            // a service ends what it has begun to catch up; what was before it stays unknown
            Some(_) if is_missed && !view.is_whole().await? => return Err(BackfillError::NotWhole),
            Some(_) if is_ours => CursorChoice::Auto,
            // whatever is known, what isn't there any more goes
            Some(saved) if saved.source == live.id() && matches!(way, Way::Repositories(..)) => {
                CursorChoice::Auto
            }
            // it stays the live stream's until something is read: all that is sealed may be known
            Some(saved) if saved.source == live.id() && view.is_whole().await? => {
                CursorChoice::At(saved.position)
            }
            Some(saved) if saved.source == live.id() => return Err(BackfillError::NotWhole),
            Some(saved) => return Err(BackfillError::OtherSource { saved: saved.source }),
            None if view.actor_count().await? > 0 => {
                return Err(BackfillError::OtherSource {
                    saved: "a source that has left no place".to_owned(),
                });
            }
            None => CursorChoice::Auto,
        };
        Ok(Self { config, store, way, live, start, status, tasks: false })
    }

    /// Of an archive and its live stream, from a place of either on.
    pub(crate) fn of(
        config: Config,
        store: Arc<dyn Store>,
        (archive, live): (Source, SourceKind),
        start: CursorChoice,
        status: Arc<SourceStatus>,
    ) -> Self {
        Self { config, store, way: Way::Archive(Box::new(archive)), live, start, status, tasks: false }
    }

    /// Leaves tasks as a stream does: for a store of which timelines are kept.
    pub(crate) fn with_tasks(self) -> Self {
        Self { tasks: true, ..self }
    }

    /// The live stream that goes on behind the archive, or beside the repositories.
    #[must_use]
    pub fn live(&self) -> String {
        self.live.id()
    }

    /// Runs until all that is sealed is applied, or until stopped. Returns the place at which the live stream goes on,
    /// or `None` when it was stopped before: then the next run goes on where it was.
    ///
    /// Each step saves its place with its effects, under a name of its own; the last one gives it to the live stream.
    ///
    /// # Errors
    /// [`BackfillError`].
    pub async fn run(self, stop: CancellationToken) -> Result<Option<u64>, BackfillError> {
        Ok(self.read(stop).await?)
    }

    pub(crate) async fn read(self, stop: CancellationToken) -> Result<Option<u64>, crate::Error> {
        let (live, store, status) = (self.live(), self.store.clone(), self.status.clone());
        let config = self.config.clone();
        let ended = match self.way {
            Way::Archive(source) => {
                let indexer = Indexer::new(self.config, self.store, *source, self.start, self.status);
                let indexer = if self.tasks { indexer } else { indexer.without_tasks() };
                archive(indexer, store.as_ref(), live, stop.clone()).await
            }
            Way::Repositories(stream, items_since_us, clock) => {
                let Self { config, store, status, .. } = self;
                let reading = repos::Backfill { config, store, stream, items_since_us, clock, status };
                reading.run(stop.clone()).await
            }
        };
        // cut off, it isn't over: what is there is a part
        let Some((reached, is_whole)) = ended? else { return Ok(None) };
        let position = reached.position;
        give(&config, store.as_ref(), &reached, is_whole, &stop).await?;
        status.archive_ended();
        Ok(Some(position))
    }
}

/// Gives a store its place, and says whether it is whole, if that changes: as often as it takes.
pub(crate) async fn give(
    config: &Config,
    store: &dyn Store,
    place: &SavedCursor,
    whole: Option<bool>,
    stop: &CancellationToken,
) -> skyweir_store::Result<()> {
    let mut again = Again::new(config, stop);
    while let Err(refused) = give_once(store, place, whole).await {
        again.after(refused).await?;
    }
    Ok(())
}

async fn give_once(store: &dyn Store, place: &SavedCursor, whole: Option<bool>) -> skyweir_store::Result<()> {
    let mut txn = store.begin().await?;
    if let Some(whole) = whole {
        txn.set_whole(whole).await?;
    }
    txn.set_cursor(place.clone()).await?;
    txn.commit().await
}

/// Whether a backfill may be from a URL, as far as the URL tells.
///
/// # Errors
/// It names neither a Jetstream v2 nor a relay or PDS.
pub fn check_url(url: &str) -> Result<(), BackfillError> {
    match (parse_archive(url, i64::MIN), parse_repositories(url)) {
        (Err(error), Err(_)) => Err(error.into()),
        _ => Ok(()),
    }
}

/// Whether the host of a URL has an archive, as a [`super::Loader`] needs.
///
/// # Errors
/// The URL names neither, or a setting can't work.
pub async fn has_archive(config: &Config, url: &str, clock: Clock) -> Result<bool, BackfillError> {
    let (way, _) = way(config, url, i64::MIN, "", clock).await?;
    Ok(matches!(way, Way::Archive(_)))
}

/// What the host of a URL offers, and its live stream. `saved` is the name of the saved place: what it is of isn't
/// asked again.
async fn way(
    config: &Config,
    url: &str,
    items_since_us: i64,
    saved: &str,
    clock: Clock,
) -> Result<(Way, SourceKind), BackfillError> {
    let has_repositories = parse_repositories(url);
    let (archive, live) = match (parse_archive(url, items_since_us), &has_repositories) {
        (Ok(both), _) => both,
        (Err(error), Err(_)) => return Err(error.into()),
        (Err(_), Ok(stream)) => {
            let live = SourceKind::Stream(stream.clone());
            return Ok((Way::Repositories(stream.clone(), items_since_us, clock), live));
        }
    };
    let is_saved = |live: &SourceKind| saved == live.id() || unfinished(saved) == Some(live.id().as_str());
    if let Ok(stream) = has_repositories {
        let firehose = SourceKind::Stream(stream.clone());
        if is_saved(&firehose)
            || (!is_saved(&live) && repos::serves(&live, &firehose, &config.source, &clock).await?)
        {
            return Ok((Way::Repositories(stream, items_since_us, clock), firehose));
        }
    }
    // what a service has begun to catch up goes on under its name
    let missed = live.missed().filter(|_| missed(saved) == Some(live.id().as_str()));
    let archive = Source::new(missed.unwrap_or(archive), config.source.clone(), clock)?;
    Ok((Way::Archive(Box::new(archive)), live))
}

/// Reads an archive to its end, and tells whether the store is whole, if that changes; `None` when it was stopped
/// before.
async fn archive(
    indexer: Indexer,
    store: &dyn Store,
    live: String,
    stop: CancellationToken,
) -> Result<Option<(SavedCursor, Option<bool>)>, crate::Error> {
    if indexer.run(stop).await? == Ended::Stopped {
        return Ok(None);
    }
    let saved = store.view().await?.cursor().await?;
    let (position, time_us) = saved.map_or((0, i64::MIN), |saved| (saved.position, saved.time_us));
    // where nothing is sealed yet nothing is missing
    let is_whole = (position == 0).then_some(true);
    Ok(Some((SavedCursor { source: live, position, time_us }, is_whole)))
}
