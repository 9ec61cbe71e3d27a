//! Finding the timelines of before: what is published comes back, what isn't leaves.

use std::collections::HashMap;
use std::sync::Arc;

use skyweir_store::Result;
use skyweir_types::{ActorId, DrawKey, TaskId};

use super::enrolments::{Enrolled, Enrolments};
use super::line::{Lengths, Line, Visits};
use super::lines::Lines;
use super::partitions::Partitions;
use super::sender::Sender;
use super::topology::Topology;
use super::{Inner, Rows};
use crate::cluster::Cluster;
use crate::session::Db;
use crate::table::enrolled::State;
use crate::table::timeline::Head;

impl Rows {
    /// Finds the timelines of before. Those that were published are back with all that was written to them; with
    /// another key of the draw all leave, and so they do if they may need a task below `lost_below`, of which the log
    /// has lost some. `next_task` is the number that the log's next task will get: where a writer begins that finds
    /// none.
    ///
    /// # Errors
    /// `Unavailable` when the cluster doesn't answer; `Corrupt` when what it holds contradicts itself.
    pub async fn open(
        cluster: &Cluster,
        draw: DrawKey,
        next_task: TaskId,
        lost_below: TaskId,
    ) -> Result<Self> {
        let (db, config) = (Arc::clone(&cluster.db), &cluster.config.timelines);
        let partitions = Partitions::prepare(&db, config.page_rows, config.batch_rows).await?;
        let enrolments = Enrolments::prepare(&db).await?;
        let topology = Topology::open(&db, config.shards_per_node, &cluster.config.datacenter).await?;
        let kept = enrolments.kept(&draw).await?.filter(|kept| *kept >= lost_below);
        let found = Found { partitions: &partitions, enrolments: &enrolments, cap: config.cap };
        let lines = found.lines(&db, kept.is_some()).await?;
        let restored = match kept {
            Some(kept) => kept,
            None => {
                // only now: ended before this, it finds them as they were again
                enrolments.begin_anew(next_task, &draw).await?;
                next_task
            }
        };
        tracing::info!(timelines = lines.count(), task.kept = restored.0, "timelines found");
        let inner = Inner {
            sender: Sender::new(&db, partitions.insert(), config),
            db,
            lines,
            partitions,
            enrolments,
            topology,
            draw,
            lengths: Lengths { cap: config.cap, over: config.trim_over },
            trims_at_once: config.trims_at_once,
            memory_bytes: config.memory_bytes,
            restored,
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

/// What is at the server when a process begins.
struct Found<'a> {
    partitions: &'a Partitions,
    enrolments: &'a Enrolments,
    cap: usize,
}

impl Found<'_> {
    /// The timelines that come back: if they are `ours`, those that are published; all others leave.
    async fn lines(&self, db: &Db, ours: bool) -> Result<Lines> {
        let lines = Lines::default();
        let mut heads = self.partitions.heads().await?;
        let mut left = Vec::new();
        for enrolled in self.enrolments.all().await? {
            match self.line(&mut heads, &enrolled).filter(|_| ours) {
                Some(line) => lines.put(enrolled.viewer, line),
                None if enrolled.state != State::Out => left.push(enrolled),
                None => {}
            }
        }
        db.each(left.len(), |at| self.leave(left[at])).await?;
        Ok(lines)
    }

    fn line(&self, heads: &mut HashMap<ActorId, Head>, enrolled: &Enrolled) -> Option<Line> {
        let Enrolled { viewer, state, generation, did_hash, visits } = *enrolled;
        let head = heads.remove(&viewer).filter(|head| head.generation == generation)?;
        let visits = visits.unwrap_or_else(|| Visits::first(generation.0.cast_signed()));
        let line = Line {
            floor: head.floor,
            since_ms: Some(head.published_at),
            // as if it were full: counted when that matters
            len: u32::try_from(self.cap).unwrap_or(u32::MAX),
            counted: false,
            ..Line::filling(generation, did_hash, head.rate, visits)
        };
        (state == State::In).then_some(line)
    }

    /// One that was filling, or leaving, or lost what stands in its partition when the last process ended.
    async fn leave(&self, enrolled: Enrolled) -> Result<()> {
        self.partitions.wipe(enrolled.viewer, enrolled.generation).await?;
        self.enrolments.mark(enrolled.viewer, enrolled.generation, State::Out).await.map(|_| ())
    }
}
