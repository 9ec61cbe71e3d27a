//! The follow graph and the accounting, over a real socket.

mod common;

use std::collections::BTreeSet;

use common::serve::Served;
use common::{World, cid, uri};
use skyweir_proto::bsky::{GetFollowersRequest, GetFollowsRequest};
use skyweir_proto::skyweir::v1::{
    GetDeliveryRequest, GetFollowCountsRequest, GetFollowPageRequest, GetFollowerPageRequest,
};
use skyweir_store::DeliveryReport;
use skyweir_types::Collection;
use tonic::Code;

async fn star(fans: usize) -> World {
    let mut world = World::new();
    world.actor("star").await;
    for n in 0..fans {
        world.follow(&format!("fan{n}"), "star", &format!("a{n}")).await;
        world.follow("star", &format!("fan{n}"), &format!("b{n}")).await;
    }
    // A second record of the same edge adds nothing.
    world.follow("fan0", "star", "z").await;
    world
}

#[tokio::test]
async fn followers_and_follows_page_to_the_same_edges() {
    let world = star(23).await;
    let mut served = Served::world(&world).await;
    let fans: BTreeSet<String> = (0..23).map(|n| format!("did:plc:fan{n}")).collect();
    for limit in [1, 2, 7, 22, 23, 24, 1_000, 9_999] {
        let (mut seen, mut cursor, mut count) = (BTreeSet::new(), String::new(), 0);
        loop {
            let request = GetFollowersRequest { actor_did: "did:plc:star".into(), limit, cursor };
            let page = served.bsky.get_followers(request).await.unwrap().into_inner();
            assert!(page.followers.len() <= limit as usize);
            for edge in page.followers {
                let n = edge.actor_did.strip_prefix("did:plc:fan").unwrap();
                assert_eq!(edge.uri, uri(&format!("fan{n}"), Collection::Follow, &format!("a{n}")));
                assert_eq!(edge.subject_did, "did:plc:star");
                seen.insert(edge.actor_did);
                count += 1;
            }
            cursor = page.cursor;
            if cursor.is_empty() {
                break;
            }
        }
        assert_eq!((&seen, count), (&fans, 23), "limit {limit}");
        let (mut seen, mut cursor) = (BTreeSet::new(), String::new());
        loop {
            let request = GetFollowsRequest { actor_did: "did:plc:star".into(), limit, cursor };
            let page = served.bsky.get_follows(request).await.unwrap().into_inner();
            for edge in page.follows {
                assert_eq!(edge.actor_did, "did:plc:star");
                assert!(edge.uri.starts_with("at://did:plc:star/app.bsky.graph.follow/b"));
                assert!(seen.insert(edge.subject_did));
            }
            cursor = page.cursor;
            if cursor.is_empty() {
                break;
            }
        }
        assert_eq!(seen, fans, "limit {limit}");
    }
}

#[tokio::test]
async fn pages_of_dids_end_at_their_size() {
    let mut world = star(23).await;
    // Five DIDs of this length with their frame.
    world.config.max_page_bytes = 5 * (2 + 4 + "did:plc:fan".len());
    let mut served = Served::world(&world).await;
    let (mut seen, mut cursor, mut pages) = (BTreeSet::new(), String::new(), 0);
    loop {
        let request = GetFollowerPageRequest { actor_did: "did:plc:star".into(), limit: 0, cursor };
        let page = served.own.get_follower_page(request).await.unwrap().into_inner();
        assert!(!page.dids.is_empty());
        seen.extend(page.dids);
        pages += 1;
        cursor = page.cursor;
        if cursor.is_empty() {
            break;
        }
    }
    assert_eq!((seen.len(), pages), (23, 5));
    let request =
        GetFollowPageRequest { actor_did: "did:plc:fan3".into(), ..GetFollowPageRequest::default() };
    let page = served.own.get_follow_page(request).await.unwrap().into_inner();
    assert_eq!((page.dids, page.cursor), (vec!["did:plc:star".to_owned()], String::new()));
    let request = GetFollowCountsRequest { actor_did: "did:plc:star".into() };
    let counts = served.own.get_follow_counts(request).await.unwrap().into_inner();
    assert_eq!((counts.followers, counts.follows), (23, 23));
}

#[tokio::test]
async fn unknown_actors_are_empty_and_malformed_questions_refused() {
    let world = star(2).await;
    let mut served = Served::world(&world).await;
    let mut ask = async |actor: &str, limit, cursor: &str| {
        let request = GetFollowersRequest { actor_did: actor.into(), limit, cursor: cursor.into() };
        served.bsky.get_followers(request).await.map(tonic::Response::into_inner)
    };
    let page = ask("did:plc:nobody", 0, "").await.unwrap();
    assert!(page.followers.is_empty() && page.cursor.is_empty());
    for (actor, limit, cursor) in [
        ("star", 0, ""),
        ("", 0, ""),
        ("did:plc:star", -1, ""),
        ("did:plc:star", 0, "x"),
        ("did:plc:star", 0, "did:plc:nobody"),
    ] {
        assert_eq!(
            ask(actor, limit, cursor).await.unwrap_err().code(),
            Code::InvalidArgument,
            "{actor} {cursor}"
        );
    }
    let request = GetFollowCountsRequest { actor_did: "did:plc:nobody".into() };
    assert_eq!(served.own.get_follow_counts(request).await.unwrap().into_inner().followers, 0);
}

#[tokio::test]
async fn the_accounting_of_an_item() {
    let mut world = World::new();
    let post = world.post("ann", "p", 1, cid(1)).await;
    let report =
        DeliveryReport { followers: 7, written: 4, hibernating: 3, finished: true, ..Default::default() };
    let mut served = Served::world(&world).await;
    let mut ask = async |uri: String| {
        served.own.get_delivery(GetDeliveryRequest { uri }).await.map(tonic::Response::into_inner)
    };
    let found = uri("ann", Collection::Post, "p");
    assert_eq!(ask(found.clone()).await.unwrap_err().code(), Code::NotFound);
    world.reports.0.lock().unwrap().insert(post, report);
    let answer = ask(found).await.unwrap();
    assert_eq!((answer.followers, answer.written, answer.hibernating, answer.finished), (7, 4, 3, true));
    assert_eq!(ask(uri("ann", Collection::Post, "q")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(ask(uri("nobody", Collection::Post, "q")).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(ask("https://example.com/".into()).await.unwrap_err().code(), Code::InvalidArgument);
}
