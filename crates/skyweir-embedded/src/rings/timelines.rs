//! [`Timelines`] by the rings. No call waits for anything but a slice's lock, and a checkpoint for the disk.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use skyweir_store::{
    Cached, CachedState, Counts, Delivery, Enrolment, Idle, IdleRule, LeastUseful, MemoryUse, Result,
    TimelineReads, Timelines, Usefulness, Viewers, is_visit,
};
use skyweir_types::{ActorId, Generation, ItemId, Reference, TaskId};

use super::ring::{Entry, Ring, State};
use super::slice::{Slice, Slot};
use super::{Inner, Rings, checkpoint};
use crate::blocking::blocking;

fn seconds(ms: i64) -> u32 {
    ms.div_euclid(1_000).clamp(0, u32::MAX.into()) as u32
}

impl Inner {
    #[inline]
    fn insert(&self, ring: Option<&mut Ring>, reference: &Reference, entry: Entry, counts: &mut Counts) {
        let Some(ring) = ring else {
            counts.hibernating += 1;
            return;
        };
        let own = reference.author == ring.viewer;
        if ring.rate < 1.0 && !own && !self.draw.keeps(reference.uri_hash, ring.did_hash, ring.rate) {
            counts.sampled_out += 1;
        } else if ring.insert(entry, self.cap, &self.memory) {
            counts.written += 1;
        } else {
            counts.below_floor += 1;
        }
    }

    /// Writes the noted references, in their order, and forgets them. Rings lie scattered in memory: all headers are
    /// touched, then the ends of all, so that the loads overlap; only then the first reference is written.
    fn insert_all(&self, slice: &mut Slice, deliveries: &[Delivery], steps: &mut Steps, all: &mut [Counts]) {
        let noted = &steps.steps[..steps.len];
        let rings = || noted.iter().filter_map(|(_, slot)| *slot).map(|slot| slice.at(slot));
        black_box(rings().fold(0, |sum: usize, ring| sum.wrapping_add(ring.touch_header())));
        black_box(rings().fold(0, |sum: u32, ring| sum.wrapping_add(ring.touch_ends())));
        for (at, slot) in noted {
            let reference = &deliveries[*at as usize].reference;
            let ring = slot.map(|slot| slice.at_mut(slot));
            self.insert(ring, reference, entry(reference), &mut all[*at as usize]);
        }
        steps.len = 0;
    }
}

/// How many references are written together: about as many loads as a core keeps under way at once.
const TOGETHER: usize = 32;

/// Some references that are about to be written, each with its delivery and its ring's slot.
struct Steps {
    steps: [(u32, Option<Slot>); TOGETHER],
    len: usize,
}

impl Steps {
    fn new() -> Self {
        Self { steps: [(0, None); TOGETHER], len: 0 }
    }

    /// Notes a reference; true when no more fit.
    #[inline]
    fn push(&mut self, delivery: usize, slot: Option<Slot>) -> bool {
        self.steps[self.len] = (delivery as u32, slot);
        self.len += 1;
        self.len == TOGETHER
    }
}

fn entry(reference: &Reference) -> Entry {
    Entry::new(reference.sort_at, reference.item)
}

#[async_trait]
impl TimelineReads for Rings {
    async fn read(&self, viewer: ActorId, from_ms: i64, n: usize) -> Result<Cached> {
        let (slice, place) = self.inner.slice_of(viewer);
        let unanswered = |state| Cached { state, entries: Vec::new(), at_floor: true };
        Ok(match slice.get(place) {
            None => unanswered(CachedState::Out),
            Some(ring) if ring.state == State::Filling => unanswered(CachedState::Filling(ring.generation)),
            Some(ring) => {
                let (entries, at_floor) = ring.read(from_ms, n);
                Cached { state: CachedState::In(ring.info()), entries, at_floor }
            }
        })
    }
}

#[async_trait]
impl Timelines for Rings {
    fn shards(&self) -> u32 {
        self.inner.slices.len() as u32
    }

    fn shard_of(&self, viewer: ActorId) -> u32 {
        self.inner.place(viewer).0 as u32
    }

    fn retain_enrolled(&self, page: &mut Vec<ActorId>) {
        let enrolled = self.inner.enrolled.look();
        page.retain(|viewer| enrolled.has(*viewer));
    }

    fn enrolled(&self) -> u64 {
        self.inner.enrolled.count()
    }

    fn split(&self, page: Vec<ActorId>) -> Vec<(u32, Viewers)> {
        let enrolled = self.inner.enrolled.look();
        let slices = self.inner.slices.len() as u32;
        // the place of each enrolled follower's shard; a count of each shard, then where its next viewer goes
        let mut kept: Vec<(u32, ActorId)> = Vec::with_capacity(page.len());
        let mut places = vec![0u32; slices as usize];
        for viewer in page.into_iter().filter(|viewer| enrolled.has(*viewer)) {
            let shard = viewer.0 % slices;
            places[shard as usize] += 1;
            kept.push((shard, viewer));
        }
        let mut begins = 0;
        let mut ranges = Vec::with_capacity(kept.len().min(places.len()));
        for (shard, place) in places.iter_mut().enumerate().filter(|(_, count)| **count > 0) {
            ranges.push((shard as u32, begins..begins + *place));
            begins += std::mem::replace(place, begins);
        }
        let mut flat = vec![ActorId(0); kept.len()];
        for (shard, viewer) in kept {
            let place = &mut places[shard as usize];
            flat[*place as usize] = viewer;
            *place += 1;
        }
        let flat = Viewers::from(flat);
        ranges.into_iter().map(|(shard, range)| (shard, flat.part(range))).collect()
    }

    async fn apply(&self, shard: u32, deliveries: &[Delivery]) -> Result<Vec<Counts>> {
        let inner = &*self.inner;
        let slices = inner.slices.len() as u32;
        let mut all = vec![Counts::default(); deliveries.len()];
        let mut slice = inner.slice(shard as usize);
        let mut steps = Steps::new();
        for (at, delivery) in deliveries.iter().enumerate() {
            for viewer in &*delivery.viewers {
                debug_assert_eq!(viewer.0 % slices, shard, "a delivery holds viewers of one shard");
                if steps.push(at, slice.slot((viewer.0 / slices) as usize)) {
                    inner.insert_all(&mut slice, deliveries, &mut steps, &mut all);
                }
            }
        }
        inner.insert_all(&mut slice, deliveries, &mut steps, &mut all);
        // a reference below the floor may have raised it
        slice.dirty |= all.iter().any(|counts| counts.written + counts.below_floor > 0);
        Ok(all)
    }

    async fn fill(&self, viewer: ActorId, references: &[Reference], floor: i64) -> Result<Counts> {
        let (mut slice, place) = self.inner.slice_of(viewer);
        slice.dirty = true;
        let mut counts = Counts::default();
        let mut ring = slice.get_mut(place);
        if let Some(ring) = &mut ring {
            // first, so that what can't stay counts as below it
            ring.raise_floor(floor);
        }
        for reference in references {
            self.inner.insert(ring.as_deref_mut(), reference, entry(reference), &mut counts);
        }
        Ok(counts)
    }

    async fn purge(&self, viewer: ActorId, author: ActorId, items: &[ItemId]) -> Result<u64> {
        if viewer == author || items.is_empty() {
            return Ok(0);
        }
        let mut items = items.to_vec();
        items.sort_unstable();
        let (mut slice, place) = self.inner.slice_of(viewer);
        if slice.get(place).is_none() || self.inner.store.follows_now(viewer, author)? {
            return Ok(0);
        }
        slice.dirty = true;
        Ok(slice.get_mut(place).map_or(0, |ring| ring.remove(&items, &self.inner.memory)))
    }

    async fn drop_before(&self, sort_at: i64) -> Result<u64> {
        let mut left = 0;
        for at in 0..self.inner.slices.len() {
            {
                let mut slice = self.inner.slice(at);
                let of_slice: u64 =
                    slice.rings_mut().map(|ring| ring.drop_before(sort_at, &self.inner.memory)).sum();
                slice.dirty |= of_slice > 0;
                left += of_slice;
            }
            tokio::task::yield_now().await;
        }
        Ok(left)
    }

    fn touch(&self, viewer: ActorId, now_ms: i64) {
        let (mut slice, place) = self.inner.slice_of(viewer);
        if let Some(ring) = slice.get_mut(place) {
            let now = seconds(now_ms);
            ring.reads = ring.reads.saturating_add(u8::from(is_visit(ring.last_read.into(), now.into())));
            ring.last_read = ring.last_read.max(now);
            slice.touched = true;
        }
    }

    async fn begin(&self, viewer: ActorId, enrolment: Enrolment) -> Result<Generation> {
        let (mut slice, place) = self.inner.slice_of(viewer);
        let now = u64::try_from(enrolment.now_us).unwrap_or(0);
        let generation = Generation(now.max(slice.last_generation.0 + 1));
        let mut ring = Ring::new(viewer, generation, enrolment.did_hash, enrolment.rate);
        (ring.last_read, ring.reads) = match slice.get(place) {
            Some(known) => (known.last_read, known.reads),
            None => (seconds(enrolment.now_us.div_euclid(1_000)), 0),
        };
        slice.put(place, ring);
        slice.last_generation = generation;
        slice.dirty = true;
        self.inner.enrolled.add(viewer);
        Ok(generation)
    }

    async fn publish(
        &self,
        viewer: ActorId,
        generation: Generation,
        references: &[Reference],
        floor: i64,
        now_ms: i64,
    ) -> Result<bool> {
        let (mut slice, place) = self.inner.slice_of(viewer);
        let ours = |ring: &&mut Ring| ring.generation == generation && ring.state == State::Filling;
        let Some(ring) = slice.get_mut(place).filter(ours) else { return Ok(false) };
        let inner = &self.inner;
        ring.publish(references.iter().map(entry), floor, now_ms, inner.cap, &inner.memory);
        slice.dirty = true;
        Ok(true)
    }

    async fn leave(&self, viewer: ActorId, generation: Generation) -> Result<bool> {
        let (mut slice, place) = self.inner.slice_of(viewer);
        if slice.get(place).is_none_or(|ring| ring.generation != generation) {
            return Ok(false);
        }
        slice.remove(place);
        slice.dirty = true;
        self.inner.enrolled.remove(viewer);
        Ok(true)
    }

    async fn lower_rate(&self, viewer: ActorId, rate: f32) -> Result<()> {
        let (mut slice, place) = self.inner.slice_of(viewer);
        if let Some(ring) = slice.get_mut(place).filter(|ring| ring.state == State::In && rate < ring.rate) {
            ring.rate = rate;
            slice.dirty = true;
        }
        Ok(())
    }

    async fn idle(&self, rule: IdleRule, n: usize) -> Result<Vec<Idle>> {
        let inner = &*self.inner;
        let (before, once_before) = (seconds(rule.read_before_ms), seconds(rule.once_before_ms));
        let is_idle =
            |ring: &&Ring| ring.last_read < before || ring.reads == 0 && ring.last_read < once_before;
        let start = inner.idle_from.load(Ordering::Relaxed);
        let mut found = Vec::new();
        for step in 0..inner.slices.len() {
            let at = (start + step) % inner.slices.len();
            {
                let slice = inner.slice(at);
                let rings = slice.rings().filter(is_idle).take(n - found.len());
                found.extend(rings.map(|ring| Idle { viewer: ring.viewer, generation: ring.generation }));
            }
            if found.len() == n {
                // this slice may hold more: the next look begins here
                inner.idle_from.store(at, Ordering::Relaxed);
                return Ok(found);
            }
            if step % 16 == 15 {
                tokio::task::yield_now().await;
            }
        }
        Ok(found)
    }

    fn memory(&self) -> MemoryUse {
        let memory = &self.inner.memory;
        MemoryUse { bytes: memory.bytes() as u64, budget: memory.budget() as u64 }
    }

    async fn least_useful(&self, recent_ms: i64, bytes: u64, n: usize) -> Result<Vec<Idle>> {
        let inner = &*self.inner;
        let mut least = LeastUseful::new(bytes, n);
        for at in 0..inner.slices.len() {
            for ring in inner.slice(at).rings() {
                let idle = Idle { viewer: ring.viewer, generation: ring.generation };
                let (again, filling) = (ring.reads > 0, ring.state == State::Filling);
                let useful = Usefulness::of(filling, again, i64::from(ring.last_read) * 1_000, recent_ms);
                least.offer(useful, (size_of::<Ring>() + ring.heap()) as u64, idle);
            }
            if at % 16 == 15 {
                tokio::task::yield_now().await;
            }
        }
        Ok(least.found())
    }

    async fn checkpoint(&self, kept: TaskId) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        let write = move || {
            let mut last = inner.last.lock().unwrap_or_else(PoisonError::into_inner);
            checkpoint::write(&inner, &mut last, kept)
        };
        blocking("checkpoint", write).await
    }

    fn restored(&self) -> TaskId {
        self.inner.restored
    }
}
