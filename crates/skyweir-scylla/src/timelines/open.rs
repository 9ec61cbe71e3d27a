//! Finding the timelines of before: what is published comes back, what isn't leaves.

use std::sync::Arc;
use std::time::Duration;

use skyweir_store::Result;
use skyweir_types::{Clock, DrawKey, TaskId};
use tokio::task::JoinSet;

use super::enrolments::Enrolments;
use super::learn::{Learnt, upkeep};
use super::line::Lengths;
use super::lines::Lines;
use super::news::Stream;
use super::partitions::Partitions;
use super::reads::Reads;
use super::sender::Sender;
use super::topology::Topology;
use super::touches::Touches;
use super::{Inner, Rows};
use crate::cluster::Cluster;
use crate::table::enrolled::State;

impl Rows {
    /// Finds the timelines of before, and of other writers. Those that were published are back with all that was written
    /// to them, and what somebody fills goes on; with another key of the draw all leave, also those of other writers,
    /// and so they do if they may need a task below `lost_below`, of which the log has lost some. `next_task` is the
    /// number that the log's next task will get: where a writer begins that finds none. The clock tells what fills for
    /// too long. Has to run on a tokio runtime with time.
    ///
    /// # Errors
    /// `Unavailable` when the cluster or Redis doesn't answer; `Corrupt` when what they hold contradicts itself.
    pub async fn open(
        cluster: &Cluster,
        draw: DrawKey,
        next_task: TaskId,
        lost_below: TaskId,
        clock: Clock,
    ) -> Result<Self> {
        let (db, config) = (Arc::clone(&cluster.db), &cluster.config.timelines);
        let partitions = Partitions::prepare(&db, config.page_rows, config.batch_rows).await?;
        let enrolments = Enrolments::prepare(&db).await?;
        let topology = Topology::open(&db, config.shards_per_node, &cluster.config.datacenter).await?;
        let kept = enrolments.kept(&draw).await?.filter(|kept| *kept >= lost_below);
        let inner = Inner {
            sender: Sender::new(
                &db,
                partitions.insert(),
                config,
                Duration::from_millis(cluster.config.request_timeout_ms),
            ),
            db,
            lines: Lines::default(),
            partitions,
            enrolments,
            topology,
            stream: Stream::connect(&cluster.config).await?,
            learnt: Learnt::default(),
            reads: Reads::connect(&cluster.config).await?,
            touches: Touches::new(&cluster.config),
            clock,
            reload: Duration::from_millis(config.reload_ms),
            filling_ms: config.filling_ms,
            draw,
            lengths: Lengths { cap: config.cap, over: config.trim_over },
            trims_at_once: config.trims_at_once,
            memory_bytes: config.memory_bytes,
            restored: kept.unwrap_or(next_task),
        };
        if kept.is_none() {
            inner.end_everything().await?;
            // only now: ended before this, it finds them as they were again
            inner.enrolments.begin_anew(next_task, &inner.draw).await?;
        }
        inner.refresh().await?;
        // what was read before that stands in a checkpoint, or nowhere
        let heard = inner.reads.end().await?;
        let timelines = inner.lines.count();
        tracing::info!(timelines, task.kept = inner.restored.0, "timelines found");
        let (inner, every) = (Arc::new(inner), Duration::from_millis(config.news_ms.max(1)));
        let mut running = JoinSet::new();
        running.spawn(upkeep(Arc::clone(&inner), every, heard));
        Ok(Self { inner, _upkeep: Arc::new(running) })
    }
}

impl Inner {
    /// Lets all timelines leave. What begins meanwhile stays, or leaves too: either is right.
    async fn end_everything(&self) -> Result<()> {
        let rows = self.enrolments.all().await?;
        let over = rows.iter().filter(|row| row.state != State::Out);
        self.end_all(&over.map(|row| (row.viewer, row.generation)).collect::<Vec<_>>()).await
    }
}
