//! [`Timelines`] by rows.

use std::collections::BTreeMap;

use async_trait::async_trait;
use skyweir_store::{
    Cached, Counts, Delivery, Enrolment, Idle, IdleRule, MemoryUse, Result, TimelineReads, Timelines, Viewers,
};
use skyweir_types::{ActorId, Generation, ItemId, Reference, TaskId};

use super::layout::token;
use super::line::{Line, Took};
use super::lines::Admitted;
use super::news::News;
use super::sender::Outgoing;
use super::{Inner, Rows};
use crate::table::enrolled::State;
use crate::table::timeline::new_row;

fn count(counts: &mut Counts, took: Took) {
    *match took {
        Took::Hibernating => &mut counts.hibernating,
        Took::SampledOut => &mut counts.sampled_out,
        Took::Below => &mut counts.below_floor,
        Took::Written => &mut counts.written,
    } += 1;
}

impl Inner {
    async fn apply(&self, deliveries: &[Delivery]) -> Result<Vec<Counts>> {
        let mut all = vec![Counts::default(); deliveries.len()];
        self.topology.refresh(&self.db).await;
        let references = deliveries.iter().map(|delivery| delivery.viewers.len()).sum();
        let mut outgoing = Outgoing::new(self.topology.map(), references);
        let mut full = BTreeMap::<ActorId, Vec<(usize, Reference)>>::new();
        for (at, Delivery { reference, viewers }) in deliveries.iter().enumerate() {
            for viewer in &**viewers {
                match self.lines.admit(*viewer, reference, &self.draw, self.lengths) {
                    Admitted::Not(took) => count(&mut all[at], took),
                    Admitted::To(generation) => {
                        outgoing.push(new_row(*viewer, reference, generation));
                        count(&mut all[at], Took::Written);
                    }
                    Admitted::Full => full.entry(*viewer).or_default().push((at, *reference)),
                }
            }
        }
        self.sender.write(outgoing).await?;
        // after the others: what they have written counts
        for (at, took) in self.change_each(full.into_iter().collect()).await? {
            count(&mut all[at], took);
        }
        Ok(all)
    }

    async fn begin(&self, viewer: ActorId, enrolment: Enrolment) -> Result<Generation> {
        let Enrolment { did_hash, rate, now_us } = enrolment;
        let _turn = self.lines.turn(viewer).await;
        let (generation, former) = self.enrolments.begin(viewer, did_hash, now_us).await?;
        if former.is_some_and(|state| state != State::Out) {
            self.partitions.wipe(viewer, Generation(generation.0 - 1)).await?;
        }
        // only when others can know it is it begun: its merge comes after that
        let at_ms = now_us.div_euclid(1_000);
        self.tell(News::Filling { viewer, generation, rate, did_hash, at_ms }).await?;
        // if all was loaded meanwhile, it is known from its row, which has no rate
        self.lines.update(viewer, generation, |line| line.rate = line.rate.min(rate));
        Ok(generation)
    }

    async fn leave(&self, viewer: ActorId, generation: Generation) -> Result<bool> {
        let _turn = self.lines.turn(viewer).await;
        if self.lines.get(viewer).is_none_or(|line| line.generation != generation) {
            return Ok(false);
        }
        self.end(viewer, generation).await
    }
}

#[async_trait]
impl TimelineReads for Rows {
    async fn read(&self, viewer: ActorId, from_ms: i64, n: usize) -> Result<Cached> {
        self.inner.read(viewer, from_ms, n).await
    }
}

#[async_trait]
impl Timelines for Rows {
    fn shards(&self) -> u32 {
        self.inner.topology.map().layout.shards()
    }

    fn shard_of(&self, viewer: ActorId) -> u32 {
        self.inner.topology.map().layout.place(token(viewer)).shard
    }

    async fn refresh(&self) -> Result<()> {
        self.inner.refresh().await
    }

    fn retain_enrolled(&self, page: &mut Vec<ActorId>) {
        page.retain(|viewer| self.inner.lines.has(*viewer));
    }

    fn enrolled(&self) -> u64 {
        self.inner.lines.count()
    }

    /// With one look at the layout, and none at the lines.
    fn split(&self, page: Vec<ActorId>) -> Vec<(u32, Viewers)> {
        let map = self.inner.topology.map();
        let mut shards = vec![Vec::new(); map.layout.shards() as usize];
        for viewer in page {
            shards[map.layout.place(token(viewer)).shard as usize].push(viewer);
        }
        let shards = (0..).zip(shards).filter(|(_, viewers)| !viewers.is_empty());
        shards.map(|(shard, viewers)| (shard, viewers.into())).collect()
    }

    async fn apply(&self, _shard: u32, deliveries: &[Delivery]) -> Result<Vec<Counts>> {
        // a timeline may have moved since it was split off: each goes where it is now
        self.inner.apply(deliveries).await
    }

    async fn fill(&self, viewer: ActorId, references: &[Reference], floor: i64) -> Result<Counts> {
        let mut counts = Counts::default();
        let took = self.inner.change(viewer, references, floor).await?;
        took.into_iter().for_each(|took| count(&mut counts, took));
        Ok(counts)
    }

    /// Rows stay: a removal at the generation's time would win over the same references when a fill brings them back,
    /// and no process could tell another in time that it has removed some. Reads pass over them until a trim or the
    /// next generation.
    async fn purge(&self, _viewer: ActorId, _author: ActorId, _items: &[ItemId]) -> Result<u64> {
        Ok(0)
    }

    async fn drop_before(&self, sort_at: i64) -> Result<u64> {
        let inner = &*self.inner;
        let all = inner.lines.viewers().await;
        let left = inner.db.each(all.len(), |at| inner.drop_before(all[at], sort_at)).await?;
        Ok(left.into_iter().sum())
    }

    fn touch(&self, viewer: ActorId, now_ms: i64) {
        let inner = &*self.inner;
        if inner.lines.has(viewer) {
            inner.lines.touch(viewer, now_ms);
            inner.touches.note(viewer, now_ms);
        }
    }

    async fn begin(&self, viewer: ActorId, enrolment: Enrolment) -> Result<Generation> {
        self.inner.begin(viewer, enrolment).await
    }

    async fn publish(
        &self,
        viewer: ActorId,
        generation: Generation,
        references: &[Reference],
        floor: i64,
        now_ms: i64,
    ) -> Result<bool> {
        self.inner.publish(viewer, generation, references, floor, now_ms).await
    }

    async fn leave(&self, viewer: ActorId, generation: Generation) -> Result<bool> {
        self.inner.leave(viewer, generation).await
    }

    async fn lower_rate(&self, viewer: ActorId, rate: f32) -> Result<()> {
        let inner = &*self.inner;
        let _turn = inner.lines.turn(viewer).await;
        let lower = |line: &Line| !line.is_filling() && rate < line.rate;
        let Some(line) = inner.lines.get(viewer).filter(lower) else { return Ok(()) };
        // for reads first, for writers after
        inner.partitions.lower(viewer, line.generation, rate).await?;
        inner.tell(News::Rate { viewer, generation: line.generation, rate }).await
    }

    async fn idle(&self, rule: IdleRule, n: usize) -> Result<Vec<Idle>> {
        Ok(self.inner.lines.idle(rule, n).await)
    }

    fn memory(&self) -> MemoryUse {
        MemoryUse { bytes: self.inner.lines.bytes(), budget: self.inner.memory_bytes }
    }

    async fn least_useful(&self, recent_ms: i64, bytes: u64, n: usize) -> Result<Vec<Idle>> {
        Ok(self.inner.lines.least_useful(recent_ms, bytes, n).await)
    }

    async fn checkpoint(&self, kept: TaskId) -> Result<()> {
        let inner = &*self.inner;
        let visits = inner.lines.unsaved().await;
        inner.enrolments.save(&visits).await?;
        inner.lines.saved(&visits);
        inner.enrolments.set_kept(kept, &inner.draw).await
    }

    fn restored(&self) -> TaskId {
        self.inner.restored
    }
}
