//! One post to many followers by the service's roles, each a process of its own, two of them writers: how long it
//! takes, what reads take beside it, and what is there when the writer that has it is killed on the way.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use redis::aio::MultiplexedConnection;
use skyweir_loadtest::Upstream;
use skyweir_proto::skyweir::v1::timeline_service_client::TimelineServiceClient;
use skyweir_proto::skyweir::v1::{GetDeliveryRequest, GetDeliveryResponse, GetTimelineRequest};
use skyweir_scylla::{Cluster, ScyllaStore};
use skyweir_types::{ActorId, Clock, ItemId};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tonic::transport::Channel;

use super::bed::{self, AUTHOR, Bed, PATIENCE, did};
use super::common::{Serve, post, upstream};

/// Accounts whose timelines are read, what they find there, and how many of it a page has.
const READERS: usize = 200;
const FOUND: usize = 60;
const PAGE: i32 = 50;
/// Reads at a time.
const AT_ONCE: usize = 4;
/// After how long without a sign of life of a writer another one takes what it has.
pub(crate) const CLAIM: Duration = Duration::from_secs(3);

/// How much.
pub(crate) struct Shape {
    /// How often it is posted without and with reads.
    pub(crate) rounds: usize,
    /// How many followers a page has.
    pub(crate) page: u32,
    /// Tells CPU seconds of a process.
    pub(crate) cpu_of: fn(u32) -> Result<f64>,
}

/// What was seen.
#[derive(Default)]
pub(crate) struct Found {
    /// Follows added per second before, by transactions of 2,000.
    pub(crate) follows_per_second: f64,
    /// Seconds from the event upstream until the last reference is acknowledged: alone, and with reads beside it.
    pub(crate) alone: Vec<f64>,
    pub(crate) with_reads: Vec<f64>,
    /// CPU seconds of all roles meanwhile.
    pub(crate) cpu: Vec<f64>,
    pub(crate) cpu_with_reads: Vec<f64>,
    /// Milliseconds of a page: with nothing else, and while a post is on its way.
    pub(crate) pages: [Vec<f64>; 2],
    /// The account of the post whose writer was killed: when it was, and in the end, by the other one.
    pub(crate) at_kill: GetDeliveryResponse,
    pub(crate) in_the_end: GetDeliveryResponse,
    /// Seconds from the kill until the last reference is acknowledged.
    pub(crate) taken_over: f64,
    /// References that followers miss when all of it is over, and that they have twice or shouldn't have.
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
}

/// The processes, and what one asks them by.
struct Roles {
    indexer: Serve,
    graph: Serve,
    writers: Vec<Serve>,
    upstream: Upstream,
    redis: MultiplexedConnection,
    tasks: String,
    /// When the last event was, microseconds since 1970.
    last: u64,
}

impl Roles {
    async fn start(bed: &Bed, dir: &Path, page: u32) -> Result<Self> {
        let upstream = upstream().await;
        let graph = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
        let skyweir_scylla::Config { nodes, redis, keyspace, replication, .. } = &bed.config;
        let settings = format!(
            "backend = \"scylla\"\n[scylla]\nnodes = {nodes:?}\nredis = \"{redis}\"\nkeyspace = \"{keyspace}\"\n\
             replication = {replication}\nclaim_ms = {}\n\
             [graph]\npage = {page}\nlisten = \"{graph}\"\nremote = [\"{graph}\"]\n",
            CLAIM.as_millis()
        );
        let file = dir.join("skyweir.toml");
        std::fs::write(&file, settings)?;
        let file = file.to_str().context("the folder's name is no text")?;
        let url = upstream.url_v2();
        let serve = |roles: &'static str, more: &'static [&str]| {
            let args = [&["--config", file, "--roles", roles], more].concat();
            let url = &url;
            async move { Serve::start(dir, url, &args).await }
        };
        let indexer = serve("indexer", &["--cursor", "0"]).await;
        let graph = serve("graph", &[]).await;
        let (one, other) = tokio::join!(serve("writer,api", &[]), serve("writer,api", &[]));
        let client = redis::Client::open(redis.as_str())?;
        let redis = client.get_multiplexed_async_connection().await?;
        let (writers, tasks) = (vec![one, other], format!("{keyspace}:tasks"));
        let last = Clock::system().now_micros().cast_unsigned();
        Ok(Self { indexer, graph, writers, upstream, redis, tasks, last })
    }

    /// One more post; its URI.
    fn post(&mut self, author: ActorId) -> Result<String> {
        let now = Clock::system().now_micros().cast_unsigned();
        self.last = now.max(self.last + 1);
        let (did, key) = (did(author)?, format!("p{}", self.last));
        self.upstream.push(post(did.as_str(), self.last, &key));
        Ok(format!("at://{did}/app.bsky.feed.post/{key}"))
    }

    /// Waits until all of what was posted is in the log, and all of the log is done.
    async fn delivered(&self) -> Result<()> {
        self.indexer.applied_records(self.last).await;
        let mut redis = self.redis.clone();
        let done = async {
            loop {
                let stream: redis::streams::StreamInfoStreamReply =
                    redis::cmd("XINFO").arg(&["STREAM", &self.tasks]).query_async(&mut redis).await?;
                let groups: redis::streams::StreamInfoGroupsReply =
                    redis::cmd("XINFO").arg(&["GROUPS", &self.tasks]).query_async(&mut redis).await?;
                let is_done = |group: &redis::streams::StreamInfoGroup| {
                    group.pending == 0 && group.last_delivered_id == stream.last_generated_id
                };
                if groups.groups.iter().any(is_done) {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, done).await.context("tasks aren't done in ten minutes")?
    }

    /// CPU seconds of all.
    fn cpu(&self, shape: &Shape) -> Result<f64> {
        let roles = self.writers.iter().chain([&self.indexer, &self.graph]);
        roles.map(|role| (shape.cpu_of)(role.id())).sum()
    }

    async fn client(&self, writer: usize) -> Result<TimelineServiceClient<Channel>> {
        Ok(TimelineServiceClient::connect(format!("http://{}", self.writers[writer].grpc)).await?)
    }

    /// Which of the writers has an item half way, and its account of it; none when it is through.
    async fn half_way(
        &self,
        uri: &str,
        clients: &mut [TimelineServiceClient<Channel>],
    ) -> Option<(usize, GetDeliveryResponse)> {
        loop {
            for (writer, client) in clients.iter_mut().enumerate() {
                // it knows only its own
                let asked = client.get_delivery(GetDeliveryRequest { uri: uri.to_owned() }).await;
                let Ok(account) = asked.map(tonic::Response::into_inner) else { continue };
                if account.finished {
                    return None;
                }
                if account.pages > 1 && account.written > 0 {
                    return Some((writer, account));
                }
            }
        }
    }
}

/// Posts, reads, kills a writer, and counts.
pub(crate) async fn run(bed: &Bed, dir: &Path, shape: &Shape) -> Result<Found> {
    let mut found = Found::default();
    let (readers, others) = bed.viewers.split_at(READERS.min(bed.viewers.len() / 2));
    // an author of the readers' own, so that their pages are full; its number is the next one
    let own = ActorId(bed.viewers.len() as u32 + 1);
    let store = Arc::new(ScyllaStore::open(&Cluster::connect(&bed.config).await?, Clock::system()).await?);
    let began = Instant::now();
    bed::follow(&*store, AUTHOR, &bed.viewers).await?;
    found.follows_per_second = bed.viewers.len() as f64 / began.elapsed().as_secs_f64();
    bed::follow(&*store, own, readers).await?;
    drop(store);
    let mut roles = Roles::start(bed, dir, shape.page).await?;
    for _ in 0..FOUND {
        roles.post(own)?;
    }
    roles.delivered().await?;
    let readers: Vec<String> =
        readers.iter().map(|viewer| Ok(did(*viewer)?.as_str().to_owned())).collect::<Result<_>>()?;
    let mut clients = vec![roles.client(0).await?, roles.client(1).await?];
    // the first post warms the server up
    roles.post(AUTHOR)?;
    roles.delivered().await?;
    found.pages[0] = reads(&clients, &readers, &AtomicBool::new(true)).await?;
    for _ in 0..shape.rounds {
        let (began, cpu) = (Instant::now(), roles.cpu(shape)?);
        roles.post(AUTHOR)?;
        roles.delivered().await?;
        found.alone.push(began.elapsed().as_secs_f64());
        found.cpu.push(roles.cpu(shape)? - cpu);
        let (is_over, cpu) = (AtomicBool::new(false), roles.cpu(shape)?);
        let post = async {
            let began = Instant::now();
            roles.post(AUTHOR)?;
            roles.delivered().await?;
            is_over.store(true, Ordering::Relaxed);
            anyhow::Ok(began.elapsed().as_secs_f64())
        };
        let (took, read) = tokio::join!(post, reads(&clients, &readers, &is_over));
        found.with_reads.push(took?);
        found.cpu_with_reads.push(roles.cpu(shape)? - cpu);
        found.pages[1].extend(read?);
    }
    let mut posts = 2 * shape.rounds + 1;
    let (uri, writer) = loop {
        let uri = roles.post(AUTHOR)?;
        posts += 1;
        let half_way = tokio::time::timeout(PATIENCE, roles.half_way(&uri, &mut clients)).await;
        if let Some((writer, account)) = half_way.context("no writer has taken the post")? {
            found.at_kill = account;
            break (uri, writer);
        }
    };
    let (began, killed) = (Instant::now(), roles.writers.remove(writer));
    killed.signal("KILL").await;
    killed.ended().await;
    roles.delivered().await?;
    found.taken_over = began.elapsed().as_secs_f64();
    clients.remove(writer);
    found.in_the_end = clients[0].get_delivery(GetDeliveryRequest { uri }).await?.into_inner();
    let items = items(bed, posts).await?;
    (found.lost, found.doubled) = bed.count(others, &items).await?;
    for serve in roles.writers.into_iter().chain([roles.graph, roles.indexer]) {
        serve.stop().await;
    }
    Ok(found)
}

/// What the author has posted.
async fn items(bed: &Bed, posts: usize) -> Result<Vec<ItemId>> {
    let text = format!("SELECT item FROM {}.feeds WHERE author = {}", bed.config.keyspace, AUTHOR.0);
    let rows = bed.session.query_unpaged(text, ()).await?.into_rows_result()?;
    let items =
        rows.rows::<(i64,)>()?.map(|row| Ok(ItemId(row?.0.cast_unsigned()))).collect::<Result<Vec<_>>>()?;
    ensure!(items.len() == posts, "{posts} posts were sent, {} are in the feed", items.len());
    Ok(items)
}

/// Reads all of them once, and on until it is over; milliseconds of each read.
async fn reads(
    clients: &[TimelineServiceClient<Channel>],
    readers: &[String],
    is_over: &AtomicBool,
) -> Result<Vec<f64>> {
    let lane = async |lane: usize| {
        let (mut took, mut client) = (Vec::new(), clients[lane % clients.len()].clone());
        for (n, viewer) in readers.iter().cycle().enumerate() {
            if n >= readers.len() && is_over.load(Ordering::Relaxed) {
                break;
            }
            if n % AT_ONCE != lane {
                continue;
            }
            let began = Instant::now();
            let request = GetTimelineRequest { actor_did: viewer.clone(), limit: PAGE, ..Default::default() };
            let page = client
                .get_timeline(request)
                .await
                .with_context(|| format!("a read of {viewer}"))?
                .into_inner();
            took.push(began.elapsed().as_secs_f64() * 1e3);
            ensure!(page.items.len() == PAGE as usize, "{viewer} has {} items", page.items.len());
        }
        anyhow::Ok(took)
    };
    let lanes = futures::future::try_join_all((0..AT_ONCE).map(lane)).await?;
    Ok(lanes.concat())
}
