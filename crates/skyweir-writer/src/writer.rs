//! The writer: composition, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use skyweir_graph::Graph;
use skyweir_store::{LogTasks, Store, Tasks, Timelines};
use skyweir_types::Clock;
use thiserror::Error;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::dispatch::finished;
use crate::{Config, EnrolMode, Handle, checkpoint, dispatch, enrolment, hibernation, memory, sweep};

/// What the writer works with.
#[derive(Clone)]
pub struct Deps {
    /// Records.
    pub store: Arc<dyn Store>,
    /// The cache that it writes.
    pub timelines: Arc<dyn Timelines>,
    /// What is to be done.
    pub tasks: Arc<dyn Tasks>,
    /// Follower pages and the high-follow snapshot.
    pub graph: Arc<Graph>,
    /// The wall clock.
    pub clock: Clock,
}

impl Deps {
    /// Those of a store's only writer: it has the log for itself.
    #[must_use]
    pub fn alone(
        store: Arc<dyn Store>,
        timelines: Arc<dyn Timelines>,
        graph: Arc<Graph>,
        clock: Clock,
    ) -> Self {
        let tasks = Arc::new(LogTasks::new(Arc::clone(&store), &*timelines));
        Self { store, timelines, tasks, graph, clock }
    }
}

/// Why the writer ended against its will.
#[derive(Debug, Error)]
pub enum Error {
    /// The store is corrupt.
    #[error(transparent)]
    Store(#[from] skyweir_store::Error),
}

/// Works through the task log.
pub struct Writer {
    context: Arc<Context>,
}

impl Writer {
    /// A writer and its handle. Nothing runs yet.
    #[must_use]
    pub fn new(config: Config, deps: Deps) -> (Self, Handle) {
        let context = Arc::new(Context::new(config, deps));
        let handle = Handle::new(Arc::clone(&context));
        (Self { context }, handle)
    }

    /// Works until stopped, then gives what has begun [`Config::drain_ms`] to finish, and saves the timelines. Has to
    /// run on a tokio runtime with time.
    ///
    /// # Errors
    /// [`enum@Error`]: corruption, or a last checkpoint that failed; everything else that may pass is tried again.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        let context = self.context;
        let first = *context.tasks.done().borrow();
        tracing::info!(task.first = first.0, enrolled = context.timelines.enrolled(), "writer starts");
        let mut workers = workers(&context, &stop);
        let mut jobs = JoinSet::new();
        tokio::select! {
            done = dispatch::run(&context, &mut jobs, &stop) => done?,
            Some(ended) = workers.join_next() => finished(ended)?,
        }
        stop.cancelled().await;
        drain(&context, &mut jobs, &mut workers).await?;
        // whatever is still at work is cut off here and done again after the next start
        jobs.shutdown().await;
        workers.shutdown().await;
        if let Err(error) = context.tasks.give_back().await {
            tracing::warn!(%error, "tasks are not given back, others take them only after a while");
        }
        let kept = checkpoint::save(&context).await?;
        tracing::info!(task.kept = kept.0, "writer stopped, timelines saved");
        Ok(())
    }
}

/// Starts all that runs beside the jobs.
fn workers(context: &Arc<Context>, stop: &CancellationToken) -> JoinSet<skyweir_store::Result<()>> {
    let mut workers = JoinSet::new();
    let threads = tokio::runtime::Handle::current().metrics().num_workers();
    context.turns.open(match context.config.pages_at_once {
        0 => threads,
        at_once => at_once,
    });
    for _ in 0..threads {
        workers.spawn(sweep::run(Arc::clone(context)));
    }
    for _ in 0..context.config.enrol_at_once.max(1) {
        workers.spawn(enrolment::grant(Arc::clone(context)));
    }
    if context.config.enrol == EnrolMode::All {
        workers.spawn(enrolment::all(Arc::clone(context), stop.clone()));
    }
    let tasks = Arc::clone(&context.tasks);
    workers.spawn(async move { tasks.run().await });
    workers.spawn(hibernation::run(Arc::clone(context)));
    workers.spawn(memory::run(Arc::clone(context)));
    workers.spawn(checkpoint::run(Arc::clone(context)));
    workers
}

/// Lets jobs finish, within the limit.
async fn drain(
    context: &Context,
    jobs: &mut JoinSet<skyweir_store::Result<()>>,
    workers: &mut JoinSet<skyweir_store::Result<()>>,
) -> skyweir_store::Result<()> {
    let all = async {
        loop {
            tokio::select! {
                ended = jobs.join_next() => match ended {
                    Some(ended) => finished(ended)?,
                    None => return Ok(()),
                },
                Some(ended) = workers.join_next() => finished(ended)?,
            }
        }
    };
    let limit = Duration::from_millis(context.config.drain_ms);
    match tokio::time::timeout(limit, all).await {
        Ok(done) => done,
        Err(_) => {
            tracing::info!(
                drain.ms = context.config.drain_ms,
                "some tasks did not finish in time, they are done after the next start"
            );
            Ok(())
        }
    }
}
