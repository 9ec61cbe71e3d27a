//! Items that have left: where the horizon stands, what goes and when, and what events on them do.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod world;

use skyweir_indexer::Outcome;
use skyweir_store::{RecordBody, RecordRow, Store as _};
use skyweir_types::{AcrossAccounts, Collection, Event, RecordKey, RecordRef, Tid};

use world::{DAY, World, at_rev, delete, follow, ms, post, post_of, repost, rev, sync};

/// Ten days are kept; tombstones for seven.
const KEEP: i64 = 10 * DAY;

async fn world() -> World {
    World::keeping(AcrossAccounts::Upstream, KEEP * 1_000).await
}

/// Something that only moves the stream's clock.
fn tick(second: i64) -> Event {
    follow("clock", second, &format!("k{second}"), "nobody")
}

/// The contents' `sortAt` of somebody's items.
async fn times(world: &World, who: &str) -> Vec<i64> {
    world.items(who).await.iter().map(|item| item.sort_at).collect()
}

async fn horizon(world: &World) -> i64 {
    world.store.view().await.unwrap().horizon().await.unwrap()
}

#[tokio::test]
async fn the_horizon_follows_the_streams_clock_and_never_falls() {
    let mut world = world().await;
    world.apply(&[post("ann", 5, "p", "one")]).await;
    assert_eq!(horizon(&world).await, ms(5 - KEEP));
    world.apply(&[tick(3 * DAY), tick(DAY)]).await;
    assert_eq!(horizon(&world).await, ms(3 * DAY - KEEP));
    // what is kept for longer from now on doesn't bring back what has left
    world.keep(Some(30 * KEEP * 1_000)).await;
    world.apply(&[tick(4 * DAY)]).await;
    assert_eq!(horizon(&world).await, ms(3 * DAY - KEEP));
    world.keep(None).await;
    world.apply(&[tick(400 * DAY)]).await;
    assert_eq!(horizon(&world).await, ms(3 * DAY - KEEP));
    let mut world = World::new(AcrossAccounts::Upstream).await;
    world.apply(&[tick(400 * DAY)]).await;
    assert_eq!(horizon(&world).await, i64::MIN);
}

#[tokio::test]
async fn what_is_older_leaves_with_record_and_link() {
    let mut world = world().await;
    world.apply(&[post("ann", 1, "p", "one"), repost("bob", 2, "r", "ann", "p"), tick(3)]).await;
    world.apply(&[post("ann", KEEP, "q", "two"), tick(KEEP + 1)]).await;
    assert_eq!(
        (times(&world, "ann").await, times(&world, "bob").await),
        (vec![ms(KEEP), ms(1)], vec![ms(2)])
    );
    world.apply(&[tick(KEEP + 2)]).await;
    assert_eq!((times(&world, "ann").await, times(&world, "bob").await), (vec![ms(KEEP)], vec![ms(2)]));
    assert!(world.body("ann", Collection::Post, "p").await.is_none());
    world.apply(&[tick(KEEP + 3)]).await;
    assert!(times(&world, "bob").await.is_empty());
    assert!(world.body("bob", Collection::Repost, "r").await.is_none());
    assert_eq!(world.links("ann", "p").await, 0);
    // follows never leave
    assert!(world.body("clock", Collection::Follow, "k3").await.is_some());
}

#[tokio::test]
async fn the_record_stays_until_no_replay_can_come() {
    let mut world = world().await;
    let dated_back = |second, rkey| post_of("ann", second, rkey, "dated back", ms(-30 * DAY));
    world.apply(&[dated_back(5, "p"), post("ann", 6, "q", "one"), dated_back(7, "q")]).await;
    assert!(times(&world, "ann").await.is_empty());
    // their revs guard: a former version can't come back
    let again = [dated_back(5, "p"), post("ann", 6, "q", "one"), dated_back(7, "q")];
    assert_eq!(world.apply(&again).await, [Outcome::Stale; 3]);
    for second in [7 * DAY + 3, 7 * DAY + 4] {
        world.apply(&[tick(second)]).await;
        assert!(world.body("ann", Collection::Post, "p").await.is_some());
        assert_eq!(world.behind_ms(), horizon(&world).await - ms(-30 * DAY), "what waits is told");
    }
    world.apply(&[tick(7 * DAY + 5)]).await;
    assert!(world.body("ann", Collection::Post, "p").await.is_none());
    world.apply(&[tick(7 * DAY + 8)]).await;
    assert_eq!((world.stored("ann").await, world.behind_ms()), (0, 0));
}

/// However that came: whether there is no record, or one that is deleted since and still guards.
#[tokio::test]
async fn an_item_that_no_record_names_goes_as_well() {
    for is_deleted in [false, true] {
        let mut world = world().await;
        world.apply(&[post("ann", 1, "p", "one"), tick(2)]).await;
        let item = world.items("ann").await.remove(0).id;
        let (actor, rkey) = (world.actor("ann").await, RecordKey::parse("p").unwrap());
        let key = RecordRef { actor, collection: Collection::Post, rkey };
        let mut txn = world.store.begin().await.unwrap();
        txn.remove_record(&key).await.unwrap();
        let body = RecordBody::Tombstone { at_ms: ms(KEEP) };
        let row = is_deleted.then(|| RecordRow { rev: rev(KEEP), wiped: Tid::ZERO, body: body.clone() });
        if let Some(row) = row {
            txn.put_record(&key, row).await.unwrap();
        }
        txn.commit().await.unwrap();
        world.apply(&[tick(KEEP + 2)]).await;
        assert_eq!(world.store_item(item).await, None, "deleted: {is_deleted}");
        let left = world.body("ann", Collection::Post, "p").await;
        assert_eq!(left, is_deleted.then_some(body), "what guards stays");
    }
}

#[tokio::test]
async fn a_rev_from_the_future_holds_nothing_up() {
    let mut world = world().await;
    world.apply(&[at_rev(post("ann", 1, "p", "one"), 900 * DAY), post("ann", 2, "q", "two")]).await;
    world.apply(&[tick(KEEP + 3)]).await;
    assert!(world.body("ann", Collection::Post, "p").await.is_none());
    assert!(world.body("ann", Collection::Post, "q").await.is_none());
}

/// The same, whether it is removed already or waits behind one that can't go.
#[tokio::test]
async fn events_on_what_has_left_find_it_unknown() {
    for removed in [true, false] {
        let mut world = world().await;
        if !removed {
            // the first in the order of coming: nothing goes before it
            world.apply(&[at_rev(post("dan", 0, "first", "first"), 6 * DAY)]).await;
        }
        world.apply(&[post("ann", 1, "edited", "a"), post("ann", 2, "same", "b")]).await;
        world.apply(&[post_of("ann", 3, "ahead", "c", ms(90 * DAY)), post("ann", 4, "gone", "d")]).await;
        world.apply(&[post("ann", 5, "wiped", "e"), repost("eve", 6, "w", "ann", "wiped")]).await;
        world.apply(&[post("ann", 7, "wiped", "f"), post("ann", 8, "lost", "g")]).await;
        world.apply(&[repost("eve", 9, "l", "ann", "lost"), post("ann", 10, "lost", "h")]).await;
        assert!(matches!(
            world.body("eve", Collection::Repost, "w").await,
            Some(RecordBody::Repost { item: None, .. })
        ));
        let late = KEEP + 20;
        world.apply(&[tick(late)]).await;
        assert_eq!(world.body("ann", Collection::Post, "edited").await.is_none(), removed);
        assert_eq!(world.body("eve", Collection::Repost, "w").await.is_none(), removed);
        for (n, rkey) in [(1, "edited"), (2, "gone")] {
            world.apply(&[repost("bob", late + n, rkey, "ann", rkey)]).await;
        }
        let events = [
            // a new record, not a new version: the repost stays
            post("ann", late + 3, "edited", "z"),
            // the same content once more, by itself as old as before, or as new as the event
            at_rev(post("ann", 2, "same", "b"), late + 4),
            at_rev(post_of("ann", late + 5, "ahead", "c", ms(90 * DAY)), late + 5),
            at_rev(repost("eve", late + 6, "w", "ann", "wiped"), late + 6),
            // takes its reposts along
            delete("ann", late + 7, Collection::Post, "gone"),
            // and those without an item are forgotten
            delete("ann", late + 8, Collection::Post, "lost"),
            at_rev(repost("eve", late + 9, "l", "ann", "lost"), late + 9),
        ];
        let outcomes = world.apply(&events).await;
        assert_eq!(outcomes, [Outcome::Applied; 7], "removed: {removed}");
        assert_eq!(times(&world, "ann").await, [ms(late + 5), ms(late + 3)], "removed: {removed}");
        assert_eq!(times(&world, "bob").await, [ms(late + 1)], "removed: {removed}");
        assert_eq!(times(&world, "eve").await, [ms(late + 9), ms(late + 6)], "removed: {removed}");
    }
}

#[tokio::test]
async fn a_resync_sweeps_nothing_that_has_left() {
    for removed in [true, false] {
        let mut world = World::keeping(AcrossAccounts::Slips, KEEP * 1_000).await;
        if !removed {
            world.apply(&[at_rev(post("dan", 0, "first", "first"), 6 * DAY)]).await;
        }
        world.apply(&[post("ann", 1, "p", "one")]).await;
        world.apply(&[tick(KEEP + 5), repost("bob", KEEP + 6, "r", "ann", "p")]).await;
        assert_eq!(world.body("ann", Collection::Post, "p").await.is_none(), removed);
        world.apply(&[sync("ann", KEEP + 7), post("ann", KEEP + 8, "q", "two")]).await;
        assert_eq!(times(&world, "bob").await, [ms(KEEP + 6)], "removed: {removed}");
        assert!(!matches!(
            world.body("ann", Collection::Post, "p").await,
            Some(RecordBody::Tombstone { .. })
        ));
    }
}

#[tokio::test]
async fn reposts_that_went_with_their_post_are_forgotten_with_its_tombstone() {
    let mut world = world().await;
    world.apply(&[post("ann", 1, "p", "one"), repost("bob", 2, "r", "ann", "p")]).await;
    world.apply(&[delete("ann", 3, Collection::Post, "p"), tick(7 * DAY + 3)]).await;
    assert!(world.body("bob", Collection::Repost, "r").await.is_some());
    world.apply(&[tick(7 * DAY + 4)]).await;
    assert!(world.body("bob", Collection::Repost, "r").await.is_none());
    assert_eq!(world.links("ann", "p").await, 0);
}

fn reposts(who: &str, from: i64, count: i64) -> Vec<Event> {
    (0..count).map(|n| repost(who, from + n, &format!("r{n}"), "pat", "p")).collect()
}

/// A post with reposts by bob; what ann reposts comes before them when they are looked through.
async fn reposted() -> World {
    let mut world = world().await;
    world.apply(&[repost("ann", 1, "first", "zoe", "z"), post("pat", 2, "p", "one")]).await;
    world.apply(&reposts("bob", 10, 50)).await;
    world
}

#[tokio::test]
async fn the_reposts_of_what_has_left_are_looked_through_some_at_a_time() {
    let mut world = reposted().await;
    // takes the items of those before, not of those behind
    world.apply(&[post("pat", 100, "p", "two")]).await;
    world.apply(&reposts("ann", 8 * DAY, 50)).await;
    world.apply(&[tick(KEEP + 90)]).await;
    let mut left = vec![world.stored("bob").await];
    assert_eq!((left[0], world.links("pat", "p").await), (50, 100), "the post has not left");
    let mut second = KEEP + 101;
    while world.body("pat", Collection::Post, "p").await.is_some() {
        match left.len() % 4 {
            2 => world.refused(&tick(second)).await,
            _ if left.len() == 5 => world.reload().await,
            _ => {}
        }
        world.apply(&[tick(second)]).await;
        left.push(world.stored("bob").await);
        second += 1;
        assert!(left.len() < 30, "{left:?}");
    }
    // an event each, so twenty rows
    assert!(left.windows(2).all(|pair| pair[0] - pair[1] <= 20), "{left:?}");
    assert_eq!(left[..3], [50; 3], "ann's are looked at first");
    assert_eq!((left.last(), world.links("pat", "p").await), (Some(&0), 50));
    assert_eq!(times(&world, "ann").await.len(), 50);
}

#[tokio::test]
async fn a_post_stays_until_no_repost_without_an_item_can_be_replayed() {
    let mut world = World::keeping(AcrossAccounts::Upstream, DAY * 1_000).await;
    world.apply(&[post("pat", 1, "p", "one"), at_rev(repost("bob", 2, "r", "pat", "p"), DAY / 2)]).await;
    world.apply(&[post("pat", 3, "p", "two"), tick(7 * DAY + 4)]).await;
    for second in [7 * DAY + 5, 7 * DAY + DAY / 2 - 1] {
        world.apply(&[tick(second)]).await;
        assert!(world.body("pat", Collection::Post, "p").await.is_some());
        assert!(world.body("bob", Collection::Repost, "r").await.is_some());
        assert!(world.behind_ms() > 0);
    }
    world.apply(&[tick(7 * DAY + DAY / 2)]).await;
    assert_eq!((world.stored("pat").await, world.stored("bob").await, world.behind_ms()), (0, 0, 0));
}

#[tokio::test]
async fn a_tombstone_stays_until_all_reposts_of_its_post_are_looked_through() {
    let mut world = reposted().await;
    world.apply(&[delete("pat", 100, Collection::Post, "p")]).await;
    world.frame(&reposts("ann", 200, 1_000)).await;
    for second in [101, 102] {
        assert_eq!((world.stored("bob").await, world.links("pat", "p").await), (50, 1_050));
        assert_eq!(world.lives("pat", Collection::Post, "p").await, Some(false));
        world.refused(&tick(7 * DAY + second)).await;
        world.apply(&[tick(7 * DAY + second)]).await;
    }
    assert_eq!((world.stored("bob").await, world.links("pat", "p").await), (0, 1_000));
    assert_eq!(world.lives("pat", Collection::Post, "p").await, None);
}

/// What the refused group removed is removed once more.
#[tokio::test]
async fn a_refused_group_leaves_nothing_out() {
    let mut world = world().await;
    let many: Vec<Event> = (0..100).map(|n| post("ann", n, &format!("p{n}"), "x")).collect();
    world.apply(&many).await;
    for second in 2 * KEEP..2 * KEEP + 6 {
        world.refused(&tick(second)).await;
        world.apply(&[tick(second)]).await;
    }
    assert_eq!((world.stored("ann").await, world.behind_ms()), (0, 0));
}

#[tokio::test]
async fn little_goes_at_a_time_and_a_restart_goes_on() {
    let mut world = World::new(AcrossAccounts::Upstream).await;
    let many: Vec<Event> = (0..300).map(|n| post("ann", n, &format!("p{n}"), "x")).collect();
    world.apply(&many).await;
    world.keep(Some(KEEP * 1_000)).await;
    world.apply(&[tick(2 * KEEP)]).await;
    // at once nobody sees them
    assert!(times(&world, "ann").await.is_empty());
    let mut left = world.stored("ann").await;
    let mut groups = 0;
    assert!((270..300).contains(&left), "{left} are left");
    while left > 0 {
        if groups % 4 == 3 {
            world.reload().await;
        }
        world.apply(&[tick(2 * KEEP + groups)]).await;
        let now = world.stored("ann").await;
        assert!((1..=30).contains(&(left - now)), "{left}, then {now}");
        (left, groups) = (now, groups + 1);
    }
    assert!(groups > 8, "{groups} groups");
}
