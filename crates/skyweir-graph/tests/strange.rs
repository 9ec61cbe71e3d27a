//! Servers that answer what ours never would: their pages are refused, and others are asked.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::sync::Arc;

use common::{Served, celebrity, own_pages, paged, pages_of, rest, serve};
use skyweir_graph::{Config, Graph};
use skyweir_proto::skyweir::graph::v1::follower_graph_server::{FollowerGraph, FollowerGraphServer};
use skyweir_proto::skyweir::graph::v1::{
    FollowCountsRequest, FollowCountsResponse, FollowersPage, FollowersRequest, HighFollowsChunk,
    HighFollowsRequest,
};
use skyweir_store::MemoryStore;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};

/// Answers every call with these pages.
struct Strange(Vec<FollowersPage>);

type Stream<T> = tokio_stream::Iter<std::vec::IntoIter<Result<T, Status>>>;

#[tonic::async_trait]
impl FollowerGraph for Strange {
    type FollowersStream = Stream<FollowersPage>;
    type HighFollowsStream = Stream<HighFollowsChunk>;

    async fn followers(
        &self,
        _: Request<FollowersRequest>,
    ) -> Result<Response<Self::FollowersStream>, Status> {
        let pages: Vec<_> = self.0.iter().cloned().map(Ok).collect();
        Ok(Response::new(tokio_stream::iter(pages)))
    }

    async fn follow_counts(
        &self,
        _: Request<FollowCountsRequest>,
    ) -> Result<Response<FollowCountsResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn high_follows(
        &self,
        _: Request<HighFollowsRequest>,
    ) -> Result<Response<Self::HighFollowsStream>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }
}

/// What a graph makes of a server with these pages, and of a sound one beside it.
async fn pages(pages: &[(&[u32], bool)]) -> String {
    let page =
        |(followers, last): &(&[u32], bool)| FollowersPage { followers: followers.to_vec(), last: *last };
    let strange = Strange(pages.iter().map(page).collect());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let strange_at = listener.local_addr().unwrap().to_string();
    let mut tasks = JoinSet::new();
    tasks.spawn(
        tonic::transport::Server::builder()
            .add_service(FollowerGraphServer::new(strange))
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let graph = |servers: &[&str]| {
        let remote = servers.iter().map(|at| at.parse().unwrap()).collect();
        Graph::new(Config { remote, ..paged(3) }, Arc::new(MemoryStore::new()))
    };
    let mut pages = pages_of(&graph(&[&strange_at]), 0).await;
    let said = loop {
        match pages.next().await {
            Ok(Some(_)) => {}
            Ok(None) => return "taken".to_owned(),
            Err(error) => break error.to_string(),
        }
    };
    let store = celebrity(10).await;
    let sound: Served = serve(paged(3), store.clone()).await;
    let both = graph(&[&strange_at, &sound.address.to_string()]);
    assert_eq!(rest(&mut pages_of(&both, 0).await).await, own_pages(paged(3), &store, 0).await);
    said
}

#[tokio::test]
async fn pages_that_would_double_or_lose_somebody_are_refused() {
    assert_eq!(pages(&[(&[1, 2, 3], false), (&[4], true)]).await, "taken");
    for wrong in [
        &[(&[1, 2, 3][..], false), (&[3, 4][..], true)][..],
        &[(&[2, 1], true)],
        &[(&[1, 1], true)],
        &[(&[1, 2, 3, 4], true)],
        &[(&[], false), (&[1], true)],
    ] {
        let said = pages(wrong).await;
        assert!(
            said.contains("a page of followers isn't one; does the same version of Skyweir run there?"),
            "{said}"
        );
    }
    let said = pages(&[(&[1, 2, 3], false)]).await;
    assert!(said.contains("a stream ended before its last page"), "{said}");
}
