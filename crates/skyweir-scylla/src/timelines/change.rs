//! Changes that have to see what a timeline holds: fills, trims, publications.

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use skyweir_store::Result;
use skyweir_types::{ActorId, Generation, Reference};

use super::Inner;
use super::held::Held;
use super::line::{Line, Took};
use super::news::News;
use crate::metrics;
use crate::table::enrolled::State;
use crate::table::timeline::Head;

impl Inner {
    /// What a timeline holds, trimmed if that is due; `line` is how it is known.
    async fn held(&self, viewer: ActorId, line: &Line) -> Result<Held> {
        let read = self.partitions.all(viewer, line.floor).await?;
        Ok(Held::new(read, line.floor, line.is_filling(), self.lengths))
    }

    /// Raises the floor to at least `floor` (`i64::MIN`: not), then takes references, and tells what became of each.
    pub(super) async fn change(
        &self,
        viewer: ActorId,
        references: &[Reference],
        floor: i64,
    ) -> Result<Vec<Took>> {
        let _turn = self.lines.turn(viewer).await;
        let Some(line) = self.lines.get(viewer) else {
            return Ok(vec![Took::Hibernating; references.len()]);
        };
        let mut held = self.held(viewer, &line).await?;
        held.raise(floor);
        let (mut took, mut added) = (Vec::with_capacity(references.len()), Vec::new());
        for reference in references {
            took.push(match line.takes(viewer, reference, &self.draw) {
                Took::SampledOut => Took::SampledOut,
                _ => {
                    let new = !held.holds(reference);
                    if !held.insert(reference) {
                        Took::Below
                    } else {
                        added.extend(new.then_some(*reference));
                        Took::Written
                    }
                }
            });
        }
        // what came and left again within this
        added.retain(|reference| held.holds(reference));
        self.write(viewer, &line, &held, &added).await?;
        Ok(took)
    }

    /// Writes what a change has come to: the floor, if it rose, and references that weren't there.
    async fn write(&self, viewer: ActorId, line: &Line, held: &Held, added: &[Reference]) -> Result<()> {
        let floor = (held.floor() > line.floor).then_some(held.floor());
        self.write_floor(viewer, line, floor, added).await?;
        self.lines.counted(viewer, line, held.len());
        Ok(())
    }

    /// Raises the floor, if one is given, then writes references that stand above it. It is known here once it is
    /// written, so that none stands higher here than for others or after a restart.
    async fn write_floor(
        &self,
        viewer: ActorId,
        line: &Line,
        floor: Option<i64>,
        added: &[Reference],
    ) -> Result<()> {
        self.partitions.change(viewer, line.generation, floor, added).await?;
        if let Some(floor) = floor {
            self.lines.update(viewer, line.generation, |line| line.floor = line.floor.max(floor));
            metrics::trimmed();
        }
        Ok(())
    }

    /// Takes references to timelines that may be full.
    pub(super) async fn change_each(
        &self,
        full: Vec<(ActorId, Vec<(usize, Reference)>)>,
    ) -> Result<Vec<(usize, Took)>> {
        let change = |(viewer, of): (ActorId, Vec<(usize, Reference)>)| async move {
            let references: Vec<_> = of.iter().map(|(_, reference)| *reference).collect();
            let took = self.change(viewer, &references, i64::MIN).await?;
            Ok(of.into_iter().map(|(at, _)| at).zip(took).collect::<Vec<_>>())
        };
        let all: Vec<_> = stream::iter(full.into_iter().map(change))
            .buffer_unordered(self.trims_at_once)
            .try_collect()
            .await?;
        Ok(all.into_iter().flatten().collect())
    }

    /// Drops what is before a time from one timeline, if it holds such. Returns how many left.
    pub(super) async fn drop_before(&self, viewer: ActorId, sort_at: i64) -> Result<u64> {
        let _turn = self.lines.turn(viewer).await;
        let floor = sort_at.saturating_sub(1);
        let Some(line) = self.lines.get(viewer).filter(|line| line.floor < floor) else { return Ok(0) };
        let left = self.partitions.between(viewer, floor, line.floor).await?.len();
        if left > 0 {
            self.write_floor(viewer, &line, Some(floor), &[]).await?;
            self.lines.update(viewer, line.generation, |line| {
                line.len = line.len.saturating_sub(u32::try_from(left).unwrap_or(u32::MAX));
            });
        }
        Ok(left as u64)
    }

    /// Publishes what a merge found, complete above `floor`.
    pub(super) async fn publish(
        &self,
        viewer: ActorId,
        generation: Generation,
        found: &[Reference],
        floor: i64,
        now_ms: i64,
    ) -> Result<bool> {
        let _turn = self.lines.turn(viewer).await;
        let ours = |line: &Line| line.generation == generation && line.is_filling();
        let Some(line) = self.lines.get(viewer).filter(ours) else { return Ok(false) };
        let mut held = self.held(viewer, &line).await?;
        let mut added: Vec<_> = found.iter().filter(|reference| !held.holds(reference)).copied().collect();
        held.publish(found, floor);
        added.retain(|reference| held.holds(reference));
        self.partitions.change(viewer, generation, None, &added).await?;
        let head = Head { floor: held.floor(), rate: line.rate, generation, published_at: now_ms };
        self.partitions.publish(viewer, head).await?;
        if !self.enrolments.mark(viewer, generation, State::In).await? {
            // it would answer, and nobody writes to it
            self.partitions.wipe(viewer, generation).await?;
            self.tell(News::Left { viewer, generation }).await?;
            return Ok(false);
        }
        let len = u32::try_from(held.len()).unwrap_or(u32::MAX);
        self.tell(News::Published { viewer, head, len }).await?;
        // here it is known which references are among them
        let before = Line { len: line.len.saturating_add(len), ..line };
        self.lines.counted(viewer, &before, held.len());
        Ok(true)
    }
}
