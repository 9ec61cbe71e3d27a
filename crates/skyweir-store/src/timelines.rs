//! The cache of timelines: rings on one machine, rows in ScyllaDB. `design.md`, "The timeline, exactly", is its law.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use skyweir_types::{ActorId, DidHash, Generation, ItemId, Reference, TaskId};

use crate::Result;

/// One item's references for one shard.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// What is written.
    pub reference: Reference,
    /// To whose timelines; all live in one shard.
    pub viewers: Viewers,
}

/// Viewers of one shard: a part of a page, which all its parts share. Cheap to clone.
#[derive(Clone)]
pub struct Viewers {
    page: Arc<Vec<ActorId>>,
    range: Range<u32>,
}

impl Viewers {
    /// A part of these; `range` counts from the first of them. Panics when it goes beyond their end.
    #[must_use]
    pub fn part(&self, range: Range<u32>) -> Self {
        assert!(range.start <= range.end && range.end <= self.range.len() as u32, "a part of them");
        let start = self.range.start;
        Self { page: Arc::clone(&self.page), range: start + range.start..start + range.end }
    }

    /// A copy that doesn't keep the page in memory.
    #[must_use]
    pub fn alone(&self) -> Self {
        self.iter().copied().collect()
    }
}

impl std::ops::Deref for Viewers {
    type Target = [ActorId];

    fn deref(&self) -> &[ActorId] {
        &self.page[self.range.start as usize..self.range.end as usize]
    }
}

impl From<Vec<ActorId>> for Viewers {
    fn from(page: Vec<ActorId>) -> Self {
        let range = 0..page.len() as u32;
        Self { page: Arc::new(page), range }
    }
}

impl FromIterator<ActorId> for Viewers {
    fn from_iter<I: IntoIterator<Item = ActorId>>(viewers: I) -> Self {
        Vec::from_iter(viewers).into()
    }
}

impl std::fmt::Debug for Viewers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl PartialEq for Viewers {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

/// What became of a delivery's references. The four sums make up the viewers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Readable in the cache (also when they were there before).
    pub written: u64,
    /// Below the floor: the merge finds them.
    pub below_floor: u64,
    /// Lost to the draw.
    pub sampled_out: u64,
    /// The timeline isn't enrolled: the merge finds them.
    pub hibernating: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.written += other.written;
        self.below_floor += other.below_floor;
        self.sampled_out += other.sampled_out;
        self.hibernating += other.hibernating;
    }
}

/// A reference as the cache holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedEntry {
    /// The item's `sortAt`, milliseconds.
    pub sort_at: i64,
    /// The item.
    pub item: ItemId,
}

/// Where a timeline stands with the cache.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CachedState {
    /// Not enrolled.
    Out,
    /// Takes inserts, answers nothing yet.
    Filling(Generation),
    /// Complete for every `sortAt` strictly above the floor, at this rate.
    In(RingInfo),
}

/// What a published timeline says of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RingInfo {
    /// The current period.
    pub generation: Generation,
    /// Complete strictly above this millisecond; `i64::MIN` when it holds everything.
    pub floor: i64,
    /// The share of references that it keeps.
    pub rate: f32,
    /// How many references it holds, also below the floor. Where rows tell, those written twice may count twice
    /// until the timeline is read to its end.
    pub len: usize,
    /// When this generation was published, milliseconds since 1970.
    pub since_ms: i64,
}

/// An answer of [`TimelineReads::read`], taken in one step.
#[derive(Clone, Debug)]
pub struct Cached {
    /// State, floor and rate.
    pub state: CachedState,
    /// References above the floor with `sort_at` at or below the asked one, newest first. The last millisecond is
    /// whole: if one of its references is here, all are. Order inside a millisecond is free.
    pub entries: Vec<CachedEntry>,
    /// Nothing above the floor comes after `entries`.
    pub at_floor: bool,
}

/// Which timelines are idle. Times may be cut to whole seconds.
#[derive(Clone, Copy, Debug)]
pub struct IdleRule {
    /// Last read before this, milliseconds since 1970.
    pub read_before_ms: i64,
    /// For timelines that nobody visited again after the read that enrolled them: last read before this.
    pub once_before_ms: i64,
}

/// An idle timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    /// Whose.
    pub viewer: ActorId,
    /// The period that was idle; leaving is refused if another has begun.
    pub generation: Generation,
}

/// What the timelines take in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes taken now.
    pub bytes: u64,
    /// Bytes that may be taken. A store may go over it by what is being filled; it never grows over it by fan-out.
    pub budget: u64,
}

/// What reads ask of the cache of timelines.
#[async_trait]
pub trait TimelineReads: Send + Sync {
    /// References of one timeline at or below `from_ms`, at least `n` of them if there are (more for a whole last
    /// millisecond).
    async fn read(&self, viewer: ActorId, from_ms: i64, n: usize) -> Result<Cached>;
}

/// The cache of all timelines. Calls for one timeline take effect one after the other.
#[async_trait]
pub trait Timelines: TimelineReads {
    /// How many shards there are.
    fn shards(&self) -> u32;
    /// The shard of a timeline, below [`Timelines::shards`].
    fn shard_of(&self, viewer: ActorId) -> u32;
    /// Learns what others have changed: from then on [`Timelines::retain_enrolled`] and [`TimelineReads::read`] know
    /// every generation that had begun before this was called. A writer asks for it after it got a task and before it decides
    /// who is enrolled: whatever begins later finds what the task tells by its merge. Does nothing where one process
    /// knows all of them.
    async fn refresh(&self) -> Result<()> {
        Ok(())
    }
    /// Keeps those of a page that are enrolled (filling or in). Never leaves one out that is; a left one may stay in.
    /// Of generations that another process began it knows what was [`Timelines::refresh`]ed.
    fn retain_enrolled(&self, page: &mut Vec<ActorId>);
    /// How many timelines are enrolled.
    fn enrolled(&self) -> u64;
    /// Those of a page, which [`Timelines::retain_enrolled`] has kept, by [`Timelines::shard_of`]. Leaves out who has
    /// left since, where a store finds that out for nothing: `apply` does in any case. Keeps the page's order within a
    /// shard; no shard comes twice or with nothing.
    fn split(&self, mut page: Vec<ActorId>) -> Vec<(u32, Viewers)> {
        self.retain_enrolled(&mut page);
        let mut shards = BTreeMap::<u32, Vec<ActorId>>::new();
        for viewer in page {
            shards.entry(self.shard_of(viewer)).or_default().push(viewer);
        }
        shards.into_iter().map(|(shard, viewers)| (shard, viewers.into())).collect()
    }

    /// Writes references to one shard. Each is kept when the timeline is filling or in, the reference stands above
    /// its floor, and the author is the viewer or the draw is below the timeline's rate. Trims to the cap (a store may
    /// wait until a configured number is over it), raising the floor; a timeline that the memory budget has no room for
    /// is trimmed too. Idempotent by (viewer, item).
    async fn apply(&self, shard: u32, deliveries: &[Delivery]) -> Result<Vec<Counts>>;
    /// Raises one timeline's floor to at least `floor` (`i64::MIN`: not), then writes an author's items to it as
    /// `apply` would, in one step. For a filling one the floor is noted, and counts at its publication.
    async fn fill(&self, viewer: ActorId, references: &[Reference], floor: i64) -> Result<Counts>;
    /// Removes an author's items from one timeline, unless the viewer follows the author (or is it) at that moment:
    /// edge and removal are one step against `fill` and `apply`. Returns how many left: a store may leave them where
    /// they are, as nothing but room comes of it.
    async fn purge(&self, viewer: ActorId, author: ActorId, items: &[ItemId]) -> Result<u64>;
    /// Drops the references before this `sortAt` from all timelines, and raises the floor of those that held such to
    /// just below it. Returns how many left.
    async fn drop_before(&self, sort_at: i64) -> Result<u64>;

    /// Notes that a timeline was read at this time; reads within a minute are one visit. Nothing for one that isn't
    /// enrolled. A crash may lose it, and so may a restart.
    fn touch(&self, viewer: ActorId, now_ms: i64);

    /// Begins a new generation: the timeline takes inserts at this rate and answers nothing until published. What it
    /// held is dropped. The generation is above every former one of this timeline.
    async fn begin(&self, viewer: ActorId, enrolment: Enrolment) -> Result<Generation>;
    /// Publishes what a merge found, with all inserted meanwhile, in one step. `references` newest first; `floor`:
    /// the merge is complete strictly above it. False when another generation has begun or the timeline left.
    async fn publish(
        &self,
        viewer: ActorId,
        generation: Generation,
        references: &[Reference],
        floor: i64,
        now_ms: i64,
    ) -> Result<bool>;
    /// Ends a timeline's enrolment if this is still its generation.
    async fn leave(&self, viewer: ActorId, generation: Generation) -> Result<bool>;
    /// Lowers a published timeline's rate, if it is greater.
    async fn lower_rate(&self, viewer: ActorId, rate: f32) -> Result<()>;
    /// Some idle timelines, at most `n`.
    async fn idle(&self, rule: IdleRule, n: usize) -> Result<Vec<Idle>>;
    /// What all timelines take in memory. Cheap: asked several times a second.
    fn memory(&self) -> MemoryUse;
    /// The least useful timelines ([`crate::Usefulness`]), that one first, as many as hold `bytes` together, at most
    /// `n`. What was read at or after `recent_ms` was read lately.
    async fn least_useful(&self, recent_ms: i64, bytes: u64, n: usize) -> Result<Vec<Idle>>;

    /// Makes all published timelines durable, complete as of task `kept`: every task below it was done before. What
    /// was written since may come back after a restart or not. *Kept* never falls: a lower one counts as the last.
    async fn checkpoint(&self, kept: TaskId) -> Result<()>;
    /// The task from which the writer has to begin, so that the restored timelines miss nothing.
    fn restored(&self) -> TaskId;
}

/// How a timeline begins a generation.
#[derive(Clone, Copy, Debug)]
pub struct Enrolment {
    /// Hash of the viewer's DID, for the draw.
    pub did_hash: DidHash,
    /// The rate of the generation.
    pub rate: f32,
    /// When, microseconds since 1970.
    pub now_us: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_alone_holds_only_itself() {
        let page = Viewers::from((0..100).map(ActorId).collect::<Vec<_>>());
        let part = page.part(10..90).part(5..7);
        assert_eq!(*part, [ActorId(15), ActorId(16)]);
        let alone = part.alone();
        assert_eq!((alone.clone(), alone.page.len()), (part, 2));
    }
}
