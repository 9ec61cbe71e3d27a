//! Timelines that another process writes, read from their rows alone: nothing of them is known here.

use async_trait::async_trait;
use skyweir_store::{Cached, CachedState, Result, RingInfo, TimelineReads};
use skyweir_types::ActorId;

use super::enrolments::Enrolments;
use super::partitions::Partitions;
use super::read::unanswered;
use crate::cluster::Cluster;
use crate::table::enrolled::State;

/// The timelines of a cluster as one reads them who doesn't write any. What is published answers, with all that is
/// durable; what fills or leaves is out, as nothing stands in its partition that says more.
pub struct RowsReader {
    partitions: Partitions,
    cap: usize,
}

impl RowsReader {
    /// A reader of what there is.
    ///
    /// # Errors
    /// `Unavailable` when the cluster doesn't answer.
    pub async fn open(cluster: &Cluster) -> Result<Self> {
        let config = &cluster.config.timelines;
        let partitions = Partitions::prepare(&cluster.db, config.page_rows, config.batch_rows).await?;
        Ok(Self { partitions, cap: config.cap })
    }

    /// Whether any timeline of this cluster is enrolled. Reads the row of each that ever was.
    ///
    /// # Errors
    /// `Unavailable` when the cluster doesn't answer; `Corrupt` when what it holds can't be.
    pub async fn any_enrolled(cluster: &Cluster) -> Result<bool> {
        let all = Enrolments::prepare(&cluster.db).await?.all().await?;
        Ok(all.iter().any(|enrolled| enrolled.state != State::Out))
    }
}

#[async_trait]
impl TimelineReads for RowsReader {
    /// How many references a timeline holds isn't told unless all of it is read: it is taken for full.
    async fn read(&self, viewer: ActorId, from_ms: i64, n: usize) -> Result<Cached> {
        let Some(walk) = self.partitions.walk(viewer, None, from_ms, n).await? else {
            return Ok(unanswered(CachedState::Out));
        };
        let len = if from_ms == i64::MAX && walk.at_floor { walk.entries.len() } else { self.cap };
        let head = walk.head;
        let info = RingInfo {
            generation: head.generation,
            floor: head.floor,
            rate: head.rate,
            len,
            since_ms: head.published_at,
        };
        Ok(Cached { state: CachedState::In(info), entries: walk.entries, at_floor: walk.at_floor })
    }
}
