//! The relay's own test scenarios, as far as they concern one who trusts a relay.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;
mod world;

use serde_json::Value as Json;
use skyweir_indexer::Skip;
use skyweir_indexer::decode::firehose_frame;
use skyweir_loadtest::encode_dag_cbor;
use skyweir_types::{AccountStatus, AcrossAccounts, Collection, Tid};
use world::World;

const OWNER: &str = "44ybard66vv44zksje25o7dz";

/// Decodes and applies all frames of a scenario; each has to be readable, but for those whose rev is no TID.
async fn play(name: &str) -> Option<World> {
    let text = common::shared(&format!("indigo/relay-testing/{name}.json"))?;
    let scenario: Json = serde_json::from_slice(&text).unwrap();
    let mut world = World::new(AcrossAccounts::Upstream).await;
    for message in scenario["messages"].as_array().unwrap() {
        let frame = &message["frame"];
        let bytes = [encode_dag_cbor(&frame["header"]), encode_dag_cbor(&frame["body"])].concat();
        let decoded = firehose_frame(&bytes);
        let is_odd = frame["body"]["rev"].as_str().is_some_and(|rev| Tid::parse(rev).is_err());
        assert!(!is_odd || message["drop"] == true);
        let skipped = if is_odd { vec![Skip::BadRev] } else { vec![] };
        assert_eq!((decoded.position, decoded.skipped), (frame["body"]["seq"].as_u64(), skipped), "{frame}");
        world.frame(&decoded.events).await;
    }
    Some(world)
}

#[tokio::test]
async fn posts_come_and_go() {
    let Some(world) = play("post_lifecycle").await else { return };
    assert_eq!(world.keys(OWNER).await, ["3lmxk35znys2k"]);
    assert_eq!(world.lives(OWNER, Collection::Post, "3lmxjzlexp22k").await, Some(false));
    let Some(world) = play("post_lifecycle_legacy").await else { return };
    assert_eq!(world.lives(OWNER, Collection::Post, "3llxv7pnd3s2q").await, Some(false));
    assert!(world.items(OWNER).await.is_empty());
}

#[tokio::test]
async fn accounts_come_and_go() {
    let Some(world) = play("account_lifecycle").await else { return };
    let row = world.account("vvpy7d6y2li5yo73cgbszibl").await;
    assert_eq!((row.status, row.sync), (AccountStatus::Deleted, None));
    // a relay passes no commit of an inactive account on; if one comes all the same, it is applied and hidden, as in
    // the official AppView. Here its post is deleted after the return.
    let Some(world) = play("deactivation").await else { return };
    assert_eq!(world.account(OWNER).await.status, AccountStatus::Active);
    assert_eq!(world.lives(OWNER, Collection::Post, "3llxv7pnd3s2q").await, Some(false));
    let Some(world) = play("legacy").await else { return };
    assert_eq!(world.account(OWNER).await.status, AccountStatus::Active);
}

#[tokio::test]
async fn of_collections_that_are_not_ours_nothing_is_kept() {
    let Some(world) = play("rev_ordering").await else { return };
    assert!(world.items(OWNER).await.is_empty());
    assert_eq!(world.store_actors().await, 0);
}
