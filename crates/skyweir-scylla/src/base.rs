//! What views and the task log need, whoever writes records: the indexer's store has it, and one that only reads.

use std::sync::Arc;
use std::time::Duration;

use futures::try_join;
use skyweir_store::{Reach, Result};
use skyweir_types::TaskId;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::log::Log;
use crate::moment::Moment;
use crate::session::Db;
use crate::table::Tables;
use crate::table::visible::Visible;

/// A view ends this long before the rows that it needs may pass: the server counts in seconds.
const MARGIN: Duration = Duration::from_secs(5);

pub(crate) struct Base {
    pub(crate) db: Arc<Db>,
    pub(crate) tables: Tables,
    pub(crate) visible: Visible,
    pub(crate) log: Log,
    /// Whether the server answers.
    pub(crate) cql: Arc<Reach>,
    /// Seconds for which rows stay that were replaced or removed.
    pub(crate) ttl: i32,
    pub(crate) next_task: watch::Sender<TaskId>,
}

impl Base {
    /// With the moment that shows.
    pub(crate) async fn open(cluster: &Cluster) -> Result<(Self, Moment)> {
        let Cluster { db, config, .. } = cluster.clone();
        let (tables, visible) = try_join!(Tables::prepare(&db), Visible::prepare(&db))?;
        let (moment, row) = visible.read(&db).await?;
        let stay = Duration::from_secs(config.superseded_ttl_s.into());
        let log = Log::connect(&config, cluster.redis(), stay, row).await?;
        let ttl = i32::try_from(config.superseded_ttl_s).unwrap_or(i32::MAX);
        let (cql, next_task) = (cluster.cql(), watch::Sender::new(TaskId(1)));
        let base = Self { db, tables, visible, log, cql, ttl, next_task };
        Ok((base, moment))
    }

    /// Until when views may be read of a moment that was the newest for certain at `known`.
    pub(crate) fn until(&self, known: Instant) -> Instant {
        known + Duration::from_secs(self.ttl.unsigned_abs().into()).saturating_sub(MARGIN)
    }

    /// See [`skyweir_store::Store::trim_tasks`].
    pub(crate) async fn trim_tasks(&self, kept: TaskId) -> Result<()> {
        // what is appended later isn't cut
        let kept = kept.min(*self.next_task.borrow());
        self.visible.keep(&self.db, kept).await?;
        self.log.trim(kept).await
    }
}
