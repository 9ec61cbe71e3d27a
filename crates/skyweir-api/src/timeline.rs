//! The read of a timeline: who asks, at which rate, from where, and what the writer should know of it.

use std::sync::Arc;

use skyweir_store::{CachedState, Enrol, EnrolReason, RingInfo, Sampling, Store, Timelines, View};
use skyweir_types::{ActorId, Did, DidHash, DrawKey, Position, rate_for, rate_is_off};

use crate::page::{Page, Query, cut, page_limit};
use crate::render::render;
use crate::walk::{Walk, cache_step};
use crate::{Config, Error, metrics};

const DEFAULT_LIMIT: usize = 50;
const GREATEST_LIMIT: usize = 100;

/// Reads pages of timelines. Writes nothing: what reads want changed goes through [`Enrol`].
pub struct TimelineReader {
    store: Arc<dyn Store>,
    timelines: Arc<dyn Timelines>,
    enrol: Arc<dyn Enrol>,
    draw: DrawKey,
    reasonable_limit: u32,
    cap: usize,
    scan_limit: usize,
}

/// How a page is read.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Plan {
    rate: f32,
    cache: bool,
}

impl TimelineReader {
    /// Joins the parts; `draw` has to be the writer's.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        timelines: Arc<dyn Timelines>,
        enrol: Arc<dyn Enrol>,
        draw: DrawKey,
        config: &Config,
    ) -> Self {
        let Config { reasonable_limit, cap, scan_limit, .. } = *config;
        Self { store, timelines, enrol, draw, reasonable_limit, cap, scan_limit: scan_limit.max(1) }
    }

    /// Reads one page.
    ///
    /// # Errors
    /// [`Error::Limit`], [`Error::Cursor`] or [`Error::Actor`] for a malformed question, [`Error::Store`] when there is
    /// no answer. An unknown viewer is no error, and isn't enrolled.
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
        if matches!(cached.state, CachedState::In(_)) {
            // What the cache holds has to be in the view, so the view is taken after it.
            view = self.store.view().await?;
        }
        let view = &*view;
        let plan = self.plan(view, viewer, cached.state).await?;
        let cached_info = match cached.state {
            CachedState::In(info) => Some(info),
            _ => None,
        };
        let sampling = Sampling { key: self.draw, viewer: DidHash::of(did.as_str()), rate: plan.rate };
        let mut walk = Walk::new(view, viewer, sampling, query.filters, from, (want, self.scan_limit));
        if plan.cache {
            walk.through_cache(&*self.timelines, cached).await?;
        } else {
            walk.by_merge().await?;
        }
        if plan.cache && self.floor_is_high(cached_info, &query, walk.crossed) {
            self.enrol.enrol(viewer, EnrolReason::FloorHigh);
        }
        let cursor = cut(&mut walk.living, limit, walk.stopped);
        let from_cache = walk.living.iter().filter(|entry| entry.cached).count() as u32;
        let from_merge = walk.living.len() as u32 - from_cache;
        let kind = match (plan.cache, from_merge) {
            (false, _) => "merge",
            (true, 0) => "cache",
            (true, _) => "mixed",
        };
        metrics::page(kind, from_cache, from_merge, walk.scanned);
        let rate = walk.rate();
        let items = render(view, walk.living).await?;
        Ok(Page { items, cursor, rate, from_cache, from_merge })
    }

    /// Whether fewer than half a cap of living references stand above a floor: the timeline holds fewer, or a first
    /// page went through all of them and met fewer.
    fn floor_is_high(
        &self,
        cached: Option<RingInfo>,
        query: &Query<'_>,
        crossed: Option<(i64, usize)>,
    ) -> bool {
        let half = self.cap / 2;
        cached.is_some_and(|info| info.floor > i64::MIN && info.len < half)
            || crossed.is_some_and(|(floor, met)| query.cursor.is_empty() && floor > i64::MIN && met < half)
    }

    /// Decides by state and rates, and tells the writer what follows from it.
    async fn plan(&self, view: &dyn View, viewer: ActorId, state: CachedState) -> Result<Plan, Error> {
        let infos = view.accounts(&[viewer]).await?;
        let wanted = rate_for(infos.first().map_or(0, |info| info.follows), self.reasonable_limit);
        let by_merge = Plan { rate: wanted, cache: false };
        Ok(match state {
            CachedState::Out => {
                self.enrol.enrol(viewer, EnrolReason::Read);
                by_merge
            }
            CachedState::Filling(_) => by_merge,
            CachedState::In(info) => {
                self.enrol.touch(viewer);
                if !self.enrol.caught_up() {
                    by_merge
                } else if !rate_is_off(info.rate, wanted) {
                    Plan { rate: info.rate, cache: true }
                } else if wanted < info.rate {
                    self.enrol.lower_rate(viewer, wanted);
                    Plan { rate: wanted, cache: true }
                } else {
                    self.enrol.enrol(viewer, EnrolReason::RateRose);
                    by_merge
                }
            }
        })
    }
}
