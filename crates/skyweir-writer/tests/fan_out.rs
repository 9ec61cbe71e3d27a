//! Fan-outs: who gets what, in which turn, and what the accounting says.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use common::World;
use skyweir_store::{Ask, Error, Fault, Hook, HookedStore, Operation, Result, Store, Txn, View};
use skyweir_types::TaskId;
use tokio::sync::{Semaphore, watch};

/// Account 0 is followed by accounts 1 to `n`.
async fn celebrity(world: &mut World, n: u32) {
    world.actors(n + 10).await;
    for viewer in 1..=n {
        world.follow(viewer, 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn enrolled_followers_get_it_and_the_sums_balance() {
    for served in [false, true] {
        balances(served).await;
    }
}

async fn balances(served: bool) {
    let mut world = World::new(5);
    world.served = served;
    celebrity(&mut world, 10).await;
    world.follow(0, 0).await;
    let mut writer = world.start();
    for viewer in [0, 2, 3, 9] {
        writer.enrol(&world, viewer).await;
    }
    let mut last = world.post(0, 1_000).await;
    for sort_at in [1_004, 1_001, 1_003, 1_002] {
        last = world.post(0, sort_at).await;
    }
    writer.caught_up().await;
    for viewer in [0, 2, 3, 9] {
        assert_eq!(world.cached(viewer).await, Some((vec![1_004, 1_003, 1_002, 1_001, 1_000], i64::MIN)));
    }
    assert_eq!(world.cached(1).await, None);
    let report = writer.report(last);
    assert_eq!((report.followers, report.written, report.hibernating), (10, 3, 7));
    assert!(report.own && report.finished && report.pages == 4, "{report:?}");
    // one over the cap: the oldest leaves and the floor stands there
    world.post(0, 1_005).await;
    let below = world.post(0, 999).await;
    writer.caught_up().await;
    assert_eq!(world.cached(9).await, Some((vec![1_005, 1_004, 1_003, 1_002, 1_001], 1_000)));
    let report = writer.report(below);
    assert_eq!((report.below_floor, report.written, report.hibernating), (3, 0, 7));
    writer.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_write_that_fails_is_tried_again_and_counted_once() {
    for served in [false, true] {
        counts_once(served).await;
    }
}

async fn counts_once(served: bool) {
    let mut world = World::new(5);
    world.served = served;
    celebrity(&mut world, 7).await;
    let writer = world.start();
    for viewer in 1..=7 {
        writer.enrol(&world, viewer).await;
    }
    writer.end().await.unwrap();
    let is_apply = |operation: &Operation<'_>| matches!(operation, Operation::Apply { .. });
    (world.config.retry_least_ms, world.config.retry_most_ms) = (60_000, 60_000);
    let refused = Arc::new(Fault::refuse(is_apply).times(3));
    let mut writer = world.start_hooked(Arc::clone(&refused) as _);
    let item = world.post(0, 50).await;
    // each of the first page's three shards fails once and waits before it tries again
    writer.until(async || refused.fired() == 3 && world.cached(4).await.unwrap().0.len() == 1).await;
    let report = writer.report(item);
    assert!(report.failed >= 3 && report.written == 1 && !report.finished, "{report:?}");
    writer.caught_up().await;
    let lost = Arc::new(Fault::lose_answer(is_apply).times(3));
    writer.end().await.unwrap();
    let mut writer_again = world.start_hooked(Arc::clone(&lost) as _);
    let again = world.post(0, 51).await;
    writer_again.caught_up().await;
    assert_eq!((refused.fired(), lost.fired()), (3, 3));
    let report = writer_again.report(again);
    assert_eq!((report.followers, report.written, report.failed), (7, 7, 0));
    for viewer in 1..=7 {
        assert_eq!(world.cached(viewer).await, Some((vec![51, 50], i64::MIN)));
    }
    writer_again.end().await.unwrap();
}

/// Account 0 is followed by 40 pages of twenty; every twentieth follower is enrolled, all in shard 0.
async fn nearly_empty_pages() -> (World, Vec<u32>) {
    let mut world = World::new(50);
    world.page = 20;
    celebrity(&mut world, 800).await;
    let readers: Vec<u32> = (1..=40).map(|page| page * 20).collect();
    let mut writer = world.start();
    for reader in &readers {
        writer.enrol(&world, *reader).await;
    }
    writer.caught_up().await;
    writer.end().await.unwrap();
    (world, readers)
}

#[tokio::test(start_paused = true)]
async fn the_few_readers_of_many_pages_are_written_in_one_call() {
    for served in [false, true] {
        writes_in_one_call(served).await;
    }
}

async fn writes_in_one_call(served: bool) {
    let (mut world, readers) = nearly_empty_pages().await;
    world.served = served;
    let applied =
        Arc::new(Fault::delay(Duration::ZERO, |operation| matches!(operation, Operation::Apply { .. })));
    let mut writer = world.start_hooked(Arc::clone(&applied) as _);
    let item = world.post(0, 1_000).await;
    writer.caught_up().await;
    assert_eq!(applied.fired(), 1);
    let report = writer.report(item);
    assert_eq!((report.pages, report.followers, report.written, report.hibernating), (40, 800, 40, 760));
    for reader in readers {
        assert_eq!(world.cached(reader).await.unwrap().0, [1_000]);
    }
    writer.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn whom_a_fan_out_has_met_does_not_wait_for_a_page_that_fails() {
    let (mut world, readers) = nearly_empty_pages().await;
    (world.config.retry_least_ms, world.config.retry_most_ms) = (60_000, 60_000);
    let asked = AtomicUsize::new(0);
    let fifth = move |operation: &Operation<'_>| {
        matches!(operation, Operation::Ask(Ask::Followers)) && asked.fetch_add(1, Ordering::Relaxed) == 4
    };
    let refused = Arc::new(Fault::refuse(fifth));
    let mut writer = world.start_hooked(Arc::clone(&refused) as _);
    let item = world.post(0, 1_000).await;
    writer.until(async || world.cached(readers[3]).await.unwrap().0.len() == 1).await;
    let report = writer.report(item);
    assert!(refused.fired() == 1 && report.written == 4 && !report.finished, "{report:?}");
    writer.caught_up().await;
    let report = writer.report(item);
    assert_eq!((report.followers, report.written, report.hibernating), (800, 40, 760));
    writer.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slow_shard_holds_back_its_own_references_only() {
    let mut world = World::new(50);
    celebrity(&mut world, 8).await;
    let writer = world.start();
    for viewer in 1..=8 {
        writer.enrol(&world, viewer).await;
    }
    writer.end().await.unwrap();
    let tickets = Arc::new(Semaphore::new(0));
    let stuck = Arc::new(Fault::hold(Arc::clone(&tickets), |operation| {
        matches!(operation, Operation::Apply { shard: 1, .. })
    }));
    let mut writer = world.start_hooked(Arc::clone(&stuck) as _);
    for sort_at in 0..20 {
        world.post(0, sort_at).await;
    }
    // viewers 2, 3, 4, 6, 7, 8 live in other shards
    writer.until(async || world.cached(8).await.unwrap().0.len() == 20).await;
    for viewer in [2, 3, 4, 6, 7] {
        writer.until(async || world.cached(viewer).await.unwrap().0.len() == 20).await;
    }
    assert_eq!(world.cached(1).await.unwrap().0.len(), 0);
    assert_eq!(stuck.fired(), 1, "one call at a time");
    assert_eq!(writer.handle.lag().tasks, 20);
    tickets.add_permits(1_000);
    writer.caught_up().await;
    assert_eq!(world.cached(1).await.unwrap().0.len(), 20);
    assert!(stuck.fired() <= 3, "what waited is written in one call: {}", stuck.fired());
    writer.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_small_authors_post_passes_between_the_pages_of_a_big_one() {
    let mut world = World::new(50);
    celebrity(&mut world, 300).await;
    world.follow(7, 305).await;
    let writer = world.start();
    writer.enrol(&world, 7).await;
    writer.end().await.unwrap();
    world.config.pages_at_once = 1;
    let slow = Arc::new(Fault::delay(Duration::from_millis(10), |operation| {
        matches!(operation, Operation::Ask(Ask::Followers))
    }));
    let mut writer = world.start_hooked(Arc::clone(&slow) as _);
    let big: Vec<_> = [world.post(0, 1).await, world.post(0, 2).await].into();
    writer.until(async || slow.fired() > 20).await;
    let small = world.post(305, 3).await;
    let before = slow.fired();
    let finished = async |item| {
        skyweir_store::Deliveries::delivery(&writer.handle, item).is_some_and(|report| report.finished)
    };
    writer.until(async || finished(small).await).await;
    assert!(slow.fired() - before <= 8, "{} pages came before", slow.fired() - before);
    assert!(!finished(big[0]).await && !finished(big[1]).await);
    writer.caught_up().await;
    writer.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_waits_after_a_failed_page_holds_no_turn() {
    let mut world = World::new(50);
    celebrity(&mut world, 5).await;
    world.config.pages_at_once = 1;
    (world.config.retry_least_ms, world.config.retry_most_ms) = (60_000, 60_000);
    let refused =
        Arc::new(Fault::refuse(|operation| matches!(operation, Operation::Ask(Ask::Followers))).times(1));
    let mut writer = world.start_hooked(Arc::clone(&refused) as _);
    let unlucky = world.post(0, 1).await;
    writer.until(async || refused.fired() == 1).await;
    let other = world.post(0, 2).await;
    let finished = async |item| {
        skyweir_store::Deliveries::delivery(&writer.handle, item).is_some_and(|report| report.finished)
    };
    writer.until(async || finished(other).await).await;
    assert!(!finished(unlucky).await);
    tokio::time::advance(Duration::from_secs(60)).await;
    writer.caught_up().await;
    assert_eq!(writer.report(unlucky).followers, 5);
    writer.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn jobs_take_turns_on_one_thread_even_if_the_store_answers_at_once() {
    let mut world = World::new(50);
    celebrity(&mut world, 300).await;
    world.follow(7, 305).await;
    let mut writer = world.start();
    writer.enrol(&world, 7).await;
    writer.caught_up().await;
    let big = world.post(0, 1).await;
    let small = world.post(305, 2).await;
    let finished = async |item| {
        skyweir_store::Deliveries::delivery(&writer.handle, item).is_some_and(|report| report.finished)
    };
    writer.until(async || finished(small).await).await;
    assert!(!finished(big).await, "the hundred pages of the other came first");
    writer.caught_up().await;
    assert_eq!(world.cached(7).await, Some((vec![2, 1], i64::MIN)));
    writer.end().await.unwrap();
}

/// A store of which one view is refused for good, from the first time on that any is asked this.
struct Ageing {
    inner: Arc<dyn Store>,
    ask: Ask,
    refused: Arc<AtomicUsize>,
}

/// One view of it.
struct Age {
    ask: Ask,
    refused: Arc<AtomicUsize>,
    is_old: AtomicBool,
}

#[async_trait]
impl Hook for Age {
    async fn before(&self, operation: &Operation<'_>) -> Result<()> {
        if matches!(operation, Operation::Ask(ask) if *ask == self.ask)
            && self.refused.load(Ordering::SeqCst) == 0
        {
            self.is_old.store(true, Ordering::SeqCst);
        }
        if !self.is_old.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.refused.fetch_add(1, Ordering::SeqCst);
        Err(Error::Unavailable("this view is old".into()))
    }

    async fn after(&self, _: &Operation<'_>) -> Result<()> {
        Ok(())
    }
}

#[async_trait]
impl Store for Ageing {
    async fn view(&self) -> Result<Box<dyn View>> {
        let age = Age { ask: self.ask, refused: self.refused.clone(), is_old: AtomicBool::new(false) };
        HookedStore::new(self.inner.clone(), Arc::new(age)).view().await
    }

    async fn begin(&self) -> Result<Box<dyn Txn>> {
        self.inner.begin().await
    }

    fn next_task(&self) -> watch::Receiver<TaskId> {
        self.inner.next_task()
    }

    async fn trim_tasks(&self, kept: TaskId) -> Result<()> {
        self.inner.trim_tasks(kept).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_view_that_is_refused_is_not_asked_for_ever() {
    for ask in [Ask::Tasks, Ask::Items, Ask::Accounts, Ask::Followers, Ask::Feeds] {
        let mut world = World::new(5);
        celebrity(&mut world, 7).await;
        let writer = world.start();
        for viewer in 1..=7 {
            writer.enrol(&world, viewer).await;
        }
        writer.end().await.unwrap();
        world.restart();
        let refused = Arc::new(AtomicUsize::new(0));
        let store = Ageing { inner: Arc::new(world.store.clone()), ask, refused: refused.clone() };
        let mut writer = world.start_with(Arc::new(store), Arc::new(world.timelines.clone()));
        world.post(0, 1_000).await;
        world.follow(1, 3).await;
        tokio::time::timeout(Duration::from_secs(3_600), writer.caught_up()).await.expect("it goes on");
        for viewer in 1..=7 {
            assert_eq!(world.cached(viewer).await, Some((vec![1_000], i64::MIN)));
        }
        assert!(refused.load(Ordering::SeqCst) > 0, "{ask:?} was refused");
        writer.end().await.unwrap();
    }
}
