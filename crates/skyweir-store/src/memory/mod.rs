//! The in-memory reference: as simple as it can be. Other stores are judged by it, tests of other crates run on it.

mod nested;
mod ring;
mod state;
mod timelines;
mod txn;
mod view;

use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use async_trait::async_trait;
use skyweir_types::{ActorId, TaskId};
use tokio::sync::{Mutex, watch};

use self::state::State;
use self::txn::MemoryTxn;
use self::view::MemoryView;
use crate::{Result, Store, Task, Txn, View};

pub use timelines::{MemoryTimelines, Shape};

/// Records in memory. Clones share them: a clone that outlives the rest is what a disk is to a restart.
#[derive(Clone, Default)]
pub struct MemoryStore {
    inner: Arc<Inner>,
}

struct Inner {
    /// All that is committed. Never changed in place, so that a view is one clone of the [`Arc`].
    committed: StdMutex<Arc<State>>,
    next_item: Arc<Mutex<u64>>,
    next_task: watch::Sender<TaskId>,
}

impl Default for Inner {
    fn default() -> Self {
        let state = State::default();
        let next_task = watch::Sender::new(state.next_task);
        Self { committed: StdMutex::new(Arc::new(state)), next_item: Arc::new(Mutex::new(1)), next_task }
    }
}

impl Inner {
    fn now(&self) -> Arc<State> {
        Arc::clone(&self.committed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts a transaction's tables in place, with the tasks behind those that the log holds by now.
    fn replace(&self, mut state: State, appended: Vec<Task>) {
        let mut committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        state.tasks = Arc::clone(&committed.tasks);
        let announce = !appended.is_empty();
        for task in appended {
            Arc::make_mut(&mut state.tasks).insert(state.next_task, task);
            state.next_task = state.next_task.next();
        }
        let next_task = state.next_task;
        *committed = Arc::new(state);
        drop(committed);
        if announce {
            self.next_task.send_replace(next_task);
        }
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether one account follows another by what is committed now.
    fn follows_now(&self, viewer: ActorId, author: ActorId) -> bool {
        self.inner.now().has_edge(viewer, author)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn view(&self) -> Result<Box<dyn View>> {
        Ok(Box::new(MemoryView(self.inner.now())))
    }

    async fn begin(&self) -> Result<Box<dyn Txn>> {
        let next_item = Arc::clone(&self.inner.next_item).lock_owned().await;
        Ok(Box::new(MemoryTxn::new(Arc::clone(&self.inner), next_item)))
    }

    fn next_task(&self) -> watch::Receiver<TaskId> {
        self.inner.next_task.subscribe()
    }

    async fn trim_tasks(&self, kept: TaskId) -> Result<()> {
        let mut committed = self.inner.committed.lock().unwrap_or_else(PoisonError::into_inner);
        if committed.tasks.first_key_value().is_some_and(|(first, _)| *first < kept) {
            let tasks = committed.tasks.range(kept..).map(|(id, task)| (*id, *task)).collect();
            Arc::make_mut(&mut committed).tasks = Arc::new(tasks);
        }
        Ok(())
    }
}
