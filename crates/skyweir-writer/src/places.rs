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
    /// Held by the parked one that asks for a place at work: the others behind it don't stand before those that come
    /// back to work.
    next_parked: Semaphore,
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
            next_parked: Semaphore::new(1),
            aside: permits(config.aside),
        }
    }

    /// A place at work; waits while there is none, in the order of asking.
    pub(crate) async fn at_work(&self, size: Size) -> OwnedSemaphorePermit {
        acquire(&self.at_work[size as usize]).await
    }

    /// How many tasks can begin at once, whatever they are; waits while that is none.
    pub(crate) async fn free(&self) -> usize {
        let small = &self.at_work[Size::Small as usize];
        drop((acquire(&self.parked).await, acquire(small).await));
        small.available_permits().max(1)
    }

    /// A place for a large fan-out that isn't at work yet; waits while there is none.
    pub(crate) async fn parked(&self) -> OwnedSemaphorePermit {
        acquire(&self.parked).await
    }

    /// A place at work for a large fan-out that was parked; in the order of asking, one after the other.
    pub(crate) async fn unpark(&self) -> OwnedSemaphorePermit {
        let _next = self.next_parked.acquire().await.expect("places are never closed");
        self.at_work(Size::Large).await
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
    /// Until the job is at work again, so that jobs on their way back are as few as those that wait.
    aside: Option<OwnedSemaphorePermit>,
}

impl Place {
    pub(crate) fn new(size: Size, at_work: OwnedSemaphorePermit) -> Self {
        Self { size, at_work: Some(at_work), aside: None }
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
        if self.at_work.is_some() {
            self.aside = places.aside(references);
        }
        if self.aside.is_some() {
            self.at_work = None;
        }
        wait.await
    }

    /// Takes a place at work again.
    pub(crate) async fn back(&mut self, places: &Places) {
        if self.at_work.is_none() {
            self.at_work = Some(places.at_work(self.size).await);
            self.aside = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::Notify;
    use tokio::task::{JoinSet, yield_now};

    /// Lets the tasks go on until they wait.
    async fn settle() {
        for _ in 0..100 {
            yield_now().await;
        }
    }

    // one large job stands aside while another works; behind it some are parked
    #[tokio::test]
    async fn who_comes_back_stands_behind_one_parked_job_at_most_and_aside_until_then() {
        let config = Config { jobs: 8, aside: 2 * JOB_ASIDE, ..Config::default() };
        let (places, waited) = (Arc::new(Places::new(&config)), Arc::new(Notify::new()));
        let (order, mut jobs) = (Arc::new(std::sync::Mutex::new(Vec::new())), JoinSet::new());
        let mut first = Place::new(Size::Large, places.at_work(Size::Large).await);
        {
            let (places, waited, order) = (Arc::clone(&places), Arc::clone(&waited), Arc::clone(&order));
            jobs.spawn(async move {
                first.aside(&places, 0, waited.notified()).await;
                first.back(&places).await;
                order.lock().unwrap().push("back");
            });
        }
        settle().await;
        let held = places.at_work(Size::Large).await;
        for _ in 0..5 {
            let (places, order) = (Arc::clone(&places), Arc::clone(&order));
            jobs.spawn(async move {
                let _at_work = places.unpark().await;
                order.lock().unwrap().push("parked");
            });
        }
        settle().await;
        waited.notify_one();
        settle().await;
        assert_eq!(places.aside.available_permits(), JOB_ASIDE, "it is on its way back");
        drop(held);
        jobs.join_all().await;
        assert_eq!(places.aside.available_permits(), 2 * JOB_ASIDE);
        let order = order.lock().unwrap();
        assert_eq!((order.len(), order.iter().position(|one| *one == "back")), (6, Some(1)));
    }
}
