//! Finding the timelines of before: what is published comes back, what isn't leaves.

use std::collections::HashMap;
use std::sync::Arc;

use skyweir_store::{Error, Result};
use skyweir_types::{ActorId, DrawKey, TaskId};

use super::enrolments::{Enrolled, Enrolments};
use super::line::{Lengths, Line, Visits};
use super::lines::Lines;
use super::partitions::Partitions;
use super::sender::Sender;
use super::topology::Topology;
use super::{Inner, Rows, RowsConfig};
use crate::config::Config;
use crate::schema;
use crate::session::Db;
use crate::table::enrolled::State;
use crate::table::timeline::Head;

impl Rows {
    /// Connects to the cluster and finds the timelines of before. Those that were published are back with all that was
    /// written to them; with another key of the draw all leave. `next_task` is the number that the log's next task
    /// will get: where a writer begins that finds none.
    ///
    /// # Errors
    /// `Limit` for a setting out of its range; `Unavailable` when the cluster can't be reached or has other tables than
    /// ours; `Corrupt` when what it holds contradicts itself.
    pub async fn connect(
        config: &Config,
        rows: &RowsConfig,
        draw: DrawKey,
        next_task: TaskId,
    ) -> Result<Self> {
        let db = Db::connect(config).await?;
        schema::prepare(&db, config.replication, config.create).await?;
        Self::open(Arc::new(db), &config.datacenter, rows, draw, next_task).await
    }

    async fn open(
        db: Arc<Db>,
        datacenter: &str,
        config: &RowsConfig,
        draw: DrawKey,
        next_task: TaskId,
    ) -> Result<Self> {
        check(config)?;
        let partitions = Partitions::prepare(&db, config.page_rows, config.batch_rows).await?;
        let enrolments = Enrolments::prepare(&db).await?;
        let topology = Topology::open(&db, config.shards_per_node, datacenter).await?;
        let kept = enrolments.kept(&draw).await?;
        let found = Found { partitions: &partitions, enrolments: &enrolments, cap: config.cap };
        let lines = found.lines(&db, kept.is_some()).await?;
        let restored = match kept {
            Some(kept) => kept,
            None => {
                // only now: ended before this, it finds them with the other key again
                enrolments.set_kept(next_task, &draw).await?;
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

fn check(config: &RowsConfig) -> Result<()> {
    for (name, value, most) in [
        ("timeline.cap", config.cap, 65_536),
        ("scylla.timelines.trims_at_once", config.trims_at_once, 256),
        ("scylla.timelines.shards_per_node", config.shards_per_node as usize, 1_024),
        ("scylla.timelines.batch_rows", config.batch_rows, 200),
        ("scylla.timelines.batches_in_flight", config.batches_in_flight as usize, 256),
    ] {
        if !(1..=most).contains(&value) {
            return Err(Error::Limit(format!("{name} is {value}, and goes from 1 to {most}")));
        }
    }
    if config.trim_over > 65_536 || !(2..=5_000).contains(&config.page_rows) {
        return Err(Error::Limit(format!(
            "scylla.timelines.trim_over is {}, and goes up to 65536; page_rows is {}, and goes from 2 to 5000",
            config.trim_over, config.page_rows
        )));
    }
    Ok(())
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
