//! Pages over a socket are those of the store.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{
    accounts, celebrity, follow, hooked, is_page, own_pages, paged, pages_of, remote, rest, seeded, serve,
    serve_alone,
};
use skyweir_proto::skyweir::graph::v1::FollowersRequest;
use skyweir_store::{Fault, Store as _, Task};
use skyweir_types::ActorId;
use tonic::Code;

#[tokio::test]
async fn pages_of_seeded_graphs_equal_those_of_the_store() {
    let (mut many, mut none, mut itself, mut exact) = (0, 0, 0, 0);
    for seed in 0..12 {
        let (store, page) = (seeded(seed).await, 1 + seed as usize % 8);
        let served = serve(paged(page), store.clone()).await;
        let graph = remote(paged(page), &[&served]);
        for author in 0..60 {
            let wanted = own_pages(paged(page), &store, author).await;
            let got = rest(&mut pages_of(&graph, author).await).await;
            assert_eq!(got, wanted, "author {author} of seed {seed}");
            many += u32::from(wanted.len() > 3);
            none += u32::from(wanted.is_empty());
            itself += u32::from(wanted.concat().contains(&ActorId(author)));
            exact += u32::from(wanted.last().is_some_and(|last| last.len() == page));
        }
        served.end().await.unwrap();
    }
    assert!(many > 50 && none > 50 && itself > 50 && exact > 50, "{many} {none} {itself} {exact}");
}

#[tokio::test]
async fn a_server_takes_its_view_after_it_was_asked() {
    let store = accounts(10).await;
    follow(&store, [(1, 0), (2, 0)]).await;
    let served = serve(paged(1), store.clone()).await;
    let graph = remote(paged(1), &[&served]);
    // connected, and asked before
    assert_eq!(rest(&mut pages_of(&graph, 0).await).await.len(), 2);
    for follower in 3..10 {
        follow(&store, [(follower, 0)]).await;
        let pages = rest(&mut pages_of(&graph, 0).await).await;
        assert_eq!(pages.last(), Some(&vec![ActorId(follower)]));
    }
}

#[tokio::test]
async fn a_server_that_knows_less_than_who_asks_gives_no_page() {
    let store = celebrity(5).await;
    let served = serve(paged(9), store.clone()).await;
    let next_task = store.next_task().borrow().0;
    let mut client = served.client().await;
    let mut ask = async |next_task| {
        let request = FollowersRequest { author: 0, after: None, page_size: 0, next_task };
        client.followers(request).await.unwrap().into_inner().message().await
    };
    let refused = ask(next_task + 1).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(
        refused.message().contains(&format!("before {next_task}, not yet of those before {}", next_task + 1))
    );
    assert_eq!(ask(next_task).await.unwrap().unwrap().followers.len(), 5);
    // who asks says what its view shows
    let newer = accounts(6).await;
    let graph = remote(paged(9), &[&served]);
    let mut txn = newer.begin().await.unwrap();
    let fill = Task::Fill { viewer: ActorId(1), author: ActorId(0) };
    for _ in 0..next_task {
        txn.append(fill).await.unwrap();
    }
    txn.commit().await.unwrap();
    let newer = Arc::from(newer.view().await.unwrap());
    let error = graph.followers(newer, ActorId(0), None).next().await.unwrap_err();
    assert!(error.to_string().contains("not yet of those before"), "{error}");
}

#[tokio::test]
async fn the_server_bounds_a_page() {
    let store = celebrity(50).await;
    let served = serve(paged(7), store.clone()).await;
    let wanted = own_pages(paged(7), &store, 0).await;
    assert_eq!(rest(&mut pages_of(&remote(paged(1_000), &[&served]), 0).await).await, wanted);
    let smaller = rest(&mut pages_of(&remote(paged(3), &[&served]), 0).await).await;
    assert_eq!((smaller.len(), smaller.concat()), (17, wanted.concat()));
    let mut client = served.client().await;
    let request = FollowersRequest { author: 0, after: Some(44), page_size: 0, next_task: 0 };
    let mut stream = client.followers(request).await.unwrap().into_inner();
    let page = stream.message().await.unwrap().unwrap();
    assert_eq!((page.followers, page.last), (vec![45, 46, 47, 48, 49, 50], true));
    assert!(stream.message().await.unwrap().is_none());
}

#[tokio::test]
async fn streams_that_make_room_for_others_go_on_where_they_were() {
    let store = celebrity(40).await;
    follow(&store, (0..40).map(|viewer| (viewer, 40))).await;
    let served = serve(paged(1), store.clone()).await;
    let one = skyweir_graph::Config { remote_streams: 1, ..paged(1) };
    let graph = remote(one, &[&served]);
    let (mut first, mut second) = (pages_of(&graph, 0).await, pages_of(&graph, 40).await);
    let (mut of_first, mut of_second) = (Vec::new(), Vec::new());
    for _ in 0..40 {
        of_first.extend(first.next().await.unwrap().unwrap());
        of_second.extend(second.next().await.unwrap().unwrap());
    }
    assert_eq!((first.next().await.unwrap(), second.next().await.unwrap()), (None, None));
    assert_eq!(of_first, own_pages(paged(1), &store, 0).await.concat());
    assert_eq!(of_second, own_pages(paged(1), &store, 40).await.concat());
}

#[tokio::test]
async fn streams_that_nobody_reads_hold_nobody_back() {
    // six pages of 40,000 bytes, and a window for three of them
    let store = celebrity(60_000).await;
    let asked = Arc::new(Fault::delay(Duration::ZERO, is_page));
    let served = serve_alone(paged(10_000), hooked(&store, Arc::clone(&asked) as _)).await;
    let graph = remote(paged(10_000), &[&served]);
    let mut stalled = Vec::new();
    for _ in 0..60 {
        let mut pages = pages_of(&graph, 0).await;
        assert_eq!(pages.next().await.unwrap().unwrap().len(), 10_000);
        stalled.push(pages);
    }
    // all of them have sent what they may, which is more than a connection takes by default
    let sent = async {
        while asked.fired() < 60 * 4 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), sent).await.unwrap();
    assert_eq!(rest(&mut pages_of(&graph, 0).await).await.len(), 6);
    assert!(asked.fired() <= 60 * 6 + 7, "{}", asked.fired());
    for mut pages in stalled {
        assert_eq!(rest(&mut pages).await.len(), 5);
    }
    served.kill();
}
