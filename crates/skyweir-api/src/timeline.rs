//! The read of a timeline: who asks, at which rate, from where, and what the writer should know of it.

use std::sync::Arc;

use skyweir_store::{CachedState, Enrol, EnrolReason, RingInfo, Sampling, Store, TimelineReads, View};
use skyweir_types::{ActorId, Did, DidHash, DrawKey, Position, rate_for, rate_is_off};

use crate::merges::{Merges, Wanted};
use crate::page::{Page, Query, cut, page_limit};
use crate::render::render;
use crate::walk::{Walk, cache_step};
use crate::{Config, Error, metrics};

const DEFAULT_LIMIT: usize = 50;
const GREATEST_LIMIT: usize = 100;

/// Reads pages of timelines. Writes nothing: what reads want changed goes through [`Enrol`].
pub struct TimelineReader {
    store: Arc<dyn Store>,
    timelines: Arc<dyn TimelineReads>,
    enrol: Arc<dyn Enrol>,
    draw: DrawKey,
    reasonable_limit: u32,
    cap: usize,
    scan_limit: usize,
    merges: Merges,
}

impl TimelineReader {
    /// Joins the parts; `draw` has to be the writer's.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        timelines: Arc<dyn TimelineReads>,
        enrol: Arc<dyn Enrol>,
        draw: DrawKey,
        config: &Config,
    ) -> Self {
        let Config { reasonable_limit, cap, merges_at_once, max_requests, .. } = *config;
        let (scan_limit, merges) = (config.scan_limit.max(1), Merges::new(merges_at_once, max_requests));
        Self { store, timelines, enrol, draw, reasonable_limit, cap, scan_limit, merges }
    }

    /// Reads one page.
    ///
    /// # Errors
    /// [`Error::Limit`], [`Error::Cursor`] or [`Error::Actor`] for a malformed question, [`Error::Store`] when there is
    /// no answer, [`Error::Overloaded`] when too many wait for a merge. An unknown viewer is no error, and isn't enrolled.
    pub async fn page(&self, query: Query<'_>) -> Result<Page, Error> {
        let limit = page_limit(query.limit, DEFAULT_LIMIT, GREATEST_LIMIT)?;
        let did = Did::parse(query.viewer)?;
        let from = if query.cursor.is_empty() { Position::TOP } else { Position::from_cursor(query.cursor)? };
        let mut view = self.store.view().await?;
        let Some(viewer) = view.actor(&did).await? else {
            metrics::page("unknown_actor", 0, 0, 0);
            return Ok(Page { rate: 1.0, ..Page::default() });
        };
        // One further than the page, to know whether and how it goes on.
        let want = limit + 1;
        let cached = self.timelines.read(viewer, from.sort_at, cache_step(want)).await?;
        let info = match cached.state {
            CachedState::In(info) => {
                // What the cache holds has to be in the view, so the view is taken after it.
                view = self.store.view().await?;
                Some(info)
            }
            _ => None,
        };
        let hash = DidHash::of(did.as_str());
        let rate = wanted_rate(&*view, viewer, self.reasonable_limit).await?;
        let Some(rate) = self.cache_rate(viewer, rate, cached.state) else {
            let wanted = Wanted { viewer, from, limit, filters: query.filters };
            return self.merges.page(wanted, || self.merged(wanted, hash)).await;
        };
        let sampling = Sampling { key: self.draw, viewer: hash, rate };
        let mut walk = Walk::new(&*view, viewer, sampling, query.filters, from, (want, self.scan_limit));
        walk.through_cache(&*self.timelines, cached).await?;
        if self.floor_is_high(info, view.horizon().await?, &query, walk.crossed) {
            self.enrol.enrol(viewer, EnrolReason::FloorHigh);
        }
        page_of(&*view, walk, limit, true).await
    }

    /// A page that the cache has no part in, under a view of its own.
    async fn merged(&self, wanted: Wanted, hash: DidHash) -> Result<Page, Error> {
        let Wanted { viewer, from, limit, filters } = wanted;
        let view = self.store.view().await?;
        let rate = wanted_rate(&*view, viewer, self.reasonable_limit).await?;
        let sampling = Sampling { key: self.draw, viewer: hash, rate };
        let mut walk = Walk::new(&*view, viewer, sampling, filters, from, (limit + 1, self.scan_limit));
        walk.by_merge().await?;
        page_of(&*view, walk, limit, false).await
    }

    /// Whether fewer than half a cap of living references stand above a floor that hides any: the timeline holds
    /// fewer, or a first page went through all of them and met fewer. One that the horizon has passed hides none.
    fn floor_is_high(
        &self,
        cached: Option<RingInfo>,
        horizon: i64,
        query: &Query<'_>,
        crossed: Option<(i64, usize)>,
    ) -> bool {
        let half = self.cap / 2;
        let hides = |floor: i64| floor > i64::MIN && floor >= horizon;
        cached.is_some_and(|info| hides(info.floor) && info.len < half)
            || crossed.is_some_and(|(floor, met)| query.cursor.is_empty() && hides(floor) && met < half)
    }

    /// The rate at which the cache may be read, if it may. Tells the writer what follows from state and rates.
    fn cache_rate(&self, viewer: ActorId, wanted: f32, state: CachedState) -> Option<f32> {
        match state {
            CachedState::Out => {
                self.enrol.enrol(viewer, EnrolReason::Read);
                None
            }
            CachedState::Filling(_) => None,
            CachedState::In(info) => {
                self.enrol.touch(viewer);
                if !self.enrol.caught_up() {
                    None
                } else if !rate_is_off(info.rate, wanted) {
                    Some(info.rate)
                } else if wanted < info.rate {
                    self.enrol.lower_rate(viewer, wanted);
                    Some(wanted)
                } else {
                    self.enrol.enrol(viewer, EnrolReason::RateRose);
                    None
                }
            }
        }
    }
}

/// The rate that an account's timeline should have now.
async fn wanted_rate(view: &dyn View, viewer: ActorId, reasonable_limit: u32) -> Result<f32, Error> {
    let infos = view.accounts(&[viewer]).await?;
    Ok(rate_for(infos.first().map_or(0, |info| info.follows), reasonable_limit))
}

/// Cuts and writes out what a walk has found.
async fn page_of(view: &dyn View, mut walk: Walk<'_>, limit: usize, cache: bool) -> Result<Page, Error> {
    let cursor = cut(&mut walk.living, limit, walk.stopped);
    let from_cache = walk.living.iter().filter(|entry| entry.cached).count() as u32;
    let from_merge = walk.living.len() as u32 - from_cache;
    let kind = match (cache, from_merge) {
        (false, _) => "merge",
        (true, 0) => "cache",
        (true, _) => "mixed",
    };
    metrics::page(kind, from_cache, from_merge, walk.scanned);
    let rate = walk.rate();
    let items = render(view, walk.living).await?;
    Ok(Page { items, cursor, rate, from_cache, from_merge })
}
