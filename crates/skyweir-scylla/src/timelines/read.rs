//! Reading a timeline: by clustering key, with what stands once in the same answer.

use skyweir_store::{Cached, CachedEntry, CachedState, Result, RingInfo};
use skyweir_types::{ActorId, Generation, ItemId};

use super::Inner;
use super::line::Line;
use super::partitions::Partitions;
use crate::table::timeline::Head;

/// How many rows are asked for beyond the wanted ones: mostly they end the last millisecond.
const BEYOND: usize = 4;

/// What was read of one generation.
pub(super) struct Walk {
    pub(super) head: Head,
    pub(super) entries: Vec<CachedEntry>,
    pub(super) at_floor: bool,
}

/// What is said of a timeline that answers nothing.
pub(super) fn unanswered(state: CachedState) -> Cached {
    Cached { state, entries: Vec::new(), at_floor: true }
}

impl Inner {
    /// See [`skyweir_store::TimelineReads::read`].
    pub(super) async fn read(&self, viewer: ActorId, from_ms: i64, n: usize) -> Result<Cached> {
        let Some(mut line) = self.lines.get(viewer) else { return Ok(unanswered(CachedState::Out)) };
        let Some(since_ms) = line.since_ms else {
            return Ok(unanswered(CachedState::Filling(line.generation)));
        };
        let info = |line: &Line, floor, rate, len| {
            CachedState::In(RingInfo { generation: line.generation, floor, rate, len, since_ms })
        };
        if from_ms > line.floor && !line.counted {
            self.change(viewer, &[], i64::MIN).await?;
            match self.lines.get(viewer).filter(|counted| counted.generation == line.generation) {
                Some(counted) => line = counted,
                None => return Ok(unanswered(CachedState::Out)),
            }
        }
        if from_ms <= line.floor {
            return Ok(unanswered(info(&line, line.floor, line.rate, line.len as usize)));
        }
        let known = Some((line.generation, line.floor));
        let Some(walk) = self.partitions.walk(viewer, known, from_ms, n).await? else {
            // it leaves, or begins anew, at this moment, or nobody told that it did
            self.learnt.note_gone(viewer, line.generation);
            return Ok(unanswered(CachedState::Out));
        };
        let mut len = line.len as usize;
        if from_ms == i64::MAX && walk.at_floor {
            len = walk.entries.len();
            self.lines.counted(viewer, &line, len);
        }
        let state = info(&line, walk.head.floor, walk.head.rate, len);
        Ok(Cached { state, entries: walk.entries, at_floor: walk.at_floor })
    }
}

impl Partitions {
    /// Goes down from `from_ms`, for at least `n` references and the whole last millisecond. `known` is the generation
    /// that has to be there, and its floor or one below it; without it, whichever is published is read. `None` if there
    /// is none, or it has ended meanwhile.
    pub(super) async fn walk(
        &self,
        viewer: ActorId,
        mut known: Option<(Generation, i64)>,
        from_ms: i64,
        n: usize,
    ) -> Result<Option<Walk>> {
        let mut entries: Vec<CachedEntry> = Vec::new();
        let mut below: (i64, Option<ItemId>) = (from_ms, None);
        loop {
            let wanted = n.saturating_sub(entries.len()).saturating_add(BEYOND);
            let floor = known.map_or(i64::MIN, |(_, floor)| floor);
            let page = self.page(viewer, below, floor, wanted).await?;
            let is_it = |head: &Head| known.is_none_or(|(generation, _)| generation == head.generation);
            let Some(head) = page.head.filter(is_it) else { return Ok(None) };
            let is_first = known.replace((head.generation, head.floor)).is_none();
            if is_first && page.rows.is_empty() && head.floor < from_ms {
                // the head was read after that: its generation may be one that was published since
                continue;
            }
            for (sort_at, item) in page.rows {
                if entries.len() >= n && entries.last().is_none_or(|last| last.sort_at != sort_at) {
                    return Ok(Some(Walk::end(head, entries, false)));
                }
                entries.push(CachedEntry { sort_at, item });
                below = (sort_at, Some(item));
            }
            if page.ended {
                return Ok(Some(Walk::end(head, entries, true)));
            }
        }
    }
}

impl Walk {
    /// The floor may have risen over what was read before it.
    fn end(head: Head, mut entries: Vec<CachedEntry>, at_floor: bool) -> Self {
        let before = entries.len();
        entries.retain(|entry| entry.sort_at > head.floor);
        Self { head, at_floor: at_floor || entries.len() < before, entries }
    }
}
