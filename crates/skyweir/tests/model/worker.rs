//! The real writer and graph, on the runtime of the script: they run when it yields, the paused clock is theirs,
//! and some of what they ask of the stores fails.

use std::sync::Arc;
use std::time::Duration;

use skyweir_graph::{Config as GraphConfig, Graph, Server};
use skyweir_store::{Deliveries, Enrol, FeedAsk, Hook, HookedStore, HookedTimelines, Store, Timelines, View};
use skyweir_testkit::Settings;
use skyweir_types::{ActorId, Clock, Position, TaskId};
use skyweir_writer::{Config, Deps, EnrolMode, Handle, Writer};
use tokio::task::{JoinSet, yield_now};
use tokio_util::sync::CancellationToken;

use crate::flaky::Flaky;
use crate::judge::Verdict;

/// The rings are saved when this much time has gone by.
const CHECKPOINT_SECONDS: u64 = 600;
/// How long the writer may take to rest, by its own clock.
const REST_MOST: Duration = Duration::from_secs(600);

/// The writer at work.
pub(crate) struct Worker {
    handle: Handle,
    tasks: JoinSet<Verdict>,
    stop: CancellationToken,
    flaky: Arc<Flaky>,
    /// Serves the follower graph, if the writer asks for it over a socket. Ends after the writer.
    _server: JoinSet<Result<(), skyweir_graph::Error>>,
}

/// Serves this store's graph; the settings of who asks it.
fn serve(
    mut config: GraphConfig,
    store: Arc<dyn Store>,
) -> (JoinSet<Result<(), skyweir_graph::Error>>, GraphConfig) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    let mut server = JoinSet::new();
    server.spawn(Server::new(config.clone(), store).run(listener, CancellationToken::new()));
    config.remote = vec![at.parse().unwrap()];
    (server, config)
}

impl Worker {
    pub(crate) fn start(
        store: &Arc<dyn Store>,
        timelines: &Arc<dyn Timelines>,
        settings: &Settings,
        clock: &Clock,
        served: bool,
    ) -> Self {
        let flaky = Arc::new(Flaky::new(settings.faults, store.next_task().borrow().0, settings.slow_shard));
        let hook = || Arc::clone(&flaky) as Arc<dyn Hook>;
        let store: Arc<dyn Store> = Arc::new(HookedStore::new(Arc::clone(store), hook()));
        let timelines: Arc<dyn Timelines> = Arc::new(HookedTimelines::new(Arc::clone(timelines), hook()));
        let graph = GraphConfig {
            reasonable_limit: settings.reasonable_limit,
            page: settings.graph_page,
            ..GraphConfig::default()
        };
        let (server, graph) = match served {
            true => serve(graph, Arc::clone(&store)),
            false => (JoinSet::new(), graph),
        };
        let graph = Graph::new(graph, Arc::clone(&store));
        let config = Config {
            reasonable_limit: settings.reasonable_limit,
            cap: settings.cap,
            enrol: if settings.enrol_all { EnrolMode::All } else { EnrolMode::Reads },
            jobs: settings.jobs,
            shard_batch: settings.shard_batch,
            repair_seconds: settings.repair_seconds,
            hibernate_hours: settings.hibernate_hours,
            hibernate_once_hours: settings.hibernate_hours / 2,
            checkpoint_seconds: CHECKPOINT_SECONDS,
            ..Config::default()
        };
        let deps = Deps::alone(store, timelines, Arc::clone(&graph), clock.clone());
        let (writer, handle) = Writer::new(config, deps);
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let (graph_stop, writer_stop) = (stop.clone(), stop.clone());
        tasks.spawn(async { graph.run(graph_stop).await.map_err(|error| format!("graph: {error}")) });
        tasks.spawn(async { writer.run(writer_stop).await.map_err(|error| format!("writer: {error}")) });
        Self { handle, tasks, stop, flaky, _server: server }
    }

    pub(crate) fn enrol(&self) -> Arc<dyn Enrol> {
        Arc::new(self.handle.clone())
    }

    /// The task below which all references are readable.
    pub(crate) fn done(&self) -> TaskId {
        *self.handle.done().borrow()
    }

    /// Lets everything take this many turns. Nothing may end by itself.
    pub(crate) async fn turns(&mut self, n: u32) -> Verdict {
        for _ in 0..n {
            yield_now().await;
        }
        match self.tasks.try_join_next() {
            None => Ok(()),
            Some(Ok(ended)) => Err(format!("ended by itself: {ended:?}")),
            Some(Err(panicked)) => Err(panicked.to_string()),
        }
    }

    /// Goes on until nothing is left to do.
    pub(crate) async fn settle(&mut self, next: TaskId) -> Verdict {
        let mut done = self.handle.done();
        let rest = tokio::time::timeout(REST_MOST, done.wait_for(|done| *done >= next)).await;
        self.turns(1).await?;
        rest.map_err(|_| format!("the writer hangs at {}, before {next}", self.done())).map(|_| ())?;
        // wishes have no number: the clock moves on only once they are granted
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.turns(1).await
    }

    /// Lets time go by at once.
    pub(crate) async fn pass(&mut self, seconds: u64) -> Verdict {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        self.turns(20).await
    }

    /// Makes a checkpoint due, whatever else is at work.
    pub(crate) async fn checkpoint(&mut self) -> Verdict {
        tokio::time::advance(Duration::from_secs(CHECKPOINT_SECONDS + 1)).await;
        self.turns(3).await
    }

    /// What the writer met of faults, want of memory and slowness.
    pub(crate) fn hardship(&self) -> &Flaky {
        &self.flaky
    }

    /// Ends in order. The last checkpoint succeeds: one that fails is an error of the service.
    pub(crate) async fn stop(mut self) -> Verdict {
        self.flaky.end();
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(|panicked| panicked.to_string())??;
        }
        Ok(())
    }

    /// Ends as in a crash.
    pub(crate) async fn kill(mut self) {
        self.tasks.shutdown().await;
    }

    /// Rule 26: the sums of all items that are accounted for balance. Returns how many there were.
    pub(crate) async fn accounting(&self, view: &dyn View) -> skyweir_store::Result<Verdict<u64>> {
        let asks =
            (0..view.actor_count().await?).map(|n| FeedAsk { author: ActorId(n), after: Position::TOP });
        let feeds = view.feeds(&asks.collect::<Vec<_>>(), 10_000).await?;
        let mut accounted = 0;
        for entry in feeds.iter().flatten() {
            let Some(report) = self.handle.delivery(entry.item) else { continue };
            let sum = report.written + report.below_floor + report.sampled_out + report.hibernating;
            if sum != report.followers || report.failed != 0 || !report.finished {
                return Ok(Err(format!("{}: {report:?}", entry.item)));
            }
            accounted += 1;
        }
        Ok(Ok(accounted))
    }
}
