//! Stores with seeded graphs, and servers over them on real sockets.
#![allow(dead_code, reason = "every test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "these are parts of tests")]

use std::net::SocketAddr;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use skyweir_graph::{Config, Error, FollowerPages, Graph, Server};
use skyweir_proto::skyweir::graph::v1::follower_graph_client::FollowerGraphClient;
use skyweir_store::{Ask, Hook, HookedStore, MemoryStore, Operation, Store};
use skyweir_types::{ActorId, Did, RecordKey};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

/// A store with so many accounts.
pub(crate) async fn accounts(n: u32) -> MemoryStore {
    let store = MemoryStore::new();
    let mut txn = store.begin().await.unwrap();
    for actor in 0..n {
        txn.intern(&Did::parse(&format!("did:web:a{actor}.example")).unwrap()).await.unwrap();
    }
    txn.commit().await.unwrap();
    store
}

/// Adds follows: who follows, and whom.
pub(crate) async fn follow(store: &MemoryStore, edges: impl IntoIterator<Item = (u32, u32)>) {
    let mut txn = store.begin().await.unwrap();
    for (viewer, author) in edges {
        let rkey = RecordKey::parse(&format!("f{author}")).unwrap();
        txn.add_follow(ActorId(viewer), ActorId(author), &rkey).await.unwrap();
    }
    txn.commit().await.unwrap();
}

/// A celebrity, account 0, whom all of `1..=n` follow.
pub(crate) async fn celebrity(n: u32) -> MemoryStore {
    let store = accounts(n + 1).await;
    follow(&store, (1..=n).map(|viewer| (viewer, 0))).await;
    store
}

/// 60 accounts, of whom the first ones have many followers and the last ones few or none; some follow themselves.
pub(crate) async fn seeded(seed: u64) -> MemoryStore {
    let store = accounts(60).await;
    let mut random = StdRng::seed_from_u64(seed);
    let edges = (0..600).map(|_| {
        let author = random.random_range(0..50u32) * random.random_range(0..50) / 50;
        (if random.random_ratio(1, 20) { author } else { random.random_range(0..60) }, author)
    });
    follow(&store, edges.collect::<Vec<_>>()).await;
    store
}

/// This store, asking a hook.
pub(crate) fn hooked(store: &MemoryStore, hook: Arc<dyn Hook>) -> Arc<dyn Store> {
    Arc::new(HookedStore::new(Arc::new(store.clone()), hook))
}

/// Whether a page of followers is read.
pub(crate) fn is_page(operation: &Operation<'_>) -> bool {
    matches!(operation, Operation::Ask(Ask::Followers))
}

pub(crate) fn paged(page: usize) -> Config {
    Config { page, ..Config::default() }
}

/// A server at work.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    tasks: JoinSet<Result<(), Error>>,
    /// Of a server that may be killed.
    alone: Option<Alone>,
}

/// A runtime whose tasks end with it, wherever they are.
struct Alone(Option<Runtime>);

impl Drop for Alone {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Starts a server.
pub(crate) async fn serve(config: Config, store: impl Store + 'static) -> Served {
    serve_at("127.0.0.1:0".parse().unwrap(), config, Arc::new(store)).await
}

/// Starts a server at this address.
pub(crate) async fn serve_at(at: SocketAddr, config: Config, store: Arc<dyn Store>) -> Served {
    let listener = TcpListener::bind(at).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    tasks.spawn(Server::new(config, store).run(listener, stop.clone()));
    Served { address, stop, tasks, alone: None }
}

/// Starts a server that may be killed: it has a runtime of its own.
pub(crate) async fn serve_alone(config: Config, store: Arc<dyn Store>) -> Served {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let at = "127.0.0.1:0".parse().unwrap();
    let served = runtime.spawn(serve_at(at, config, store)).await.unwrap();
    Served { alone: Some(Alone(Some(runtime))), ..served }
}

impl Served {
    /// Stops it in good order.
    pub(crate) async fn end(mut self) -> Result<(), Error> {
        self.stop.cancel();
        self.tasks.join_next().await.unwrap().unwrap()
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ends(mut self) -> Result<(), Error> {
        self.tasks.join_next().await.unwrap().unwrap()
    }

    /// Ends it as a crash would: its sockets close in the middle of whatever they were sending.
    pub(crate) fn kill(self) {
        assert!(self.alone.is_some(), "its connections would stay");
    }

    /// A client of its own.
    pub(crate) async fn client(&self) -> FollowerGraphClient<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        FollowerGraphClient::new(endpoint.connect().await.unwrap())
    }
}

/// A graph over servers, in a process whose own store knows nobody.
pub(crate) fn remote(mut config: Config, servers: &[&Served]) -> Arc<Graph> {
    config.remote = servers.iter().map(|served| served.address.to_string().parse().unwrap()).collect();
    Graph::new(config, Arc::new(MemoryStore::new()))
}

/// An author's pages of a graph over servers.
pub(crate) async fn pages_of(graph: &Graph, author: u32) -> FollowerPages {
    let nobody = MemoryStore::new().view().await.unwrap();
    graph.followers(nobody.into(), ActorId(author), None)
}

/// All pages that are left.
pub(crate) async fn rest(pages: &mut FollowerPages) -> Vec<Vec<ActorId>> {
    let mut all = Vec::new();
    while let Some(page) = pages.next().await.unwrap() {
        all.push(page);
    }
    assert!(pages.ended());
    all
}

/// An author's pages as the store itself gives them.
pub(crate) async fn own_pages(config: Config, store: &MemoryStore, author: u32) -> Vec<Vec<ActorId>> {
    let graph = Graph::new(config, Arc::new(store.clone()));
    let view = store.view().await.unwrap();
    rest(&mut graph.followers(view.into(), ActorId(author), None)).await
}
