//! A crowd's store, timelines, writer and API at work, put together as the service puts them together.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use skyweir_api::Api;
use skyweir_embedded::{Config, EmbeddedStore, Rings, RingsConfig};
use skyweir_graph::Graph;
use skyweir_indexer::source::SourceStatus;
use skyweir_proto::bsky::service_client::ServiceClient;
use skyweir_proto::bsky::{GetTimelineRequest, GetTimelineResponse};
use skyweir_store::{Store as _, Timelines};
use skyweir_types::{Clock, DrawKey, Event, Tid};
use skyweir_writer::{Deps, Handle, Writer};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use crate::crowd::{Crowd, Shape};
use crate::events::{Feed, did};
use crate::load;
use crate::machine::{Took, Watch, resident};
use crate::report::{Report, number};
use crate::rng::Rng;

/// How many items a page holds.
pub(crate) const PAGE: usize = 50;
/// How many random timelines are read back after each bar.
const READ_BACK: usize = 200;
/// As `skyweir serve`: how far the fan-out stands back behind reads.
const FAN_OUT_NICE: i32 = 5;

/// What differs from `skyweir serve`.
pub(crate) struct Setting<'a> {
    /// How many threads the fan-out has.
    pub(crate) fan_out_threads: usize,
    /// What stands between the rings and those who use them.
    pub(crate) between: &'a dyn Fn(Rings) -> Arc<dyn Timelines>,
}

impl Setting<'_> {
    /// Nothing differs.
    pub(crate) fn new() -> Result<Self> {
        let fan_out_threads = std::thread::available_parallelism()?.get().div_ceil(2);
        Ok(Self { fan_out_threads, between: &|rings| Arc::new(rings) })
    }
}

/// The service of a crowd.
pub(crate) struct Served {
    pub(crate) io: Runtime,
    pub(crate) store: EmbeddedStore,
    pub(crate) rings: Rings,
    /// The store's data directory.
    pub(crate) dir: PathBuf,
    pub(crate) graph: Arc<Graph>,
    pub(crate) handle: Handle,
    pub(crate) feed: Feed,
    pub(crate) crowd: Crowd,
    pub(crate) client: ServiceClient<Channel>,
    fan_out: Runtime,
    stop: CancellationToken,
    tasks: JoinSet<Result<()>>,
}

impl Served {
    /// Loads the crowd and starts everything as `skyweir serve` does.
    pub(crate) fn start(report: &mut Report, dir: &Path, shape: Shape) -> Result<Self> {
        report.bar(
            "the crowd that the following bars share",
            &format!("{shape:?}, enrolled as with enrol = \"all\""),
        );
        Self::with(report, dir, shape, &Setting::new()?)
    }

    /// Loads the crowd and starts everything; says of the bar at hand what that took.
    pub(crate) fn with(report: &mut Report, dir: &Path, shape: Shape, setting: &Setting<'_>) -> Result<Self> {
        let cores = std::thread::available_parallelism()?.get();
        let io = Builder::new_multi_thread().thread_name("io").worker_threads(cores).enable_all().build()?;
        let fan_out = fan_out_runtime(setting.fan_out_threads)?;
        let watch = Watch::start()?;
        let store = EmbeddedStore::open(Config { data_dir: dir.to_owned(), ..Config::default() })?;
        let mut crowd = Crowd::draw(shape, 1);
        io.block_on(load::records(&store, &mut crowd))?;
        let config = RingsConfig { cap: shape.cap, memory_bytes: u64::MAX, ..RingsConfig::default() };
        let rings = Rings::open(&store, &config, DrawKey::default())?;
        io.block_on(load::timelines(&rings, &crowd))?;
        let took = watch.took()?;
        report.note(format!(
            "{} follows and {} timelines loaded in {:.0} s; rings take {} MiB, the process {} MiB",
            crowd.edge_count(),
            rings.enrolled(),
            took.wall,
            rings.memory() >> 20,
            resident()? >> 20
        ));
        let (graph, handle, tasks, stop, address) =
            io.block_on(compose(&store, (setting.between)(rings.clone()), shape.cap, &fan_out))?;
        let channel = Endpoint::from_shared(format!("http://{address}"))?;
        let client = ServiceClient::new(io.block_on(channel.connect())?);
        let feed = io.block_on(Feed::new(store.clone()))?;
        let dir = dir.to_owned();
        Ok(Self { io, store, rings, dir, graph, handle, feed, crowd, client, fan_out, stop, tasks })
    }

    /// Waits until all tasks are done.
    pub(crate) async fn caught_up(handle: &Handle, store: &EmbeddedStore) -> Result<()> {
        let next = *store.next_task().borrow();
        handle.done().wait_for(|done| *done >= next).await.context("the writer ended")?;
        Ok(())
    }

    /// Applies one event and waits until all is done; what that took.
    pub(crate) fn deliver(&mut self, event: Event) -> Result<Took> {
        self.deliver_all(&[event])
    }

    /// Applies events in full groups and waits until all is done; what that took.
    pub(crate) fn deliver_all(&mut self, events: &[Event]) -> Result<Took> {
        let group = skyweir_indexer::Config::default().group_events;
        let Self { io, feed, handle, store, .. } = self;
        let watch = Watch::start()?;
        io.block_on(async {
            for events in events.chunks(group) {
                feed.group(events).await?;
            }
            Self::caught_up(handle, store).await
        })?;
        watch.took()
    }

    /// Posts of small authors drawn alike, with so many references in all, or a few more; and how many that is.
    pub(crate) fn small_posts(&mut self, rng: &mut Rng, references: u64) -> Result<(Vec<Event>, u64)> {
        let authors = self.crowd.small_authors();
        let (mut events, mut sum) = (Vec::new(), 0);
        while sum < references {
            let author = authors.start + rng.below(authors.end - authors.start);
            sum += u64::from(self.crowd.followers[author as usize]);
            events.push(self.crowd.post(author)?);
        }
        Ok((events, sum))
    }

    /// Reads random timelines over gRPC and compares them with what must be there.
    pub(crate) fn read_back(&self, report: &mut Report) -> Result<()> {
        let mut rng = Rng::new(self.crowd.items.iter().map(Vec::len).sum::<usize>() as u64);
        let mut client = self.client.clone();
        for n in 0..READ_BACK {
            let among = if n % 2 == 0 { self.crowd.viewers() } else { self.crowd.readers() };
            let viewer = among.start + rng.below(among.end - among.start);
            let page = self.io.block_on(page(&mut client, viewer))?;
            must_hold(&self.crowd, viewer, &page)?;
        }
        report.note(format!("{READ_BACK} random timelines read back over gRPC: each holds what it must"));
        Ok(())
    }

    /// Stops it in good order; the data directory is free then.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.stop.cancel();
        let outcome = self.io.block_on(async {
            while let Some(ended) = self.tasks.join_next().await {
                ended??;
            }
            Ok(())
        });
        drop((self.feed, self.handle, self.graph, self.rings, self.store));
        self.fan_out.shutdown_background();
        outcome
    }
}

/// The runtime of the fan-out, as `skyweir serve` makes it.
pub(crate) fn fan_out_runtime(threads: usize) -> Result<Runtime> {
    let step_back = || {
        // without it reads are slower, which is then what is measured
        rustix::process::nice(FAN_OUT_NICE).ok();
    };
    Ok(Builder::new_multi_thread()
        .thread_name("fan-out")
        .worker_threads(threads)
        .global_queue_interval(1) // as `skyweir serve`
        .on_thread_start(step_back)
        .enable_all()
        .build()?)
}

type Composed = (Arc<Graph>, Handle, JoinSet<Result<()>>, CancellationToken, std::net::SocketAddr);

/// Graph, writer and API over these.
pub(crate) async fn compose(
    store: &EmbeddedStore,
    timelines: Arc<dyn Timelines>,
    cap: usize,
    fan_out: &Runtime,
) -> Result<Composed> {
    let store: Arc<dyn skyweir_store::Store> = Arc::new(store.clone());
    let graph = Graph::new(skyweir_graph::Config::default(), store.clone());
    let (writer, handle) = Writer::new(
        skyweir_writer::Config { cap, ..skyweir_writer::Config::default() },
        Deps::alone(store.clone(), timelines.clone(), graph.clone(), Clock::system()),
    );
    let deps = skyweir_api::Deps {
        store,
        timelines,
        enrol: Arc::new(handle.clone()),
        deliveries: Arc::new(handle.clone()),
        complete: Arc::new(SourceStatus::default()),
        draw: DrawKey::default(),
    };
    let api = Api::new(skyweir_api::Config { cap, ..skyweir_api::Config::default() }, deps);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
    let (at_api, at_writer, at_graph) = (stop.clone(), stop.clone(), stop.clone());
    let refreshed = graph.clone();
    tasks.spawn(async move { Ok(api.serve(listener, at_api).await?) });
    tasks.spawn_on(async move { Ok(writer.run(at_writer).await?) }, fan_out.handle());
    tasks.spawn_on(async move { Ok(refreshed.run(at_graph).await?) }, fan_out.handle());
    Ok((graph, handle, tasks, stop, address))
}

/// The first page of a timeline.
pub(crate) async fn page(client: &mut ServiceClient<Channel>, viewer: u32) -> Result<GetTimelineResponse> {
    let actor_did = did(viewer)?.as_str().to_owned();
    let request = GetTimelineRequest { actor_did, limit: PAGE as i32, ..GetTimelineRequest::default() };
    Ok(client.get_timeline(request).await?.into_inner())
}

/// Compares a timeline's first page, read while all is quiet, with what must be there.
pub(crate) fn must_hold(crowd: &Crowd, viewer: u32, page: &GetTimelineResponse) -> Result<()> {
    let expected: Vec<i64> = crowd.timeline(viewer, PAGE).iter().map(|item| item.sort_at).collect();
    let shown = sort_ats(page)?;
    ensure!(shown == expected, "the timeline of account {viewer} is wrong: {shown:?}, not {expected:?}");
    Ok(())
}

/// The `sortAt` of each item of a page: record keys tell when they were made.
fn sort_ats(page: &GetTimelineResponse) -> Result<Vec<i64>> {
    let of = |uri: &str| {
        let rkey = uri.rsplit('/').next().unwrap_or_default();
        Ok(Tid::parse(rkey).context("a record key that is no TID")?.micros() as i64 / 1_000)
    };
    page.items.iter().map(|item| of(&item.uri)).collect()
}

/// How far to trust a figure on the wall.
pub(crate) fn disturbed(others: f64) -> String {
    format!("other processes kept {} cores busy meanwhile", number(others))
}
