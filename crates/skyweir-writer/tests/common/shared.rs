//! Tasks of a store in memory that several writers share, as those of a cluster do.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use skyweir_store::{LogTasks, Reached, Result, Taken, Tasks};
use skyweir_types::TaskId;
use tokio::sync::{Notify, watch};

/// What the writers share.
pub(crate) struct Pool {
    log: LogTasks,
    one: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Default)]
pub(crate) struct State {
    owners: BTreeMap<TaskId, (u32, Taken)>,
    /// With who has lost it, and doesn't get it again.
    freed: VecDeque<(u32, Taken)>,
    pub(crate) reached: BTreeMap<TaskId, Reached>,
    /// Who has finished which, of those that were its own.
    pub(crate) finished: Vec<(TaskId, u32)>,
}

/// One of the writers.
pub(crate) struct Member {
    pool: Arc<Pool>,
    name: u32,
}

impl Pool {
    pub(crate) fn new(log: LogTasks) -> Arc<Self> {
        let (one, state, freed) = (tokio::sync::Mutex::default(), Mutex::default(), Notify::new());
        Arc::new(Self { log, one, state, freed })
    }

    pub(crate) fn member(self: &Arc<Self>, name: u32) -> Arc<Member> {
        Arc::new(Member { pool: Arc::clone(self), name })
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Takes a task away from whoever has it: another one goes on with it.
    pub(crate) fn free(&self, task: TaskId) {
        let mut state = self.state();
        let (owner, taken) = state.owners.remove(&task).unwrap();
        let reached = state.reached.get(&task).copied();
        state.freed.push_back((owner, Taken { reached, ..taken }));
        self.freed.notify_waiters();
    }
}

#[async_trait]
impl Tasks for Member {
    fn alone(&self) -> bool {
        false
    }

    async fn take(&self, n: usize) -> Result<Vec<Taken>> {
        let Pool { log, one, freed, .. } = &*self.pool;
        loop {
            let freed = freed.notified();
            let next = {
                let mut state = self.pool.state();
                let at = state.freed.iter().position(|(owner, _)| *owner != self.name);
                at.and_then(|at| state.freed.remove(at))
            };
            let taken = match next {
                Some((_, taken)) => vec![taken],
                None => tokio::select! {
                    taken = async { let _one = one.lock().await; log.take(n).await } => taken?,
                    () = freed => continue,
                },
            };
            assert!(taken.len() <= n, "more than there are places");
            let owned = taken.iter().map(|taken| (taken.id, (self.name, *taken)));
            self.pool.state().owners.extend(owned);
            return Ok(taken);
        }
    }

    fn is_ours(&self, task: TaskId) -> bool {
        self.pool.state().owners.get(&task).is_some_and(|(owner, _)| *owner == self.name)
    }

    fn reached(&self, task: TaskId, reached: Reached) {
        if self.is_ours(task) {
            self.pool.state().reached.insert(task, reached);
        }
    }

    fn finish(&self, task: TaskId) {
        if self.is_ours(task) {
            let mut state = self.pool.state();
            state.owners.remove(&task);
            state.finished.push((task, self.name));
            self.pool.log.finish(task);
        }
    }

    fn done(&self) -> watch::Receiver<TaskId> {
        self.pool.log.done()
    }

    fn next(&self) -> watch::Receiver<TaskId> {
        self.pool.log.next()
    }

    async fn newest(&self) -> Result<TaskId> {
        self.pool.log.newest().await
    }

    async fn run(&self) -> Result<()> {
        std::future::pending().await
    }

    async fn give_back(&self) -> Result<()> {
        let ours: Vec<_> = {
            let state = self.pool.state();
            state.owners.iter().filter(|(_, (owner, _))| *owner == self.name).map(|(task, _)| *task).collect()
        };
        ours.into_iter().for_each(|task| self.pool.free(task));
        Ok(())
    }
}
