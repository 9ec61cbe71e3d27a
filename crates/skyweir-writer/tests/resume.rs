//! A fan-out that two writers have, one after the other: it goes on behind what is written, and its sums with it.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use std::sync::Arc;

use common::World;
use common::shared::{Pool, State};
use skyweir_store::{Ask, DeliveryReport, Fault, Hook, HookedStore, HookedTimelines, LogTasks, Operation};
use skyweir_types::{ActorId, TaskId};
use tokio::sync::Semaphore;

/// The accounts from 1 to `n` follow account 0; all but every third one are enrolled, and nothing is left to do.
async fn world(n: u32) -> (World, Arc<Pool>) {
    let mut world = World::new(5);
    world.actors(n + 10).await;
    for viewer in 1..=n {
        world.follow(viewer, 0).await;
    }
    let mut writer = world.start();
    for viewer in (1..=n).filter(|viewer| viewer % 3 > 0) {
        writer.enrol(&world, viewer).await;
    }
    writer.caught_up().await;
    writer.end().await.unwrap();
    world.restart();
    let pool = Pool::new(LogTasks::new(Arc::new(world.store.clone()), &world.timelines));
    (world, pool)
}

fn start(world: &World, pool: &Arc<Pool>, name: u32, hook: Arc<dyn Hook>) -> common::Running {
    let store = HookedStore::new(Arc::new(world.store.clone()), Arc::clone(&hook));
    let timelines = HookedTimelines::new(Arc::new(world.timelines.clone()), hook);
    world.start_sharing(Arc::new(store), Arc::new(timelines), pool.member(name))
}

fn is_page(operation: &Operation<'_>) -> bool {
    matches!(operation, Operation::Ask(Ask::Followers))
}

fn whole(report: DeliveryReport, followers: u64) {
    let sum = report.written + report.below_floor + report.sampled_out + report.hibernating;
    assert_eq!((report.followers, sum), (followers, followers), "{report:?}");
    assert_eq!((report.hibernating, report.pages, report.finished), (followers / 3, 4, true), "{report:?}");
}

async fn all_have_it(world: &World, n: u32) {
    for viewer in 1..=n {
        let wanted = (viewer % 3 > 0).then_some((vec![1_000], i64::MIN));
        assert_eq!(world.cached(viewer).await, wanted, "{viewer}");
    }
}

/// The third page can't be written; the fourth is, and doesn't count before it.
#[tokio::test(start_paused = true)]
async fn the_next_owner_goes_on_behind_the_last_page_that_is_written_with_all_before() {
    let (mut world, pool) = world(11).await;
    // so that no other page is held back with it
    world.config.shard_batch = 1;
    let third = |operation: &Operation<'_>| {
        let Operation::Apply { deliveries, .. } = operation else { return false };
        deliveries.iter().any(|delivery| delivery.viewers.contains(&ActorId(8)))
    };
    let held = Arc::new(Fault::hold(Arc::new(Semaphore::new(0)), third));
    let first = start(&world, &pool, 1, Arc::clone(&held) as _);
    let task = *first.handle.done().borrow();
    let item = world.post(0, 1_000).await;
    let reached = |state: &State| state.reached.get(&task).map(|reached| (reached.after, reached.sums.pages));
    let is_there = async || world.cached(11).await.is_some_and(|(held, _)| held.len() == 1);
    first.until(is_there).await;
    first.until(async || reached(&pool.state()).is_some_and(|(after, _)| after >= ActorId(6))).await;
    first.rest().await;
    assert_eq!((reached(&pool.state()), held.fired()), (Some((ActorId(6), 2)), 1));
    first.crash().await;
    pool.free(task);
    let pages = Arc::new(Fault::hold(Arc::new(Semaphore::new(99)), is_page));
    let mut second = start(&world, &pool, 2, Arc::clone(&pages) as _);
    second.caught_up().await;
    assert_eq!((pages.fired(), &pool.state().finished), (2, &vec![(task, 2)]), "two pages are left");
    whole(second.report(item), 11);
    all_have_it(&world, 11).await;
    second.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_has_lost_its_task_stops_and_what_it_says_is_late() {
    let (mut world, pool) = world(11).await;
    let tickets = Arc::new(Semaphore::new(2));
    let pages = Arc::new(Fault::hold(Arc::clone(&tickets), is_page));
    let first = start(&world, &pool, 1, Arc::clone(&pages) as _);
    let task = *first.handle.done().borrow();
    let item = world.post(0, 1_000).await;
    first.until(async || pages.fired() == 3).await;
    first.until(async || world.cached(5).await.is_some_and(|(held, _)| held.len() == 1)).await;
    pool.free(task);
    let mut second = start(&world, &pool, 2, Arc::new(Fault::hold(Arc::new(Semaphore::new(99)), is_page)));
    second.caught_up().await;
    whole(second.report(item), 11);
    tickets.add_permits(9);
    first.rest().await;
    assert_eq!((pages.fired(), &pool.state().finished), (3, &vec![(task, 2)]));
    assert!(!first.report(item).finished, "it has left that to the other");
    all_have_it(&world, 11).await;
    first.end().await.unwrap();
    second.end().await.unwrap();
}

/// At its stop it gives back what isn't finished, at once.
#[tokio::test(start_paused = true)]
async fn who_stops_gives_back_what_it_has() {
    let (mut world, pool) = world(11).await;
    let pages = Arc::new(Fault::hold(Arc::new(Semaphore::new(1)), is_page));
    let first = start(&world, &pool, 1, Arc::clone(&pages) as _);
    let task = *first.handle.done().borrow();
    let item = world.post(0, 1_000).await;
    first.until(async || pages.fired() == 2).await;
    first.end().await.unwrap();
    let mut second = start(&world, &pool, 2, Arc::new(Fault::hold(Arc::new(Semaphore::new(99)), is_page)));
    second.caught_up().await;
    whole(second.report(item), 11);
    assert_eq!(pool.state().finished, [(task, 2)]);
    assert_eq!(*second.handle.done().borrow(), TaskId(task.0 + 1));
    second.end().await.unwrap();
}

/// Nobody of them is enrolled, so nothing is ever sent that would end a stretch.
#[tokio::test(start_paused = true)]
async fn pages_without_anybody_enrolled_are_not_all_read_again() {
    let (pages, mut world) = (100, World::new(5));
    world.page = 10;
    let followers = pages * world.page as u32;
    world.actors(followers + 1).await;
    for viewer in 1..=followers {
        world.follow(viewer, 0).await;
    }
    let pool = Pool::new(LogTasks::new(Arc::new(world.store.clone()), &world.timelines));
    let mut calm = start(&world, &pool, 0, Arc::new(Fault::hold(Arc::new(Semaphore::new(99)), |_| false)));
    calm.caught_up().await;
    calm.end().await.unwrap();
    let held = Arc::new(Fault::hold(Arc::new(Semaphore::new(pages as usize - 1)), is_page));
    let first = start(&world, &pool, 1, Arc::clone(&held) as _);
    let task = *first.handle.done().borrow();
    let item = world.post(0, 1_000).await;
    first.until(async || held.fired() == u64::from(pages)).await;
    first.crash().await;
    pool.free(task);
    let again = Arc::new(Fault::hold(Arc::new(Semaphore::new(999)), is_page));
    let mut second = start(&world, &pool, 2, Arc::clone(&again) as _);
    second.caught_up().await;
    assert!(again.fired() < 40, "{} pages are read again", again.fired());
    let report = second.report(item);
    assert_eq!((report.pages, report.hibernating), (pages, followers.into()), "{report:?}");
    second.end().await.unwrap();
}
