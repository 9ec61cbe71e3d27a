//! From tasks to jobs: as many as there are places, in the order of the log. What isn't taken stays there.

use std::convert::Infallible;
use std::sync::Arc;

use skyweir_store::{Result, Taken, Task, View};
use skyweir_types::{ActorId, Item, ItemId};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::job::Job;
use crate::places::{Place, Size};

/// How many tasks are taken at a time at most.
const AT_A_TIME: usize = 256;

/// Takes and does tasks until stopped; jobs that have begun are left in `jobs`.
///
/// # Errors
/// Corruption only.
pub(crate) async fn run(
    context: &Arc<Context>,
    jobs: &mut JoinSet<Result<()>>,
    stop: &CancellationToken,
) -> Result<()> {
    loop {
        let some = async {
            let taken = take(context, jobs).await?;
            start(context, jobs, stop, taken).await
        };
        let begun = async {
            tokio::select! {
                begun = some => begun,
                never = see(context) => match never {},
            }
        };
        // cut off anywhere, also while a store that can't be read is tried again: what hasn't begun is done later
        match stop.run_until_cancelled(begun).await {
            Some(begun) => begun?,
            None => return Ok(()),
        }
    }
}

/// Notes when tasks appear, also those that wait for a place: their age is the lag.
async fn see(context: &Context) -> Infallible {
    let (mut next, done) = (context.tasks.next(), context.tasks.done());
    loop {
        let seen = *next.borrow_and_update();
        context.progress.see(seen, *done.borrow(), context.clock.now_ms());
        if next.changed().await.is_err() {
            // nobody appends any more
            return std::future::pending().await;
        }
    }
}

/// Takes tasks, as many as can begin at once if others would begin them, too.
async fn take(context: &Context, jobs: &mut JoinSet<Result<()>>) -> Result<Vec<Taken>> {
    let taken = async {
        let most = if context.tasks.alone() { AT_A_TIME } else { context.places.free().await.min(AT_A_TIME) };
        context.retry.run("tasks", || context.tasks.take(most)).await
    };
    tokio::pin!(taken);
    loop {
        tokio::select! {
            biased;
            Some(ended) = jobs.join_next() => finished(ended)?,
            taken = &mut taken => return taken,
        }
    }
}

/// Starts tasks that were taken.
async fn start(
    context: &Arc<Context>,
    jobs: &mut JoinSet<Result<()>>,
    stop: &CancellationToken,
    taken: Vec<Taken>,
) -> Result<()> {
    let Some(newest) = taken.iter().map(|taken| taken.id).max() else { return Ok(()) };
    let mut view = context.view_after(newest).await?;
    let items: Vec<ItemId> = taken.iter().filter_map(|taken| item_of(&taken.task)).collect();
    let items = items_of(context, &mut view, &items).await?;
    let authors: Vec<ActorId> = items.iter().flatten().map(|item| item.author).collect();
    let authors = authors.as_slice();
    let asked = |view: Arc<dyn View>| async move { view.accounts(authors).await };
    let mut followers = context.ask("accounts", &mut view, asked).await?.into_iter();
    let mut items = items.into_iter();
    for taken in taken {
        let Taken { id, task, reached } = taken;
        let item = item_of(&task).and_then(|_| items.next().flatten());
        let followers = item.as_ref().and_then(|_| followers.next()).map_or(0, |info| info.followers);
        match Size::of(followers, &context.config) {
            Size::Small => {
                let place = Place::new(Size::Small, context.places.at_work(Size::Small).await);
                context.progress.begin(id, followers);
                let job = Job { id, task, reached, item, view: Arc::clone(&view), place };
                jobs.spawn(job.run(Arc::clone(context)));
            }
            Size::Large => {
                let parked = context.places.parked().await;
                context.progress.begin(id, followers);
                jobs.spawn(put_off(Arc::clone(context), stop.clone(), taken, parked));
            }
        }
    }
    Ok(())
}

/// A large fan-out that waits for its place while smaller ones behind it begin. It holds neither view nor item
/// meanwhile.
async fn put_off(
    context: Arc<Context>,
    stop: CancellationToken,
    taken: Taken,
    parked: OwnedSemaphorePermit,
) -> Result<()> {
    let Some(at_work) = stop.run_until_cancelled(context.places.unpark()).await else {
        return Ok(());
    };
    drop(parked);
    let Taken { id, task, reached } = taken;
    let begin = async {
        // later than the task's own time is as good: who followed since gets the item by a fill, too
        let mut view = context.view_after(id).await?;
        let ids = Vec::from_iter(item_of(&task));
        let item = items_of(&context, &mut view, &ids).await?.pop().flatten();
        Ok(Job { id, task, reached, item, view, place: Place::new(Size::Large, at_work) })
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
