//! A writer at work over the in-memory store, on a paused clock.
#![allow(dead_code, reason = "every test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "these are parts of tests")]

pub(crate) mod shared;

use std::sync::Arc;

use skyweir_graph::Graph;
use skyweir_store::{
    CachedState, Deliveries, DeliveryReport, Enrol, EnrolReason, Hook, HookedStore, HookedTimelines,
    LogTasks, MemoryStore, MemoryTimelines, NewItem, Shape, Store, Task, Tasks, TimelineReads as _,
    Timelines,
};
use skyweir_types::{ActorId, Cid, Clock, Did, ItemId, ItemKind, RecordKey, TaskId, UriHash};
use skyweir_writer::{Config, Deps, Error, Handle, Writer};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) const START_US: i64 = 1_800_000_000_000_000;

/// A store, its timelines, and the settings of writers over them.
pub(crate) struct World {
    pub(crate) store: MemoryStore,
    pub(crate) timelines: MemoryTimelines,
    pub(crate) clock: Clock,
    pub(crate) config: Config,
    pub(crate) shape: Shape,
    pub(crate) page: usize,
    /// Whether writers ask their follower graph over a socket.
    pub(crate) served: bool,
    tids: u64,
}

/// A running writer.
pub(crate) struct Running {
    pub(crate) handle: Handle,
    pub(crate) stop: CancellationToken,
    task: JoinSet<Result<(), Error>>,
    next_task: tokio::sync::watch::Receiver<TaskId>,
    /// Of the follower graph; ends after the writer.
    _server: JoinSet<Result<(), skyweir_graph::Error>>,
}

/// Serves this store's follower graph; the settings of who asks it.
fn serve(
    mut config: skyweir_graph::Config,
    store: Arc<dyn Store>,
) -> (JoinSet<Result<(), skyweir_graph::Error>>, skyweir_graph::Config) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let mut server = JoinSet::new();
    server.spawn(skyweir_graph::Server::new(config.clone(), store).run(listener, CancellationToken::new()));
    config.remote = vec![at.parse().unwrap()];
    (server, config)
}

impl World {
    pub(crate) fn new(cap: usize) -> Self {
        let shape = Shape { cap, ..Shape::default() };
        let store = MemoryStore::new();
        let timelines = MemoryTimelines::new(&store, shape);
        let config = Config { cap, drain_ms: 1_000, ..Config::default() };
        Self {
            store,
            timelines,
            clock: Clock::manual(START_US),
            config,
            shape,
            page: 3,
            served: false,
            tids: 0,
        }
    }

    /// Starts a writer on what a restart finds.
    pub(crate) fn start(&mut self) -> Running {
        self.restart();
        self.start_with(Arc::new(self.store.clone()), Arc::new(self.timelines.clone()))
    }

    /// As [`World::start`], with storage that asks this hook.
    pub(crate) fn start_hooked(&mut self, hook: Arc<dyn Hook>) -> Running {
        self.restart();
        let store = HookedStore::new(Arc::new(self.store.clone()), Arc::clone(&hook));
        self.start_with(
            Arc::new(store),
            Arc::new(HookedTimelines::new(Arc::new(self.timelines.clone()), hook)),
        )
    }

    /// Starts a writer over these, alone.
    pub(crate) fn start_with(&self, store: Arc<dyn Store>, timelines: Arc<dyn Timelines>) -> Running {
        let tasks = Arc::new(LogTasks::new(Arc::clone(&store), &*timelines));
        self.start_sharing(store, timelines, tasks)
    }

    /// Starts a writer over these.
    pub(crate) fn start_sharing(
        &self,
        store: Arc<dyn Store>,
        timelines: Arc<dyn Timelines>,
        tasks: Arc<dyn Tasks>,
    ) -> Running {
        let reasonable_limit = self.config.reasonable_limit;
        let graph =
            skyweir_graph::Config { page: self.page, reasonable_limit, ..skyweir_graph::Config::default() };
        let (server, graph) = match self.served {
            true => serve(graph, Arc::clone(&store)),
            false => (JoinSet::new(), graph),
        };
        let graph = Graph::new(graph, Arc::clone(&store));
        let next_task = store.next_task();
        let deps = Deps { store, timelines, tasks, graph: Arc::clone(&graph), clock: self.clock.clone() };
        let (writer, handle) = Writer::new(self.config.clone(), deps);
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(writer.run(stop.clone()));
        let graph_stop = stop.clone();
        task.spawn(async move {
            graph.run(graph_stop).await.unwrap();
            Ok(())
        });
        Running { handle, stop, task, next_task, _server: server }
    }

    /// The timelines as a restart finds them.
    pub(crate) fn restart(&mut self) {
        self.timelines = self.timelines.reopen(self.shape);
    }

    pub(crate) async fn actors(&self, n: u32) {
        let mut txn = self.store.begin().await.unwrap();
        for actor in 0..n {
            txn.intern(&Did::parse(&format!("did:web:a{actor}.example")).unwrap()).await.unwrap();
        }
        txn.commit().await.unwrap();
    }

    fn rkey(&mut self) -> RecordKey {
        self.tids += 1;
        RecordKey::parse(&format!("r{}", self.tids)).unwrap()
    }

    /// Begins an edge, with its task.
    pub(crate) async fn follow(&mut self, viewer: u32, author: u32) {
        let (viewer, author) = (ActorId(viewer), ActorId(author));
        let rkey = RecordKey::parse(&format!("f{author}")).unwrap();
        let mut txn = self.store.begin().await.unwrap();
        if txn.add_follow(viewer, author, &rkey).await.unwrap() {
            txn.append(Task::Fill { viewer, author }).await.unwrap();
        }
        txn.commit().await.unwrap();
    }

    /// Ends an edge, with its task.
    pub(crate) async fn unfollow(&mut self, viewer: u32, author: u32) {
        let (viewer, author) = (ActorId(viewer), ActorId(author));
        let rkey = RecordKey::parse(&format!("f{author}")).unwrap();
        let mut txn = self.store.begin().await.unwrap();
        if txn.remove_follow(viewer, author, &rkey).await.unwrap() {
            txn.append(Task::Purge { viewer, author }).await.unwrap();
        }
        txn.commit().await.unwrap();
    }

    /// Posts at a time, with its task.
    pub(crate) async fn post(&mut self, author: u32, sort_at: i64) -> ItemId {
        let rkey = self.rkey();
        let kind = ItemKind::Post { is_reply: false, is_quote: false };
        let uri_hash = UriHash(self.tids.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let cid = Cid::from_digest([self.tids as u8; 32]);
        let mut txn = self.store.begin().await.unwrap();
        let item = txn
            .add_item(NewItem { author: ActorId(author), rkey, cid, sort_at, uri_hash, kind })
            .await
            .unwrap();
        txn.append(Task::FanOut { item }).await.unwrap();
        txn.commit().await.unwrap();
        item
    }

    pub(crate) async fn raise_horizon(&self, sort_at: i64) {
        let mut txn = self.store.begin().await.unwrap();
        txn.raise_horizon(sort_at).await.unwrap();
        txn.commit().await.unwrap();
    }

    /// The `sortAt`s that a timeline's cache holds, newest first, and its floor; `None` if it doesn't answer.
    pub(crate) async fn cached(&self, viewer: u32) -> Option<(Vec<i64>, i64)> {
        let cached = self.timelines.read(ActorId(viewer), i64::MAX, 10_000).await.unwrap();
        let CachedState::In(info) = cached.state else { return None };
        Some((cached.entries.iter().map(|entry| entry.sort_at).collect(), info.floor))
    }

    pub(crate) async fn rate(&self, viewer: u32) -> f32 {
        match self.timelines.read(ActorId(viewer), i64::MIN, 0).await.unwrap().state {
            CachedState::In(info) => info.rate,
            other => panic!("{other:?}"),
        }
    }
}

impl Running {
    /// Waits until the writer has done all tasks.
    pub(crate) async fn caught_up(&mut self) {
        let next = *self.next_task.borrow_and_update();
        let mut done = self.handle.done();
        done.wait_for(|done| *done >= next).await.unwrap();
    }

    /// Enrols a timeline and waits for it.
    pub(crate) async fn enrol(&self, world: &World, viewer: u32) {
        self.handle.enrol(ActorId(viewer), EnrolReason::Read);
        self.until(async || world.cached(viewer).await.is_some()).await;
    }

    /// Lets others work until something holds; the paused clock goes on by a millisecond now and then.
    pub(crate) async fn until(&self, holds: impl AsyncFn() -> bool) {
        for step in 1..200_000 {
            if holds().await {
                return;
            }
            if step % 50 == 0 {
                tokio::time::advance(std::time::Duration::from_millis(1)).await;
            }
            tokio::task::yield_now().await;
        }
        panic!("it never came about");
    }

    /// Lets the writer do what it has to, and look at the memory budget.
    pub(crate) async fn rest(&self) {
        for _ in 0..4 {
            tokio::time::advance(std::time::Duration::from_millis(50)).await;
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// As [`Running::until`], for what comes with time: the paused clock jumps to the next timer.
    pub(crate) async fn until_slept(&self, holds: impl AsyncFn() -> bool) {
        for _ in 0..10 {
            tokio::time::advance(std::time::Duration::from_secs(61)).await;
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
            if holds().await {
                return;
            }
        }
        panic!("it never came about");
    }

    pub(crate) fn report(&self, item: ItemId) -> DeliveryReport {
        self.handle.delivery(item).unwrap()
    }

    /// Stops it in good order.
    pub(crate) async fn end(mut self) -> Result<(), Error> {
        self.stop.cancel();
        let mut outcome = Ok(());
        while let Some(ended) = self.task.join_next().await {
            outcome = outcome.and(ended.unwrap());
        }
        outcome
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ends(mut self) -> Result<(), Error> {
        self.task.join_next().await.unwrap().unwrap()
    }

    /// Cuts it off, as a crash would.
    pub(crate) async fn crash(mut self) {
        self.task.shutdown().await;
    }
}
