//! One timeline: a sorted set of references, a floor, a rate.

use std::collections::BTreeSet;

use skyweir_types::{DidHash, Generation, ItemId, Reference};

use crate::{CachedEntry, RingInfo};

/// A timeline that fills may hold this many caps; only then its oldest leave.
const FILLING_CAPS: usize = 4;

/// One timeline.
#[derive(Clone, Debug)]
pub(super) struct Ring {
    /// (`sort_at`, item), none at or below the floor.
    pub(super) entries: BTreeSet<(i64, ItemId)>,
    /// Nothing is missing strictly above it. Of a filling one: what its publication has to reckon with.
    pub(super) floor: i64,
    pub(super) generation: Generation,
    /// When it was published; `None` while it fills.
    pub(super) since_ms: Option<i64>,
    pub(super) did_hash: DidHash,
    pub(super) rate: f32,
    pub(super) last_read_ms: i64,
    pub(super) reads: u64,
}

impl Ring {
    /// What it counts for: about what a compact one would take.
    pub(super) fn bytes(&self) -> u64 {
        100 + 12 * self.entries.len() as u64
    }

    pub(super) fn info(&self, since_ms: i64) -> RingInfo {
        RingInfo {
            generation: self.generation,
            floor: self.floor,
            rate: self.rate,
            len: self.entries.len(),
            since_ms,
        }
    }

    /// Raises the floor to at least this; what stands at or below it leaves.
    pub(super) fn raise_floor(&mut self, floor: i64) {
        self.floor = self.floor.max(floor);
        while self.entries.first().is_some_and(|(sort_at, _)| *sort_at <= self.floor) {
            self.entries.pop_first();
        }
    }

    /// Drops the oldest over the limit, with all of their milliseconds.
    pub(super) fn trim(&mut self, cap: usize) {
        let limit = if self.since_ms.is_some() { cap } else { cap * FILLING_CAPS };
        if let Some(over) = self.entries.len().checked_sub(limit + 1) {
            let last_over = self.entries.iter().nth(over).map_or(i64::MIN, |entry| entry.0);
            self.raise_floor(last_over);
        }
    }

    /// Takes a reference; whether it is there now.
    pub(super) fn insert(&mut self, reference: &Reference, cap: usize) -> bool {
        if reference.sort_at > self.floor {
            self.entries.insert((reference.sort_at, reference.item));
            self.trim(cap);
        }
        reference.sort_at > self.floor
    }

    /// Joins what a merge found with all that came meanwhile, and answers from now on.
    pub(super) fn publish(&mut self, found: &[Reference], floor: i64, now_ms: i64, cap: usize) {
        self.entries.extend(found.iter().map(|reference| (reference.sort_at, reference.item)));
        self.since_ms = Some(now_ms);
        self.raise_floor(floor);
        self.trim(cap);
    }

    /// References at or below `from_ms`, newest first, `n` of them and the rest of the last one's millisecond; and
    /// whether none come after them.
    pub(super) fn read(&self, from_ms: i64, n: usize) -> (Vec<CachedEntry>, bool) {
        let mut found: Vec<CachedEntry> = Vec::new();
        for (sort_at, item) in self.entries.range(..=(from_ms, ItemId(u64::MAX))).rev() {
            if found.len() >= n && found.last().is_none_or(|last| last.sort_at != *sort_at) {
                return (found, false);
            }
            found.push(CachedEntry { sort_at: *sort_at, item: *item });
        }
        (found, true)
    }
}
