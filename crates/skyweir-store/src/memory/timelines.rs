//! [`Timelines`] in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use skyweir_types::{ActorId, DrawKey, Generation, ItemId, Reference, TaskId};

use super::MemoryStore;
use super::ring::Ring;
use crate::{
    Cached, CachedState, Counts, Delivery, Enrolment, Idle, IdleRule, LeastUseful, MemoryUse, Result,
    TimelineReads, Timelines, Usefulness, is_visit,
};

/// How timelines are laid out.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// How many shards there are, from 1 to 65,536.
    pub shards: u32,
    /// How many references a timeline keeps, from 1 to 65,536.
    pub cap: usize,
    /// The key of the draw.
    pub draw: DrawKey,
    /// Bytes that all timelines may take. In memory that is a sum by rule, and nothing keeps to it but the writer.
    pub memory_bytes: u64,
}

impl Default for Shape {
    fn default() -> Self {
        Self { shards: 4, cap: 800, draw: DrawKey::default(), memory_bytes: u64::MAX }
    }
}

/// Timelines over a [`MemoryStore`]. Clones share them.
#[derive(Clone)]
pub struct MemoryTimelines {
    inner: Arc<Inner>,
}

struct Inner {
    store: MemoryStore,
    shape: Shape,
    rings: Mutex<Rings>,
    saved: Arc<Mutex<Option<Checkpoint>>>,
    restored: TaskId,
}

#[derive(Clone, Default)]
struct Rings {
    enrolled: BTreeMap<ActorId, Ring>,
    /// The last generation of every timeline that ever had one.
    generations: BTreeMap<ActorId, Generation>,
}

/// What survives a restart.
struct Checkpoint {
    rings: Rings,
    kept: TaskId,
    draw: DrawKey,
}

impl MemoryTimelines {
    /// No timeline is enrolled, and the writer begins with the next task.
    #[must_use]
    pub fn new(store: &MemoryStore, shape: Shape) -> Self {
        Self::open(store, shape, Arc::default())
    }

    /// What a restart makes of these: the timelines of the last checkpoint, or none. The shape may be another one;
    /// with another key of the draw all timelines are dropped.
    #[must_use]
    pub fn reopen(&self, shape: Shape) -> Self {
        Self::open(&self.inner.store, shape, Arc::clone(&self.inner.saved))
    }

    fn open(store: &MemoryStore, shape: Shape, saved: Arc<Mutex<Option<Checkpoint>>>) -> Self {
        let (mut rings, mut restored) = (Rings::default(), store.inner.now().next_task);
        let mut last = saved.lock().unwrap_or_else(PoisonError::into_inner);
        last.take_if(|checkpoint| checkpoint.draw != shape.draw);
        if let Some(checkpoint) = &*last {
            (rings, restored) = (checkpoint.rings.clone(), checkpoint.kept);
            for ring in rings.enrolled.values_mut() {
                ring.trim(shape.cap);
            }
        }
        drop(last);
        let rings = Mutex::new(rings);
        Self { inner: Arc::new(Inner { store: store.clone(), shape, rings, saved, restored }) }
    }

    fn rings(&self) -> MutexGuard<'_, Rings> {
        self.inner.rings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, viewer: ActorId, ring: Option<&mut Ring>, reference: &Reference, counts: &mut Counts) {
        let Shape { cap, draw, .. } = &self.inner.shape;
        let Some(ring) = ring else {
            counts.hibernating += 1;
            return;
        };
        if reference.author != viewer && !draw.keeps(reference.uri_hash, ring.did_hash, ring.rate) {
            counts.sampled_out += 1;
        } else if ring.insert(reference, *cap) {
            counts.written += 1;
        } else {
            counts.below_floor += 1;
        }
    }
}

#[async_trait]
impl TimelineReads for MemoryTimelines {
    async fn read(&self, viewer: ActorId, from_ms: i64, n: usize) -> Result<Cached> {
        let unanswered = |state| Cached { state, entries: Vec::new(), at_floor: true };
        let rings = self.rings();
        let Some(ring) = rings.enrolled.get(&viewer) else { return Ok(unanswered(CachedState::Out)) };
        let Some(since_ms) = ring.since_ms else {
            return Ok(unanswered(CachedState::Filling(ring.generation)));
        };
        let (entries, at_floor) = ring.read(from_ms, n);
        Ok(Cached { state: CachedState::In(ring.info(since_ms)), entries, at_floor })
    }
}

#[async_trait]
impl Timelines for MemoryTimelines {
    fn shards(&self) -> u32 {
        self.inner.shape.shards
    }

    fn shard_of(&self, viewer: ActorId) -> u32 {
        viewer.0 % self.inner.shape.shards
    }

    fn retain_enrolled(&self, page: &mut Vec<ActorId>) {
        let rings = self.rings();
        page.retain(|viewer| rings.enrolled.contains_key(viewer));
    }

    fn enrolled(&self) -> u64 {
        self.rings().enrolled.len() as u64
    }

    async fn apply(&self, shard: u32, deliveries: &[Delivery]) -> Result<Vec<Counts>> {
        let mut rings = self.rings();
        let mut all = Vec::with_capacity(deliveries.len());
        for Delivery { reference, viewers } in deliveries {
            let mut counts = Counts::default();
            for viewer in &**viewers {
                assert_eq!(self.shard_of(*viewer), shard, "a delivery holds viewers of one shard");
                self.insert(*viewer, rings.enrolled.get_mut(viewer), reference, &mut counts);
            }
            all.push(counts);
        }
        Ok(all)
    }

    async fn fill(&self, viewer: ActorId, references: &[Reference], floor: i64) -> Result<Counts> {
        let mut rings = self.rings();
        let mut counts = Counts::default();
        let mut ring = rings.enrolled.get_mut(&viewer);
        if let Some(ring) = &mut ring {
            ring.raise_floor(floor);
        }
        for reference in references {
            self.insert(viewer, ring.as_deref_mut(), reference, &mut counts);
        }
        Ok(counts)
    }

    async fn purge(&self, viewer: ActorId, author: ActorId, items: &[ItemId]) -> Result<u64> {
        let mut rings = self.rings();
        let Some(ring) = rings.enrolled.get_mut(&viewer) else { return Ok(0) };
        if viewer == author || self.inner.store.follows_now(viewer, author) {
            return Ok(0);
        }
        let before = ring.entries.len();
        ring.entries.retain(|(_, item)| !items.contains(item));
        Ok((before - ring.entries.len()) as u64)
    }

    async fn drop_before(&self, sort_at: i64) -> Result<u64> {
        let mut left = 0;
        for ring in self.rings().enrolled.values_mut() {
            let before = ring.entries.len();
            if ring.entries.first().is_some_and(|(oldest, _)| *oldest < sort_at) {
                ring.raise_floor(sort_at - 1);
            }
            left += (before - ring.entries.len()) as u64;
        }
        Ok(left)
    }

    fn touch(&self, viewer: ActorId, now_ms: i64) {
        if let Some(ring) = self.rings().enrolled.get_mut(&viewer) {
            let seconds = |ms: i64| ms.div_euclid(1_000);
            ring.reads += u64::from(is_visit(seconds(ring.last_read_ms), seconds(now_ms)));
            ring.last_read_ms = ring.last_read_ms.max(now_ms);
        }
    }

    async fn begin(&self, viewer: ActorId, enrolment: Enrolment) -> Result<Generation> {
        let mut rings = self.rings();
        let former = rings.generations.get(&viewer).map_or(0, |generation| generation.0);
        let generation = Generation(u64::try_from(enrolment.now_us).unwrap_or(0).max(former + 1));
        let (last_read_ms, reads) = match rings.enrolled.get(&viewer) {
            Some(known) => (known.last_read_ms, known.reads),
            None => (enrolment.now_us.div_euclid(1_000), 0),
        };
        let ring = Ring {
            entries: Default::default(),
            floor: i64::MIN,
            generation,
            since_ms: None,
            did_hash: enrolment.did_hash,
            rate: enrolment.rate,
            last_read_ms,
            reads,
        };
        rings.generations.insert(viewer, generation);
        rings.enrolled.insert(viewer, ring);
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
        let mut rings = self.rings();
        let ours = |ring: &&mut Ring| ring.generation == generation && ring.since_ms.is_none();
        let Some(ring) = rings.enrolled.get_mut(&viewer).filter(ours) else { return Ok(false) };
        ring.publish(references, floor, now_ms, self.inner.shape.cap);
        Ok(true)
    }

    async fn leave(&self, viewer: ActorId, generation: Generation) -> Result<bool> {
        let mut rings = self.rings();
        let ours = rings.enrolled.get(&viewer).is_some_and(|ring| ring.generation == generation);
        if ours {
            rings.enrolled.remove(&viewer);
        }
        Ok(ours)
    }

    async fn lower_rate(&self, viewer: ActorId, rate: f32) -> Result<()> {
        let mut rings = self.rings();
        if let Some(ring) = rings.enrolled.get_mut(&viewer).filter(|ring| ring.since_ms.is_some()) {
            ring.rate = ring.rate.min(rate);
        }
        Ok(())
    }

    async fn idle(&self, rule: IdleRule, n: usize) -> Result<Vec<Idle>> {
        let rings = self.rings();
        let is_idle = |ring: &Ring| {
            let once = ring.reads == 0 && ring.last_read_ms < rule.once_before_ms;
            once || ring.last_read_ms < rule.read_before_ms
        };
        let idle = rings.enrolled.iter().filter(|(_, ring)| is_idle(ring)).take(n);
        Ok(idle.map(|(viewer, ring)| Idle { viewer: *viewer, generation: ring.generation }).collect())
    }

    fn memory(&self) -> MemoryUse {
        let bytes = self.rings().enrolled.values().map(Ring::bytes).sum();
        MemoryUse { bytes, budget: self.inner.shape.memory_bytes }
    }

    async fn least_useful(&self, recent_ms: i64, bytes: u64, n: usize) -> Result<Vec<Idle>> {
        let mut least = LeastUseful::new(bytes, n);
        for (viewer, ring) in &self.rings().enrolled {
            let read_ms = ring.last_read_ms.div_euclid(1_000) * 1_000;
            let useful = Usefulness::of(ring.since_ms.is_none(), ring.reads > 0, read_ms, recent_ms);
            least.offer(useful, ring.bytes(), Idle { viewer: *viewer, generation: ring.generation });
        }
        Ok(least.found())
    }

    async fn checkpoint(&self, kept: TaskId) -> Result<()> {
        let mut rings = self.rings().clone();
        rings.enrolled.retain(|_, ring| ring.since_ms.is_some());
        let mut saved = self.inner.saved.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = saved.as_ref().map_or(kept, |former| former.kept.max(kept));
        *saved = Some(Checkpoint { rings, kept, draw: self.inner.shape.draw });
        Ok(())
    }

    fn restored(&self) -> TaskId {
        self.inner.restored
    }
}
