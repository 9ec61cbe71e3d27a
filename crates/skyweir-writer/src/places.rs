//! Places among the jobs: how many of which size are at work, and how many only wait for a shard.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Config;

/// What a job that only waits costs beside the references that it holds, in references.
const JOB_ASIDE: usize = 256;

/// What a fan-out's author has: many followers, or few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// Fills and purges too.
    Small = 0,
    /// More than `writer.large_followers`.
    Large = 1,
}

impl Size {
    pub(crate) fn of(followers: u32, config: &Config) -> Self {
        if followers > config.large_followers { Self::Large } else { Self::Small }
    }
}

/// All places. An eighth of `writer.jobs` is for large fan-outs, so that these never take all.
pub(crate) struct Places {
    at_work: [Arc<Semaphore>; 2],
    parked: Arc<Semaphore>,
    aside: Arc<Semaphore>,
}

impl Places {
    pub(crate) fn new(config: &Config) -> Self {
        let jobs = config.jobs.clamp(1, 100_000);
        let large = (jobs / 8).max(1);
        let small = (jobs - large).max(1);
        let permits = |n: usize| Arc::new(Semaphore::new(n.min(Semaphore::MAX_PERMITS)));
        Self {
            at_work: [permits(small), permits(large)],
            parked: permits(config.parked.max(1)),
            aside: permits(config.aside),
        }
    }

    /// A place at work; waits while there is none, in the order of asking.
    pub(crate) async fn at_work(&self, size: Size) -> OwnedSemaphorePermit {
        acquire(&self.at_work[size as usize]).await
    }

    /// A place for a large fan-out that isn't at work yet; waits while there is none.
    pub(crate) async fn parked(&self) -> OwnedSemaphorePermit {
        acquire(&self.parked).await
    }

    /// A place for a job that holds so many references and only waits, if there is one.
    fn aside(&self, references: usize) -> Option<OwnedSemaphorePermit> {
        let price = u32::try_from(JOB_ASIDE + references).ok()?;
        Arc::clone(&self.aside).try_acquire_many_owned(price).ok()
    }
}

async fn acquire(permits: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(permits).acquire_owned().await.expect("places are never closed")
}

/// A job's place. While the job only waits for a shard it stands aside, and another one works in its place.
pub(crate) struct Place {
    pub(crate) size: Size,
    at_work: Option<OwnedSemaphorePermit>,
}

impl Place {
    pub(crate) fn new(size: Size, at_work: OwnedSemaphorePermit) -> Self {
        Self { size, at_work: Some(at_work) }
    }

    /// Waits aside, holding so many references; at work if there is no place aside. Afterwards the job may not be at
    /// work: see [`Place::back`].
    pub(crate) async fn aside<T>(
        &mut self,
        places: &Places,
        references: usize,
        wait: impl Future<Output = T>,
    ) -> T {
        tokio::pin!(wait);
        let at_once = tokio::select! {
            biased;
            done = &mut wait => Some(done),
            () = std::future::ready(()) => None,
        };
        if let Some(done) = at_once {
            return done;
        }
        let aside = self.at_work.as_ref().and_then(|_| places.aside(references));
        if aside.is_some() {
            self.at_work = None;
        }
        wait.await
    }

    /// Takes a place at work again.
    pub(crate) async fn back(&mut self, places: &Places) {
        if self.at_work.is_none() {
            self.at_work = Some(places.at_work(self.size).await);
        }
    }
}
