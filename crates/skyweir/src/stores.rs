//! Where records and timelines are kept: opened as the settings say.

use std::sync::Arc;

use anyhow::{Result, anyhow, bail};
use skyweir_embedded::{EmbeddedStore, Rings};
use skyweir_scylla::{Cluster, Group, Rows, ScyllaStore};
use skyweir_store::{LogTasks, Store, Tasks, Timelines};
use skyweir_types::Clock;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::config::{Backend, Config};
use crate::coverage;

/// Records and timelines, open.
pub(crate) struct Stores {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) timelines: Arc<dyn Timelines>,
    pub(crate) tasks: Arc<dyn Tasks>,
    pub(crate) lease: Lease,
}

/// What may end our time as the only one that writes.
pub(crate) enum Lease {
    /// The data directory is locked as long as we have it open.
    Lock,
    /// Another machine may take it over.
    Row(Arc<ScyllaStore>),
}

impl Stores {
    /// Opens records, then timelines.
    pub(crate) async fn open(config: &Config, clock: Clock) -> Result<Self> {
        match config.backend {
            Backend::Embedded => embedded(config).await,
            Backend::Scylla => scylla(config, clock).await,
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
    let store = Arc::new(store);
    let tasks = Arc::new(LogTasks::new(store.clone(), &rings));
    Ok(Stores { store, timelines: Arc::new(rings), tasks, lease: Lease::Lock })
}

async fn scylla(config: &Config, clock: Clock) -> Result<Stores> {
    let cluster = Cluster::connect(&config.scylla).await?;
    let store = Arc::new(ScyllaStore::open(&cluster, clock).await?);
    let next_task = *store.next_task().borrow();
    let lost_below = store.lost_below();
    let rows = Rows::open(&cluster, config.timeline.draw_key, next_task, lost_below).await?;
    let tasks = Arc::new(Group::join(&cluster, lost_below).await?);
    Ok(Stores { store: store.clone(), timelines: Arc::new(rows), tasks, lease: Lease::Row(store) })
}

impl Lease {
    /// Watches until stopped.
    ///
    /// # Errors
    /// Somebody else writes by now.
    pub(crate) async fn watch(self, stop: CancellationToken) -> Result<()> {
        let lost = async {
            match &self {
                Self::Lock => std::future::pending().await,
                Self::Row(store) => store.lease_lost().await,
            }
        };
        match stop.run_until_cancelled(lost).await {
            None => Ok(()),
            Some(()) => bail!(
                "another indexer writes to this store by now (scylla.keyspace); stop it, then start this one again"
            ),
        }
    }
}
