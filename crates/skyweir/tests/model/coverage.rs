//! What the runs came past. A comparison that never met a cache, a sample or a task on its way would prove nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use skyweir_api::Page;

use crate::flaky::Flaky;

/// Counts over all seeds.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    /// Pages from the cache alone, from the merge alone, and from both.
    cached: AtomicU64,
    merged: AtomicU64,
    mixed: AtomicU64,
    /// Pages at a rate below 1.
    sampled: AtomicU64,
    /// Pages that lacked what a task on its way was still to bring.
    early: AtomicU64,
    restarts: AtomicU64,
    /// Items that had left and were removed.
    swept: AtomicU64,
    /// Timelines that hibernated.
    left: AtomicU64,
    /// Items whose accounting was checked.
    accounted: AtomicU64,
    /// Operations of the writer that failed, or whose answer was lost.
    faults: AtomicU64,
    /// Timelines that left for want of memory.
    evicted: AtomicU64,
    /// Writes to a slow shard.
    slowed: AtomicU64,
}

impl Coverage {
    pub(crate) fn page(&self, page: &Page, early: bool) {
        match (page.from_cache, page.from_merge) {
            (0, 0) => {}
            (_, 0) => add(&self.cached, 1),
            (0, _) => add(&self.merged, 1),
            _ => add(&self.mixed, 1),
        }
        add(&self.sampled, u64::from(page.rate < 1.0));
        add(&self.early, u64::from(early));
    }

    pub(crate) fn restart(&self) {
        add(&self.restarts, 1);
    }

    pub(crate) fn swept(&self, items: u64) {
        add(&self.swept, items);
    }

    pub(crate) fn accounted(&self, items: u64) {
        add(&self.accounted, items);
    }

    /// What a writer met that ends now.
    pub(crate) fn hardship(&self, met: &Flaky) {
        add(&self.faults, met.fired());
        add(&self.evicted, met.evicted());
        add(&self.left, met.left());
        add(&self.slowed, met.slowed());
    }

    /// Whether everything was met at least this often.
    pub(crate) fn reaches(&self, n: u64) -> bool {
        let Self { cached, merged, mixed, sampled, early, restarts, swept, left, evicted, slowed, .. } = self;
        let all = [cached, merged, mixed, sampled, early, restarts, swept, left, evicted, slowed];
        all.iter().all(|count| count.load(Ordering::Relaxed) >= n)
    }
}

fn add(count: &AtomicU64, n: u64) {
    count.fetch_add(n, Ordering::Relaxed);
}
