//! Paging over a real socket: every limit, every floor, every filter walks to the same list as the model.

mod common;

use common::serve::Served;
use common::{Shown, Wish, World, cid, uri};
use skyweir_proto::bsky::GetTimelineRequest;
use skyweir_store::EnrolReason;
use skyweir_types::{AccountStatus, Collection, ItemKind};
use tonic::Code;

fn reversed(mut shown: Vec<Shown>) -> Vec<Shown> {
    shown.reverse();
    shown
}

#[tokio::test]
async fn every_limit_walks_to_the_same_list() {
    let mut world = World::crowded().await;
    let expected = world.timeline("eve", 1.0).await;
    assert!(expected.len() > 50 && reversed(expected.clone()) != expected);
    let middle = *world.times().iter().nth(6).unwrap();
    for floor in [None, Some(i64::MIN), Some(middle)] {
        if let Some(floor) = floor {
            world.enrol("eve", 1.0, floor).await;
        }
        let mut served = Served::world(&world).await;
        for limit in 1..=100 {
            assert_eq!(served.walk_all("eve", &[limit]).await, expected, "limit {limit}, floor {floor:?}");
        }
        for limits in [[1, 2, 3], [7, 1, 100], [2, 13, 1], [3, 5, 4]] {
            assert_eq!(served.walk_all("eve", &limits).await, expected, "limits {limits:?}, floor {floor:?}");
        }
        served.end().await.unwrap();
    }
}

#[tokio::test]
async fn a_page_may_cross_the_floor_anywhere() {
    let mut world = World::crowded().await;
    let expected = world.timeline("eve", 1.0).await;
    let mut floors: Vec<i64> = world.times().into_iter().collect();
    floors.extend([i64::MIN, floors[0] - 1, i64::MAX - 1]);
    for floor in floors {
        world.enrol("eve", 1.0, floor).await;
        let mut served = Served::world(&world).await;
        for limit in [1, 2, 7, 50] {
            assert_eq!(served.walk_all("eve", &[limit]).await, expected, "limit {limit}, floor {floor}");
        }
    }
}

/// The cache holds what has left as well.
#[tokio::test]
async fn a_timeline_ends_at_the_horizon_wherever_its_floor_is() {
    let mut world = World::crowded().await;
    let eve = world.actor("eve").await;
    let times: Vec<i64> = world.times().into_iter().collect();
    let mut before = usize::MAX;
    for horizon in times.iter().step_by(3) {
        world.raise_horizon(*horizon).await;
        let expected = world.timeline("eve", 1.0).await;
        assert!(expected.len() < before && !expected.is_empty());
        before = expected.len();
        let mut served = Served::world(&world).await;
        assert_eq!(served.walk_all("eve", &[7]).await, expected, "merged, horizon {horizon}");
        for floor in times.iter().step_by(2).chain([&i64::MIN]) {
            world.enrol("eve", 1.0, *floor).await;
            world.wishes.take();
            for limit in [1, 7, 100] {
                assert_eq!(served.walk_all("eve", &[limit]).await, expected, "floor {floor}, {horizon}");
            }
            // a floor below it takes nothing away that a new generation would bring
            let wishes = world.wishes.take();
            assert!(floor >= horizon || wishes.iter().all(|wish| *wish == Wish::Touch(eve)), "{wishes:?}");
        }
        served.end().await.unwrap();
    }
}

#[tokio::test]
async fn a_timeline_may_enter_leave_or_rise_between_pages() {
    let mut world = World::crowded().await;
    let expected = world.timeline("eve", 1.0).await;
    let times: Vec<i64> = world.times().into_iter().collect();
    let mut served = Served::world(&world).await;
    let (mut shown, mut cursor) = (Vec::new(), String::new());
    for turn in 0.. {
        let page = served.page("eve", 3, &cursor).await.unwrap();
        shown.extend(page.items.into_iter().map(|item| (item.uri, item.repost)));
        cursor = page.cursor;
        if cursor.is_empty() {
            break;
        }
        world.enrol("eve", 1.0, times[turn * 5 % times.len()]).await;
    }
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn a_cursor_without_its_hash_is_the_official_one() {
    let mut world = World::new();
    world.follow("eve", "ann", "f").await;
    for (rkey, time) in [("a", 10), ("b", 10), ("c", 9)] {
        world.post("ann", rkey, time, cid(1)).await;
    }
    let mut served = Served::world(&world).await;
    // Upstream goes on strictly below the pair; ours in the middle of the run goes on inside it.
    let page = served.page("eve", 100, &format!("10__{}", cid(1))).await.unwrap();
    assert_eq!(page.items.len(), 1);
    let first = served.page("eve", 1, "").await.unwrap();
    assert!(first.cursor.starts_with(&format!("10__{}.", cid(1))), "{}", first.cursor);
    assert_eq!(served.page("eve", 100, &first.cursor).await.unwrap().items.len(), 2);
    let second = served.page("eve", 1, &first.cursor).await.unwrap();
    assert_eq!(second.cursor, format!("10__{}", cid(1)));
}

#[tokio::test]
async fn malformed_questions_are_refused() {
    let world = World::crowded().await;
    let mut served = Served::world(&world).await;
    let good = served.page("eve", 2, "").await.unwrap().cursor;
    let relic = good.replace("__", "::");
    let shouted = good.to_uppercase();
    for cursor in
        ["x", "1", "__", "1__", "1__x", "\u{1f600}", "0::x", &relic, &shouted, &format!("{good}.zz")]
    {
        assert_eq!(
            served.page("eve", 2, cursor).await.unwrap_err().code(),
            Code::InvalidArgument,
            "{cursor}"
        );
    }
    assert_eq!(served.page("eve", -1, "").await.unwrap_err().code(), Code::InvalidArgument);
    let all = world.timeline("eve", 1.0).await.len().min(100);
    assert_eq!(served.page("eve", i32::MAX, "").await.unwrap().items.len(), all);
    let nobody = GetTimelineRequest { actor_did: "eve.example.com".into(), ..GetTimelineRequest::default() };
    assert_eq!(served.ask(nobody).await.unwrap_err().code(), Code::InvalidArgument);
    // An edge of time is no fault.
    assert!(served.page("eve", 2, &format!("-999999999999999__{}", cid(1))).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn an_unknown_actor_has_an_empty_timeline_and_is_not_enrolled() {
    let world = World::crowded().await;
    let mut served = Served::world(&world).await;
    let page = served.page("nobody", 50, "").await.unwrap();
    assert!(page.items.is_empty() && page.cursor.is_empty());
    assert_eq!(world.wishes.take(), []);
}

#[tokio::test]
async fn hidden_accounts_and_gone_references_are_left_out() {
    let mut world = World::crowded().await;
    world.enrol("eve", 1.0, 3).await;
    let mut served = Served::world(&world).await;
    let all = served.walk_all("eve", &[5]).await;
    world.status("bob", AccountStatus::Hidden).await;
    let expected = world.timeline("eve", 1.0).await;
    assert!(expected.len() < all.len());
    assert_eq!(served.walk_all("eve", &[5]).await, expected);
    world.status("bob", AccountStatus::Active).await;
    assert_eq!(served.walk_all("eve", &[5]).await, all);
    // The cache keeps what an unfollow and a delete made void; nobody sees it.
    world.unfollow("eve", "cat", "f2").await;
    let gone = world.post("ann", "gone", 1_000, cid(77)).await;
    world.enrol("eve", 1.0, 3).await;
    world.delete(gone).await;
    world.follow("eve", "cat", "f9").await;
    world.enrol("eve", 1.0, 3).await;
    world.unfollow("eve", "cat", "f9").await;
    assert_eq!(served.walk_all("eve", &[5]).await, world.timeline("eve", 1.0).await);
}

#[tokio::test]
async fn filters_and_flags() {
    let mut world = World::new();
    world.follow("eve", "ann", "f").await;
    let kind = |is_reply, is_quote| ItemKind::Post { is_reply, is_quote };
    world.put("ann", "plain", 1, cid(1), kind(false, false)).await;
    world.put("ann", "reply", 2, cid(2), kind(true, false)).await;
    world.put("ann", "quote", 3, cid(3), kind(false, true)).await;
    for (time, post) in [(4, "plain"), (5, "reply"), (6, "quote"), (7, "unknown")] {
        world.repost("ann", &format!("re-{post}"), time, uri("ann", Collection::Post, post)).await;
    }
    for enrolled in [false, true] {
        if enrolled {
            world.enrol("eve", 1.0, i64::MIN).await;
        }
        let mut served = Served::world(&world).await;
        let mut names = async |replies, reposts, quotes| {
            let request = GetTimelineRequest {
                actor_did: "did:plc:eve".into(),
                exclude_replies: replies,
                exclude_reposts: reposts,
                exclude_quotes: quotes,
                ..GetTimelineRequest::default()
            };
            let shown = served.walk(request, &[1]).await;
            let last = |uri: &str| uri.rsplit('/').next().unwrap().to_owned();
            shown
                .iter()
                .map(|(post, re)| last(if re.is_empty() { post } else { re }))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            names(false, false, false).await,
            "re-unknown re-quote re-reply re-plain quote reply plain"
        );
        assert_eq!(names(true, false, false).await, "re-unknown re-quote re-reply re-plain quote plain");
        assert_eq!(names(false, true, false).await, "quote reply plain");
        assert_eq!(names(false, false, true).await, "re-unknown re-reply re-plain reply plain");
        assert_eq!(names(true, true, true).await, "plain");
        let page = served.page("eve", 50, "").await.unwrap();
        let (unknown, quote) = (&page.items[0], &page.items[1]);
        assert_eq!((unknown.cid.as_str(), unknown.is_quote_post, unknown.is_repost), ("named", false, true));
        assert_eq!((quote.cid.clone(), quote.repost_cid.clone()), (cid(3).to_string(), cid(200).to_string()));
        assert!(quote.is_quote_post && quote.is_repost && !quote.is_reply);
        let reply = &page.items[5];
        assert_eq!(
            (reply.cid.clone(), reply.repost.as_str(), reply.repost_cid.as_str()),
            (cid(2).to_string(), "", "")
        );
        assert!(reply.is_reply && !reply.is_repost && !reply.is_quote_post);
    }
}

#[tokio::test]
async fn work_is_bounded_and_nothing_is_lost_by_it() {
    let mut world = World::crowded().await;
    let expected = world.timeline("eve", 1.0).await;
    let mut dead = Vec::new();
    for n in 0..60 {
        dead.push(world.post("ann", &format!("flood{n}"), 5 + n / 9, cid(100)).await);
    }
    for n in 0..60 {
        world.post("bob", &format!("hidden{n}"), 11 + n / 9, cid(101)).await;
    }
    world.enrol("eve", 1.0, 2).await;
    for id in dead {
        world.delete(id).await;
    }
    world.status("bob", AccountStatus::Hidden).await;
    let visible = world.timeline("eve", 1.0).await;
    assert!(visible.len() < expected.len());
    for scan_limit in [1, 2, 10, 30, 5_000] {
        world.config.scan_limit = scan_limit;
        let mut served = Served::world(&world).await;
        for limit in [1, 4, 50] {
            assert_eq!(
                served.walk_all("eve", &[limit]).await,
                visible,
                "scan limit {scan_limit}, limit {limit}"
            );
        }
    }
    // By the merge alone, with the hidden author's flood in front.
    let mut merged = World::crowded().await;
    for n in 0..60 {
        merged.post("bob", &format!("hidden{n}"), 100 + n / 9, cid(101)).await;
    }
    merged.status("bob", AccountStatus::Hidden).await;
    merged.config.scan_limit = 10;
    let mut served = Served::world(&merged).await;
    assert!(served.page("eve", 50, "").await.unwrap().items.is_empty());
    assert_eq!(served.walk_all("eve", &[3]).await, merged.timeline("eve", 1.0).await);
}

#[tokio::test]
async fn a_read_tells_the_writer_what_it_needs() {
    let mut world = World::crowded().await;
    let eve = world.actor("eve").await;
    let mut served = Served::world(&world).await;
    served.page("eve", 5, "").await.unwrap();
    assert_eq!(world.wishes.take(), [Wish::Enrol(eve, EnrolReason::Read)]);
    // a timeline that holds less than half a cap above its floor
    let floor = *world.times().iter().nth_back(4).unwrap();
    world.enrol("eve", 1.0, floor).await;
    let page = served.page("eve", 1, "").await.unwrap();
    assert_eq!(world.wishes.take(), [Wish::Touch(eve), Wish::Enrol(eve, EnrolReason::FloorHigh)]);
    served.page("eve", 1, &page.cursor).await.unwrap();
    assert_eq!(world.wishes.take(), [Wish::Touch(eve), Wish::Enrol(eve, EnrolReason::FloorHigh)]);
    world.enrol("eve", 0.5, i64::MIN).await;
    assert_eq!(served.walk_all("eve", &[100]).await, world.timeline("eve", 1.0).await);
    assert_eq!(world.wishes.take(), [Wish::Touch(eve), Wish::Enrol(eve, EnrolReason::RateRose)]);
}

#[tokio::test]
async fn a_floor_above_dead_references_is_noticed() {
    let mut world = World::new();
    world.follow("eve", "ann", "f").await;
    let mut flood = Vec::new();
    for n in 0..30u8 {
        flood.push(world.post("ann", &format!("p{n}"), n.into(), cid(n)).await);
    }
    let eve = world.actor("eve").await;
    world.config.cap = 20;
    world.enrol("eve", 1.0, 15).await;
    let mut served = Served::world(&world).await;
    served.page("eve", 50, "").await.unwrap();
    assert_eq!(world.wishes.take(), [Wish::Touch(eve)]);
    for id in &flood[20..] {
        world.delete(*id).await;
    }
    // the cache still holds enough; only a page that goes through it sees that they are dead
    served.page("eve", 1, "").await.unwrap();
    assert_eq!(world.wishes.take(), [Wish::Touch(eve)]);
    let page = served.page("eve", 10, "").await.unwrap();
    assert_eq!(world.wishes.take(), [Wish::Touch(eve), Wish::Enrol(eve, EnrolReason::FloorHigh)]);
    served.page("eve", 10, &page.cursor).await.unwrap();
    assert_eq!(world.wishes.take(), [Wish::Touch(eve)]);
}
