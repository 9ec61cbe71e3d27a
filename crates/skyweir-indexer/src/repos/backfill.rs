//! The whole of a host's repositories into a store: page after page, each with a place of its own.

use std::sync::Arc;

use skyweir_store::{SavedCursor, Store};
use skyweir_types::Clock;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Page;
use super::hosts::Host;
use super::list;
use super::place::{Common, Place};
use super::settle::settle;
use crate::archive::http::Failure;
use crate::decode::UNKNOWN_TIME;
use crate::source::{self, Backoff, Ended, SavedPosition, Source, SourceKind, SourceStatus, StartAt, Stream};
use crate::{Config, CursorChoice, Error, Indexer};

/// A backfill from a host's repositories.
pub(crate) struct Backfill {
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn Store>,
    /// The firehose of the host.
    pub(crate) stream: Stream,
    /// Posts and reposts from before this time are left out.
    pub(crate) items_since_us: i64,
    pub(crate) clock: Clock,
    pub(crate) status: Arc<SourceStatus>,
}

impl Backfill {
    /// Reads all repositories of a firehose's host, from the saved place on, if it is one among them. Returns the place
    /// at which the firehose goes on, and whether the store is whole then, or `None` when it was stopped before.
    pub(crate) async fn run(
        self,
        stop: CancellationToken,
    ) -> Result<Option<(SavedCursor, Option<bool>)>, Error> {
        let common = Common::default();
        let mut host = Host::new(&self.stream, &self.config.source, &common.gates, &self.clock)?;
        let live = SourceKind::Stream(self.stream.clone()).id();
        let mut place = match self.saved(&live).await? {
            Some(place) => place,
            None => {
                let Some(begun) = stop.run_until_cancelled(self.begin(&live)).await else { return Ok(None) };
                begun?
            }
        };
        loop {
            let Some(listed) = stop.run_until_cancelled(self.page(&mut host, &place, &common)).await else {
                return Ok(None);
            };
            let Some((page, next)) = listed? else { break };
            if self.read(page.clone(), stop.clone()).await? == Ended::Stopped {
                return Ok(None);
            }
            place.done += page.accounts.len() as u64;
            place.missing += self.missing(&page).await? + page.unknown as u64;
            let Some(after) = next else { break };
            place.after = after;
            self.save(&place, 0).await?;
        }
        let settling = settle(self.store.as_ref(), place.taken_since_us);
        let Some(settled) = stop.run_until_cancelled(settling).await else { return Ok(None) };
        info!(reposts = settled?, "of posts that are gone or were replaced, left out");
        let Place { seq, time_us, missing, .. } = place;
        self.status.missing(missing);
        Ok(Some((SavedCursor { source: live, position: seq, time_us }, Some(missing == 0))))
    }

    /// The saved place, if it is one among these repositories. Before it is gone on from there it knows the latest time
    /// from which posts were ever taken.
    async fn saved(&self, live: &str) -> Result<Option<Place>, Error> {
        let Some(saved) = self.store.view().await?.cursor().await? else { return Ok(None) };
        let Some(place) = Place::parse(&saved.source, live) else { return Ok(None) };
        let both = place.taken_since_us.zip(self.taken_since_us());
        let taken_since_us = both.map(|(before, now)| before.max(now));
        let goes_on = Place { taken_since_us, ..place.clone() };
        if goes_on != place {
            self.save(&goes_on, saved.position).await?;
        }
        Ok(Some(goes_on))
    }

    /// From when on posts are taken, and stay: with a time to keep them they may have left.
    fn taken_since_us(&self) -> Option<i64> {
        self.config.keep_hours.is_none().then_some(self.items_since_us)
    }

    /// Notes where the firehose stands, before anything is read: what happens from then on it tells again.
    async fn begin(&self, live: &str) -> Result<Place, Error> {
        let now = self.firehose(StartAt::Live).await?;
        let now = match now {
            Some(now) => now,
            // a quiet host: then what it has kept isn't much, and it tells all of that again
            None => match self.firehose(StartAt::From(0)).await? {
                Some(first) => SavedPosition { position: first.position.saturating_sub(1), ..first },
                None => SavedPosition { position: 0, time_us: self.clock.now_micros() },
            },
        };
        info!(seq = now.position, "the firehose goes on here when all repositories are read");
        // of an account that has done nothing since it was read before no older posts are taken
        let is_empty = self.store.view().await?.actor_count().await? == 0;
        let taken_since_us = self.taken_since_us().filter(|_| is_empty);
        let (live, seq, time_us, after) = (live.to_owned(), now.position, now.time_us, String::new());
        let place = Place { live, seq, time_us, done: 0, missing: 0, taken_since_us, after };
        self.save(&place, 0).await?;
        Ok(place)
    }

    /// What the firehose tells first; `None` when it is open and quiet.
    async fn firehose(&self, start: StartAt) -> Result<Option<SavedPosition>, Error> {
        let config = &self.config.source;
        let (sender, mut frames) = source::queue(config);
        let (status, stop) = (Arc::new(SourceStatus::default()), CancellationToken::new());
        let source =
            Source::new(SourceKind::Stream(self.stream.clone()), config.clone(), self.clock.clone())?;
        // a set of its own: dropped, it closes the connection
        let mut reading = JoinSet::new();
        reading.spawn(source.run(start, sender, status.clone(), stop));
        loop {
            match timeout(config.repo_quiet(), frames.recv()).await {
                Ok(Some(frame)) => {
                    let is_known = frame.time_us != UNKNOWN_TIME;
                    let time_us = if is_known { frame.time_us } else { self.clock.now_micros() };
                    if let Some(position) = frame.position {
                        return Ok(Some(SavedPosition { position, time_us }));
                    }
                }
                Ok(None) => {
                    let why = "its firehose can't be read, see above".to_owned();
                    return Err(self.failed(why));
                }
                Err(_) if status.snapshot().connected => return Ok(None),
                Err(_) => warn!("waiting for the firehose: without its place nothing can go on from there"),
            }
        }
    }

    async fn page(
        &self,
        host: &mut Host,
        place: &Place,
        common: &Common,
    ) -> Result<Option<(Page, Option<String>)>, Error> {
        let seed = self.clock.now_micros().unsigned_abs();
        let mut backoff = Backoff::new(&self.config.source, seed);
        loop {
            match list::page(host, &self.stream, place, common).await {
                Ok(listed) => return Ok(listed),
                Err(Failure::Passing(why, _)) => {
                    warn!(reason = %why, "host doesn't answer, asking again");
                    sleep(backoff.pause()).await;
                }
                Err(failure) => {
                    let why = failure.why();
                    let advice = "asking again won't help; it has to be a relay or a PDS, which lets us in: see --from";
                    let why = format!("{why}: {advice}");
                    return Err(self.failed(why));
                }
            }
        }
    }

    async fn read(&self, page: Page, stop: CancellationToken) -> Result<Ended, Error> {
        let source = SourceKind::Repositories(page);
        let source = Source::new(source, self.config.source.clone(), self.clock.clone())?;
        let (store, status) = (self.store.clone(), self.status.clone());
        let indexer = Indexer::new(self.config.clone(), store, source, CursorChoice::Auto, status);
        indexer.items_since(self.items_since_us).without_tasks().of_part().run(stop).await
    }

    /// How many of a page that is read couldn't be had, also before a restart.
    async fn missing(&self, page: &Page) -> Result<u64, Error> {
        let saved = self.store.view().await?.cursor().await?;
        let saved = saved.filter(|saved| saved.source == page.id());
        Ok(saved.map_or(0, |saved| page.progress(saved.position).missing as u64))
    }

    /// `position` is how far the page behind the place is.
    async fn save(&self, place: &Place, position: u64) -> Result<(), Error> {
        let cursor = SavedCursor { source: place.to_string(), position, time_us: place.time_us };
        let mut txn = self.store.begin().await?;
        txn.set_cursor(cursor).await?;
        Ok(txn.commit().await?)
    }

    fn failed(&self, why: String) -> Error {
        source::Error::Repositories { host: self.stream.authority().to_owned(), why }.into()
    }
}
