//! Posts and reposts, applied: contract, rules 1–7 and 12.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod world;

use skyweir_indexer::Outcome::{Applied, Stale, Unchanged};
use skyweir_store::Task;
use skyweir_types::AcrossAccounts::{Slips, Upstream};
use skyweir_types::Collection::{Post, Repost};
use skyweir_types::{AcrossAccounts, ItemKind};
use world::{DAY, START, World, at_rev, delete, ms, post, post_of, repost};

const BOTH: [AcrossAccounts; 2] = [Slips, Upstream];

#[tokio::test]
async fn each_post_and_each_repost_is_an_item_with_a_task() {
    for across in BOTH {
        let mut world = World::new(across).await;
        world
            .apply(&[post("a", 1, "p", "x"), repost("b", 2, "r", "a", "p"), repost("a", 3, "own", "a", "p")])
            .await;
        assert_eq!(world.keys("a").await, ["own", "p"]);
        let items = world.items("b").await;
        assert!(
            matches!(&items[0].kind, ItemKind::Repost { uri, .. } if uri == "at://did:plc:a/app.bsky.feed.post/p")
        );
        let own = world.items("a").await;
        let expected = [own[1].id, items[0].id, own[0].id].map(|item| Task::FanOut { item });
        assert_eq!(world.tasks().await, expected, "in the order of their effects");
    }
}

#[tokio::test]
async fn a_commit_is_as_long_as_the_protocol_allows() {
    for across in BOTH {
        let mut world = World::new(across).await;
        // an archive tells an update as a deletion and a creation
        let updates = (0..200).flat_map(|n| {
            let key = format!("k{n}");
            [delete("a", 1, Post, &key), post("a", 1, &key, "x")]
        });
        assert_eq!(world.frame(&updates.collect::<Vec<_>>()).await, [Applied; 400]);
        assert_eq!(world.keys("a").await.len(), 200);
    }
}

#[tokio::test]
async fn a_repost_of_what_is_unknown_gone_or_no_post_is_an_item() {
    for across in BOTH {
        let mut world = World::new(across).await;
        world.apply(&[repost("b", 1, "unknown", "a", "p")]).await;
        world
            .apply(&[post("a", 2, "q", "x"), delete("a", 3, Post, "q"), repost("b", 4, "gone", "a", "q")])
            .await;
        let mut other = repost("b", 5, "other", "a", "g");
        if let skyweir_types::Body::Record(op) = &mut other.body
            && let skyweir_types::Action::Put { record, .. } = &mut op.action
        {
            let uri = "at://did:plc:a/app.bsky.feed.generator/g".to_owned();
            *record = skyweir_types::Record::Repost { created_at: ms(5), uri, cid: String::new() };
        }
        world.apply(&[other]).await;
        assert_eq!(world.keys("b").await, ["other", "gone", "unknown"]);
    }
}

#[tokio::test]
async fn a_deleted_post_takes_all_earlier_reposts_along() {
    for across in BOTH {
        let mut world = World::new(across).await;
        world
            .apply(&[post("a", 1, "p", "x"), repost("b", 2, "r", "a", "p"), repost("c", 3, "r", "a", "p")])
            .await;
        world.tasks().await;
        assert_eq!(world.apply(&[delete("a", 4, Post, "p")]).await, [Applied]);
        for who in ["a", "b", "c"] {
            assert!(world.items(who).await.is_empty(), "{who}");
        }
        assert_eq!(world.tasks().await, [], "a delete has no task");
        // reposted again it is an item again; the old record's own delete changes nothing more
        world.apply(&[repost("b", 5, "again", "a", "p"), delete("b", 6, Repost, "r")]).await;
        assert_eq!(world.keys("b").await, ["again"]);
        world.apply(&[delete("b", 7, Repost, "again")]).await;
        assert!(world.items("b").await.is_empty());
    }
}

#[tokio::test]
async fn the_delete_of_a_post_never_seen_takes_its_reposts_along() {
    for across in BOTH {
        let mut world = World::new(across).await;
        world.apply(&[repost("b", 2, "r", "a", "p"), delete("a", 4, Post, "p")]).await;
        assert!(world.items("b").await.is_empty());
    }
}

#[tokio::test]
async fn where_order_slips_revs_tell_which_reposts_go() {
    let mut world = World::new(Slips).await;
    // of the second 5, but here before the delete of the second 4
    world
        .apply(&[post("a", 1, "p", "x"), repost("b", 2, "r", "a", "p"), repost("c", 5, "r", "a", "p")])
        .await;
    world.apply(&[delete("a", 4, Post, "p")]).await;
    assert_eq!((world.keys("b").await.len(), world.keys("c").await.len()), (0, 1));
    world.tasks().await;
    // of the second 3, but here after it: no item, no task; of the same rev: not below it
    world.apply(&[repost("d", 3, "r", "a", "p"), repost("e", 4, "r", "a", "p")]).await;
    assert_eq!((world.keys("d").await.len(), world.keys("e").await.len()), (0, 1));
    assert_eq!(world.tasks().await.len(), 1);
    assert_eq!(world.lives("d", Repost, "r").await, Some(true), "its record is known all the same");
    world.apply(&[delete("d", 6, Repost, "r")]).await;
    assert_eq!(world.lives("d", Repost, "r").await, Some(false));
}

#[tokio::test]
async fn on_the_firehose_arrival_tells_which_reposts_go() {
    let mut world = World::new(Upstream).await;
    world.apply(&[post("a", 1, "p", "x"), repost("c", 5, "r", "a", "p"), delete("a", 4, Post, "p")]).await;
    assert!(world.items("c").await.is_empty(), "applied before the delete, whatever its rev");
    world.apply(&[repost("d", 3, "r", "a", "p")]).await;
    assert_eq!(world.keys("d").await, ["r"]);
}

#[tokio::test]
async fn a_firehose_rewound_by_weeks_spares_later_reposts() {
    let mut world = World::new(Upstream).await;
    let week = [
        post("a", 1, "p", "x"),
        repost("b", 2, "r", "a", "p"),
        delete("a", 3, Post, "p"),
        repost("b", 4, "s", "a", "p"),
    ];
    world.apply(&week).await;
    world.apply(&[post("c", 8 * DAY, "k", "x")]).await;
    assert_eq!((world.lives("a", Post, "p").await, world.keys("b").await), (None, vec!["s".to_owned()]));
    // the tombstone is forgotten: the delete is applied again, after a repost that upstream saw later
    world.apply(&week).await;
    assert_eq!((world.keys("a").await.len(), world.keys("b").await), (0, vec!["s".to_owned()]));
}

#[tokio::test]
async fn an_updated_post_is_a_new_item_without_its_old_reposts() {
    for across in BOTH {
        let mut world = World::new(across).await;
        world.apply(&[post("a", 1, "p", "x"), repost("b", 2, "r", "a", "p")]).await;
        let old = world.items("a").await.remove(0);
        world.tasks().await;
        assert_eq!(world.apply(&[post("a", 4, "p", "y")]).await, [Applied]);
        let new = world.items("a").await;
        assert_eq!(new.len(), 1);
        assert!(new[0].id != old.id && new[0].cid != old.cid && new[0].sort_at == ms(4));
        assert_eq!(world.store_item(old.id).await, None);
        assert!(world.items("b").await.is_empty());
        assert_eq!(world.tasks().await, [Task::FanOut { item: new[0].id }]);
        world.apply(&[repost("c", 5, "r", "a", "p")]).await;
        assert_eq!(world.keys("c").await, ["r"]);
    }
    // one that comes after the update although it is older
    let mut world = World::new(Slips).await;
    world.apply(&[post("a", 1, "p", "x"), post("a", 4, "p", "y"), repost("b", 3, "r", "a", "p")]).await;
    assert!(world.items("b").await.is_empty());
}

#[tokio::test]
async fn an_updated_repost_has_the_new_subject() {
    for across in BOTH {
        let mut world = World::new(across).await;
        world.apply(&[post("a", 1, "p", "x"), post("a", 1, "q", "y"), repost("b", 2, "r", "a", "p")]).await;
        world.apply(&[repost("b", 3, "r", "a", "q")]).await;
        let items = world.items("b").await;
        assert_eq!((items.len(), items[0].sort_at), (1, ms(3)));
        world.apply(&[delete("a", 4, Post, "p")]).await;
        assert_eq!(world.keys("b").await, ["r"], "the old subject is no longer its business");
        world.apply(&[delete("a", 5, Post, "q")]).await;
        assert!(world.items("b").await.is_empty());
    }
}

#[tokio::test]
async fn times_are_the_smaller_ones() {
    let mut world = World::new(Slips).await;
    let ages = [ms(99_999_999), ms(1), -62_167_219_200_000, i64::from(-1)];
    for (n, created_at) in (10..).zip(ages) {
        world.apply(&[post_of("a", n, &format!("k{n}"), &n.to_string(), created_at)]).await;
    }
    let mut times: Vec<_> = world.items("a").await.iter().map(|item| item.sort_at).collect();
    assert_eq!(times, [ms(10), ms(1), -1, -62_167_219_200_000], "a future one sorts by its arrival");
    times.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(times[0], ms(10));
    assert_eq!(
        world.stream_us(),
        (START + 13) * 1_000_000,
        "what records claim doesn't move the stream's clock"
    );
    // nor does an event that comes late
    world.apply(&[post("a", 2, "late", "z")]).await;
    assert_eq!(world.stream_us(), (START + 13) * 1_000_000);
    world.reload().await;
    assert_eq!(world.stream_us(), (START + 13) * 1_000_000);
}

#[tokio::test]
async fn replays_change_nothing() {
    for across in BOTH {
        let mut world = World::new(across).await;
        let events = [
            post("a", 1, "p", "x"),
            repost("b", 2, "r", "a", "p"),
            post("a", 3, "p", "y"),
            repost("b", 4, "s", "a", "p"),
            post("a", 5, "q", "z"),
            delete("a", 6, Post, "q"),
            delete("b", 7, Repost, "s"),
        ];
        assert!(world.apply(&events).await.iter().all(|outcome| *outcome == Applied));
        let before = (world.items("a").await, world.items("b").await);
        world.tasks().await;
        for restart in [false, true] {
            if restart {
                world.reload().await;
            }
            let outcomes = world.apply(&events).await;
            assert!(outcomes.iter().all(|outcome| *outcome == Stale), "{outcomes:?}");
        }
        assert_eq!((world.items("a").await, world.items("b").await), before);
        assert_eq!(world.tasks().await, []);
    }
}

#[tokio::test]
async fn tombstones_beat_late_creates_for_seven_days() {
    for across in BOTH {
        let mut world = World::new(across).await;
        // the delete comes before its create
        assert_eq!(world.apply(&[delete("a", 5, Post, "p"), post("a", 1, "p", "x")]).await, [Applied, Stale]);
        assert!(world.items("a").await.is_empty());
        world.apply(&[post("b", 7 * DAY, "k", "x")]).await;
        assert_eq!(world.apply(&[post("a", 2, "p", "x")]).await, [Stale], "of stream time, not of ours");
        world.apply(&[post("b", 7 * DAY + 6, "l", "x")]).await;
        assert_eq!(world.lives("a", Post, "p").await, None, "forgotten");
    }
    // a younger create wins
    let mut world = World::new(Slips).await;
    world.apply(&[post("a", 1, "p", "x"), delete("a", 5, Post, "p"), post("a", 6, "p", "x")]).await;
    assert_eq!(world.items("a").await[0].sort_at, ms(6));
}

#[tokio::test]
async fn operations_of_one_commit_on_one_key_count_in_order() {
    for across in BOTH {
        let commit = [
            post("a", 1, "p", "x"),
            post("a", 1, "p", "y"),
            delete("a", 1, Post, "p"),
            post("a", 1, "p", "z"),
        ];
        let mut world = World::new(across).await;
        // the firehose sends a commit as one message, a Jetstream each operation by itself
        let outcomes = match across {
            Upstream => world.frame(&commit).await,
            Slips => world.apply(&commit).await,
        };
        assert_eq!(outcomes, [Applied; 4]);
        let items = world.items("a").await;
        assert_eq!(items.len(), 1);
        world.tasks().await;
        world.reload().await;
        let again = match across {
            Upstream => world.frame(&commit).await,
            Slips => world.apply(&commit).await,
        };
        assert_eq!((again, world.items("a").await), (vec![Stale; 4], items));
        assert_eq!(world.tasks().await, []);
    }
    // on a Jetstream a crash may come in the middle: the rest counts when the commit comes again
    let commit = [post("a", 1, "p", "x"), delete("a", 1, Post, "p")];
    let mut world = World::new(Slips).await;
    world.apply(&commit[..1]).await;
    world.reload().await;
    assert_eq!(world.apply(&commit).await, [Stale, Applied]);
    assert!(world.items("a").await.is_empty());
}

#[tokio::test]
async fn the_same_content_at_a_greater_rev_only_lifts_the_rev() {
    let mut world = World::new(Slips).await;
    world.apply(&[post("a", 1, "p", "x"), repost("b", 2, "r", "a", "p")]).await;
    let before = (world.items("a").await, world.items("b").await);
    world.tasks().await;
    assert_eq!(world.apply(&[at_rev(post("a", 1, "p", "x"), 9)]).await, [Unchanged]);
    assert_eq!((world.items("a").await, world.items("b").await), before);
    assert_eq!(world.tasks().await, []);
    assert_eq!(world.apply(&[delete("a", 8, Post, "p")]).await, [Stale]);
}
