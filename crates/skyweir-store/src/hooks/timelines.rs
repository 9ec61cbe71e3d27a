//! [`Timelines`] with a hook around each call that can fail.

use std::sync::Arc;

use async_trait::async_trait;
use skyweir_types::{ActorId, Generation, ItemId, Reference, TaskId};

use super::{Hook, Operation};
use crate::{
    Cached, Counts, Delivery, Enrolment, Idle, IdleRule, MemoryUse, Result, TimelineReads, Timelines, Viewers,
};

/// Timelines that ask a hook.
#[derive(Clone)]
pub struct HookedTimelines {
    inner: Arc<dyn Timelines>,
    hook: Arc<dyn Hook>,
}

impl HookedTimelines {
    /// Wraps these timelines.
    #[must_use]
    pub fn new(inner: Arc<dyn Timelines>, hook: Arc<dyn Hook>) -> Self {
        Self { inner, hook }
    }

    async fn around<T: Send>(
        &self,
        operation: Operation<'_>,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        self.hook.before(&operation).await?;
        let answer = call.await?;
        self.hook.after(&operation).await?;
        Ok(answer)
    }
}

#[async_trait]
impl TimelineReads for HookedTimelines {
    async fn read(&self, viewer: ActorId, from_ms: i64, n: usize) -> Result<Cached> {
        self.around(Operation::Read(viewer), self.inner.read(viewer, from_ms, n)).await
    }
}

#[async_trait]
impl Timelines for HookedTimelines {
    fn shards(&self) -> u32 {
        self.inner.shards()
    }

    fn shard_of(&self, viewer: ActorId) -> u32 {
        self.inner.shard_of(viewer)
    }

    async fn refresh(&self) -> Result<()> {
        self.around(Operation::Refresh, self.inner.refresh()).await
    }

    fn retain_enrolled(&self, page: &mut Vec<ActorId>) {
        self.inner.retain_enrolled(page);
    }

    fn enrolled(&self) -> u64 {
        self.inner.enrolled()
    }

    fn split(&self, page: Vec<ActorId>) -> Vec<(u32, Viewers)> {
        self.inner.split(page)
    }

    async fn apply(&self, shard: u32, deliveries: &[Delivery]) -> Result<Vec<Counts>> {
        self.around(Operation::Apply { shard, deliveries }, self.inner.apply(shard, deliveries)).await
    }

    async fn fill(&self, viewer: ActorId, references: &[Reference], floor: i64) -> Result<Counts> {
        self.around(Operation::Fill(viewer), self.inner.fill(viewer, references, floor)).await
    }

    async fn purge(&self, viewer: ActorId, author: ActorId, items: &[ItemId]) -> Result<u64> {
        self.around(Operation::Purge { viewer, author }, self.inner.purge(viewer, author, items)).await
    }

    async fn drop_before(&self, sort_at: i64) -> Result<u64> {
        self.around(Operation::DropBefore(sort_at), self.inner.drop_before(sort_at)).await
    }

    fn touch(&self, viewer: ActorId, now_ms: i64) {
        self.inner.touch(viewer, now_ms);
    }

    async fn begin(&self, viewer: ActorId, enrolment: Enrolment) -> Result<Generation> {
        self.around(Operation::Enrol(viewer), self.inner.begin(viewer, enrolment)).await
    }

    async fn publish(
        &self,
        viewer: ActorId,
        generation: Generation,
        references: &[Reference],
        floor: i64,
        now_ms: i64,
    ) -> Result<bool> {
        let publish = self.inner.publish(viewer, generation, references, floor, now_ms);
        self.around(Operation::Publish(viewer), publish).await
    }

    async fn leave(&self, viewer: ActorId, generation: Generation) -> Result<bool> {
        self.around(Operation::Leave(viewer), self.inner.leave(viewer, generation)).await
    }

    async fn lower_rate(&self, viewer: ActorId, rate: f32) -> Result<()> {
        self.around(Operation::LowerRate(viewer), self.inner.lower_rate(viewer, rate)).await
    }

    async fn idle(&self, rule: IdleRule, n: usize) -> Result<Vec<Idle>> {
        self.around(Operation::Idle, self.inner.idle(rule, n)).await
    }

    fn memory(&self) -> MemoryUse {
        self.inner.memory()
    }

    async fn least_useful(&self, recent_ms: i64, bytes: u64, n: usize) -> Result<Vec<Idle>> {
        self.around(Operation::LeastUseful, self.inner.least_useful(recent_ms, bytes, n)).await
    }

    async fn checkpoint(&self, kept: TaskId) -> Result<()> {
        self.around(Operation::Checkpoint(kept), self.inner.checkpoint(kept)).await
    }

    fn restored(&self) -> TaskId {
        self.inner.restored()
    }
}
