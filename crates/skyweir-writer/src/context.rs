//! What all parts of the writer share.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use skyweir_graph::Graph;
use skyweir_store::{Store, Timelines, View};
use skyweir_types::Clock;
use tokio::sync::Semaphore;

use crate::accounting::Accounting;
use crate::candidates::Candidates;
use crate::hot::Hot;
use crate::progress::Progress;
use crate::retry::Retry;
use crate::shard::ShardQueue;
use crate::wishes::Wishes;
use crate::{Config, Deps};

/// Shared by jobs, workers and the handle.
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) timelines: Arc<dyn Timelines>,
    pub(crate) graph: Arc<Graph>,
    pub(crate) clock: Clock,
    pub(crate) retry: Retry,
    pub(crate) shards: Vec<Arc<ShardQueue>>,
    /// The turn to read and split a page: handed out in the order of asking, so that jobs alternate.
    pub(crate) turns: Semaphore,
    pub(crate) hot: Arc<Hot>,
    pub(crate) accounting: Accounting,
    pub(crate) progress: Progress,
    pub(crate) wishes: Wishes,
    pub(crate) candidates: Candidates,
    /// Nanoseconds spent on what a replay would do again: pages, writes, fills and purges.
    pub(crate) work: Arc<AtomicU64>,
}

impl Context {
    pub(crate) fn new(config: Config, deps: Deps) -> Self {
        let Deps { store, timelines, graph, clock } = deps;
        Self {
            retry: Retry::of(&config),
            hot: Arc::new(Hot::new(timelines.shards(), config.reasonable_limit, graph.high_follows())),
            candidates: Candidates::new(config.candidates),
            shards: (0..timelines.shards()).map(|_| Arc::new(ShardQueue::new(config.shard_queue))).collect(),
            turns: Semaphore::new(config.pages_at_once.clamp(1, Semaphore::MAX_PERMITS)),
            accounting: Accounting::new(config.deliveries),
            progress: Progress::new(timelines.restored()),
            wishes: Wishes::new(config.enrol_queue),
            work: Arc::default(),
            config,
            store,
            timelines,
            graph,
            clock,
        }
    }

    /// A view of the records as they are now.
    pub(crate) async fn view(&self) -> skyweir_store::Result<Arc<dyn View>> {
        let view = self.retry.run("view", || self.store.view()).await?;
        Ok(Arc::from(view))
    }
}
