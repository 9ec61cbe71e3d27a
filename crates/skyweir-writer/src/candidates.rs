//! Who was read while there was no memory for more timelines: only who comes again is enrolled in another one's place.

use std::sync::{Mutex, PoisonError};

use skyweir_types::ActorId;

/// A read this long after the noted one is another visit: pages of one visit follow each other faster.
const AGAIN_MS: i64 = 60_000;
/// A visit counts for so long.
const LATELY_MS: i64 = 24 * 3_600_000;

/// Timelines that were read, each with when it was first noted. Each has one place by its number; who comes later takes
/// it.
pub(crate) struct Candidates {
    places: Mutex<Vec<Option<(ActorId, i64)>>>,
}

impl Candidates {
    /// Remembers at most so many.
    pub(crate) fn new(most: usize) -> Self {
        Self { places: Mutex::new(vec![None; most.max(1)]) }
    }

    /// Notes a read; whether it is at least the second visit lately.
    pub(crate) fn comes_again(&self, viewer: ActorId, now_ms: i64) -> bool {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let at = viewer.0 as usize % places.len();
        match places[at] {
            Some((known, noted_ms)) if known == viewer && now_ms - noted_ms < LATELY_MS => {
                now_ms - noted_ms >= AGAIN_MS
            }
            _ => {
                places[at] = Some((viewer, now_ms));
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_second_visit_lately_counts() {
        let candidates = Candidates::new(8);
        assert!(!candidates.comes_again(ActorId(1), 0));
        assert!(!candidates.comes_again(ActorId(1), 59_999), "a page of the same visit");
        assert!(!candidates.comes_again(ActorId(2), 60_000));
        assert!(candidates.comes_again(ActorId(1), 60_000) && candidates.comes_again(ActorId(1), 60_001));
        assert!(!candidates.comes_again(ActorId(1), LATELY_MS), "too long ago");
        assert!(!candidates.comes_again(ActorId(9), LATELY_MS), "takes the place");
        assert!(!candidates.comes_again(ActorId(1), LATELY_MS + AGAIN_MS), "forgotten");
    }
}
