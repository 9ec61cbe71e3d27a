//! The stores that a script runs on, and how each of them ends and begins again.

use std::sync::Arc;

use skyweir_embedded::{Config, EmbeddedStore, Rings, RingsConfig, check};
use skyweir_scylla::{Cluster, Rows, RowsConfig, ScyllaStore};
use skyweir_store::{MemoryStore, MemoryTimelines, Shape, Store, Timelines};
use skyweir_testkit::Settings;
use skyweir_types::{Clock, DrawKey};
use tempfile::TempDir;

use crate::elsewhere::Elsewhere;
use crate::servers::Servers;

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Memory,
    /// In memory, and the writer asks its follower graph over a socket.
    Served,
    Embedded,
    /// Records and timelines on CQL, tasks in Redis.
    Cql,
}

/// What is known of one timeline on CQL.
const LINE: u64 = 240;

/// A page of places and a chunk of rings: what one timeline takes, and sixty-four.
const EMPTY_SLICE: u64 = 7_800;

/// What survives a restart, and how to open it.
pub(crate) enum Backend {
    Memory { store: MemoryStore, timelines: MemoryTimelines, shape: Shape, served: bool },
    Embedded { dir: TempDir, rings: RingsConfig },
    Cql { config: Box<skyweir_scylla::Config>, there: Arc<Elsewhere> },
}

/// Bytes for so many full timelines, besides what slices take with the first timeline in each.
fn memory_bytes(kind: Kind, settings: &Settings) -> u64 {
    let Some(timelines) = settings.memory_timelines else { return u64::MAX };
    let references = u64::from(timelines) * settings.cap as u64 * 12;
    match kind {
        Kind::Memory | Kind::Served => references + u64::from(timelines) * 100,
        // timelines leave from 31/32 on
        Kind::Embedded => (references + u64::from(settings.shards) * EMPTY_SLICE) * 32 / 31,
        Kind::Cql => u64::from(timelines + 1) * LINE,
    }
}

/// Records and timelines.
pub(crate) type Open = (Arc<dyn Store>, Arc<dyn Timelines>);

impl Backend {
    /// One with nothing in it; servers are asked for what is on CQL.
    pub(crate) async fn new(kind: Kind, settings: &Settings, servers: Option<&Servers>) -> Self {
        let (shards, cap) = (settings.shards, settings.cap);
        let memory_bytes = memory_bytes(kind, settings);
        match kind {
            Kind::Memory | Kind::Served => {
                let store = MemoryStore::new();
                let shape = Shape { shards, cap, memory_bytes, ..Shape::default() };
                let timelines = MemoryTimelines::new(&store, shape);
                Self::Memory { store, timelines, shape, served: kind == Kind::Served }
            }
            Kind::Embedded => {
                let dir = tempfile::tempdir().expect("a temporary directory");
                let rings = RingsConfig { slices: shards, cap, memory_bytes, ..RingsConfig::default() };
                Self::Embedded { dir, rings }
            }
            Kind::Cql => {
                let (servers, there) = (servers.expect("it runs where there are some"), Elsewhere::new());
                there.ask(servers.empty()).await;
                // small requests and small buckets, so that a script comes past several
                let timelines = RowsConfig {
                    cap,
                    memory_bytes,
                    trim_over: cap / 2,
                    shards_per_node: shards,
                    batch_rows: 8,
                    page_rows: 7,
                    ..RowsConfig::default()
                };
                let config = servers.config.clone();
                Self::Cql { config: Box::new(skyweir_scylla::Config { timelines, ..config }), there }
            }
        }
    }

    /// Whether the writer asks its follower graph over a socket.
    pub(crate) fn serves_graph(&self) -> bool {
        matches!(self, Self::Memory { served: true, .. })
    }

    /// Opens it, also again: everything of the last time has to be dropped.
    pub(crate) async fn open(&mut self) -> skyweir_store::Result<Open> {
        Ok(match self {
            Self::Memory { store, timelines, shape, .. } => {
                *timelines = timelines.reopen(*shape);
                (Arc::new(store.clone()), Arc::new(timelines.clone()))
            }
            Self::Embedded { dir, rings } => {
                let small = Config {
                    data_dir: dir.path().to_owned(),
                    cache_mb: 4,
                    item_cache_mb: 1,
                    follow_cache_mb: 1,
                    name_cache_mb: 1,
                    journal_mb: 64,
                    memtable_mb: 4,
                    remembered_accounts: 6,
                    load_mb: 1,
                    worker_threads: 1,
                };
                let store = EmbeddedStore::open(small)?;
                let rings = Rings::open(&store, rings, DrawKey::default())?;
                (Arc::new(store), Arc::new(rings))
            }
            Self::Cql { config, there } => {
                let opened = async {
                    let cluster = Cluster::connect(config).await?;
                    // leases last in real time
                    let store = ScyllaStore::open(&cluster, Clock::system()).await?;
                    let (next_task, lost_below) = (*store.next_task().borrow(), store.lost_below());
                    let rows =
                        Rows::open(&cluster, DrawKey::default(), next_task, lost_below, Clock::system())
                            .await?;
                    skyweir_store::Result::Ok((store, rows))
                };
                let (store, rows) = there.ask(opened).await?;
                (there.store(Arc::new(store)), there.timelines(Arc::new(rows)))
            }
        })
    }

    /// What is stored contradicts itself nowhere. Nobody may have it open.
    pub(crate) fn check(&self) -> Result<(), String> {
        let Self::Embedded { dir, .. } = self else { return Ok(()) };
        let report = check(dir.path()).map_err(|error| error.to_string())?;
        if report.is_sound() { Ok(()) } else { Err(format!("skyweir check: {:?}", report.findings)) }
    }
}
