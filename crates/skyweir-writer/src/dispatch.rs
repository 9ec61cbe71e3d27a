//! From the task log to jobs: as many as there are places, in the order of the log. What isn't taken stays there.

use std::sync::Arc;

use skyweir_store::{Error, Result, Task, View};
use skyweir_types::{ActorId, Item, ItemId, TaskId};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::job::Job;
use crate::places::{Place, Size};

/// How many tasks are read at a time.
const AT_A_TIME: usize = 256;
/// How far the newest task at work may be ahead of the oldest unfinished one.
const AHEAD: u64 = 100_000;

/// Works through the log until stopped; jobs that have begun are left in `jobs`.
///
/// # Errors
/// Corruption only.
pub(crate) async fn run(
    context: &Arc<Context>,
    jobs: &mut JoinSet<Result<()>>,
    stop: &CancellationToken,
) -> Result<()> {
    let mut log = context.store.next_task();
    let mut next = context.progress.done();
    loop {
        let end = *log.borrow_and_update();
        context.progress.see(end, context.clock.now_ms());
        while next < end {
            let more = async {
                ready(context, jobs, next).await?;
                start(context, jobs, stop, next).await
            };
            // cut off anywhere, also while a store that can't be read is tried again: what hasn't begun stays in the log
            match stop.run_until_cancelled(more).await {
                Some(begun) => next = begun?,
                None => return Ok(()),
            }
        }
        tokio::select! {
            changed = log.changed() => {
                if changed.is_err() {
                    return Ok(());
                }
            }
            Some(ended) = jobs.join_next() => finished(ended)?,
            () = stop.cancelled() => return Ok(()),
        }
    }
}

/// Waits until the next task isn't too far ahead.
async fn ready(context: &Context, jobs: &mut JoinSet<Result<()>>, next: TaskId) -> Result<()> {
    while let Some(ended) = jobs.try_join_next() {
        finished(ended)?;
    }
    while next.0 - context.progress.done().0.min(next.0) > AHEAD {
        match jobs.join_next().await {
            Some(ended) => finished(ended)?,
            None => break,
        }
    }
    Ok(())
}

/// Starts some tasks from `next` on; returns the one after them.
async fn start(
    context: &Arc<Context>,
    jobs: &mut JoinSet<Result<()>>,
    stop: &CancellationToken,
    mut next: TaskId,
) -> Result<TaskId> {
    // taken after these tasks were announced: whatever happened before any of them shows in it
    let mut view = context.view().await?;
    let asked = |view: Arc<dyn View>| async move { view.tasks(next, AT_A_TIME).await };
    let tasks = context.ask("tasks", &mut view, asked).await?;
    if tasks.first().is_none_or(|(id, _)| *id != next) {
        return Err(Error::Corrupt(format!("task {next} is missing from the log")));
    }
    let items: Vec<ItemId> = tasks.iter().filter_map(|(_, task)| item_of(task)).collect();
    let items = items_of(context, &mut view, &items).await?;
    let authors: Vec<ActorId> = items.iter().flatten().map(|item| item.author).collect();
    let authors = authors.as_slice();
    let asked = |view: Arc<dyn View>| async move { view.accounts(authors).await };
    let mut followers = context.ask("accounts", &mut view, asked).await?.into_iter();
    let mut items = items.into_iter();
    for (id, task) in tasks {
        let item = item_of(&task).and_then(|_| items.next().flatten());
        let followers = item.as_ref().and_then(|_| followers.next()).map_or(0, |info| info.followers);
        match Size::of(followers, &context.config) {
            Size::Small => {
                let place = Place::new(Size::Small, context.places.at_work(Size::Small).await);
                context.progress.begin(id, followers);
                let job = Job { id, task, item, view: Arc::clone(&view), place };
                jobs.spawn(job.run(Arc::clone(context)));
            }
            Size::Large => {
                let parked = context.places.parked().await;
                context.progress.begin(id, followers);
                jobs.spawn(put_off(Arc::clone(context), stop.clone(), id, task, parked));
            }
        }
        next = id.next();
    }
    Ok(next)
}

/// A large fan-out that waits for its place while smaller ones behind it begin. It holds neither view nor item
/// meanwhile.
async fn put_off(
    context: Arc<Context>,
    stop: CancellationToken,
    id: TaskId,
    task: Task,
    parked: OwnedSemaphorePermit,
) -> Result<()> {
    let Some(at_work) = stop.run_until_cancelled(context.places.unpark()).await else {
        // not begun: it stays in the log
        return Ok(());
    };
    drop(parked);
    let begin = async {
        // later than the task's own time is as good: who followed since gets the item by a fill, too
        let mut view = context.view().await?;
        let ids = Vec::from_iter(item_of(&task));
        let item = items_of(&context, &mut view, &ids).await?.pop().flatten();
        Ok(Job { id, task, item, view, place: Place::new(Size::Large, at_work) })
    };
    match stop.run_until_cancelled(begin).await {
        Some(job) => Box::pin(job?.run(Arc::clone(&context))).await,
        None => Ok(()),
    }
}

async fn items_of(context: &Context, view: &mut Arc<dyn View>, ids: &[ItemId]) -> Result<Vec<Option<Item>>> {
    context.ask("items", view, |view| async move { view.items(ids).await }).await
}

fn item_of(task: &Task) -> Option<ItemId> {
    match task {
        Task::FanOut { item } => Some(*item),
        Task::Fill { .. } | Task::Purge { .. } => None,
    }
}

/// Passes on an error or a panic of a job.
pub(crate) fn finished(ended: std::result::Result<Result<()>, tokio::task::JoinError>) -> Result<()> {
    match ended {
        Ok(done) => done,
        Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
        Err(_) => Ok(()),
    }
}
