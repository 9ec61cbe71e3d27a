//! Who waits for whom: small fan-outs beside large ones, a stuck shard, and more tasks than can be delivered.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Running, World};
use skyweir_store::{Ask, Deliveries, Fault, HookedTimelines, Operation};
use skyweir_types::ItemId;
use tokio::sync::Semaphore;

/// A small author, and the follower whom they share with the celebrity.
const SMALL: u32 = 130;
const FOLLOWER: u32 = 7;

fn finished(writer: &Running, item: ItemId) -> bool {
    writer.handle.delivery(item).is_some_and(|report| report.finished)
}

fn begun(writer: &Running, items: &[ItemId]) -> usize {
    items.iter().filter(|item| writer.handle.delivery(**item).is_some()).count()
}

/// Account 0 is followed by accounts 1 to 120, forty pages; one of them follows a small author, too. Both posts of a
/// page or more count as large.
async fn crowd() -> World {
    let mut world = World::new(50);
    world.actors(140).await;
    for viewer in 1..=120 {
        world.follow(viewer, 0).await;
    }
    world.follow(FOLLOWER, SMALL).await;
    world.config.large_followers = 3;
    let mut writer = world.start();
    writer.caught_up().await;
    writer.enrol(&world, FOLLOWER).await;
    writer.end().await.unwrap();
    world
}

/// How many pages of others are read before a small author's post is delivered beside so many large fan-outs.
async fn pages_in_front(large: usize) -> u64 {
    let mut world = crowd().await;
    world.config.pages_at_once = 1;
    world.config.jobs = 1_000;
    let slow = Arc::new(Fault::delay(Duration::from_millis(10), |operation| {
        matches!(operation, Operation::Ask(Ask::Followers))
    }));
    let mut writer = world.start_hooked(Arc::clone(&slow) as _);
    let mut items = Vec::new();
    for sort_at in 0..large as i64 {
        items.push(world.post(0, sort_at).await);
    }
    writer.until(async || begun(&writer, &items) == large && slow.fired() > large as u64 + 5).await;
    let before = slow.fired();
    let small = world.post(SMALL, 1_000).await;
    writer.until(async || finished(&writer, small)).await;
    let in_front = slow.fired() - before;
    assert!(items.iter().all(|item| !finished(&writer, *item)), "the large ones are still at work");
    writer.caught_up().await;
    assert!(items.iter().all(|item| writer.report(*item).followers == 120));
    writer.end().await.unwrap();
    in_front
}

#[tokio::test(start_paused = true)]
async fn the_turns_in_front_of_a_small_post_do_not_grow_with_the_large_ones() {
    for large in [1, 5, 50] {
        let in_front = pages_in_front(large).await;
        // its own, one that may come first for its age, and what is read while the reference is written
        assert!(in_front <= 4, "{in_front} pages beside {large} large fan-outs");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_large_posts_is_put_off_for_a_small_one() {
    let mut world = crowd().await;
    world.config.jobs = 16;
    let slow = Arc::new(Fault::delay(Duration::from_millis(10), |operation| {
        matches!(operation, Operation::Ask(Ask::Followers))
    }));
    let mut writer = world.start_hooked(Arc::clone(&slow) as _);
    let mut large = Vec::new();
    for sort_at in 0..60 {
        large.push(world.post(0, sort_at).await);
    }
    let small = world.post(SMALL, 1_000).await;
    writer.until(async || finished(&writer, small)).await;
    assert_eq!(begun(&writer, &large), 2, "an eighth of the places");
    let lag = writer.handle.lag();
    assert_eq!(lag.tasks, 61);
    let accounted: u64 = large[..2].iter().map(|item| 3 * u64::from(writer.report(*item).pages)).sum();
    assert!(lag.references.abs_diff(60 * 120 - accounted) <= 6, "{lag:?}, {accounted} are accounted for");
    writer.caught_up().await;
    assert_eq!(writer.handle.lag().references, 0);
    writer.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn when_no_more_can_be_put_off_the_rest_stays_in_the_log() {
    let mut world = crowd().await;
    (world.config.jobs, world.config.parked, world.config.pages_at_once) = (16, 5, 2);
    let held = Arc::new(Fault::hold(Arc::new(Semaphore::new(0)), |operation| {
        matches!(operation, Operation::Ask(Ask::Followers))
    }));
    let writer = world.start_hooked(Arc::clone(&held) as _);
    for sort_at in 0..8 {
        world.post(0, sort_at).await;
    }
    let small = world.post(SMALL, 1_000).await;
    writer.until(async || held.fired() == 2).await;
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(begun(&writer, &[small]), 0, "two are at work, five put off, the eighth stands before it");
    writer.crash().await;
    // a stop doesn't begin what was put off
    let mut writer = world.start();
    writer.caught_up().await;
    assert!(finished(&writer, small));
    writer.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn pages_that_wait_for_their_writing_do_not_wait_for_a_stuck_shard() {
    let mut world = World::new(50);
    world.page = 800;
    world.actors(1_610).await;
    for viewer in 1..=1_600 {
        world.follow(viewer, 0).await;
    }
    world.config.enrol = skyweir_writer::EnrolMode::All;
    let mut writer = world.start();
    writer.caught_up().await;
    writer.until(async || skyweir_store::Timelines::enrolled(&world.timelines) == 1_610).await;
    writer.until(async || world.cached(1_609).await.is_some()).await;
    writer.end().await.unwrap();
    (world.config.pages_at_once, world.config.shard_queue) = (1, 640);
    let tickets = Arc::new(Semaphore::new(0));
    let stuck = Arc::new(Fault::hold(Arc::clone(&tickets), |operation| {
        matches!(operation, Operation::Apply { shard: 1, .. })
    }));
    let mut writer = world.start_hooked(Arc::clone(&stuck) as _);
    let large = world.post(0, 10).await;
    // one page is with the stuck shard, and the next one waits for room there, without a turn
    writer.until(async || world.cached(1_600).await.is_some_and(|cached| cached.0.len() == 1)).await;
    assert_eq!(stuck.fired(), 1);
    world.follow(6, 1_606).await;
    let small = world.post(1_606, 20).await;
    writer.until(async || finished(&writer, small)).await;
    assert!(!finished(&writer, large));
    tickets.add_permits(100);
    writer.caught_up().await;
    assert_eq!(writer.report(large).written, 1_600);
    writer.end().await.unwrap();
}

/// Thirty posts for a shard that is stuck, with room for a few of them; then one for another shard.
async fn beside_a_stuck_shard(aside: usize) -> bool {
    let mut world = World::new(50);
    world.actors(30).await;
    for (viewer, author) in [(1, 0), (2, 0), (2, 20)] {
        world.follow(viewer, author).await;
    }
    let mut writer = world.start();
    writer.caught_up().await;
    for viewer in [1, 2] {
        writer.enrol(&world, viewer).await;
    }
    writer.end().await.unwrap();
    (world.config.jobs, world.config.shard_queue, world.config.aside) = (8, 16, aside);
    let tickets = Arc::new(Semaphore::new(0));
    let stuck = Arc::new(Fault::hold(Arc::clone(&tickets), |operation| {
        matches!(operation, Operation::Apply { shard: 1, .. })
    }));
    let mut writer = world.start_hooked(Arc::clone(&stuck) as _);
    for sort_at in 0..30 {
        world.post(0, sort_at).await;
    }
    writer.until(async || stuck.fired() == 1).await;
    let other = world.post(20, 100).await;
    for _ in 0..2_000 {
        tokio::task::yield_now().await;
    }
    let passed = finished(&writer, other);
    tickets.add_permits(1_000);
    writer.caught_up().await;
    assert_eq!(world.cached(1).await.unwrap().0.len(), 30);
    assert_eq!(world.cached(2).await.unwrap().0.len(), 31);
    writer.end().await.unwrap();
    passed
}

#[tokio::test(start_paused = true)]
async fn jobs_that_wait_for_a_stuck_shard_stand_aside_within_bounds() {
    assert!(beside_a_stuck_shard(100_000).await, "it had to wait for a shard that isn't its own");
    assert!(!beside_a_stuck_shard(2_000).await, "more stand aside than there is room for");
}

#[tokio::test(start_paused = true)]
async fn a_backlog_stands_in_the_log_and_not_in_memory() {
    let mut world = World::new(50);
    world.actors(20).await;
    for viewer in 1..=4 {
        world.follow(viewer, 0).await;
    }
    let mut writer = world.start();
    for viewer in 1..=4 {
        writer.enrol(&world, viewer).await;
    }
    writer.caught_up().await;
    writer.end().await.unwrap();
    // nine places at work, for seven small ones and a large one; five more aside
    (world.config.jobs, world.config.aside) = (8, 5 * 256);
    let tickets = Arc::new(Semaphore::new(0));
    let held =
        Arc::new(Fault::hold(Arc::clone(&tickets), |operation| matches!(operation, Operation::Apply { .. })));
    let mut writer = world.start_hooked(Arc::clone(&held) as _);
    let mut items = Vec::new();
    for sort_at in 0..500 {
        items.push(world.post(0, sort_at).await);
    }
    writer.until(async || held.fired() == 4).await;
    for _ in 0..2_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(begun(&writer, &items), 12, "all others are in the log only");
    let lag = writer.handle.lag();
    assert_eq!(lag.tasks, 500);
    assert!(lag.references >= 48, "{lag:?}");
    tickets.add_permits(100_000);
    writer.caught_up().await;
    assert_eq!(writer.handle.lag().references, 0);
    assert_eq!(world.cached(3).await.unwrap().0.len(), 50);
    writer.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_task_that_waited_for_a_place_is_as_old_as_it_is() {
    let mut world = World::new(50);
    world.actors(8).await;
    world.follow(1, 0).await;
    world.follow(2, 3).await;
    let mut writer = world.start();
    for viewer in [1, 2] {
        writer.enrol(&world, viewer).await;
    }
    writer.caught_up().await;
    writer.end().await.unwrap();
    world.restart();
    // one place, which who waits keeps
    (world.config.jobs, world.config.aside) = (1, 0);
    let tickets = [1, 2].map(|_| Arc::new(Semaphore::new(0)));
    let [first, last] = [1, 2].map(|viewer| {
        let is_it = move |operation: &Operation<'_>| {
            matches!(operation, Operation::Apply { shard, .. } if *shard == viewer)
        };
        Arc::new(Fault::hold(Arc::clone(&tickets[viewer as usize - 1]), is_it))
    });
    let timelines = HookedTimelines::new(Arc::new(world.timelines.clone()), Arc::clone(&first) as _);
    let timelines = HookedTimelines::new(Arc::new(timelines), Arc::clone(&last) as _);
    let mut writer = world.start_with(Arc::new(world.store.clone()), Arc::new(timelines));
    for sort_at in 0..2 {
        world.post(0, sort_at).await;
    }
    writer.until(async || first.fired() == 1).await;
    writer.rest().await;
    world.post(3, 2).await;
    writer.rest().await;
    world.clock.advance_ms(60_000);
    tickets[0].add_permits(99);
    writer.until(async || last.fired() == 1).await;
    writer.rest().await;
    let lag = writer.handle.lag();
    assert_eq!((lag.tasks, lag.seconds), (1, 60.0));
    tickets[1].add_permits(99);
    writer.caught_up().await;
    writer.end().await.unwrap();
}
