//! Follows, accounts and resyncs, applied: contract, rules 7–9, and the words of design.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod world;

use skyweir_indexer::Outcome::{Applied, Stale, Unchanged};
use skyweir_store::Task;
use skyweir_types::AcrossAccounts::{Slips, Upstream};
use skyweir_types::Collection::{Follow, Post, Repost};
use skyweir_types::{AccountStatus, Body, Tid};
use world::{World, account, at_rev, delete, event, follow, post, repost, rev, sync};

#[tokio::test]
async fn an_edge_lives_as_long_as_one_of_its_records() {
    for across in [Slips, Upstream] {
        let mut world = World::new(across).await;
        world.apply(&[follow("v", 1, "k1", "a"), follow("v", 2, "k2", "a"), follow("v", 3, "k3", "a")]).await;
        let (viewer, author) = (world.actor("v").await, world.actor("a").await);
        assert_eq!(world.tasks().await, [Task::Fill { viewer, author }], "once, however many records say it");
        world.apply(&[delete("v", 4, Follow, "k1"), delete("v", 5, Follow, "k3")]).await;
        assert!(world.follows("v", "a").await);
        assert_eq!(world.tasks().await, []);
        world.apply(&[delete("v", 6, Follow, "k2")]).await;
        assert!(!world.follows("v", "a").await);
        assert_eq!(world.tasks().await, [Task::Purge { viewer, author }]);
        // a late create loses, a new follow counts
        world.apply(&[follow("v", 2, "k2", "a")]).await;
        assert!(!world.follows("v", "a").await);
        world.apply(&[follow("v", 7, "k4", "a")]).await;
        assert_eq!(world.tasks().await, [Task::Fill { viewer, author }]);
    }
}

#[tokio::test]
async fn an_updated_follow_has_the_new_subject() {
    let mut world = World::new(Slips).await;
    world.apply(&[follow("v", 1, "k", "a")]).await;
    world.tasks().await;
    world.apply(&[follow("v", 2, "k", "b")]).await;
    assert_eq!((world.follows("v", "a").await, world.follows("v", "b").await), (false, true));
    let (viewer, a, b) = (world.actor("v").await, world.actor("a").await, world.actor("b").await);
    assert_eq!(world.tasks().await, [Task::Purge { viewer, author: a }, Task::Fill { viewer, author: b }]);
    assert_eq!(world.apply(&[at_rev(follow("v", 2, "k", "b"), 3)]).await, [Unchanged]);
    assert_eq!(world.tasks().await, []);
}

#[tokio::test]
async fn a_follow_of_oneself_leaves_no_work() {
    let mut world = World::new(Slips).await;
    assert_eq!(
        world.apply(&[follow("v", 1, "k", "v"), delete("v", 2, Follow, "k")]).await,
        [Applied, Applied]
    );
    assert_eq!(world.tasks().await, []);
}

#[tokio::test]
async fn hidden_accounts_keep_everything() {
    for status in [AccountStatus::Hidden, AccountStatus::Active] {
        let mut world = World::new(Slips).await;
        world.apply(&[post("a", 1, "p", "x"), follow("a", 2, "k", "b"), repost("b", 3, "r", "a", "p")]).await;
        world.tasks().await;
        assert_eq!(world.apply(&[account("a", 4, AccountStatus::Hidden)]).await, [Applied]);
        assert_eq!(world.account("a").await.status, AccountStatus::Hidden);
        world.apply(&[account("a", 5, status)]).await;
        assert_eq!(world.account("a").await.status, status);
        assert_eq!(
            (world.keys("a").await, world.keys("b").await),
            (vec!["p".to_owned()], vec!["r".to_owned()])
        );
        assert!(world.follows("a", "b").await);
        assert_eq!(world.tasks().await, [], "a return needs no work");
    }
}

#[tokio::test]
async fn older_account_events_are_replays() {
    let mut world = World::new(Slips).await;
    let events = [
        account("a", 1, AccountStatus::Hidden),
        account("a", 2, AccountStatus::Active),
        account("a", 2, AccountStatus::Hidden),
        account("a", 3, AccountStatus::Active),
    ];
    assert_eq!(world.apply(&events).await, [Applied; 4], "one of the same time isn't older");
    assert_eq!(world.apply(&events).await, [Stale, Stale, Stale, Unchanged]);
    assert_eq!(world.account("a").await.status, AccountStatus::Active);
}

#[tokio::test]
async fn a_deleted_account_is_gone_for_good() {
    for across in [Slips, Upstream] {
        let mut world = World::new(across).await;
        let former = [
            post("a", 1, "p", "x"),
            repost("a", 2, "r", "b", "q"),
            follow("a", 3, "k", "b"),
            follow("v", 3, "k", "a"),
            repost("b", 4, "r", "a", "p"),
            delete("a", 5, Post, "gone"),
        ];
        world.apply(&former).await;
        world.tasks().await;
        let deletion = account("a", 6, AccountStatus::Deleted);
        assert_eq!(world.apply(std::slice::from_ref(&deletion)).await, [Applied]);
        assert!(world.items("a").await.is_empty());
        assert!(!world.follows("a", "b").await);
        let (viewer, author) = (world.actor("a").await, world.actor("b").await);
        assert_eq!(world.tasks().await, [Task::Purge { viewer, author }]);
        assert_eq!((world.keys("b").await, world.follows("v", "a").await), (vec!["r".to_owned()], true));
        // its past again, then the deletion again
        assert_eq!(world.apply(&former).await, [Stale; 6]);
        assert_eq!(world.apply(std::slice::from_ref(&deletion)).await, [Stale]);
        // active again: only new records count
        world.apply(&[account("a", 7, AccountStatus::Active), post("a", 8, "new", "y")]).await;
        assert_eq!(world.apply(&former[..3]).await, [Stale; 3]);
        assert_eq!(world.keys("a").await, ["new"]);
        assert_eq!(world.apply(&[deletion]).await, [Stale], "a replay");
        assert_eq!(world.keys("a").await, ["new"]);
    }
}

#[tokio::test]
async fn a_second_deletion_takes_what_came_after_the_first() {
    let mut world = World::new(Slips).await;
    world
        .apply(&[post("a", 1, "p", "x"), account("a", 2, AccountStatus::Deleted), post("a", 3, "q", "y")])
        .await;
    world.apply(&[account("a", 4, AccountStatus::Deleted), account("a", 5, AccountStatus::Active)]).await;
    assert!(world.items("a").await.is_empty());
    assert_eq!(world.apply(&[post("a", 3, "q", "y")]).await, [Stale]);
}

#[tokio::test]
async fn a_resync_sweeps_at_the_next_rev_what_did_not_come_again() {
    let mut world = World::new(Slips).await;
    let former = [
        post("a", 1, "same", "x"),
        post("a", 2, "changed", "x"),
        post("a", 3, "lost", "z"),
        follow("a", 4, "k1", "b"),
        follow("a", 5, "k2", "c"),
        repost("b", 6, "r", "a", "lost"),
        repost("c", 6, "r", "a", "same"),
    ];
    world.apply(&former).await;
    let kept = world.items("a").await.pop().unwrap();
    world.tasks().await;
    assert_eq!(world.apply(&[sync("a", 100)]).await, [Applied]);
    let again = [
        at_rev(post("a", 101, "same", "x"), 100),
        at_rev(post("a", 101, "changed", "w"), 100),
        at_rev(post("a", 101, "missed", "v"), 100),
        at_rev(follow("a", 101, "k1", "b"), 100),
    ];
    assert_eq!(world.apply(&again).await, [Unchanged, Applied, Applied, Unchanged]);
    assert_eq!(world.keys("a").await.len(), 4, "until its end is known, nothing is taken away");
    // a restart in the middle remembers it
    world.reload().await;
    world.apply(&[post("a", 200, "next", "u")]).await;
    let mut keys = world.keys("a").await;
    keys.sort_unstable();
    assert_eq!(keys, ["changed", "missed", "next", "same"]);
    assert!(world.items("a").await.contains(&kept), "a create with the CID we have lifts the rev only");
    assert_eq!((world.follows("a", "b").await, world.follows("a", "c").await), (true, false));
    assert_eq!(
        (world.keys("b").await.len(), world.keys("c").await.len()),
        (0, 1),
        "reposts of what was swept go too"
    );
    assert_eq!(world.account("a").await.sync, None);
    let (viewer, author) = (world.actor("a").await, world.actor("c").await);
    assert!(world.tasks().await.contains(&Task::Purge { viewer, author }));
    // all of it once more changes nothing; that resync ends as well
    let before = world.items("a").await;
    world.tasks().await;
    world.apply(&former).await;
    world.apply(&[sync("a", 100)]).await;
    world.apply(&again).await;
    world.apply(&[post("a", 200, "next", "u"), post("a", 201, "more", "t")]).await;
    assert_eq!(world.items("a").await[1..], before);
    assert_eq!(world.tasks().await.len(), 1);
}

#[tokio::test]
async fn a_resync_of_a_quiet_account_ends_after_its_grace() {
    let mut world = World::new(Slips).await;
    world.apply(&[post("a", 1, "p", "x"), sync("a", 100), post("b", 700, "k", "x")]).await;
    assert_eq!(world.keys("a").await, ["p"], "ten minutes of stream time, not yet over");
    world.reload().await;
    world.apply(&[post("b", 701, "l", "x")]).await;
    assert!(world.items("a").await.is_empty());
    assert_eq!(world.lives("a", Post, "p").await, Some(false));
    // a replacement that comes after all brings its record back
    assert_eq!(world.apply(&[at_rev(post("a", 702, "p", "x"), 100)]).await, [Applied]);
    assert_eq!(world.keys("a").await, ["p"]);
}

#[tokio::test]
async fn resyncs_follow_each_other_and_late_ones_are_replays() {
    let mut world = World::new(Slips).await;
    world.apply(&[post("a", 1, "p", "x"), post("a", 2, "q", "y"), sync("a", 100)]).await;
    world.apply(&[at_rev(post("a", 101, "p", "x"), 100)]).await;
    assert_eq!(world.apply(&[sync("a", 100), sync("a", 90), sync("a", 200)]).await, [Stale, Stale, Applied]);
    assert_eq!(world.keys("a").await, ["p"], "the second one ends the first");
    world.apply(&[account("a", 300, AccountStatus::Deleted)]).await;
    assert_eq!(world.account("a").await.sync, None);
    // what a resync brought is older than the deletion, also if nothing of it had come yet
    assert_eq!(world.apply(&[sync("a", 200), at_rev(post("a", 201, "z", "x"), 200)]).await, [Stale, Stale]);
}

#[tokio::test]
async fn a_sync_of_the_firehose_sweeps_nothing() {
    let mut world = World::new(Upstream).await;
    world.apply(&[post("a", 1, "p", "x")]).await;
    let sync = event("a", 100, Body::Sync { rev: rev(100), records_follow: false });
    assert_eq!(world.apply(&[sync, post("a", 2_000, "q", "y")]).await, [Unchanged, Applied]);
    assert_eq!(world.keys("a").await, ["q", "p"]);
    assert_eq!(world.account("a").await.sync, None);
    assert_eq!(world.account("a").await.gone, Tid::ZERO);
}

#[tokio::test]
async fn a_resync_that_has_an_end_ends_there() {
    let mut world = World::new(Slips).await;
    let end = |is_whole| event("a", 100, Body::SyncEnd { rev: rev(100), is_whole });
    let again = at_rev(post("a", 90, "q", "y"), 100);
    world.apply(&[post("a", 1, "p", "x"), post("a", 2, "q", "y")]).await;
    assert_eq!(world.apply(&[end(true)]).await, [Stale], "nothing has begun");
    assert_eq!(
        world.apply(&[sync("a", 100), again.clone(), end(false)]).await,
        [Applied, Unchanged, Applied]
    );
    assert_eq!(world.keys("a").await, ["q", "p"], "it wasn't whole: nothing is known of the others");
    assert_eq!(world.account("a").await.sync, None);
    let older = event("a", 100, Body::SyncEnd { rev: rev(99), is_whole: false });
    assert_eq!(world.apply(&[sync("a", 100), older]).await, [Applied, Stale], "it has read less");
    assert_eq!(world.apply(&[end(false)]).await, [Applied]);
    let told = world.apply(&[sync("a", 100), again.clone(), end(true), end(true)]).await;
    assert_eq!(told, [Applied, Unchanged, Applied, Stale]);
    assert_eq!(world.keys("a").await, ["q"]);
    // what comes again of before was in it, if it is there at all
    assert_eq!(world.apply(&[post("a", 50, "r", "z"), sync("a", 100), again]).await, [Stale; 3]);
    assert_eq!(world.apply(&[post("a", 101, "s", "w")]).await, [Applied]);
    assert_eq!(world.keys("a").await, ["s", "q"]);
}

#[tokio::test]
async fn more_records_than_a_step_reads_at_a_time() {
    let mut world = World::new(Slips).await;
    let posts: Vec<_> = (0..2_300).map(|n| post("a", 1, &format!("k{n}"), &n.to_string())).collect();
    world.frame(&posts).await;
    let reposts: Vec<_> = (0..1_500).map(|n| repost("b", 2, &format!("k{n}"), "a", "k7")).collect();
    world.frame(&reposts).await;
    world.apply(&[delete("a", 3, Post, "k7")]).await;
    assert!(world.items("b").await.is_empty());
    assert_eq!(world.lives("b", Repost, "k1499").await, Some(true));
    world.apply(&[sync("a", 10), post("a", 20, "next", "x")]).await;
    assert_eq!(world.keys("a").await, ["next"]);
    world
        .frame(&(0..2_300).map(|n| post("a", 30, &format!("k{n}"), &n.to_string())).collect::<Vec<_>>())
        .await;
    world.apply(&[account("a", 40, AccountStatus::Deleted)]).await;
    assert!(world.items("a").await.is_empty());
}
