//! Where records and timelines are kept: opened as the settings say, and as far as the roles need it.

use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use skyweir_embedded::{EmbeddedStore, Rings};
use skyweir_indexer::is_loaded;
use skyweir_scylla::{
    Cluster, Config as ScyllaConfig, Group, Lease as ScyllaLease, RemoteEnrol, Rows, RowsReader,
    ScyllaReader, ScyllaStore,
};
use skyweir_store::{LogTasks, Store, Tasks, TimelineReads, Timelines};
use skyweir_types::{Clock, TaskId};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::config::{Backend, Config};
use crate::coverage;

/// Records and timelines, open.
pub(crate) struct Stores {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) kept: Kept,
    /// Whether any timeline is kept, as far as an indexer has to know.
    pub(crate) has_timelines: bool,
    /// What all of it is on, if that isn't a directory.
    pub(crate) cluster: Option<Cluster>,
}

/// Where they are opened. Of a cluster, with what has to be given back if nothing comes of it.
pub(crate) enum Ground {
    Directory,
    Cluster {
        cluster: Cluster,
        /// With the role indexer.
        lease: Option<Lease>,
    },
}

/// Timelines, as far as this process has to do with them.
pub(crate) enum Kept {
    /// A writer is here: what it writes is read here, too, if anything is.
    Here(Written),
    /// They are read here, and written in other processes.
    Elsewhere {
        reads: Arc<dyn TimelineReads>,
        /// Where reads tell what they wish.
        enrol: RemoteEnrol,
    },
    /// They are neither read nor written here.
    Nowhere,
}

/// What a writer works with.
pub(crate) struct Written {
    pub(crate) timelines: Arc<dyn Timelines>,
    pub(crate) tasks: Arc<dyn Tasks>,
    /// Where reads of other processes tell what they wish, if there may be such.
    pub(crate) wishes: Option<Cluster>,
}

/// What may end our time as the only one that writes records.
#[derive(Clone)]
pub(crate) struct Lease(ScyllaLease);

impl Ground {
    /// Connects, and takes the lease. `None` when it was stopped before.
    pub(crate) async fn take(
        config: &Config,
        clock: Clock,
        stop: &CancellationToken,
    ) -> Result<Option<Self>> {
        if config.backend == Backend::Embedded {
            return Ok(Some(Self::Directory));
        }
        // tables that several make at once may come to be different on different nodes
        let create = config.scylla.create && config.roles.indexer;
        let settings = ScyllaConfig { create, ..config.scylla.clone() };
        let connected = stop.run_until_cancelled(Cluster::connect(&settings)).await;
        let Some(cluster) = connected.transpose()? else { return Ok(None) };
        // to its end, as nobody else could give back what it takes
        let lease = match config.roles.indexer {
            true => Some(Lease(ScyllaLease::take(&cluster, clock).await?)),
            false => None,
        };
        Ok(Some(Self::Cluster { cluster, lease }))
    }

    /// Where another machine may take over.
    pub(crate) fn lease(&self) -> Option<Lease> {
        match self {
            Self::Directory => None,
            Self::Cluster { lease, .. } => lease.clone(),
        }
    }
}

impl Stores {
    /// Opens records, then timelines.
    pub(crate) async fn open(config: &Config, ground: Ground, clock: Clock) -> Result<Self> {
        match ground {
            Ground::Directory => embedded(config).await,
            Ground::Cluster { cluster, lease } => scylla(config, &cluster, lease, clock).await,
        }
    }
}

async fn embedded(config: &Config) -> Result<Stores> {
    let settings = config.clone();
    let opened = spawn_blocking(move || {
        let store = EmbeddedStore::open(settings.store)?;
        let rings = Rings::open(&store, &settings.rings, settings.timeline.draw_key)?;
        skyweir_store::Result::Ok((store, rings))
    });
    let opened = opened.await.map_err(|_| anyhow!("opening the data directory panicked, see above"))?;
    let (store, rings) = opened?;
    coverage::adopt(&config.data_dir, &store).await?;
    let has_timelines = rings.enrolled() > 0;
    let (store, rings) = (Arc::new(store), Arc::new(rings));
    let tasks = Arc::new(LogTasks::new(store.clone(), &*rings));
    let kept = Kept::Here(Written { timelines: rings, tasks, wishes: None });
    Ok(Stores { store, kept, has_timelines, cluster: None })
}

async fn scylla(config: &Config, cluster: &Cluster, lease: Option<Lease>, clock: Clock) -> Result<Stores> {
    let roles = config.roles;
    let (store, lost_below): (Arc<dyn Store>, TaskId) = if let Some(Lease(lease)) = lease {
        let store = ScyllaStore::with(&lease).await?;
        let lost_below = store.lost_below();
        (Arc::new(store), lost_below)
    } else {
        let store = ScyllaReader::open(cluster).await?;
        let lost_below = store.lost_below();
        (Arc::new(store), lost_below)
    };
    let mut has_timelines = false;
    let kept = if roles.writer {
        let next_task = *store.next_task().borrow();
        let draw = config.timeline.draw_key;
        let rows = Rows::open(cluster, draw, next_task, lost_below, clock).await?;
        has_timelines = rows.enrolled() > 0;
        let tasks = Arc::new(Group::join(cluster, lost_below).await?);
        Kept::Here(Written { timelines: Arc::new(rows), tasks, wishes: Some(cluster.clone()) })
    } else if roles.api {
        let reads = Arc::new(RowsReader::open(cluster).await?);
        Kept::Elsewhere { reads, enrol: RemoteEnrol::connect(cluster, clock).await? }
    } else {
        Kept::Nowhere
    };
    if roles.indexer && !roles.writer {
        // nobody begins to keep any before that, and then it doesn't matter
        let cursor = store.view().await?.cursor().await?;
        has_timelines = is_loaded(cursor.as_ref()) || RowsReader::any_enrolled(cluster).await?;
    }
    Ok(Stores { store, kept, has_timelines, cluster: Some(cluster.clone()) })
}

impl Lease {
    /// Watches until stopped, then gives the lease back.
    ///
    /// # Errors
    /// Somebody else writes by now.
    pub(crate) async fn watch(self, stop: CancellationToken) -> Result<()> {
        match stop.run_until_cancelled(self.0.lost()).await {
            Some(()) => bail!(
                "another indexer writes to this store by now (scylla.keyspace); stop it, then start this one again"
            ),
            None => {
                self.give_back().await;
                Ok(())
            }
        }
    }

    /// Lets another one write, if none does yet.
    pub(crate) async fn give_back(&self) {
        if !self.0.is_lost()
            && let Err(error) = self.0.give_back().await
        {
            warn!(%error, "the lease isn't given back: an indexer of another name waits until it is over");
        }
    }
}
