//! The high-follow snapshot over a socket: each new one comes, and the last one stays while nobody tells it.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{Served, accounts, follow, remote, serve_alone, serve_at};
use skyweir_graph::{Config, Graph, HighFollows};
use skyweir_proto::skyweir::graph::v1::HighFollowsRequest;
use skyweir_store::{Ask, Error, Fault, Hook, HookedStore, MemoryStore, Operation, Result};
use skyweir_types::ActorId;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::Code;

const LIMIT: u32 = 3;

fn config() -> Config {
    Config { reasonable_limit: LIMIT, snapshot_seconds: 1, ..Config::default() }
}

/// The first `n` of ten accounts follow four others each.
async fn high(n: u32) -> MemoryStore {
    let store = accounts(20).await;
    follow(&store, (0..n).flat_map(|viewer| (10..14).map(move |author| (viewer, author)))).await;
    store
}

async fn serve(store: &MemoryStore) -> Served {
    serve_alone(config(), Arc::new(store.clone())).await
}

struct Watching {
    snapshot: watch::Receiver<Arc<HighFollows>>,
    stop: CancellationToken,
    tasks: JoinSet<std::result::Result<(), skyweir_graph::Error>>,
}

impl Watching {
    fn start(graph: Arc<Graph>) -> Self {
        let (snapshot, stop, mut tasks) = (graph.high_follows(), CancellationToken::new(), JoinSet::new());
        tasks.spawn(graph.run(stop.clone()));
        Self { snapshot, stop, tasks }
    }

    /// Waits for a snapshot with so many accounts, each with four follows.
    async fn has(&mut self, accounts: u32) {
        let taken = self
            .snapshot
            .wait_for(|taken| taken.number() > 0 && taken.len() as u32 == accounts)
            .await
            .unwrap();
        let counts: BTreeMap<_, _> = taken.iter().collect();
        assert_eq!(counts, (0..accounts).map(|n| (ActorId(n), 4)).collect());
    }

    async fn end(mut self) -> std::result::Result<(), skyweir_graph::Error> {
        self.stop.cancel();
        self.tasks.join_next().await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn the_snapshot_comes_and_each_new_one() {
    let store = high(0).await;
    let served = serve(&store).await;
    let mut watching = Watching::start(remote(config(), &[&served]));
    watching.has(0).await;
    for n in 1..=2 {
        follow(&store, (10..14).map(|author| (n - 1, author))).await;
        watching.has(n).await;
    }
    // who comes later has it at once, in one answer
    let request = HighFollowsRequest { reasonable_limit: LIMIT };
    let mut stream = served.client().await.high_follows(request).await.unwrap().into_inner();
    let chunk = stream.message().await.unwrap().unwrap();
    assert!(chunk.last && chunk.snapshot >= 3 && chunk.actors.len() == 2, "{chunk:?}");
    watching.end().await.unwrap();
    served.end().await.unwrap();
}

#[tokio::test]
async fn another_server_goes_on_and_the_snapshot_stays_meanwhile() {
    let first = serve(&high(2).await).await;
    let second = serve(&high(5).await).await;
    let mut watching = Watching::start(remote(config(), &[&first, &second]));
    watching.has(2).await;
    first.kill();
    watching.has(5).await;
    let at = second.address;
    second.end().await.unwrap();
    // nobody is left: it stays, until somebody is back
    assert_eq!(watching.snapshot.borrow().len(), 5);
    let third = serve_at(at, config(), Arc::new(high(7).await)).await;
    watching.has(7).await;
    watching.end().await.unwrap();
    third.end().await.unwrap();
}

#[tokio::test]
async fn another_limit_is_refused_in_words() {
    let served = serve(&high(2).await).await;
    let request = HighFollowsRequest { reasonable_limit: 9 };
    let refused = served.client().await.high_follows(request).await.unwrap_err();
    let wanted = "its timeline.reasonable_limit is 3, that of who asks 9: give all processes the same";
    assert_eq!((refused.code(), refused.message()), (Code::FailedPrecondition, wanted));
    served.end().await.unwrap();
}

/// A store that contradicts itself.
struct Corrupt;

#[async_trait::async_trait]
impl Hook for Corrupt {
    async fn before(&self, operation: &Operation<'_>) -> Result<()> {
        match operation {
            Operation::Ask(Ask::HighFollows) => Err(Error::Corrupt("a count is below zero".into())),
            _ => Ok(()),
        }
    }

    async fn after(&self, _: &Operation<'_>) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn corruption_ends_a_server_and_what_may_pass_does_not() {
    let fails = |operation: &Operation<'_>| matches!(operation, Operation::Ask(Ask::HighFollows));
    let refused = Arc::new(Fault::refuse(fails).times(1));
    let store = HookedStore::new(Arc::new(high(2).await), Arc::clone(&refused) as _);
    let served = serve_alone(config(), Arc::new(store)).await;
    let mut watching = Watching::start(remote(config(), &[&served]));
    watching.has(2).await;
    assert_eq!(refused.fired(), 1);
    watching.end().await.unwrap();
    served.end().await.unwrap();
    let store = HookedStore::new(Arc::new(high(2).await), Arc::new(Corrupt));
    let ended = serve_alone(config(), Arc::new(store)).await.ends().await;
    assert!(ended.unwrap_err().to_string().contains("a count is below zero"));
}
