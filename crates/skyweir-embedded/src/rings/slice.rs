//! A slice of the actor space: the rings of every so-many-th account, found by two array look-ups.

use skyweir_types::{ActorId, Generation};

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
#[derive(Default)]
pub(super) struct Slice {
    /// Where each account's ring is; index: account number divided by the number of slices.
    pages: Vec<Option<Box<[u32; PAGE]>>>,
    chunks: Vec<Vec<Ring>>,
    /// Slots that were left.
    free: Vec<u32>,
    len: usize,
    /// The greatest generation that ever was here.
    pub(super) last_generation: Generation,
    /// Something changed since the last checkpoint.
    pub(super) dirty: bool,
}

impl Slice {
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

    /// Sets the ring at a place.
    pub(super) fn put(&mut self, place: usize, ring: Ring) {
        if let Some(known) = self.get_mut(place) {
            *known = ring;
            return;
        }
        let slot = match self.free.pop() {
            Some(slot) => {
                *self.at_mut(Slot(slot)) = ring;
                slot
            }
            None => {
                if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
                    self.chunks.push(Vec::with_capacity(CHUNK));
                }
                let last = self.chunks.len() - 1;
                self.chunks[last].push(ring);
                (last * CHUNK + self.chunks[last].len() - 1) as u32
            }
        };
        if self.pages.len() <= place / PAGE {
            self.pages.resize_with(place / PAGE + 1, || None);
        }
        let page = self.pages[place / PAGE].get_or_insert_with(|| Box::new([NONE; PAGE]));
        page[place % PAGE] = slot;
        self.len += 1;
    }

    /// Takes the ring at a place away.
    pub(super) fn remove(&mut self, place: usize) {
        let Some(slot) = self.slot(place) else { return };
        if let Some(page) = &mut self.pages[place / PAGE] {
            page[place % PAGE] = NONE;
        }
        let ring = self.at_mut(slot);
        *ring = Ring::new(ActorId(u32::MAX), Generation(0), ring.did_hash, 1.0);
        self.free.push(slot.0);
        self.len -= 1;
    }

    /// All rings, in no order that means anything.
    pub(super) fn rings(&self) -> impl Iterator<Item = &Ring> {
        // a free slot has no generation
        self.chunks.iter().flatten().filter(|ring| ring.generation > Generation(0))
    }

    /// How many rings there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes that all this takes.
    pub(super) fn memory(&self) -> usize {
        let pages =
            self.pages.iter().flatten().count() * size_of::<[u32; PAGE]>() + self.pages.capacity() * 8;
        let chunks = self.chunks.len() * CHUNK * size_of::<Ring>() + self.chunks.capacity() * 24;
        let entries: usize = self.rings().map(Ring::heap).sum();
        pages + chunks + entries + self.free.capacity() * 4
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use skyweir_types::DidHash;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0..3_000usize, any::<bool>()), 1..400)) {
            let mut slice = Slice::default();
            let mut model = BTreeMap::new();
            for (n, (place, put)) in steps.into_iter().enumerate() {
                if put {
                    let generation = Generation(n as u64 + 1);
                    slice.put(place, Ring::new(ActorId(place as u32), generation, DidHash(0), 1.0));
                    model.insert(place, generation);
                } else {
                    slice.remove(place);
                    model.remove(&place);
                }
                prop_assert_eq!(slice.get(place).map(|ring| ring.generation), model.get(&place).copied());
            }
            prop_assert_eq!(slice.len(), model.len());
            let mut all: Vec<_> = slice.rings().map(|ring| (ring.viewer.0 as usize, ring.generation)).collect();
            all.sort_unstable();
            prop_assert_eq!(all, model.into_iter().collect::<Vec<_>>());
        }
    }
}
