//! The simulated shards: they take every reference, keep none, and let each write take what is drawn for it.
//!
//! A write is one reference, as in Bluesky's text, which inserts a row for each follower; a call does its references
//! side by side, as many as the shard does at the same time, and is answered with the last of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use skyweir_store::{
    Cached, CachedState, Counts, Delivery, Enrolment, Idle, IdleRule, MemoryUse, Result, RingInfo,
    TimelineReads, Timelines, Viewers,
};
use skyweir_types::{ActorId, DrawKey, Generation, ItemId, Reference, TaskId};
use tokio::time::Instant;

use super::cluster::{since, stretched};
use super::pool::Lanes;
use super::{Case, Times, key};

/// What was seen of an author's references, from when a post was due to the reference written.
#[derive(Clone, Default)]
pub(super) struct Seen {
    pub(super) calm: Times,
    pub(super) hot: Times,
    /// Each post's last reference, in the order of the posts.
    pub(super) last: Vec<u64>,
}

#[derive(Default)]
struct Noted {
    /// When a post was due, and its place among its author's.
    posts: HashMap<ItemId, (u64, usize)>,
    authors: BTreeMap<ActorId, Seen>,
}

/// All shards.
pub(super) struct Shards {
    case: Arc<Case>,
    seed: u64,
    begun: Instant,
    noted: Mutex<Noted>,
}

impl Shards {
    pub(super) fn new(case: Arc<Case>, seed: u64, begun: Instant) -> Self {
        Self { case, seed, begun, noted: Mutex::default() }
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A post that was due then.
    pub(super) fn due(&self, item: ItemId, author: ActorId, then: u64) {
        let Noted { posts, authors } = &mut *self.noted();
        let last = &mut authors.entry(author).or_default().last;
        posts.insert(item, (then, last.len()));
        last.push(0);
    }

    pub(super) fn seen(&self, author: ActorId) -> Seen {
        self.noted().authors.get(&author).cloned().unwrap_or_default()
    }

    /// Draws a call that begins now; what it counts, and when it is answered.
    fn call(&self, shard: u32, deliveries: &[Delivery], now: u64) -> (Vec<Counts>, u64) {
        let case = &*self.case;
        let draw = DrawKey::default();
        let Noted { posts, authors } = &mut *self.noted();
        let (mut lanes, mut answered) = (Lanes::new(case.lanes, now), now);
        let mut all = Vec::with_capacity(deliveries.len());
        for Delivery { reference, viewers } in deliveries {
            let mut counts = Counts::default();
            let key = key(self.seed, reference.item.0);
            let mut note = authors.get_mut(&reference.author).zip(posts.get(&reference.item));
            for viewer in &**viewers {
                let own = *viewer == reference.author;
                if !own && !draw.keeps(reference.uri_hash, Case::did_hash(*viewer), case.rate(*viewer)) {
                    counts.sampled_out += 1;
                    continue;
                }
                let done = lanes.free() + case.latency(key, *viewer);
                lanes.busy_until(done);
                answered = answered.max(done);
                counts.written += 1;
                if let (false, Some((seen, (due, post)))) = (own, &mut note) {
                    let times = if case.hot[shard as usize] { &mut seen.hot } else { &mut seen.calm };
                    times.note(done - due);
                    seen.last[*post] = seen.last[*post].max(done - due);
                }
            }
            all.push(counts);
        }
        (all, answered)
    }
}

#[async_trait]
impl TimelineReads for Shards {
    async fn read(&self, viewer: ActorId, _: i64, _: usize) -> Result<Cached> {
        // complete above a floor that nothing is above
        let rate = self.case.rate(viewer);
        let info = RingInfo { generation: Generation(1), floor: i64::MAX, rate, len: 0, since_ms: 0 };
        Ok(Cached { state: CachedState::In(info), entries: Vec::new(), at_floor: true })
    }
}

#[async_trait]
impl Timelines for Shards {
    fn shards(&self) -> u32 {
        self.case.world.shape.shards
    }

    fn shard_of(&self, viewer: ActorId) -> u32 {
        self.case.shard_of(viewer)
    }

    fn retain_enrolled(&self, _: &mut Vec<ActorId>) {
        // all are
    }

    fn enrolled(&self) -> u64 {
        self.case.world.shape.accounts.into()
    }

    fn split(&self, page: Vec<ActorId>) -> Vec<(u32, Viewers)> {
        let mut shards = vec![Vec::new(); self.shards() as usize];
        page.into_iter().for_each(|viewer| shards[self.shard_of(viewer) as usize].push(viewer));
        let split = (0..).zip(shards).filter(|(_, viewers)| !viewers.is_empty());
        split.map(|(shard, viewers)| (shard, viewers.into())).collect()
    }

    async fn apply(&self, shard: u32, deliveries: &[Delivery]) -> Result<Vec<Counts>> {
        let (counts, answered) = self.call(shard, deliveries, since(self.begun));
        tokio::time::sleep_until(self.begun + stretched(answered)).await;
        Ok(counts)
    }

    async fn fill(&self, _: ActorId, references: &[Reference], _: i64) -> Result<Counts> {
        Ok(Counts { written: references.len() as u64, ..Counts::default() })
    }

    async fn purge(&self, _: ActorId, _: ActorId, _: &[ItemId]) -> Result<u64> {
        Ok(0)
    }

    async fn drop_before(&self, _: i64) -> Result<u64> {
        Ok(0)
    }

    fn touch(&self, _: ActorId, _: i64) {}

    async fn begin(&self, _: ActorId, _: Enrolment) -> Result<Generation> {
        Ok(Generation(1))
    }

    async fn publish(&self, _: ActorId, _: Generation, _: &[Reference], _: i64, _: i64) -> Result<bool> {
        Ok(true)
    }

    async fn leave(&self, _: ActorId, _: Generation) -> Result<bool> {
        Ok(false)
    }

    async fn lower_rate(&self, _: ActorId, _: f32) -> Result<()> {
        Ok(())
    }

    async fn idle(&self, _: IdleRule, _: usize) -> Result<Vec<Idle>> {
        Ok(Vec::new())
    }

    fn memory(&self) -> MemoryUse {
        MemoryUse { bytes: 0, budget: u64::MAX }
    }

    async fn least_useful(&self, _: i64, _: u64, _: usize) -> Result<Vec<Idle>> {
        Ok(Vec::new())
    }

    async fn checkpoint(&self, _: TaskId) -> Result<()> {
        Ok(())
    }

    fn restored(&self) -> TaskId {
        TaskId(1)
    }
}
