//! Who draws most writes is found, and what the lossy limit takes off is seen.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use common::World;
use skyweir_store::Timelines;
use skyweir_types::ActorId;
use skyweir_writer::{EnrolMode, HotReport};

const MASS_FOLLOWER: u32 = 7;
const AUTHORS: std::ops::Range<u32> = 100..140;

/// Every author has eight followers of its own and the mass follower; each posts five times.
async fn posted(world: &mut World) -> HotReport {
    world.actors(500).await;
    for author in AUTHORS {
        world.follow(MASS_FOLLOWER, author).await;
        for own in 0..8 {
            world.follow(140 + (author - 100) * 8 + own, author).await;
        }
    }
    world.config.enrol = EnrolMode::All;
    let mut writer = world.start();
    writer.until(async || world.timelines.enrolled() == 500).await;
    // the snapshot of who follows many is taken anew by now
    tokio::time::advance(std::time::Duration::from_secs(3_600)).await;
    writer.caught_up().await;
    for round in 0..5 {
        for author in AUTHORS {
            world.post(author, i64::from(round * 1_000 + author)).await;
        }
    }
    writer.caught_up().await;
    let report = writer.handle.hot(5).await.unwrap();
    writer.end().await.unwrap();
    report
}

#[tokio::test(start_paused = true)]
async fn a_mass_follower_is_found_and_the_lossy_limit_relieves_its_shard() {
    let mut world = World::new(800);
    let report = posted(&mut world).await;
    let hottest = &report.timelines[0];
    assert_eq!(hottest.did, format!("did:web:a{MASS_FOLLOWER}.example"));
    assert_eq!((hottest.follows, hottest.rate), (40, Some(1.0)));
    assert_eq!(hottest.enrolled_since_ms, Some(common::START_US / 1_000));
    let shard = world.timelines.shard_of(ActorId(MASS_FOLLOWER));
    assert_eq!((hottest.shard, report.shards[0].shard), (shard, shard));
    // one of ten: the author, eight followers, and it
    let share = hottest.writes_per_second / report.writes_per_second;
    assert!((0.07..0.13).contains(&share), "{report:#?}");
    assert!(hottest.over_by_at_most < hottest.writes_per_second / 10.0);
    assert_eq!((report.timelines.len(), report.shards.len()), (5, 4));

    let mut world = World::new(800);
    world.config.reasonable_limit = 4;
    let relieved = posted(&mut world).await;
    let found = relieved.timelines.iter().find(|one| one.did == hottest.did);
    let writes = found.map_or(0.0, |one| one.writes_per_second);
    assert!(writes < hottest.writes_per_second / 5.0, "{relieved:#?}");
}
