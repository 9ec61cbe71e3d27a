//! What is lost in the middle of a stream goes on behind the page before: no follower doubled or left out.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{
    Served, celebrity, hooked, is_page, own_pages, paged, pages_of, remote, rest, serve_alone, serve_at,
};
use skyweir_graph::Graph;
use skyweir_store::{Error, Fault, Hook, MemoryStore, Operation, Result};
use skyweir_types::ActorId;
use tokio::sync::Semaphore;

/// Two servers of 40 followers in pages of three: the first one gives two pages and then hangs.
struct Two {
    store: MemoryStore,
    hangs: Arc<Fault>,
    asked: Arc<Fault>,
    first: Served,
    second: Served,
}

impl Two {
    async fn start(timeout_ms: u64) -> (Self, Arc<Graph>) {
        let store = celebrity(40).await;
        let hangs = Arc::new(Fault::hold(Arc::new(Semaphore::new(2)), is_page));
        let asked = Arc::new(Fault::delay(Duration::ZERO, is_page));
        let patient = skyweir_graph::Config { drain_ms: 600_000, timeout_ms: 600_000, ..paged(3) };
        let first = serve_alone(patient, hooked(&store, Arc::clone(&hangs) as _)).await;
        let second = serve_alone(paged(3), hooked(&store, Arc::clone(&asked) as _)).await;
        let graph = remote(skyweir_graph::Config { timeout_ms, ..paged(3) }, &[&first, &second]);
        (Self { store, hangs, asked, first, second }, graph)
    }
}

/// Reads until the first server hangs, lets this happen to it, and expects the rest of the second one.
async fn goes_on(timeout_ms: u64, then: impl AsyncFnOnce(Served) -> Option<Served>) {
    let (two, graph) = Two::start(timeout_ms).await;
    let mut pages = pages_of(&graph, 0).await;
    let mut got = vec![pages.next().await.unwrap().unwrap(), pages.next().await.unwrap().unwrap()];
    while two.hangs.fired() < 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(two.asked.fired(), 0);
    let (all, _first) = tokio::join!(rest(&mut pages), then(two.first));
    got.extend(all);
    assert_eq!(got, own_pages(paged(3), &two.store, 0).await);
    assert_eq!(two.asked.fired(), 12, "the second one gave what the first one hadn't");
    two.second.kill();
}

#[tokio::test]
async fn a_server_that_stops_in_the_middle() {
    goes_on(60_000, async |first| {
        // its streams are told, else it would wait for them
        tokio::time::timeout(Duration::from_secs(20), first.end()).await.unwrap().unwrap();
        None
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_killed_in_the_middle() {
    goes_on(60_000, async |first| {
        first.kill();
        None
    })
    .await;
}

#[tokio::test]
async fn a_server_that_gives_no_answer() {
    goes_on(50, async |first| Some(first)).await;
}

#[tokio::test]
async fn the_same_server_after_its_restart() {
    let store = celebrity(40).await;
    let tickets = Arc::new(Semaphore::new(5));
    let hangs: Arc<dyn Hook> = Arc::new(Fault::hold(Arc::clone(&tickets), is_page));
    let served = serve_alone(paged(3), hooked(&store, Arc::clone(&hangs))).await;
    let (graph, at) = (remote(paged(3), &[&served]), served.address);
    let mut pages = pages_of(&graph, 0).await;
    let mut got = Vec::new();
    for _ in 0..5 {
        got.push(pages.next().await.unwrap().unwrap());
    }
    served.kill();
    // as long as it is away, whoever asks is told so and may ask again
    for _ in 0..3 {
        let said = pages.next().await.unwrap_err().to_string();
        let wanted = format!(
            "no server of graph.remote gives a page of followers: the server of the follower graph at {at}"
        );
        // what was asked before the listener was gone is reset
        let away = ["refused", "reset"].iter().any(|word| said.contains(word));
        assert!(said.contains(&wanted) && away, "{said}");
        assert!(!pages.ended());
    }
    tickets.add_permits(1_000);
    let again = serve_at(at, paged(3), hooked(&store, hangs)).await;
    got.extend(rest(&mut pages).await);
    assert_eq!(got, own_pages(paged(3), &store, 0).await);
    again.end().await.unwrap();
}

/// Ends a view after two pages, as a store on servers does with one that is too old.
#[derive(Default)]
struct Aging {
    asked: AtomicU64,
    views: AtomicU64,
    ended: AtomicU64,
}

#[async_trait::async_trait]
impl Hook for Aging {
    async fn before(&self, operation: &Operation<'_>) -> Result<()> {
        if matches!(operation, Operation::View) {
            self.views.fetch_add(1, Ordering::SeqCst);
            self.asked.store(0, Ordering::SeqCst);
        }
        if is_page(operation) && self.asked.fetch_add(1, Ordering::SeqCst) >= 2 {
            self.ended.fetch_add(1, Ordering::SeqCst);
            return Err(Error::Unavailable("the view is older than what is kept".into()));
        }
        Ok(())
    }

    async fn after(&self, _: &Operation<'_>) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_view_that_ends_in_the_middle_is_no_failure_of_a_server() {
    let (store, aging) = (celebrity(40).await, Arc::new(Aging::default()));
    let asked = Arc::new(Fault::delay(Duration::ZERO, is_page));
    let served = serve_alone(paged(3), hooked(&store, Arc::clone(&aging) as _)).await;
    let other = serve_alone(paged(3), hooked(&store, Arc::clone(&asked) as _)).await;
    let mut pages = pages_of(&remote(paged(3), &[&served, &other]), 0).await;
    assert_eq!(rest(&mut pages).await, own_pages(paged(3), &store, 0).await);
    // fourteen pages, of two for each view
    assert_eq!((aging.ended.load(Ordering::SeqCst), asked.fired()), (6, 0));
    other.kill();
    served.kill();
}

#[tokio::test]
async fn a_view_that_ends_in_the_middle_is_renewed_in_the_same_process_too() {
    let (store, aging) = (celebrity(40).await, Arc::new(Aging::default()));
    let store_of_graph = hooked(&store, Arc::clone(&aging) as _);
    let view = store_of_graph.view().await.unwrap();
    let graph = Graph::new(paged(3), store_of_graph);
    let mut pages = graph.followers(view.into(), ActorId(0), None);
    let (mut got, mut failed) = (Vec::new(), 0);
    while !pages.ended() {
        match pages.next().await {
            Ok(page) => got.extend(page),
            Err(error) => {
                assert!(error.to_string().contains("older than"), "{error}");
                failed += 1;
                assert!(failed < 20, "the ended view is asked again and again");
            }
        }
    }
    assert_eq!(got, own_pages(paged(3), &store, 0).await);
    assert_eq!((failed, aging.views.load(Ordering::SeqCst)), (6, 7));
}

/// A store that contradicts itself.
struct Corrupt;

#[async_trait::async_trait]
impl Hook for Corrupt {
    async fn before(&self, operation: &Operation<'_>) -> Result<()> {
        if is_page(operation) {
            Err(Error::Corrupt("a block of followers ends early".into()))
        } else {
            Ok(())
        }
    }

    async fn after(&self, _: &Operation<'_>) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn corruption_is_told_as_such_and_nobody_else_is_asked() {
    let store = celebrity(4).await;
    let asked = Arc::new(Fault::delay(Duration::ZERO, is_page));
    let corrupt = serve_alone(paged(3), hooked(&store, Arc::new(Corrupt))).await;
    let sound = serve_alone(paged(3), hooked(&store, Arc::clone(&asked) as _)).await;
    let mut pages = pages_of(&remote(paged(3), &[&corrupt, &sound]), 0).await;
    let error = pages.next().await.unwrap_err();
    assert!(matches!(&error, Error::Corrupt(what) if what.contains("ends early")), "{error}");
    assert_eq!(asked.fired(), 0);
    corrupt.kill();
    sound.kill();
}
