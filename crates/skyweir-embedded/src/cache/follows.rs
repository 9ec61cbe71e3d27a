//! Whom readers follow, whole and sorted, once it was worth reading.
//!
//! To read all that an account follows costs as much as some look-ups of single edges, or nothing more if a page wants
//! them all anyway. So what is asked about an account adds up, and when it comes to as much as reading everything once
//! would, everything is read and kept: nobody pays more than twice, and an account with a hundred thousand follows that
//! is asked about once isn't read for a handful of edges. What there is no room to keep is never read whole.

use std::sync::Arc;

use skyweir_types::ActorId;

use super::fenced::{Fenced, Heap};

/// How many entries of a page take as long as the look-up of a single edge.
const LOOK_UP: u32 = 8;

/// What is known about one account's follows.
#[derive(Clone)]
pub(crate) enum Known {
    /// How much was asked, in entries of pages.
    Asked(u32),
    /// Everyone, by rising number.
    All(Arc<[ActorId]>),
}

impl Heap for Known {
    fn heap(&self) -> usize {
        match self {
            Self::Asked(_) => 0,
            Self::All(all) => heap_of(all.len()),
        }
    }
}

/// Bytes of so many follows, with the two counts of what is shared.
fn heap_of(follows: usize) -> usize {
    16 + follows * size_of::<ActorId>()
}

/// How a question about an account's follows is best answered.
pub(crate) enum Best {
    /// Everyone is known.
    Known(Arc<[ActorId]>),
    /// All of them should be read, and told.
    ReadAll,
    /// Only what was asked should be read.
    ReadAsked,
}

/// Everyone whom an account follows, of those who are asked about.
pub(crate) struct FollowSets(Fenced<ActorId, Known>);

impl FollowSets {
    pub(crate) fn new(sets: Fenced<ActorId, Known>) -> Self {
        Self(sets)
    }

    /// For a question about so many single edges of an account that follows so many.
    pub(crate) fn for_edges(&self, viewer: ActorId, edges: usize, follows: u32, complete: u64) -> Best {
        let cost = u32::try_from(edges).unwrap_or(u32::MAX).saturating_mul(LOOK_UP);
        self.best(viewer, cost, follows, complete)
    }

    /// For a page of so many entries of an account that follows so many.
    pub(crate) fn for_page(&self, viewer: ActorId, n: usize, follows: u32, complete: u64) -> Best {
        self.best(viewer, u32::try_from(n).unwrap_or(u32::MAX), follows, complete)
    }

    fn best(&self, viewer: ActorId, cost: u32, follows: u32, complete: u64) -> Best {
        if !self.0.has_room(heap_of(follows as usize) as u64) {
            return Best::ReadAsked;
        }
        let asked = match self.0.get(&viewer, complete) {
            Some(Known::All(all)) => return Best::Known(all),
            Some(Known::Asked(asked)) => asked.saturating_add(cost),
            None => cost,
        };
        if asked >= follows {
            return Best::ReadAll;
        }
        self.0.insert(viewer, Known::Asked(asked), complete);
        Best::ReadAsked
    }

    /// Keeps all that a view with this `complete` has read.
    pub(crate) fn keep(&self, viewer: ActorId, all: Arc<[ActorId]>, complete: u64) {
        self.0.insert(viewer, Known::All(all), complete);
    }

    /// A commit with this number changes whom an account follows. To be called before it shows.
    pub(crate) fn touch(&self, viewer: ActorId, commit: u64) {
        self.0.touch(&viewer, commit);
    }
}

/// Whether an account is among those followed.
pub(crate) fn holds(all: &[ActorId], author: ActorId) -> bool {
    all.binary_search(&author).is_ok()
}

/// At most `n` of them, strictly after `after`.
pub(crate) fn page(all: &[ActorId], after: Option<ActorId>, n: usize) -> Vec<ActorId> {
    let from = after.map_or(0, |after| all.partition_point(|author| *author <= after));
    all[from..].iter().copied().take(n).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIEWER: ActorId = ActorId(7);

    fn sets() -> FollowSets {
        FollowSets::new(Fenced::new(1 << 20, 1_024, metrics::Gauge::noop()))
    }

    #[test]
    fn what_was_asked_adds_up_until_all_is_read() {
        let sets = sets();
        assert!(matches!(sets.for_edges(VIEWER, 50, 100, 0), Best::ReadAll), "cheaper than fifty look-ups");
        // three pages' worth of edges for a thousand follows
        assert!(matches!(sets.for_edges(VIEWER, 50, 1_000, 0), Best::ReadAsked));
        assert!(matches!(sets.for_edges(VIEWER, 50, 1_000, 0), Best::ReadAsked));
        assert!(matches!(sets.for_edges(VIEWER, 50, 1_000, 0), Best::ReadAll));
        sets.keep(VIEWER, Arc::new([ActorId(1)]), 0);
        assert!(matches!(sets.for_page(VIEWER, 1, 1_000, 0), Best::Known(_)));
        sets.touch(VIEWER, 1);
        assert!(matches!(sets.for_page(VIEWER, 1, 1_000, 0), Best::ReadAsked), "a commit is under way");
        assert!(matches!(sets.for_page(VIEWER, 1_000, 1_000, 1), Best::ReadAll));
    }

    #[test]
    fn what_has_no_room_is_not_read_whole() {
        // a sixteenth is 16 KiB
        let sets = FollowSets::new(Fenced::new(1 << 18, 1_024, metrics::Gauge::noop()));
        for (follows, fits) in [(3_700, true), (3_900, false), (1 << 30, false)] {
            for _ in 0..4 {
                let best = sets.for_edges(VIEWER, 1_000, follows, 0);
                assert_eq!(matches!(best, Best::ReadAll), fits, "{follows}");
            }
        }
        let most: Vec<ActorId> = (0..3_700).map(ActorId).collect();
        sets.keep(VIEWER, most.into(), 0);
        assert!(matches!(sets.for_page(VIEWER, 1, 3_700, 0), Best::Known(_)), "it is kept");
    }

    #[test]
    fn pages_are_strictly_after() {
        let all = [2, 4, 6, 8].map(ActorId);
        assert_eq!(page(&all, None, 2), [2, 4].map(ActorId));
        assert_eq!(page(&all, Some(ActorId(4)), 9), [6, 8].map(ActorId));
        assert_eq!(page(&all, Some(ActorId(5)), 1), [6].map(ActorId));
        assert!(page(&all, Some(ActorId(8)), 9).is_empty() && page(&all, None, 0).is_empty());
        assert!(holds(&all, ActorId(6)) && !holds(&all, ActorId(5)));
    }
}
