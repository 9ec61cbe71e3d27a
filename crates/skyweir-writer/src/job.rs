//! One task at work, from its start to *done*.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use skyweir_store::{Reached, Result, Task, View};
use skyweir_types::{Item, TaskId};
use tokio::time::Instant;

use crate::context::Context;
use crate::places::Place;
use crate::{fan_out, metrics, upkeep};

/// A task with what it needs.
pub(crate) struct Job {
    pub(crate) id: TaskId,
    pub(crate) task: Task,
    /// Of a fan-out: how far somebody got before.
    pub(crate) reached: Option<Reached>,
    /// Of a fan-out: the item, unless it is gone by now.
    pub(crate) item: Option<Item>,
    /// Everything that happened before the task shows in it.
    pub(crate) view: Arc<dyn View>,
    /// What it pays with for being among the jobs.
    pub(crate) place: Place,
}

impl Job {
    /// Does the task, or as much of it as is left to do until somebody else has it. Doing it again has the same effect.
    ///
    /// # Errors
    /// Corruption only; everything that may pass by itself is tried again.
    pub(crate) async fn run(self, context: Arc<Context>) -> Result<()> {
        let begun = Instant::now();
        let Self { id, task, reached, item, view, mut place } = self;
        // only now that it has the task: see `Timelines::refresh`
        context.refresh().await?;
        let spent = || context.work.fetch_add(begun.elapsed().as_nanos() as u64, Ordering::Relaxed);
        let mut is_done = true;
        let kind = match task {
            Task::FanOut { .. } => {
                if let Some(item) = &item {
                    is_done = fan_out::run(&context, id, item, view, reached, &mut place).await?;
                }
                "fan_out"
            }
            Task::Fill { viewer, author } => {
                upkeep::fill(&context, view, viewer, author).await?;
                spent();
                "fill"
            }
            Task::Purge { viewer, author } => {
                upkeep::purge(&context, view, viewer, author).await?;
                spent();
                "purge"
            }
        };
        context.progress.end(id);
        if is_done {
            context.tasks.finish(id);
            metrics::task(kind, begun.elapsed().as_secs_f64());
        }
        drop(place);
        Ok(())
    }
}
