//! Tasks of a store that has one writer: taken from its log, one after the other.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use skyweir_types::TaskId;
use tokio::sync::watch;

use super::{Reached, Taken, Tasks};
use crate::{Error, Result, Store, Timelines};

/// How far the newest task that was taken may be ahead of the oldest unfinished one.
const AHEAD: u64 = 100_000;

/// The log of a store, for the only one who works through it. What isn't finished when it ends is taken again after the
/// next start: it begins where the timelines say that they need it.
pub struct LogTasks {
    store: Arc<dyn Store>,
    state: Mutex<State>,
    done: watch::Sender<TaskId>,
}

struct State {
    /// The next one to be taken.
    untaken: TaskId,
    /// Finished ones above *done*.
    finished: BTreeSet<TaskId>,
}

impl LogTasks {
    /// The log from the task on that these timelines need.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, timelines: &dyn Timelines) -> Self {
        let first = timelines.restored();
        let state = State { untaken: first, finished: BTreeSet::new() };
        Self { store, state: Mutex::new(state), done: watch::Sender::new(first) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Tasks for LogTasks {
    fn alone(&self) -> bool {
        true
    }

    async fn take(&self, n: usize) -> Result<Vec<Taken>> {
        let from = self.state().untaken;
        let (mut next, mut done) = (self.store.next_task(), self.done.subscribe());
        let ended = async {
            next.wait_for(|next| *next > from).await?;
            done.wait_for(|done| from.0.saturating_sub(done.0) <= AHEAD).await
        };
        if ended.await.is_err() {
            // the store has gone: no task will ever come
            return std::future::pending().await;
        }
        let tasks = self.store.view().await?.tasks(from, n).await?;
        if tasks.first().is_none_or(|(id, _)| *id != from) {
            return Err(Error::Corrupt(format!("task {from} is missing from the log")));
        }
        if let Some((last, _)) = tasks.last() {
            self.state().untaken = last.next();
        }
        Ok(tasks.into_iter().map(|(id, task)| Taken { id, task, reached: None }).collect())
    }

    fn is_ours(&self, _task: TaskId) -> bool {
        true
    }

    /// Nobody goes on with it.
    fn reached(&self, _task: TaskId, _reached: Reached) {}

    fn finish(&self, task: TaskId) {
        let mut state = self.state();
        let mut done = *self.done.borrow();
        if task < done {
            return;
        }
        state.finished.insert(task);
        while state.finished.remove(&done) {
            done = done.next();
        }
        self.done.send_if_modified(|known| std::mem::replace(known, done) != done);
    }

    fn done(&self) -> watch::Receiver<TaskId> {
        self.done.subscribe()
    }

    fn next(&self) -> watch::Receiver<TaskId> {
        self.store.next_task()
    }

    async fn newest(&self) -> Result<TaskId> {
        Ok(TaskId(self.store.next_task().borrow().0.saturating_sub(1)))
    }

    async fn run(&self) -> Result<()> {
        std::future::pending().await
    }

    /// What isn't finished stays in the log.
    async fn give_back(&self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryStore, MemoryTimelines, Shape, Task};
    use skyweir_types::ItemId;

    async fn log(tasks: u64) -> (MemoryStore, LogTasks) {
        let store = MemoryStore::new();
        let timelines = MemoryTimelines::new(&store, Shape::default());
        append(&store, tasks).await;
        (store.clone(), LogTasks::new(Arc::new(store), &timelines))
    }

    async fn append(store: &MemoryStore, tasks: u64) {
        let mut txn = store.begin().await.unwrap();
        for item in 0..tasks {
            txn.append(Task::FanOut { item: ItemId(item) }).await.unwrap();
        }
        txn.commit().await.unwrap();
    }

    fn ids(taken: &[Taken]) -> Vec<u64> {
        taken.iter().map(|taken| taken.id.0).collect()
    }

    #[tokio::test]
    async fn done_is_the_lowest_unfinished_task() {
        let (_, log) = log(9).await;
        for (task, done) in [(3, 1), (2, 1), (1, 4), (1, 4), (5, 4), (4, 6)] {
            log.finish(TaskId(task));
            assert_eq!(*log.done().borrow(), TaskId(done), "after {task}");
        }
        assert!(log.state().finished.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_are_taken_in_order_and_waited_for() {
        let (store, log) = log(3).await;
        assert_eq!(ids(&log.take(2).await.unwrap()), [1, 2]);
        assert_eq!(ids(&log.take(2).await.unwrap()), [3]);
        let waits = tokio::time::timeout(std::time::Duration::from_secs(1), log.take(2)).await;
        assert!(waits.is_err());
        append(&store, 1).await;
        assert_eq!(ids(&log.take(2).await.unwrap()), [4], "cut off it has taken nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_is_not_too_far_ahead_of_the_oldest() {
        let (_, log) = log(AHEAD + 3).await;
        assert_eq!(log.take(AHEAD as usize + 1).await.unwrap().len() as u64, AHEAD + 1);
        log.finish(TaskId(2));
        let waits = tokio::time::timeout(std::time::Duration::from_secs(1), log.take(9)).await;
        assert!(waits.is_err());
        log.finish(TaskId(1));
        assert_eq!(ids(&log.take(9).await.unwrap()), [AHEAD + 2, AHEAD + 3]);
    }

    #[tokio::test]
    async fn a_missing_task_is_corruption() {
        let (store, log) = log(3).await;
        store.trim_tasks(TaskId(2)).await.unwrap();
        assert!(matches!(log.take(9).await, Err(Error::Corrupt(_))));
    }
}
