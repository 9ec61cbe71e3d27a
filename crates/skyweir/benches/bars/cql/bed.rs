//! Timelines on a CQL server that all follow one author, and the service's own writer over them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::Consistency;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::unprepared::Statement;
use scylla::value::{CqlValue, Row};
use skyweir_graph::Graph;
use skyweir_scylla::{Cluster, Config, Rows, RowsConfig};
use skyweir_store::{Enrolment, Hook, HookedTimelines, LogTasks, NewItem, Store, Task, Timelines as _};
use skyweir_types::{
    ActorId, Cid, Clock, Did, DidHash, DrawKey, ItemId, ItemKind, RecordKey, TaskId, UriHash,
};
use skyweir_writer::{Deps, Handle, Writer};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

/// How long a phase may take before it counts as stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);
/// How many rows one batch copies.
const COPIED: usize = 100;
/// How often a cluster is asked before its refusal counts.
const TRIES: usize = 5;
/// How many follows one transaction adds.
const FOLLOWS: usize = 2_000;
/// Whom all follow.
pub(crate) const AUTHOR: ActorId = ActorId(0);

/// The nodes and the Redis that the environment names.
pub(crate) fn servers() -> Option<(Vec<String>, String)> {
    let (cql, redis) = (std::env::var("SKYWEIR_TEST_CQL").ok()?, std::env::var("SKYWEIR_TEST_REDIS").ok()?);
    Some((cql.split(',').map(str::to_owned).collect(), redis))
}

/// Asks again where nodes that have just begun are too slow to answer.
async fn patiently<T, E>(ask: impl AsyncFn() -> Result<T, E>) -> Result<T, E> {
    for _ in 1..TRIES {
        if let Ok(answer) = ask().await {
            return Ok(answer);
        }
    }
    ask().await
}

/// The followers' timelines, at servers.
pub(crate) struct Bed {
    pub(crate) config: Config,
    pub(crate) session: Session,
    pub(crate) viewers: Vec<ActorId>,
}

impl Bed {
    /// A new keyspace with this many timelines, all enrolled and empty.
    pub(crate) async fn new(nodes: Vec<String>, redis: String, keyspace: &str, viewers: u32) -> Result<Self> {
        let config = Config {
            replication: nodes.len().min(3) as u8,
            nodes,
            redis,
            keyspace: keyspace.to_owned(),
            timelines: RowsConfig { cap: 65_536, memory_bytes: u64::MAX, ..RowsConfig::default() },
            ..Config::default()
        };
        let session = SessionBuilder::new().known_nodes(&config.nodes).build().await?;
        let mut drop = Statement::new(format!("DROP KEYSPACE IF EXISTS {keyspace}"));
        drop.set_request_timeout(Some(Duration::from_secs(60)));
        session.query_unpaged(drop, ()).await?;
        let viewers = (1..=viewers).map(ActorId).collect::<Vec<_>>();
        let bed = Self { config, session, viewers };
        bed.enrol().await?;
        Ok(bed)
    }

    /// Enrols one as the service does, and gives the others the same rows.
    async fn enrol(&self) -> Result<()> {
        let first = self.viewers[0];
        let rows = self.rows(&self.config).await?;
        // as read just now: the writer lets those leave that nobody has read for long
        let enrolment = Enrolment { did_hash: DidHash(7), rate: 1.0, now_us: Clock::system().now_micros() };
        let generation = rows.begin(first, enrolment).await?;
        ensure!(rows.publish(first, generation, &[], i64::MIN, 9).await?, "it was published");
        let (which, others) = (format!("viewer = {}", first.0), &self.viewers[1..]);
        self.copy("enrolled", "viewer, state, generation, did_hash", &which, "", others).await?;
        let at = format!(" USING TIMESTAMP {}", generation.0);
        self.copy("timeline", "viewer, floor, rate, generation, published_at", &which, &at, others).await
    }

    /// Copies a row of a table for others, whose numbers go into its first column.
    pub(crate) async fn copy(
        &self,
        table: &str,
        columns: &str,
        which: &str,
        at: &str,
        others: &[ActorId],
    ) -> Result<()> {
        let Config { keyspace, .. } = &self.config;
        let row = format!("SELECT {columns} FROM {keyspace}.{table} WHERE {which} LIMIT 1");
        let row = self.session.query_unpaged(row, ()).await?.into_rows_result()?;
        let Row { columns: cells } = row.single_row::<Row>()?;
        let marks = vec!["?"; cells.len()].join(", ");
        let insert = format!("INSERT INTO {keyspace}.{table} ({columns}) VALUES ({marks}){at}");
        let insert = self.session.prepare(insert).await?;
        let copy = |viewers: &[ActorId]| {
            let mut batch = Batch::new(BatchType::Unlogged);
            let of = |viewer: &ActorId| {
                let mut cells = cells.clone();
                cells[0] = Some(CqlValue::Int(viewer.0.cast_signed()));
                cells
            };
            let values: Vec<Vec<Option<CqlValue>>> = viewers.iter().map(of).collect();
            viewers.iter().for_each(|_| batch.append_statement(insert.clone()));
            batch.set_is_idempotent(true);
            async move { patiently(async || self.session.batch(&batch, &values).await.map(drop)).await }
        };
        let batches: Vec<_> = others.chunks(COPIED).map(copy).collect();
        Ok(stream::iter(batches).buffer_unordered(8).try_collect().await?)
    }

    /// The timelines as a service opens them.
    pub(crate) async fn rows(&self, config: &Config) -> Result<Rows> {
        let cluster = Cluster::connect(config).await?;
        Ok(Rows::open(&cluster, DrawKey::default(), TaskId(1), TaskId(0), Clock::system()).await?)
    }

    /// How many of these items each of these timelines lacks at all nodes together, and how many it has beside them.
    pub(crate) async fn count(&self, viewers: &[ActorId], items: &[ItemId]) -> Result<(u64, u64)> {
        let text = format!("SELECT item FROM {}.timeline WHERE viewer = ?", self.config.keyspace);
        let mut all = self.session.prepare(text).await?;
        all.set_consistency(Consistency::All);
        all.set_request_timeout(Some(Duration::from_secs(60)));
        let (lacking, beside) = (AtomicU64::new(0), AtomicU64::new(0));
        let of = async |viewer: ActorId| -> Result<()> {
            let read = async || -> Result<Vec<(Option<i64>,)>> {
                let rows = self.session.execute_iter(all.clone(), (viewer.0.cast_signed(),)).await?;
                Ok(rows.rows_stream::<(Option<i64>,)>()?.try_collect().await?)
            };
            let found = patiently(read).await?;
            let mut times: HashMap<i64, u64> = HashMap::new();
            found.iter().filter_map(|(item,)| *item).for_each(|item| *times.entry(item).or_default() += 1);
            for item in items {
                let found = times.remove(&item.0.cast_signed()).unwrap_or(0);
                lacking.fetch_add(u64::from(found == 0), Ordering::Relaxed);
                beside.fetch_add(found.saturating_sub(1), Ordering::Relaxed);
            }
            beside.fetch_add(times.into_values().sum(), Ordering::Relaxed);
            Ok(())
        };
        stream::iter(viewers.iter().map(|viewer| of(*viewer)))
            .buffer_unordered(8)
            .try_collect::<()>()
            .await?;
        Ok((lacking.into_inner(), beside.into_inner()))
    }
}

/// What the author posts, and the writer that brings it to its followers.
pub(crate) struct Posts {
    store: Arc<dyn Store>,
    author: ActorId,
    pub(crate) handle: Handle,
    pub(crate) items: Vec<ItemId>,
    tasks: JoinSet<Result<(), skyweir_writer::Error>>,
    stop: CancellationToken,
}

/// The name of an account.
pub(crate) fn did(actor: ActorId) -> Result<Did> {
    Ok(Did::parse(&format!("did:web:a{}.example", actor.0))?)
}

/// Lets these follow an author, as accounts of an empty store or of one that was given as many before.
pub(crate) async fn follow(store: &dyn Store, author: ActorId, viewers: &[ActorId]) -> Result<()> {
    for viewers in viewers.chunks(FOLLOWS) {
        let mut txn = store.begin().await?;
        for viewer in viewers {
            // numbers are given in the order of asking
            for actor in [author, *viewer] {
                let given = txn.intern(&did(actor)?).await?;
                ensure!(given == actor, "{actor} was given number {given}");
            }
            txn.add_follow(*viewer, author, &RecordKey::parse(&format!("k{}", author.0))?).await?;
        }
        txn.commit().await?;
    }
    Ok(())
}

impl Posts {
    /// A writer over these timelines that does what the store's log has from now on.
    pub(crate) async fn new(
        store: Arc<dyn Store>,
        author: ActorId,
        rows: &Rows,
        hook: Arc<dyn Hook>,
    ) -> Result<Self> {
        let timelines = Arc::new(HookedTimelines::new(Arc::new(rows.clone()), hook));
        let graph = Graph::new(skyweir_graph::Config::default(), Arc::clone(&store));
        let config = skyweir_writer::Config { cap: 65_536, ..skyweir_writer::Config::default() };
        let tasks = Arc::new(LogTasks::new(Arc::clone(&store), &*timelines));
        let deps = Deps { store: Arc::clone(&store), timelines, tasks, graph, clock: Clock::system() };
        let (writer, handle) = Writer::new(config, deps);
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        tasks.spawn(writer.run(stop.clone()));
        Ok(Self { store, author, handle, items: Vec::new(), tasks, stop })
    }

    /// So many posts more, by one transaction, on their way when it returns.
    pub(crate) async fn posts(&mut self, n: usize) -> Result<()> {
        let mut txn = self.store.begin().await?;
        let first = self.items.len() as u64 + 1;
        for n in first..first + n as u64 {
            let item = NewItem {
                author: self.author,
                rkey: RecordKey::parse(&format!("p{n}"))?,
                cid: Cid::from_digest([n as u8; 32]),
                sort_at: n.cast_signed(),
                uri_hash: UriHash(n),
                kind: ItemKind::Post { is_reply: false, is_quote: false },
            };
            let item = txn.add_item(item).await?;
            txn.append(Task::FanOut { item }).await?;
            self.items.push(item);
        }
        txn.commit().await?;
        Ok(())
    }

    /// Waits until all references of what was posted are acknowledged.
    pub(crate) async fn delivered(&self) -> Result<()> {
        let next = *self.store.next_task().borrow();
        let mut done = self.handle.done();
        let delivered = tokio::time::timeout(PATIENCE, done.wait_for(|done| *done >= next)).await;
        delivered.context("references are not acknowledged in ten minutes")?.context("the writer ended")?;
        Ok(())
    }

    /// How many references the writer says that it has written.
    pub(crate) fn written(&self) -> u64 {
        use skyweir_store::Deliveries as _;
        self.items.iter().filter_map(|item| self.handle.delivery(*item)).map(|report| report.written).sum()
    }

    pub(crate) async fn stop(mut self) -> Result<()> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}
