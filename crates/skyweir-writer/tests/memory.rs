//! The memory budget: who leaves, who gets in, and who does not.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use common::{Running, World};
use skyweir_store::{Enrol, EnrolReason, Timelines};
use skyweir_types::ActorId;

/// Room for twenty empty timelines of a store that counts 100 bytes for each and 12 for a reference.
const BUDGET: u64 = 2_000;

async fn world() -> World {
    let mut world = World::new(50);
    world.shape.memory_bytes = BUDGET;
    world.actors(60).await;
    world
}

fn enrolled(world: &World) -> Vec<u32> {
    let mut all: Vec<_> = (0..60).map(ActorId).collect();
    world.timelines.retain_enrolled(&mut all);
    all.iter().map(|viewer| viewer.0).collect()
}

/// Reads a timeline: the wish, or the touch, that it leads to; then lets the writer act.
async fn read(world: &World, writer: &Running, viewer: u32) {
    if enrolled(world).contains(&viewer) {
        writer.handle.touch(ActorId(viewer));
    } else {
        writer.handle.enrol(ActorId(viewer), EnrolReason::Read);
    }
    writer.rest().await;
}

#[tokio::test(start_paused = true)]
async fn a_crawler_takes_nobodys_place_and_who_comes_again_takes_the_least_useful_ones() {
    let mut world = world().await;
    let writer = world.start();
    let readers: Vec<u32> = (0..15).collect();
    for viewer in &readers {
        writer.enrol(&world, *viewer).await;
    }
    world.clock.advance_ms(3_600_000);
    for viewer in &readers {
        read(&world, &writer, *viewer).await;
    }
    // reads each timeline once, in three pages
    for viewer in 15..60 {
        for _ in 0..3 {
            read(&world, &writer, viewer).await;
            world.clock.advance_ms(500);
        }
    }
    let before: Vec<u32> = (0..19).collect();
    assert_eq!(enrolled(&world), before, "four fill nine tenths, the rest is refused");
    // an hour later one comes again
    world.clock.advance_ms(3_600_000);
    read(&world, &writer, 40).await;
    let after: Vec<u32> = (0..15).chain([17, 18, 40]).collect();
    assert_eq!(
        enrolled(&world),
        after,
        "down to nine tenths, and none of those that are read more often left"
    );
    assert!(world.timelines.memory().bytes <= BUDGET * 9 / 10);
    writer.end().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_fan_out_adds_lets_others_leave() {
    let mut world = world().await;
    for viewer in 1..=15 {
        world.follow(viewer, 0).await;
    }
    let mut writer = world.start();
    for viewer in 1..=15 {
        writer.enrol(&world, viewer).await;
        world.clock.advance_ms(120_000);
        read(&world, &writer, viewer).await;
    }
    let mut seen = enrolled(&world).len();
    assert_eq!(seen, 15);
    for sort_at in 0..30 {
        world.post(0, sort_at).await;
        writer.caught_up().await;
        writer.rest().await;
        assert!(world.timelines.memory().bytes <= BUDGET, "after {sort_at}");
        let now = enrolled(&world);
        assert!(now.is_sorted() && now.last() == Some(&15), "the one read last stays: {now:?}");
        assert!(now.len() <= seen);
        seen = now.len();
    }
    assert!((2..8).contains(&seen), "{seen} are left");
    // and each holds all of it
    assert_eq!(world.cached(15).await.unwrap().0.len(), 30);
    writer.end().await.unwrap();
}
