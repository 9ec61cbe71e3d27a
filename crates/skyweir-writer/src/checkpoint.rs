//! Saves the timelines, as often as keeps a replay short, and cuts the task log below what no restart needs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use skyweir_store::{Error, Result};
use skyweir_types::TaskId;
use tokio::time::Instant;

use crate::context::Context;

/// How often it is looked whether a checkpoint is due.
const LOOK: Duration = Duration::from_millis(500);

/// Saves the timelines for ever.
///
/// # Errors
/// Corruption only.
pub(crate) async fn run(context: Arc<Context>) -> Result<()> {
    let work_limit = Duration::from_secs(context.config.checkpoint_work_seconds.max(1));
    let time_limit = Duration::from_secs(context.config.checkpoint_seconds.max(1));
    let (mut last_work, mut last_time) = (Duration::ZERO, Instant::now());
    let mut last_kept: Option<TaskId> = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let work = Duration::from_nanos(context.work.load(Ordering::Relaxed));
        let worked = work - last_work >= work_limit && last_kept != Some(*context.tasks.done().borrow());
        // enrolments and reads change timelines without any task
        if !worked && last_time.elapsed() < time_limit {
            continue;
        }
        match save(&context).await {
            Ok(kept) => last_kept = Some(kept),
            Err(error @ Error::Corrupt(_)) => return Err(error),
            // the former one is still good; the next is due as if this one had been written
            Err(error) => tracing::warn!(%error, "checkpoint failed, the former one stays"),
        }
        (last_work, last_time) = (work, Instant::now());
    }
}

/// Saves the timelines now. Returns *kept*: the task from which a restart replays.
pub(crate) async fn save(context: &Context) -> Result<TaskId> {
    // all below was done before the checkpoint begins, so its references are in it
    let kept = *context.tasks.done().borrow();
    context.timelines.checkpoint(kept).await?;
    match context.store.trim_tasks(kept).await {
        Ok(()) => tracing::debug!(task.kept = kept.0, "timelines saved"),
        Err(error @ Error::Corrupt(_)) => return Err(error),
        // a log that is too long is no harm, and the next checkpoint cuts it
        Err(error) => {
            tracing::warn!(%error, task.kept = kept.0, "timelines saved, but the task log is not cut")
        }
    }
    Ok(kept)
}
