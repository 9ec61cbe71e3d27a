//! What a timeline holds, as its rows were read: changes are tried here, and what they come to is written.

use std::collections::BTreeSet;

use skyweir_types::{ItemId, Reference};

use super::line::Lengths;

/// The references of one timeline.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// (`sort_at`, item), none at or below the floor.
    entries: BTreeSet<(i64, ItemId)>,
    floor: i64,
    filling: bool,
    lengths: Lengths,
}

impl Held {
    /// What was read; what stands at or below the floor isn't taken. Trimmed, if that is due.
    pub(super) fn new(
        read: impl IntoIterator<Item = (i64, ItemId)>,
        floor: i64,
        filling: bool,
        lengths: Lengths,
    ) -> Self {
        let entries = read.into_iter().filter(|entry| entry.0 > floor).collect();
        let mut held = Self { entries, floor, filling, lengths };
        held.trim();
        held
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn floor(&self) -> i64 {
        self.floor
    }

    pub(super) fn holds(&self, reference: &Reference) -> bool {
        self.entries.contains(&(reference.sort_at, reference.item))
    }

    /// Raises the floor to at least this; what stands at or below it leaves.
    pub(super) fn raise(&mut self, floor: i64) {
        self.floor = self.floor.max(floor);
        while self.entries.first().is_some_and(|(sort_at, _)| *sort_at <= self.floor) {
            self.entries.pop_first();
        }
    }

    /// Takes a reference; whether it is there now.
    pub(super) fn insert(&mut self, reference: &Reference) -> bool {
        if reference.sort_at > self.floor {
            self.entries.insert((reference.sort_at, reference.item));
            self.trim();
        }
        reference.sort_at > self.floor
    }

    /// Joins what a merge found, complete above `floor`, and ends the filling.
    pub(super) fn publish(&mut self, found: &[Reference], floor: i64) {
        self.entries.extend(found.iter().map(|reference| (reference.sort_at, reference.item)));
        self.filling = false;
        self.raise(floor);
        self.trim();
    }

    /// Drops the oldest over the cap, with all of their milliseconds, once there are enough to make it worth it.
    fn trim(&mut self) {
        if self.entries.len() > self.lengths.most(self.filling) {
            let over = self.entries.len() - self.lengths.kept(self.filling);
            let last_over = self.entries.iter().nth(over - 1).map_or(i64::MIN, |entry| entry.0);
            self.raise(last_over);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skyweir_types::{ActorId, UriHash};

    fn reference(n: i64) -> Reference {
        Reference { item: ItemId(n as u64), sort_at: n, uri_hash: UriHash(0), author: ActorId(1) }
    }

    fn held(over: usize, filling: bool) -> Held {
        Held::new([], i64::MIN, filling, Lengths { cap: 3, over })
    }

    #[test]
    fn a_trim_comes_seldom_and_goes_down_to_the_cap() {
        let mut held = held(2, false);
        for n in 1..=5 {
            assert!(held.insert(&reference(n)));
        }
        assert_eq!((held.len(), held.floor()), (5, i64::MIN));
        assert!(held.insert(&reference(6)) && held.insert(&reference(6)));
        assert_eq!((held.len(), held.floor()), (3, 3));
        assert!(!held.insert(&reference(3)) && !held.holds(&reference(3)) && held.holds(&reference(4)));
    }

    #[test]
    fn what_comes_late_may_raise_the_floor_over_itself() {
        let mut held = held(0, false);
        for n in [10, 20, 30] {
            held.insert(&reference(n));
        }
        assert!(!held.insert(&reference(5)));
        assert_eq!((held.len(), held.floor()), (3, 5));
    }

    #[test]
    fn whole_milliseconds_leave_and_a_smaller_cap_trims_what_is_read() {
        let read = [(7, 1), (7, 2), (8, 3), (9, 4)].map(|(ms, item)| (ms, ItemId(item)));
        let held = Held::new(read, i64::MIN, false, Lengths { cap: 3, over: 0 });
        assert_eq!((held.len(), held.floor()), (2, 7));
        let held = Held::new(read, 8, false, Lengths { cap: 3, over: 0 });
        assert_eq!((held.len(), held.floor()), (1, 8));
    }

    #[test]
    fn a_filling_one_is_trimmed_when_it_is_published() {
        let mut held = held(0, true);
        for n in 1..=8 {
            assert!(held.insert(&reference(n)));
        }
        assert_eq!(held.floor(), i64::MIN);
        held.publish(&[reference(8), reference(7)], i64::MIN);
        assert_eq!((held.len(), held.floor()), (3, 5));
        let mut held = Held::new([], 6, true, Lengths { cap: 3, over: 0 });
        held.publish(&[reference(7), reference(6)], 2);
        assert_eq!((held.len(), held.floor()), (1, 6));
    }
}
