//! A writer that isn't the only one: what others enrol it learns in time.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use common::World;
use skyweir_store::{
    Enrol as _, EnrolReason, Enrolment, Error, Hook, HookedTimelines, LogTasks, MemoryStore, MemoryTimelines,
    Operation, Result, Store, Timelines, Txn, View,
};
use skyweir_types::{ActorId, DidHash, TaskId};
use tokio::sync::{OnceCell, watch};

/// Timelines of which another process enrols some: this one learns it when it asks.
struct OfTwo {
    timelines: MemoryTimelines,
    others: OnceCell<Vec<ActorId>>,
    asked: AtomicU64,
}

#[async_trait]
impl Hook for OfTwo {
    async fn before(&self, operation: &Operation<'_>) -> Result<()> {
        let (Operation::Refresh, Some(others)) = (operation, self.others.get()) else { return Ok(()) };
        if self.asked.fetch_add(1, Ordering::Relaxed) == 0 {
            return Err(Error::Unavailable("no news".into()));
        }
        for viewer in others {
            let enrolment = Enrolment { did_hash: DidHash(0), rate: 1.0, now_us: 1 };
            let generation = self.timelines.begin(*viewer, enrolment).await?;
            assert!(self.timelines.publish(*viewer, generation, &[], i64::MIN, 1).await?);
        }
        Ok(())
    }

    async fn after(&self, _: &Operation<'_>) -> Result<()> {
        Ok(())
    }
}

/// The store of a process that was the indexer: what it shows is from before another one was, until it knows.
struct Behind {
    store: MemoryStore,
    old: Mutex<Vec<Box<dyn View>>>,
}

impl Behind {
    /// Shows what there is now, so many times.
    async fn of(store: &MemoryStore, times: usize) -> Arc<Self> {
        let mut old = Vec::new();
        for _ in 0..times {
            old.push(store.view().await.unwrap());
        }
        Arc::new(Self { store: store.clone(), old: Mutex::new(old) })
    }

    fn knows(&self) -> bool {
        self.old.lock().unwrap().is_empty()
    }
}

#[async_trait]
impl Store for Behind {
    async fn view(&self) -> Result<Box<dyn View>> {
        let old = self.old.lock().unwrap().pop();
        match old {
            Some(old) => Ok(old),
            None => self.store.view().await,
        }
    }

    async fn begin(&self) -> Result<Box<dyn Txn>> {
        self.store.begin().await
    }

    async fn room(&self) {
        self.store.room().await;
    }

    fn next_task(&self) -> watch::Receiver<TaskId> {
        self.store.next_task()
    }

    async fn trim_tasks(&self, kept: TaskId) -> Result<()> {
        self.store.trim_tasks(kept).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_waits_for_a_view_that_is_newer() {
    let mut world = World::new(50);
    world.actors(4).await;
    world.follow(1, 0).await;
    let writer = world.start();
    writer.enrol(&world, 1).await;
    writer.end().await.unwrap();
    world.restart();
    let behind = Behind::of(&world.store, 9).await;
    let (store, timelines): (Arc<dyn Store>, Arc<dyn Timelines>) =
        (Arc::new(world.store.clone()), Arc::new(world.timelines.clone()));
    // the tasks are in Redis for all
    let tasks = Arc::new(LogTasks::new(store, &*timelines));
    let mut writer = world.start_sharing(Arc::clone(&behind) as _, timelines, tasks);
    world.post(0, 10).await;
    writer.caught_up().await;
    assert_eq!(world.cached(1).await, Some((vec![10], i64::MIN)));
    assert!(behind.knows());
    writer.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_enrolment_waits_for_a_view_that_is_newer() {
    let mut world = World::new(50);
    world.actors(4).await;
    world.follow(1, 0).await;
    let behind = Behind::of(&world.store, 9).await;
    // fanned out by another process, before anybody has read the timeline
    world.post(0, 10).await;
    let mut writer = world.start();
    writer.caught_up().await;
    writer.end().await.unwrap();
    world.restart();
    let (store, timelines): (Arc<dyn Store>, Arc<dyn Timelines>) =
        (Arc::new(world.store.clone()), Arc::new(world.timelines.clone()));
    let tasks = Arc::new(LogTasks::new(store, &*timelines));
    let writer = world.start_sharing(Arc::clone(&behind) as _, timelines, tasks);
    writer.handle.enrol(ActorId(1), EnrolReason::Read);
    writer.until_slept(async || world.cached(1).await.is_some()).await;
    assert_eq!(world.cached(1).await, Some((vec![10], i64::MIN)));
    assert!(behind.knows());
    writer.end().await.unwrap();
}

/// One task, before which others enrol these; what their timelines hold after it.
async fn after_one_task(others: &[u32], is_fill: bool) {
    let mut world = World::new(50);
    world.actors(4).await;
    world.follow(2, 0).await;
    if is_fill {
        world.post(0, 10).await;
    }
    world.restart();
    let timelines = world.timelines.clone();
    let hook = Arc::new(OfTwo { timelines, others: OnceCell::new(), asked: AtomicU64::new(0) });
    let hooked = HookedTimelines::new(Arc::new(world.timelines.clone()), Arc::clone(&hook) as _);
    let mut writer = world.start_with(Arc::new(world.store.clone()), Arc::new(hooked));
    writer.caught_up().await;
    hook.others.set(others.iter().copied().map(ActorId).collect()).unwrap();
    match is_fill {
        true => world.follow(1, 0).await,
        false => {
            world.post(0, 10).await;
        }
    }
    writer.caught_up().await;
    assert_eq!(hook.asked.load(Ordering::Relaxed), 2, "tried again after a failure");
    for viewer in others {
        assert_eq!(world.cached(*viewer).await, Some((vec![10], i64::MIN)), "{viewer}");
    }
    writer.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_another_process_enrols_is_known_before_a_task_decides() {
    after_one_task(&[0, 2], false).await;
    after_one_task(&[1], true).await;
}
