//! A slice of the actor space: the rings of every so-many-th account, found by two array look-ups.

use std::sync::Arc;

use skyweir_types::Generation;

use super::memory::Memory;
use super::ring::Ring;

/// How many accounts' slots come in one piece.
const PAGE: usize = 512;
/// How many rings come in one piece: growing copies nothing and wastes little.
const CHUNK: usize = 64;
const NONE: u32 = u32::MAX;

/// Where a ring is in its slice, until the next [`Slice::put`] or [`Slice::remove`].
#[derive(Clone, Copy)]
pub(super) struct Slot(u32);

/// Rings of one slice, behind one lock.
pub(super) struct Slice {
    /// Where each account's ring is; index: account number divided by the number of slices.
    pages: Vec<Option<Box<[u32; PAGE]>>>,
    /// How many of the pages are there.
    page_count: usize,
    /// All full but the last, which holds something.
    chunks: Vec<Vec<Ring>>,
    /// How many slices there are.
    slices: u32,
    memory: Arc<Memory>,
    /// The greatest generation that ever was here.
    pub(super) last_generation: Generation,
    /// Something changed since the last checkpoint.
    pub(super) dirty: bool,
    /// Something was read since the last checkpoint that wrote this slice.
    pub(super) touched: bool,
}

impl Slice {
    /// One of so many slices.
    pub(super) fn new(slices: u32, memory: Arc<Memory>) -> Self {
        Self {
            pages: Vec::new(),
            page_count: 0,
            chunks: Vec::new(),
            slices,
            memory,
            last_generation: Generation(0),
            dirty: false,
            touched: false,
        }
    }

    /// Where the ring of a place is.
    #[inline]
    pub(super) fn slot(&self, place: usize) -> Option<Slot> {
        let slot = self.pages.get(place / PAGE)?.as_deref()?[place % PAGE];
        (slot != NONE).then_some(Slot(slot))
    }

    /// The ring at a slot.
    #[inline]
    pub(super) fn at(&self, Slot(slot): Slot) -> &Ring {
        &self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }

    /// The ring at a slot.
    #[inline]
    pub(super) fn at_mut(&mut self, Slot(slot): Slot) -> &mut Ring {
        &mut self.chunks[slot as usize / CHUNK][slot as usize % CHUNK]
    }

    /// The ring at a place.
    #[inline]
    pub(super) fn get(&self, place: usize) -> Option<&Ring> {
        Some(self.at(self.slot(place)?))
    }

    /// The ring at a place.
    #[inline]
    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut Ring> {
        Some(self.at_mut(self.slot(place)?))
    }

    /// Sets the ring at a place. What it holds is counted already.
    pub(super) fn put(&mut self, place: usize, ring: Ring) {
        if let Some(known) = self.get_mut(place) {
            let held = std::mem::replace(known, ring).heap();
            self.memory.sub(held);
            return;
        }
        let before = self.own_memory();
        let slot = self.len() as u32;
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let last = self.chunks.len() - 1;
        self.chunks[last].push(ring);
        if self.pages.len() <= place / PAGE {
            self.pages.resize_with(place / PAGE + 1, || None);
        }
        let page = self.pages[place / PAGE].get_or_insert_with(|| {
            self.page_count += 1;
            Box::new([NONE; PAGE])
        });
        page[place % PAGE] = slot;
        self.memory.resized(before, self.own_memory());
    }

    /// Takes the ring at a place away. The last one takes its slot, so that memory is given back.
    pub(super) fn remove(&mut self, place: usize) {
        let Some(slot) = self.slot(place) else { return };
        let before = self.own_memory();
        self.point(place, NONE);
        let page = &mut self.pages[place / PAGE];
        if page.take_if(|page| page.iter().all(|slot| *slot == NONE)).is_some() {
            self.page_count -= 1;
        }
        let Some(last) = self.chunks.last_mut().and_then(Vec::pop) else { return };
        if self.chunks.last().is_some_and(Vec::is_empty) {
            self.chunks.pop();
        }
        let mut held = last.heap();
        if (slot.0 as usize) < self.len() {
            self.point((last.viewer.0 / self.slices) as usize, slot.0);
            let left = std::mem::replace(self.at_mut(slot), last);
            held = left.heap();
        }
        self.memory.resized(before + held, self.own_memory());
    }

    /// Notes in which slot the ring of a place is.
    fn point(&mut self, place: usize, slot: u32) {
        if let Some(page) = &mut self.pages[place / PAGE] {
            page[place % PAGE] = slot;
        }
    }

    /// All rings, in no order that means anything.
    pub(super) fn rings(&self) -> impl Iterator<Item = &Ring> {
        self.chunks.iter().flatten()
    }

    /// All rings, in no order that means anything.
    pub(super) fn rings_mut(&mut self) -> impl Iterator<Item = &mut Ring> {
        self.chunks.iter_mut().flatten()
    }

    /// The rings in the slots below one, with their slots, downwards. A walk that goes on after others had the lock
    /// misses none that was there all the time: one that moves, moves down.
    pub(super) fn rings_below(&self, slot: usize) -> impl Iterator<Item = (usize, &Ring)> {
        (0..slot.min(self.len())).rev().map(|slot| (slot, &self.chunks[slot / CHUNK][slot % CHUNK]))
    }

    /// How many rings there are.
    pub(super) fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    /// Bytes that the slice takes besides what its rings hold.
    fn own_memory(&self) -> usize {
        let pages = self.page_count * size_of::<[u32; PAGE]>() + self.pages.capacity() * size_of::<usize>();
        let chunk = CHUNK * size_of::<Ring>();
        pages + self.chunks.len() * chunk + self.chunks.capacity() * size_of::<Vec<Ring>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use skyweir_types::{ActorId, DidHash, ItemId};
    use std::collections::{BTreeMap, BTreeSet};

    use super::super::ring::Entry;

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0..3_000usize, any::<bool>()), 1..400)) {
            let memory = Arc::new(Memory::default());
            let mut slice = Slice::new(1, Arc::clone(&memory));
            let mut model = BTreeMap::new();
            for (n, (place, put)) in steps.into_iter().enumerate() {
                if put {
                    let generation = Generation(n as u64 + 1);
                    let mut ring = Ring::new(ActorId(place as u32), generation, DidHash(0), 1.0);
                    for item in 0..place as u64 % 9 {
                        ring.insert(Entry::new(7, ItemId(item)), 100, &memory);
                    }
                    slice.put(place, ring);
                    model.insert(place, generation);
                } else {
                    slice.remove(place);
                    model.remove(&place);
                }
                prop_assert_eq!(slice.get(place).map(|ring| ring.generation), model.get(&place).copied());
                let held: usize = slice.rings().map(Ring::heap).sum();
                prop_assert_eq!(memory.bytes(), slice.own_memory() + held);
                prop_assert_eq!(slice.chunks.len(), model.len().div_ceil(CHUNK));
                let pages: BTreeSet<_> = model.keys().map(|place| place / PAGE).collect();
                prop_assert_eq!(slice.page_count, pages.len());
            }
            prop_assert_eq!(slice.len(), model.len());
            let mut all: Vec<_> = slice.rings().map(|ring| (ring.viewer.0 as usize, ring.generation)).collect();
            let mut below: Vec<_> = slice.rings_below(usize::MAX).collect();
            prop_assert!(below.is_sorted_by(|one, next| one.0 > next.0) && below.len() == all.len());
            below.retain(|(slot, _)| *slot < 5);
            prop_assert_eq!(slice.rings_below(5).count(), below.len());
            all.sort_unstable();
            prop_assert_eq!(&all, &model.into_iter().collect::<Vec<_>>());
            all.iter().for_each(|(place, _)| slice.remove(*place));
            prop_assert_eq!((slice.len(), slice.page_count), (0, 0));
        }
    }
}
