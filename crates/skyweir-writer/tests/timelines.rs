//! Generations, follows and unfollows, hibernation, restarts.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::World;
use skyweir_store::{Ask, Enrol, EnrolReason, Fault, Operation, Store, Timelines};
use skyweir_types::{ActorId, TaskId};
use skyweir_writer::EnrolMode;
use tokio::sync::Semaphore;

#[tokio::test(start_paused = true)]
async fn a_post_in_the_middle_of_an_enrolment_is_not_lost() {
    let mut world = World::new(50);
    world.actors(4).await;
    world.follow(1, 0).await;
    world.post(0, 10).await;
    let tickets = Arc::new(Semaphore::new(0));
    let held =
        Arc::new(Fault::hold(Arc::clone(&tickets), |operation| matches!(operation, Operation::Publish(_))));
    let mut writer = world.start_hooked(Arc::clone(&held) as _);
    writer.caught_up().await;
    writer.handle.enrol(ActorId(1), EnrolReason::Read);
    writer.until(async || held.fired() == 1).await;
    world.post(0, 20).await;
    writer.caught_up().await;
    assert_eq!(world.cached(1).await, None, "nothing answers before publication");
    tickets.add_permits(1);
    writer.until(async || world.cached(1).await.is_some()).await;
    assert_eq!(world.cached(1).await, Some((vec![20, 10], i64::MIN)));
    writer.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_account_that_cannot_be_read_holds_up_no_others() {
    let mut world = World::new(50);
    world.actors(4).await;
    world.post(0, 10).await;
    world.config.enrol_at_once = 1;
    let refused =
        Arc::new(Fault::refuse(|operation| matches!(operation, Operation::Ask(Ask::Dids))).times(1));
    let writer = world.start_hooked(Arc::clone(&refused) as _);
    for viewer in [1, 2] {
        writer.handle.enrol(ActorId(viewer), EnrolReason::Read);
    }
    writer.until(async || world.cached(2).await.is_some()).await;
    assert_eq!((refused.fired(), world.cached(1).await), (1, None));
    writer.enrol(&world, 1).await;
    writer.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn follows_fill_and_unfollows_free_room() {
    let mut world = World::new(4);
    world.actors(4).await;
    for sort_at in 1..=6 {
        world.post(0, sort_at * 10).await;
    }
    for sort_at in [25, 35] {
        world.post(2, sort_at).await;
    }
    let mut writer = world.start();
    writer.enrol(&world, 1).await;
    world.follow(1, 2).await;
    writer.caught_up().await;
    assert_eq!(world.cached(1).await, Some((vec![35, 25], i64::MIN)));
    // more items than the cap: the fill stops early, and the floor says so
    world.follow(1, 0).await;
    writer.caught_up().await;
    assert_eq!(world.cached(1).await, Some((vec![60, 50, 40, 35], 30)));
    world.unfollow(1, 0).await;
    writer.caught_up().await;
    assert_eq!(world.cached(1).await, Some((vec![35], 30)));
    // too little is left above the floor: a new generation brings it down, once it is old enough
    writer.handle.enrol(ActorId(1), EnrolReason::FloorHigh);
    writer.until(async || writer.handle.lag().tasks == 0).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.cached(1).await, Some((vec![35], 30)), "not so soon");
    world.clock.advance_ms(300_000);
    writer.handle.enrol(ActorId(1), EnrolReason::FloorHigh);
    writer.until(async || world.cached(1).await == Some((vec![35, 25], i64::MIN))).await;
    writer.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_purge_that_comes_after_a_refollow_takes_nothing() {
    let mut world = World::new(4);
    world.actors(4).await;
    world.post(0, 10).await;
    world.follow(1, 0).await;
    let tickets = Arc::new(Semaphore::new(0));
    let held =
        Arc::new(Fault::hold(Arc::clone(&tickets), |operation| matches!(operation, Operation::Purge { .. })));
    let mut writer = world.start_hooked(Arc::clone(&held) as _);
    writer.enrol(&world, 1).await;
    world.unfollow(1, 0).await;
    writer.until(async || held.fired() == 1).await;
    world.follow(1, 0).await;
    world.post(0, 20).await;
    writer.until(async || world.cached(1).await == Some((vec![20, 10], i64::MIN))).await;
    tickets.add_permits(1);
    writer.caught_up().await;
    assert_eq!(world.cached(1).await, Some((vec![20, 10], i64::MIN)));
    writer.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn rates_follow_the_number_of_follows() {
    let mut world = World::new(50);
    world.config.reasonable_limit = 4;
    world.actors(40).await;
    for author in 1..=4 {
        world.follow(0, author).await;
    }
    let mut writer = world.start();
    writer.enrol(&world, 0).await;
    assert_eq!(world.rate(0).await, 1.0);
    for author in 5..=16 {
        world.follow(0, author).await;
    }
    writer.caught_up().await;
    assert!((world.rate(0).await - 0.25).abs() <= 0.025, "{}", world.rate(0).await);
    for sort_at in 0..400 {
        world.post(sort_at as u32 % 16 + 1, sort_at).await;
    }
    let item = world.post(1, 1_000).await;
    writer.caught_up().await;
    let report = writer.report(item);
    assert_eq!(report.written + report.sampled_out, 1);
    let kept = world.cached(0).await.unwrap().0.len();
    assert!((30..=50).contains(&kept), "{kept} of 400 at a quarter, cap 50");
    for author in 5..=16 {
        world.unfollow(0, author).await;
    }
    writer.until(async || world.cached(0).await.is_some() && world.rate(0).await == 1.0).await;
    writer.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn idle_timelines_hibernate_and_all_are_enrolled_when_told_so() {
    let mut world = World::new(50);
    world.actors(6).await;
    world.follow(1, 0).await;
    let writer = world.start();
    for viewer in [1, 2, 3] {
        writer.enrol(&world, viewer).await;
    }
    world.clock.advance_ms(60_000);
    writer.handle.touch(ActorId(2));
    world.clock.advance_ms(25 * 3_600_000);
    // the paused clock goes on to the next round of housekeeping
    writer.until_slept(async || world.timelines.enrolled() == 1).await;
    assert!(world.cached(2).await.is_some(), "visited again");
    writer.end().await.unwrap();

    world.config.enrol = EnrolMode::All;
    let mut writer = world.start();
    writer.until(async || world.timelines.enrolled() == 6).await;
    world.actors(9).await;
    world.follow(8, 0).await;
    world.post(0, 77).await;
    writer.caught_up().await;
    writer.until(async || world.cached(8).await == Some((vec![77], i64::MIN))).await;
    world.clock.advance_ms(1_000 * 3_600_000);
    writer.until_slept(async || true).await;
    assert_eq!(world.timelines.enrolled(), 9);
    writer.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn references_to_what_has_left_are_dropped_once_for_an_hour() {
    const HOUR: i64 = 3_600_000;
    let mut world = World::new(50);
    world.actors(3).await;
    world.follow(1, 0).await;
    let mut writer = world.start();
    writer.enrol(&world, 1).await;
    for hour in 1..=4 {
        world.post(0, hour * HOUR).await;
    }
    writer.caught_up().await;
    let held = |hours: &[i64]| hours.iter().map(|hour| hour * HOUR).collect::<Vec<_>>();
    world.raise_horizon(2 * HOUR).await;
    writer.until_slept(async || world.cached(1).await == Some((held(&[4, 3, 2]), 2 * HOUR - 1))).await;
    world.raise_horizon(3 * HOUR - 1).await;
    writer.until_slept(async || true).await;
    assert_eq!(world.cached(1).await, Some((held(&[4, 3, 2]), 2 * HOUR - 1)), "it rose by less than an hour");
    world.raise_horizon(3 * HOUR).await;
    writer.until_slept(async || world.cached(1).await == Some((held(&[4, 3]), 3 * HOUR - 1))).await;
    writer.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_restart_misses_nothing_and_the_log_is_cut_behind_it() {
    let mut world = World::new(50);
    world.actors(6).await;
    for viewer in 1..=5 {
        world.follow(viewer, 0).await;
    }
    let mut writer = world.start();
    for viewer in 1..=5 {
        writer.enrol(&world, viewer).await;
    }
    world.post(0, 10).await;
    writer.caught_up().await;
    writer.end().await.unwrap();
    assert_eq!(world.store.view().await.unwrap().tasks(TaskId(0), 10).await.unwrap(), []);

    // a crash: the rings are those of the checkpoint, the log still has what came after
    let mut writer = world.start();
    world.post(0, 20).await;
    writer.caught_up().await;
    writer.crash().await;
    world.restart();
    assert_eq!(world.cached(3).await, Some((vec![10], i64::MIN)));
    let held = Arc::new(Fault::hold(Arc::new(Semaphore::new(0)), |operation| {
        matches!(operation, Operation::Ask(Ask::Followers))
    }));
    let writer = world.start_hooked(Arc::clone(&held) as _);
    writer.until(async || held.fired() == 1).await;
    assert!(!writer.handle.caught_up(), "reads merge until the replay is done");
    writer.crash().await;
    let mut writer = world.start();
    writer.caught_up().await;
    assert!(writer.handle.caught_up());
    for viewer in 1..=5 {
        assert_eq!(world.cached(viewer).await, Some((vec![20, 10], i64::MIN)));
    }
    writer.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn fills_are_work_that_makes_a_checkpoint_due() {
    let mut world = World::new(50);
    world.actors(3).await;
    world.config.checkpoint_work_seconds = 15;
    world.config.checkpoint_seconds = 1_000_000;
    let slow =
        Arc::new(Fault::delay(Duration::from_secs(20), |operation| matches!(operation, Operation::Fill(_))));
    let mut writer = world.start_hooked(Arc::clone(&slow) as _);
    writer.enrol(&world, 1).await;
    world.follow(1, 0).await;
    writer.caught_up().await;
    let logged = async || world.store.view().await.unwrap().tasks(TaskId(0), 10).await.unwrap().len();
    assert_eq!(slow.fired(), 1);
    writer.until_slept(async || logged().await == 0).await;
    writer.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn timelines_are_saved_also_when_the_log_can_not_be_cut() {
    let mut world = World::new(50);
    world.actors(3).await;
    world.follow(1, 0).await;
    let refused = Arc::new(Fault::refuse(|operation| matches!(operation, Operation::TrimTasks(_))).times(1));
    let mut writer = world.start_hooked(Arc::clone(&refused) as _);
    writer.enrol(&world, 1).await;
    world.post(0, 10).await;
    writer.caught_up().await;
    writer.end().await.unwrap();
    assert_eq!(refused.fired(), 1);
    let logged =
        async |world: &World| world.store.view().await.unwrap().tasks(TaskId(0), 10).await.unwrap().len();
    assert_eq!(logged(&world).await, 2);
    let writer = world.start();
    assert_eq!(world.cached(1).await, Some((vec![10], i64::MIN)));
    assert_eq!(world.timelines.restored(), TaskId(3));
    writer.end().await.unwrap();
    assert_eq!(logged(&world).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_waits_for_a_while_then_leaves_the_rest_to_the_next_start() {
    let mut world = World::new(50);
    world.actors(3).await;
    world.follow(1, 0).await;
    let tickets = Arc::new(Semaphore::new(0));
    let held = Arc::new(Fault::hold(tickets, |operation| matches!(operation, Operation::Apply { .. })));
    let mut writer = world.start_hooked(Arc::clone(&held) as _);
    writer.enrol(&world, 1).await;
    writer.caught_up().await;
    world.post(0, 10).await;
    writer.until(async || held.fired() == 1).await;
    writer.end().await.unwrap();
    let mut writer = world.start();
    writer.caught_up().await;
    assert_eq!(world.cached(1).await, Some((vec![10], i64::MIN)));
    writer.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_heard_while_the_log_can_not_be_read() {
    let mut world = World::new(50);
    world.actors(2).await;
    for ask in [Ask::Tasks, Ask::Items] {
        let refused =
            Arc::new(Fault::refuse(move |operation| matches!(operation, Operation::Ask(it) if *it == ask)));
        let writer = world.start_hooked(Arc::clone(&refused) as _);
        world.post(0, 10).await;
        writer.until(async || refused.fired() > 0).await;
        tokio::time::timeout(Duration::from_secs(60), writer.end()).await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn corruption_ends_the_writer() {
    let mut world = World::new(50);
    world.actors(3).await;
    let writer = world.start();
    writer.end().await.unwrap();
    world.restart();
    // a log without a task that it must have
    for _ in 0..3 {
        world.post(0, 10).await;
    }
    let timelines = world.timelines.clone();
    world.store.trim_tasks(TaskId(3)).await.unwrap();
    assert_eq!(timelines.restored(), TaskId(1));
    let error = world.start().ends().await.unwrap_err().to_string();
    assert!(error.contains("task 1 is missing"), "{error}");
}
