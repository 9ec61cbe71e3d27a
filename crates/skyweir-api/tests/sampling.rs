//! Lossy accounts: the same sample from the cache, from the merge, and across the floor.

mod common;

use common::serve::Served;
use common::{Wish, World, cid};
use skyweir_proto::skyweir::v1::GetTimelineRequest;

/// `eve` follows four accounts; with a reasonable limit of two she sees a half.
async fn half() -> World {
    let mut world = World::new();
    world.config.reasonable_limit = 2;
    for n in 0..4 {
        world.follow("eve", &format!("author{n}"), &format!("f{n}")).await;
        for post in 0..30u8 {
            world.post(&format!("author{n}"), &format!("p{post}"), i64::from(post), cid(post)).await;
        }
    }
    for post in 0..10u8 {
        world.post("eve", &format!("own{post}"), i64::from(post) * 3, cid(100 + post)).await;
    }
    world
}

#[tokio::test]
async fn every_path_draws_alike() {
    let mut world = half().await;
    let expected = world.timeline("eve", 0.5).await;
    assert!((45..95).contains(&expected.len()), "{}", expected.len());
    assert_eq!(expected.iter().filter(|(uri, _)| uri.contains("did:plc:eve")).count(), 10);
    let mut served = Served::world(&world).await;
    assert_eq!(served.walk_all("eve", &[7]).await, expected);
    for floor in [i64::MIN, 0, 13, 29] {
        world.enrol("eve", 0.5, floor).await;
        assert_eq!(served.walk_all("eve", &[7]).await, expected, "floor {floor}");
    }
}

#[tokio::test]
async fn a_rate_too_high_is_lowered_for_the_read_at_once() {
    let mut world = half().await;
    let eve = world.actor("eve").await;
    world.enrol("eve", 1.0, 13).await;
    let mut served = Served::world(&world).await;
    assert_eq!(served.walk_all("eve", &[100]).await, world.timeline("eve", 0.5).await);
    assert!(world.wishes.take().contains(&Wish::Lower(eve, 0.5)));
}

#[tokio::test]
async fn what_the_draw_leaves_out_counts_against_the_scan_limit() {
    let mut world = World::new();
    world.config.reasonable_limit = 1;
    world.config.scan_limit = 40;
    for n in 0..100 {
        world.follow("eve", &format!("author{n}"), &format!("f{n}")).await;
    }
    for post in 0..200u8 {
        world.post("author7", &format!("p{post}"), post.into(), cid(post)).await;
    }
    let expected = world.timeline("eve", 0.01).await;
    assert!(expected.len() < 10, "{}", expected.len());
    let mut served = Served::world(&world).await;
    let page = served.page("eve", 50, "").await.unwrap();
    assert!(page.items.len() < 5 && !page.cursor.is_empty(), "a short page with a cursor");
    assert_eq!(served.walk_all("eve", &[50]).await, expected);
}

#[tokio::test]
async fn a_rate_within_a_tenth_stays_the_generations() {
    let mut world = half().await;
    world.enrol("eve", 0.52, 13).await;
    let mut served = Served::world(&world).await;
    assert_eq!(served.walk_all("eve", &[9]).await, world.timeline("eve", 0.52).await);
}

#[tokio::test]
async fn our_own_api_says_so() {
    let mut world = half().await;
    world.enrol("eve", 0.5, 13).await;
    let mut served = Served::world(&world).await;
    let request = |name: &str| GetTimelineRequest {
        actor_did: format!("did:plc:{name}"),
        limit: 100,
        ..GetTimelineRequest::default()
    };
    let page = served.own.get_timeline(request("eve")).await.unwrap().into_inner();
    assert!(page.sampled);
    assert_eq!(page.rate, 0.5);
    assert_eq!(page.from_cache + page.from_merge, page.items.len() as u32);
    assert!(page.from_cache > 0 && page.from_merge > 0);
    assert!(page.items.is_sorted_by_key(|item| -item.sort_at));
    let page = served.own.get_timeline(request("author1")).await.unwrap().into_inner();
    assert!(!page.sampled);
    assert_eq!((page.rate, page.items.len(), page.cursor.as_str()), (1.0, 30, ""));
}
