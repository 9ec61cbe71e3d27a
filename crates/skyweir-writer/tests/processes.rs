//! A writer that isn't the only one: what others enrol it learns in time.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use common::World;
use skyweir_store::{
    Enrolment, Error, Hook, HookedTimelines, MemoryTimelines, Operation, Result, Timelines as _,
};
use skyweir_types::{ActorId, DidHash};
use tokio::sync::OnceCell;

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
