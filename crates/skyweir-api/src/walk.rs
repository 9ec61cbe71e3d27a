//! The walk down a timeline: through the cache as far as its floor, then on by the merge, under one view.

use skyweir_store::{Cached, CachedState, Merge, Merged, Result, Sampling, TimelineReads, View};
use skyweir_types::{ActorId, Position};

use crate::check::Check;
use crate::page::{Filters, Living, end_of_ms};
use crate::subject;

/// How many references are asked for beyond what the page needs, for those that don't count any more.
const SLACK: usize = 8;
/// How many entries of the merge are checked in one step at most.
const MERGE_STEP: usize = 256;

/// One request's way down one timeline.
pub(crate) struct Walk<'v> {
    view: &'v dyn View,
    viewer: ActorId,
    check: Check<'v>,
    sampling: Sampling,
    filters: Filters,
    from: Position,
    want: usize,
    scan_limit: usize,
    /// References looked at.
    pub(crate) scanned: usize,
    /// What belongs to the page, in order; the walk ends when it has as many as wanted.
    pub(crate) living: Vec<Living>,
    /// Where the walk gave up for its scan limit.
    pub(crate) stopped: Option<Position>,
    /// Where the walk left the cache for the merge, and how many living references it met above, filtered or not.
    pub(crate) crossed: Option<(i64, usize)>,
}

/// How many references to read from the cache for a page of which `missing` items are missing.
pub(crate) fn cache_step(missing: usize) -> usize {
    missing + SLACK
}

impl<'v> Walk<'v> {
    pub(crate) fn new(
        view: &'v dyn View,
        viewer: ActorId,
        sampling: Sampling,
        filters: Filters,
        from: Position,
        (want, scan_limit): (usize, usize),
    ) -> Self {
        Self {
            view,
            viewer,
            check: Check::new(view, viewer),
            sampling,
            filters,
            from,
            want,
            scan_limit,
            scanned: 0,
            living: Vec::with_capacity(want),
            stopped: None,
            crossed: None,
        }
    }

    /// Walks through the cache, beginning with what was read already, then merges below its floor.
    pub(crate) async fn through_cache(&mut self, timelines: &dyn TimelineReads, first: Cached) -> Result<()> {
        let mut cached = first;
        let mut below = self.from;
        let mut met = 0;
        // A timeline that leaves the cache meanwhile ends this loop: the merge goes on from the same place.
        while let CachedState::In(info) = cached.state {
            self.sampling.rate = self.sampling.rate.min(info.rate);
            met += self.take_cached(&cached).await?;
            let last_ms = cached.entries.last().map(|last| last.sort_at);
            if let Some(ms) = last_ms {
                below = below.min(end_of_ms(ms));
            }
            if self.living.len() >= self.want {
                return Ok(());
            }
            let Some(last_ms) = last_ms.filter(|_| !cached.at_floor) else {
                // a floor that the horizon has passed hides nothing
                if info.floor == i64::MIN || info.floor < self.view.horizon().await? {
                    return Ok(());
                }
                // Not from the floor but from here: what a task still has to bring to the cache shows already.
                self.crossed = Some((info.floor, met));
                break;
            };
            // Never at the place where the request began: that cursor was sent before.
            if self.scanned >= self.scan_limit && below < self.from {
                self.stopped = Some(below);
                return Ok(());
            }
            // Lets a cancelled or late request end here.
            tokio::task::yield_now().await;
            cached = timelines.read(self.viewer, last_ms.saturating_sub(1), self.next_step()).await?;
        }
        self.from = below;
        self.by_merge().await
    }

    /// Walks by the merge alone.
    pub(crate) async fn by_merge(&mut self) -> Result<()> {
        let mut merge = Merge::begin(self.view, self.viewer, self.sampling, self.from).await?;
        loop {
            let left = self.scan_limit.saturating_sub(self.scanned).max(1);
            let (step, missing) = (MERGE_STEP.min(left), cache_step(self.want - self.living.len()));
            let (mut seen, mut last, mut ended) = (0, None, false);
            let mut entries = Vec::with_capacity(missing.min(step));
            while seen < step && entries.len() < missing && !ended {
                match merge.next().await? {
                    Some(Merged { author, entry, kept }) => {
                        (seen, last) = (seen + 1, Some(entry.position));
                        entries.extend(kept.then_some((author, entry)));
                    }
                    None => ended = true,
                }
            }
            self.scanned += seen;
            let items = self.check.merged(&entries).await?;
            self.keep(items.into_iter().map(|item| Living::new(item, false)).collect()).await?;
            if ended || self.living.len() >= self.want {
                return Ok(());
            }
            if self.scanned >= self.scan_limit {
                self.stopped = last;
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    }

    /// The rate that the answer has.
    pub(crate) fn rate(&self) -> f32 {
        self.sampling.rate
    }

    /// How much to read from the cache next: as much again, so that a run of dead references costs few reads.
    fn next_step(&self) -> usize {
        let left = self.scan_limit.saturating_sub(self.scanned).max(1);
        cache_step(self.want - self.living.len()).max(self.scanned).min(left)
    }

    /// Takes whole milliseconds from the cache. Returns how many of their references live.
    async fn take_cached(&mut self, cached: &Cached) -> Result<usize> {
        self.scanned += cached.entries.len();
        let ids: Vec<_> = cached.entries.iter().map(|entry| entry.item).collect();
        let items = self.check.cached(&ids, &self.sampling).await?;
        let mut living: Vec<_> = items.into_iter().map(|item| Living::new(item, true)).collect();
        living.retain(|entry| entry.position < self.from);
        living.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.position));
        let met = living.len();
        self.keep(living).await?;
        Ok(met)
    }

    async fn keep(&mut self, mut living: Vec<Living>) -> Result<()> {
        if self.filters.exclude_quotes && !self.filters.exclude_reposts {
            subject::resolve(self.view, &mut living).await?;
        }
        living.retain(|entry| entry.passes(self.filters));
        self.living.append(&mut living);
        Ok(())
    }
}
