//! The writer at work over the simulated cluster, on a clock that jumps to the next moment at which something happens.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use skyweir_graph::Graph;
use skyweir_store::{Deliveries as _, Store as _};
use skyweir_types::{Clock, ItemId};
use skyweir_writer::{Config, Deps, Handle, Writer};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::network::{Author, Network};
use super::shards::{Seen, Shards};
use super::{Case, key};

/// The runtime's timers tick in milliseconds: each simulated time takes so many of its own, so that a tick is 50 µs. The
/// writer's own timers aren't stretched, so they run so many times too often; none has a part in a fan-out.
const STRETCH: u32 = 20;

/// A simulated time, nanoseconds, as the runtime has it.
pub(super) fn stretched(ns: u64) -> Duration {
    Duration::from_nanos(ns) * STRETCH
}

/// Simulated nanoseconds since a moment of the runtime's.
pub(super) fn since(begun: Instant) -> u64 {
    (begun.elapsed() / STRETCH).as_nanos() as u64
}

/// Runs something on such a clock.
pub(super) fn on_its_clock<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(work)
}

/// The writer, what it works on, and what was seen.
pub(super) struct Cluster {
    case: Arc<Case>,
    network: Network,
    shards: Arc<Shards>,
    handle: Handle,
    seed: u64,
    begun: Instant,
    posts: Vec<(ItemId, Author)>,
    stop: CancellationToken,
    tasks: JoinSet<Result<()>>,
}

impl Cluster {
    /// Starts the writer; `queue` and `batch` are its `shard_queue` and `shard_batch`.
    pub(super) fn start(case: &Arc<Case>, authors: &[Author], queue: usize, batch: usize, seed: u64) -> Self {
        let begun = Instant::now();
        let network = Network::new(Arc::clone(&case.world), authors);
        let shards = Arc::new(Shards::new(Arc::clone(case), seed, begun));
        let graph = skyweir_graph::Config { page: case.world.shape.page, ..skyweir_graph::Config::default() };
        let config = Config {
            reasonable_limit: case.limit,
            shard_queue: queue,
            shard_batch: batch,
            ..Config::default()
        };
        let store = Arc::new(network.clone());
        let graph = Graph::new(graph, Arc::clone(&store) as _);
        // nobody reads the writer's own times
        let clock = Clock::manual(0);
        let deps = Deps::alone(store, Arc::clone(&shards) as _, graph, clock);
        let (writer, handle) = Writer::new(config, deps);
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let stopped = stop.clone();
        tasks.spawn(async move { Ok(writer.run(stopped).await?) });
        let case = Arc::clone(case);
        Self { case, network, shards, handle, seed, begun, posts: Vec::new(), stop, tasks }
    }

    /// Waits until this time.
    pub(super) async fn until(&self, ns: u64) {
        tokio::time::sleep_until(self.begun + stretched(ns)).await;
    }

    /// Posts now.
    pub(super) async fn post(&mut self, author: Author) -> Result<()> {
        let random = key(self.seed, self.posts.len() as u64);
        let (shards, now) = (&self.shards, since(self.begun));
        let mut posted = None;
        let due = |item| {
            shards.due(item, author.id, now);
            posted = Some(item);
        };
        self.network.post(&author, random, due).await?;
        self.posts.push((posted.context("a post has an item")?, author));
        Ok(())
    }

    /// Waits until all posts are delivered, and makes sure that each has come to all followers.
    pub(super) async fn end(mut self) -> Result<Self> {
        let all = *self.network.next_task().borrow();
        self.handle.done().wait_for(|done| *done >= all).await.context("the writer ended")?;
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        for (item, author) in &self.posts {
            let report = self.handle.delivery(*item).context("the accounting forgot an item")?;
            let accounted = report.written + report.sampled_out;
            let all = u64::from(author.followers());
            ensure!(report.finished && report.followers == all && accounted == all, "{report:?}");
        }
        Ok(self)
    }

    pub(super) fn seen(&self, author: Author) -> Seen {
        self.shards.seen(author.id)
    }

    /// How long the reading of an author's pages takes.
    pub(super) fn reading(&self, author: Author) -> u64 {
        let shape = &self.case.world.shape;
        let pages = u64::from(author.followers()).div_ceil(shape.page as u64);
        pages * shape.page_read.as_nanos() as u64
    }
}
