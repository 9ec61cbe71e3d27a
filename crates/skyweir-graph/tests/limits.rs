//! What a server holds for its clients is bounded, and what it can't read is refused.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{celebrity, follow, hooked, is_page, paged, serve_alone};
use skyweir_graph::Config;
use skyweir_proto::skyweir::graph::v1::follower_graph_client::FollowerGraphClient;
use skyweir_proto::skyweir::graph::v1::{
    FollowCountsRequest, FollowersPage, FollowersRequest, HighFollowsChunk, HighFollowsRequest,
};
use skyweir_store::Fault;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic::{Code, Request};

const AUTHOR: FollowersRequest = FollowersRequest { author: 0, after: None, page_size: 0, next_task: 0 };

#[tokio::test]
async fn a_client_that_does_not_read_gets_its_window_and_holds_nobody_back() {
    // 120 pages of 2,000 bytes, and a window for 32 of them
    let store = celebrity(60_000).await;
    let asked = Arc::new(Fault::delay(Duration::ZERO, is_page));
    let served = serve_alone(paged(500), hooked(&store, Arc::clone(&asked) as _)).await;
    let endpoint = Endpoint::from_shared(format!("http://{}", served.address)).unwrap();
    let endpoint = endpoint.initial_stream_window_size(64 << 10).initial_connection_window_size(1 << 20);
    let mut client = FollowerGraphClient::new(endpoint.connect().await.unwrap());
    let mut stalled = client.followers(AUTHOR).await.unwrap().into_inner();
    while asked.fired() == 0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..5 {
        let before = asked.fired();
        let mut others = client.followers(AUTHOR).await.unwrap().into_inner();
        let mut pages = 0;
        while others.message().await.unwrap().is_some() {
            pages += 1;
        }
        assert_eq!(pages, 121);
        // what is sent goes in pieces of 32 KiB: the window, and one that waits for it
        assert!(asked.fired() - before <= 121 + 50, "{} pages", asked.fired() - before);
    }
    assert!(asked.fired() <= 5 * 121 + 50, "{} pages", asked.fired());
    let mut pages = 0;
    while stalled.message().await.unwrap().is_some() {
        pages += 1;
    }
    assert_eq!((pages, asked.fired()), (121, 6 * 121));
    served.kill();
}

#[tokio::test]
async fn streams_over_the_limit_are_refused_until_one_ends() {
    let config = Config { max_streams: 2, ..paged(500) };
    let served = serve_alone(config, hooked(&celebrity(4).await, Arc::new(Fault::refuse(|_| false)))).await;
    let (mut one, mut other) = (served.client().await, served.client().await);
    // they never end
    let watch = HighFollowsRequest { reasonable_limit: 2_000 };
    let first = one.high_follows(watch).await.unwrap();
    let second = other.high_follows(watch).await.unwrap();
    for _ in 0..3 {
        let refused = other.followers(AUTHOR).await.unwrap_err();
        assert_eq!(
            (refused.code(), refused.message()),
            (Code::Unavailable, "2 streams are open already (graph.max_streams)")
        );
    }
    drop(first);
    while other.followers(AUTHOR).await.is_err() {
        tokio::task::yield_now().await;
    }
    drop(second);
    served.kill();
}

#[tokio::test]
async fn a_store_that_gives_no_answer_is_given_up() {
    let hangs = Arc::new(Fault::hold(Arc::new(Semaphore::new(0)), is_page));
    let config = Config { timeout_ms: 20, ..paged(3) };
    let served = serve_alone(config, hooked(&celebrity(4).await, Arc::clone(&hangs) as _)).await;
    let mut stream = served.client().await.followers(AUTHOR).await.unwrap().into_inner();
    let status = stream.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.message(), "the store gave no answer within 20 ms (graph.timeout_ms)");
    assert_eq!(hangs.fired(), 1);
    served.kill();
}

#[tokio::test]
async fn counts_are_told_of_many_at_once() {
    let store = celebrity(9).await;
    follow(&store, [(1, 2), (1, 1), (2, 1)]).await;
    let served = serve_alone(paged(3), hooked(&store, Arc::new(Fault::refuse(|_| false)))).await;
    let mut client = served.client().await;
    let counts =
        client.follow_counts(FollowCountsRequest { actors: vec![1, 0, 77, 1] }).await.unwrap().into_inner();
    assert_eq!((counts.followers, counts.follows), (vec![2, 9, 0, 2], vec![3, 0, 0, 3]));
    let counts =
        client.follow_counts(FollowCountsRequest { actors: vec![1; 10_000] }).await.unwrap().into_inner();
    assert_eq!((counts.followers.len(), counts.follows.len()), (10_000, 10_000));
    let refused = client.follow_counts(FollowCountsRequest { actors: vec![1; 10_001] }).await.unwrap_err();
    let wanted = "10001 accounts: expected at most 10000";
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, wanted));
    served.kill();
}

#[tokio::test]
async fn what_is_malformed_is_refused_and_harms_nobody() {
    let served = serve_alone(paged(3), hooked(&celebrity(4).await, Arc::new(Fault::refuse(|_| false)))).await;
    let mut client = served.client().await;
    // no HTTP/2 at all: the connection is closed
    let mut plain = TcpStream::connect(served.address).await.unwrap();
    plain.write_all(b"GET /metrics HTTP/1.1\r\nHost: graph\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // closed, by whatever: no answer that says something
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    // a message of another kind: its first field has another type
    let endpoint = Endpoint::from_shared(format!("http://{}", served.address)).unwrap();
    let mut raw = tonic::client::Grpc::new(endpoint.connect().await.unwrap());
    raw.ready().await.unwrap();
    let path = PathAndQuery::from_static("/skyweir.graph.v1.FollowerGraph/Followers");
    let codec = tonic_prost::ProstCodec::<HighFollowsChunk, FollowersPage>::default();
    let chunk = HighFollowsChunk { snapshot: 1 << 40, ..HighFollowsChunk::default() };
    let refused = raw.unary(Request::new(chunk), path, codec).await.unwrap_err();
    assert_eq!(refused.code(), Code::Internal);
    assert!(refused.message().contains("failed to decode"), "{}", refused.message());
    // larger than any that makes sense
    let refused = client.follow_counts(FollowCountsRequest { actors: vec![1; 20_000] }).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    let mut stream = client.followers(AUTHOR).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().followers, [1, 2, 3]);
    served.kill();
}
