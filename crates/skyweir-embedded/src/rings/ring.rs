//! One timeline in memory: references in order, a floor, a rate.

use std::collections::VecDeque;

use skyweir_store::{CachedEntry, RingInfo};
use skyweir_types::{ActorId, DidHash, Generation, ItemId};

use super::memory::Memory;

/// Milliseconds from year 0 to 1970: `sort_at` is stored as an offset from there.
const YEAR_ZERO: i64 = -62_167_219_200_000;
const ITEM_BITS: u32 = 47;
const ITEM_MASK: u128 = (1 << ITEM_BITS) - 1;
const TIME_MAX: i64 = (1 << 49) - 1;
/// Room of a ring that gets its first reference.
const FIRST_ROOM: usize = 4;
/// A ring that fills may hold this many caps; only then its oldest leave.
const FILLING_CAPS: usize = 4;

/// A reference in 12 bytes: 49 bits of `sort_at`, 47 bits of item number. Its order is that of (`sort_at`, item).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry([u32; 3]);

impl Entry {
    pub(super) fn new(sort_at: i64, item: ItemId) -> Self {
        let time = sort_at.saturating_sub(YEAR_ZERO).clamp(0, TIME_MAX);
        let bits = (time as u128) << ITEM_BITS | (u128::from(item.0) & ITEM_MASK);
        Self([(bits >> 64) as u32, (bits >> 32) as u32, bits as u32])
    }

    fn bits(self) -> u128 {
        u128::from(self.0[0]) << 64 | u128::from(self.0[1]) << 32 | u128::from(self.0[2])
    }

    pub(super) fn sort_at(self) -> i64 {
        (self.bits() >> ITEM_BITS) as i64 + YEAR_ZERO
    }

    pub(super) fn item(self) -> ItemId {
        ItemId((self.bits() & ITEM_MASK) as u64)
    }

    pub(super) fn to_bytes(self) -> [u8; 12] {
        self.bits().to_be_bytes()[4..].try_into().expect("twelve of sixteen")
    }

    pub(super) fn from_bytes(bytes: [u8; 12]) -> Self {
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        Self([word(0), word(4), word(8)])
    }
}

/// Whether a ring answers reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Filling,
    In,
}

/// One timeline.
#[derive(Clone, Debug)]
pub(super) struct Ring {
    /// Rising, so that the newest is the last. None at or below the floor.
    entries: VecDeque<Entry>,
    /// Nothing is missing strictly above it. Of a filling ring: what its publication has to reckon with.
    pub(super) floor: i64,
    pub(super) generation: Generation,
    pub(super) since_ms: i64,
    pub(super) did_hash: DidHash,
    pub(super) rate: f32,
    /// Seconds since 1970.
    pub(super) last_read: u32,
    pub(super) viewer: ActorId,
    pub(super) reads: u8,
    pub(super) state: State,
}

impl Ring {
    pub(super) fn new(viewer: ActorId, generation: Generation, did_hash: DidHash, rate: f32) -> Self {
        Self {
            entries: VecDeque::new(),
            floor: i64::MIN,
            generation,
            since_ms: 0,
            did_hash,
            rate,
            last_read: 0,
            viewer,
            reads: 0,
            state: State::Filling,
        }
    }

    fn limit(&self, cap: usize) -> usize {
        match self.state {
            State::Filling => cap * FILLING_CAPS,
            State::In => cap,
        }
    }

    /// Brings what an insert needs of the ring itself into the core's cache; the number means nothing.
    #[inline]
    pub(super) fn touch_header(&self) -> usize {
        self.entries.len().wrapping_add(self.viewer.0 as usize)
    }

    /// Brings the oldest and the newest reference into the core's cache; the number means nothing.
    #[inline]
    pub(super) fn touch_ends(&self) -> u32 {
        let word = |entry: Option<&Entry>| entry.map_or(0, |entry| entry.0[2]);
        word(self.entries.front()).wrapping_add(word(self.entries.back()))
    }

    /// Takes a reference; false when it stands at or below the floor, also the one that this insert raised. Where the
    /// budget has no room for more, what there is has to do: the oldest leaves, as at the cap.
    #[inline]
    pub(super) fn insert(&mut self, entry: Entry, cap: usize, memory: &Memory) -> bool {
        let sort_at = entry.sort_at();
        if sort_at <= self.floor {
            return false;
        }
        let place = match self.entries.back() {
            Some(last) if *last >= entry => self.entries.partition_point(|known| *known < entry),
            _ => self.entries.len(),
        };
        if self.entries.get(place) == Some(&entry) {
            return true;
        }
        let limit = self.limit(cap);
        if self.entries.len() < limit
            && (self.entries.len() < self.entries.capacity() || self.grow(limit, memory))
        {
            self.put(place, entry);
            return true;
        }
        if place == 0 {
            self.raise_floor(sort_at);
            return false;
        }
        let before = self.entries.len();
        self.raise_floor(self.entries[0].sort_at());
        if sort_at <= self.floor {
            return false;
        }
        // all that left stood before the place
        let place = place - (before - self.entries.len());
        self.put(place, entry);
        true
    }

    /// Makes room for more references, if the budget has it.
    fn grow(&mut self, limit: usize, memory: &Memory) -> bool {
        let len = self.entries.len();
        let more = (len * 2).clamp(FIRST_ROOM.min(limit), limit) - len;
        let grown = memory.grow(more * size_of::<Entry>());
        if grown {
            self.entries.reserve_exact(more);
        }
        grown
    }

    fn put(&mut self, place: usize, entry: Entry) {
        if place == self.entries.len() {
            self.entries.push_back(entry);
        } else {
            self.entries.insert(place, entry);
        }
    }

    /// Raises the floor to at least this; what stands at or below it leaves.
    pub(super) fn raise_floor(&mut self, floor: i64) {
        self.floor = self.floor.max(floor);
        while self.entries.front().is_some_and(|entry| entry.sort_at() <= self.floor) {
            self.entries.pop_front();
        }
    }

    /// Drops what stands before a time; if there is such, the floor rises to just below it. Returns how many left.
    pub(super) fn drop_before(&mut self, sort_at: i64, memory: &Memory) -> u64 {
        if self.entries.front().is_none_or(|oldest| oldest.sort_at() >= sort_at) {
            return 0;
        }
        let (before, heap) = (self.entries.len(), self.heap());
        self.raise_floor(sort_at - 1);
        self.give_back(heap, memory);
        (before - self.entries.len()) as u64
    }

    /// Gives back most of the room, if most of it is empty; `heap` is what it took before.
    fn give_back(&mut self, heap: usize, memory: &Memory) {
        if self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to(self.entries.len().next_power_of_two());
            memory.resized(heap, self.heap());
        }
    }

    /// Joins what a merge found with all that came meanwhile, and answers from now on.
    pub(super) fn publish(
        &mut self,
        found: impl Iterator<Item = Entry>,
        floor: i64,
        now_ms: i64,
        cap: usize,
        memory: &Memory,
    ) {
        let mut all: Vec<Entry> = self.entries.iter().copied().chain(found).collect();
        all.sort_unstable();
        all.dedup();
        self.replace(&all, self.floor.max(floor), cap, memory);
        self.state = State::In;
        self.since_ms = now_ms;
    }

    /// Takes rising entries in place of what there is, trimmed to the cap. The budget isn't asked: what is filled at
    /// once is bounded.
    pub(super) fn replace(&mut self, rising: &[Entry], floor: i64, cap: usize, memory: &Memory) {
        let before = self.heap();
        self.floor = floor;
        if let Some(last_over) = rising.len().checked_sub(cap + 1) {
            self.floor = floor.max(rising[last_over].sort_at());
        }
        let kept = &rising[rising.partition_point(|entry| entry.sort_at() <= self.floor)..];
        let room = kept.len().next_power_of_two().min(cap);
        self.entries = VecDeque::new();
        if !kept.is_empty() {
            self.entries.reserve_exact(room);
            self.entries.extend(kept);
        }
        memory.resized(before, self.heap());
    }

    /// Takes these items out; `items` rising. Returns how many left.
    pub(super) fn remove(&mut self, items: &[ItemId], memory: &Memory) -> u64 {
        let (before, heap) = (self.entries.len(), self.heap());
        self.entries.retain(|entry| items.binary_search(&entry.item()).is_err());
        self.give_back(heap, memory);
        (before - self.entries.len()) as u64
    }

    /// References at or below `from_ms`, newest first, `n` of them and the rest of the last one's millisecond; and
    /// whether none come after them.
    pub(super) fn read(&self, from_ms: i64, n: usize) -> (Vec<CachedEntry>, bool) {
        let mut at = self.entries.partition_point(|entry| entry.sort_at() <= from_ms);
        let mut found: Vec<CachedEntry> = Vec::with_capacity(at.min(n.saturating_add(4)));
        while let Some(entry) = at.checked_sub(1).map(|before| self.entries[before]) {
            let sort_at = entry.sort_at();
            if found.len() >= n && found.last().is_none_or(|last| last.sort_at != sort_at) {
                return (found, false);
            }
            found.push(CachedEntry { sort_at, item: entry.item() });
            at -= 1;
        }
        (found, true)
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        self.entries.iter().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn info(&self) -> RingInfo {
        RingInfo {
            generation: self.generation,
            floor: self.floor,
            rate: self.rate,
            len: self.entries.len(),
            since_ms: self.since_ms,
        }
    }

    /// Bytes outside the ring's own struct.
    pub(super) fn heap(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn ring(state: State) -> Ring {
        Ring { state, ..Ring::new(ActorId(1), Generation(1), DidHash(0), 1.0) }
    }

    #[test]
    fn an_empty_ring_and_an_entry_are_small() {
        assert_eq!(size_of::<Entry>(), 12);
        assert!(size_of::<Ring>() <= 88, "{}", size_of::<Ring>());
    }

    #[test]
    fn a_full_ring_has_no_room_over_its_cap() {
        let mut ring = ring(State::In);
        for n in 0..1_000 {
            ring.insert(Entry::new(n, ItemId(n as u64)), 100, &Memory::default());
        }
        assert_eq!((ring.len(), ring.floor), (100, 899));
        assert_eq!(ring.heap(), 1_200);
    }

    #[test]
    fn a_read_ends_with_a_whole_millisecond() {
        let mut ring = ring(State::In);
        for (ms, item) in [(1, 1), (2, 2), (2, 3), (2, 4), (3, 5)] {
            ring.insert(Entry::new(ms, ItemId(item)), 10, &Memory::default());
        }
        let (entries, end) = ring.read(3, 2);
        assert_eq!((entries.len(), end), (4, false));
        let (entries, end) = ring.read(2, 9);
        assert_eq!((entries.len(), end), (4, true));
        let (entries, end) = ring.read(0, 9);
        assert_eq!((entries.len(), end), (0, true));
    }

    proptest! {
        #[test]
        fn entries_round_trip(sort_at in YEAR_ZERO..YEAR_ZERO + TIME_MAX, item in 0..1u64 << 47) {
            let entry = Entry::new(sort_at, ItemId(item));
            prop_assert_eq!((entry.sort_at(), entry.item()), (sort_at, ItemId(item)));
            prop_assert_eq!(Entry::from_bytes(entry.to_bytes()), entry);
        }

        /// Whatever comes in whatever order: above the floor nothing is missing, cap and budget hold.
        #[test]
        fn nothing_is_missing_above_the_floor(
            steps in prop::collection::vec((0..40i64, 0..60u64), 1..200), cap in 1..20usize, split in 0..100usize,
            budget in 0..600usize,
        ) {
            let memory = Memory::new(budget);
            let mut all = BTreeSet::new();
            let mut ring = ring(State::Filling);
            for (at, (ms, item)) in steps.iter().enumerate() {
                if at == split {
                    ring.publish(all.iter().copied(), i64::MIN, 7, cap, &memory);
                }
                // an item has one time for ever
                let entry = Entry::new((ms + *item as i64) % 23, ItemId(*item));
                let entry = all.iter().find(|known: &&Entry| known.item() == entry.item()).copied().unwrap_or(entry);
                all.insert(entry);
                let held = memory.bytes();
                let written = ring.insert(entry, cap, &memory);
                prop_assert_eq!(memory.bytes(), ring.heap());
                prop_assert!(memory.bytes() <= budget.max(held));
                prop_assert_eq!(written, entry.sort_at() > ring.floor);
                prop_assert!(ring.len() <= ring.limit(cap));
                let wanted: Vec<Entry> = all.iter().copied().filter(|e| e.sort_at() > ring.floor).collect();
                prop_assert_eq!(ring.entries().collect::<Vec<_>>(), wanted);
            }
        }
    }
}
