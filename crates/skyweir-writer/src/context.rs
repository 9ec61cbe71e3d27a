//! What all parts of the writer share.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use skyweir_graph::Graph;
use skyweir_store::{Error, Store, Tasks, Timelines, View};
use skyweir_types::{Clock, TaskId};

use crate::accounting::Accounting;
use crate::candidates::Candidates;
use crate::hot::Hot;
use crate::places::Places;
use crate::progress::Progress;
use crate::retry::Retry;
use crate::sweep::Shards;
use crate::turns::Turns;
use crate::wishes::Wishes;
use crate::{Config, Deps};

/// Shared by jobs, workers and the handle.
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) timelines: Arc<dyn Timelines>,
    pub(crate) tasks: Arc<dyn Tasks>,
    pub(crate) graph: Arc<Graph>,
    pub(crate) clock: Clock,
    pub(crate) retry: Retry,
    pub(crate) shards: Shards,
    /// The turn to read and split a page.
    pub(crate) turns: Arc<Turns>,
    pub(crate) places: Places,
    pub(crate) hot: Hot,
    pub(crate) accounting: Accounting,
    pub(crate) progress: Progress,
    pub(crate) wishes: Wishes,
    pub(crate) candidates: Candidates,
    /// Nanoseconds spent on what a replay would do again: pages, writes, fills and purges.
    pub(crate) work: AtomicU64,
}

impl Context {
    pub(crate) fn new(config: Config, deps: Deps) -> Self {
        let Deps { store, timelines, tasks, graph, clock } = deps;
        Self {
            retry: Retry::of(&config),
            hot: Hot::new(timelines.shards(), config.reasonable_limit, graph.high_follows()),
            candidates: Candidates::new(config.candidates),
            shards: Shards::new(timelines.shards(), config.shard_queue),
            turns: Turns::new(),
            places: Places::new(&config),
            accounting: Accounting::new(config.deliveries),
            progress: Progress::new(*tasks.done().borrow()),
            wishes: Wishes::new(config.enrol_queue),
            work: AtomicU64::new(0),
            config,
            store,
            timelines,
            tasks,
            graph,
            clock,
        }
    }

    /// Asks a view until it answers. After a failure a new one takes its place: a store may refuse one that is old, and
    /// what came since does a task no harm.
    ///
    /// # Errors
    /// Corruption, at once.
    pub(crate) async fn ask<T, F>(
        &self,
        operation: &'static str,
        view: &mut Arc<dyn View>,
        mut ask: impl FnMut(Arc<dyn View>) -> F,
    ) -> skyweir_store::Result<T>
    where
        F: Future<Output = skyweir_store::Result<T>>,
    {
        let mut pause = self.retry.pause(operation);
        loop {
            match ask(Arc::clone(view)).await {
                Err(error) => pause.after(error).await?,
                done => return done,
            }
            *view = self.view().await?;
        }
    }

    /// Learns which timelines other processes have enrolled, however often that has to be asked.
    ///
    /// # Errors
    /// Corruption, at once.
    pub(crate) async fn refresh(&self) -> skyweir_store::Result<()> {
        self.retry.run("refresh", || self.timelines.refresh()).await
    }

    /// A view of the records as they are now.
    pub(crate) async fn view(&self) -> skyweir_store::Result<Arc<dyn View>> {
        let view = self.retry.run("view", || self.store.view()).await?;
        Ok(Arc::from(view))
    }

    /// A view in which everything shows that happened before this task was appended.
    ///
    /// Each view does where it is taken by whoever appends tasks, or from where they stand. But a process that was the
    /// indexer and is no longer takes views of its own last transaction until it knows: it waits here for that.
    ///
    /// # Errors
    /// Corruption, at once.
    pub(crate) async fn view_after(&self, task: TaskId) -> skyweir_store::Result<Arc<dyn View>> {
        let mut pause = self.retry.pause("view");
        loop {
            let view = self.view().await?;
            let why = match view.next_task().await {
                Ok(next) if next > task => return Ok(view),
                Ok(next) => Error::Unavailable(format!(
                    "the store shows the tasks before {next}, not yet task {task}"
                )),
                Err(error) => error,
            };
            drop(view);
            pause.after(why).await?;
        }
    }
}
