//! The composition: what is made of what, in which order it starts and stops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use metrics_exporter_prometheus::PrometheusHandle;
use skyweir_api::Api;
use skyweir_graph::Graph;
use skyweir_indexer::source::{SourceStatus, parse};
use skyweir_indexer::{Begin, Intake};
use skyweir_scylla::{Cluster, take_wishes};
use skyweir_store::{Complete, Completeness, Deliveries, DeliveryReport, Enrol, Store, TimelineReads};
use skyweir_types::{Clock, ItemId};
use skyweir_writer::{Handle as WriterHandle, Writer};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::admin::{self, Readiness};
use crate::config::Config;
use crate::coverage::{self, Watched};
use crate::elsewhere::Elsewhere;
use crate::pace;
use crate::parts::Parts;
use crate::ports::Ports;
use crate::stores::{Kept, Lease, Stores, Written};

const INDEXER: &str = "indexer";

/// The running service, or those of its roles that this process has.
pub(crate) struct Service {
    /// Where gRPC answers, with the role api.
    pub(crate) grpc: Option<SocketAddr>,
    /// Where metrics and readiness answer.
    pub(crate) admin: SocketAddr,
    parts: Parts,
    readiness: Arc<Readiness>,
    lease: Option<Lease>,
}

/// What is read upstream, and what is told of it.
struct Indexing {
    intake: Intake,
    status: Arc<SourceStatus>,
}

/// Who writes timelines, with the graph that it asks.
struct Writing {
    writer: Writer,
    handle: WriterHandle,
    graph: Arc<Graph>,
    /// Where reads of other processes tell what they wish.
    wishes: Option<Cluster>,
}

/// What answers reads, and what they tell.
struct Reading {
    timelines: Arc<dyn TimelineReads>,
    enrol: Arc<dyn Enrol>,
    deliveries: Arc<dyn Deliveries>,
}

/// Of a process without writer: only who has done an item's fan-out knows its accounting.
struct Unaccounted;

impl Deliveries for Unaccounted {
    fn delivery(&self, _: ItemId) -> Option<DeliveryReport> {
        None
    }
}

/// Who knows how much of the follow graph there is.
struct Known {
    complete: Arc<dyn Complete>,
    /// Is cancelled once timelines may be kept.
    loaded: CancellationToken,
    /// Without the indexer: who asks the store.
    watched: Option<Arc<Watched>>,
}

impl Service {
    /// Puts the parts together and starts them: graph and writer on the runtime of the fan-out, all others on this one.
    pub(crate) async fn start(
        config: Config,
        ports: Ports,
        stores: Stores,
        lease: Option<Lease>,
        fan_out: &Handle,
        recorder: PrometheusHandle,
        clock: Clock,
    ) -> Result<Self> {
        let Stores { store, kept, has_timelines, cluster } = stores;
        let indexing = match config.roles.indexer {
            true => Some(Indexing::begin(&config, store.clone(), has_timelines, clock.clone()).await?),
            false => None,
        };
        let Known { complete, loaded, watched } = Known::begin(indexing.as_ref(), &store).await?;
        let listen = |port: crate::ports::Port| port.listen();
        let (grpc, admin) = (ports.grpc.map(listen).transpose()?, ports.admin.listen()?);
        let graph_server = match ports.graph {
            Some(port) => {
                let server = skyweir_graph::Server::new(config.graph.clone(), store.clone());
                Some((server, port.listen()?))
            }
            None => None,
        };
        let (writing, reading) = match kept {
            Kept::Here(written) => {
                let timelines = written.timelines.clone();
                let writing = Writing::new(&config, store.clone(), written, fan_out, clock.clone());
                let handle = Arc::new(writing.handle.clone());
                let reading = Reading { timelines, enrol: handle.clone(), deliveries: handle };
                (Some(writing), Some(reading))
            }
            Kept::Elsewhere { reads: timelines, enrol } => {
                let (enrol, deliveries) = (Arc::new(enrol), Arc::new(Unaccounted));
                (None, Some(Reading { timelines, enrol, deliveries }))
            }
            Kept::Nowhere => (None, None),
        };
        let api = match (grpc, reading) {
            (Some(grpc), Some(Reading { timelines, enrol, deliveries })) => {
                let deps = skyweir_api::Deps {
                    store: store.clone(),
                    timelines,
                    enrol,
                    deliveries,
                    complete: complete.clone(),
                    draw: config.timeline.draw_key,
                };
                Some((Api::new(config.api.clone(), deps), grpc))
            }
            _ => None,
        };
        let patience = Duration::from_secs(config.unreachable_seconds);
        let mut elsewhere = Elsewhere::new(config.roles, patience, clock);
        if let Some(cluster) = cluster {
            elsewhere = elsewhere.on(&cluster);
        }
        if let Some(Writing { graph, .. }) = &writing
            && !config.graph.remote.is_empty()
        {
            elsewhere = elsewhere.asks(graph.clone());
        }
        let readiness = Arc::new(Readiness {
            roles: config.roles,
            source: indexing.as_ref().map(|indexing| indexing.status.clone()),
            complete,
            writer: writing.as_ref().map(|writing| writing.handle.clone()),
            elsewhere,
            loaded: loaded.clone(),
            meanwhile: api.as_ref().and_then(|_| meanwhile(&config.api)),
            draining: AtomicBool::new(false),
        });

        let grpc_at = api.as_ref().map(|(_, grpc)| grpc.local_addr()).transpose()?;
        let admin_at = admin.local_addr()?;
        let here = Handle::current();
        let mut parts = Parts::default();
        if let Some(Indexing { intake, status }) = indexing {
            parts.start(INDEXER, &here, |stop| async move {
                pace::beside(None, pace::of_archive(&status), intake.run(stop)).await
            });
        }
        if let Some((api, grpc)) = api {
            parts.start("api", &here, |stop| api.serve(grpc, stop));
        }
        if let Some(Writing { writer, handle, graph, wishes }) = writing {
            // ends before the writer does: what it takes has to be granted
            if let Some(cluster) = wishes {
                parts.start("wishes", fan_out, |stop| async move {
                    let room = handle.clone();
                    let taking = take_wishes(&cluster, Arc::new(handle), move || room.wishes_room());
                    stop.run_until_cancelled(taking).await.unwrap_or(Ok(()))
                });
            }
            parts.start("writer", fan_out, |stop| async move {
                // what a backfill reads leaves it no tasks: until that is over nobody may be enrolled, and reads merge
                match stop.run_until_cancelled(loaded.cancelled()).await {
                    Some(()) => writer.run(stop).await,
                    None => Ok(()),
                }
            });
            parts.start("graph", fan_out, |stop| graph.run(stop));
        }
        if let Some(watched) = watched {
            parts.start("completeness", &here, |stop| watched.run(stop));
        }
        if let Some(lease) = lease.clone() {
            parts.start("lease", &here, |stop| lease.watch(stop));
        }
        if let Some((server, listener)) = graph_server {
            info!(graph.addr = %listener.local_addr()?, "serving the follower graph to other processes");
            parts.start("graph server", fan_out, |stop| server.run(listener, stop));
        }
        let said = readiness.clone();
        parts.start("admin port", &here, |stop| admin::run(admin, recorder, said, config.data_dir, stop));
        info!(grpc.addr = grpc_at.map(tracing::field::display), admin.addr = %admin_at, "serving");
        Ok(Self { grpc: grpc_at, admin: admin_at, parts, readiness, lease })
    }

    /// Waits for ever, unless a part fails.
    ///
    /// # Errors
    /// The part's.
    pub(crate) async fn run(&mut self) -> Result<()> {
        loop {
            match self.parts.ended().await? {
                // a file was read to its end; what it told is served on
                INDEXER => {}
                name => bail!("{name} ended by itself"),
            }
        }
    }

    /// Stops: no more events, then no more reads, then the writer finishes what it has begun and saves the rings.
    ///
    /// # Errors
    /// The first part's that could not finish.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        self.readiness.draining.store(true, Ordering::SeqCst);
        self.parts.stop().await
    }

    /// Lets another indexer write at once, where not all parts stop in their order.
    pub(crate) async fn give_lease_back(&self) {
        if let Some(lease) = &self.lease {
            lease.give_back().await;
        }
    }
}

impl Indexing {
    async fn begin(
        config: &Config,
        store: Arc<dyn Store>,
        has_timelines: bool,
        clock: Clock,
    ) -> Result<Self> {
        let status = Arc::new(SourceStatus::default());
        let begin = Begin {
            cursor: config.cursor,
            backfill: config.backfill.at_start,
            items_since_us: config.backfill.items_since.before(clock.now_micros()),
            has_timelines,
        };
        let (kind, indexer) = (parse(&config.source)?, config.indexer.clone());
        let intake = Intake::begin(indexer, store, kind, begin, clock, status.clone()).await?;
        if status.completeness() == Completeness::Partial {
            warn!("{}", coverage::NOTE);
        }
        Ok(Self { intake, status })
    }
}

impl Known {
    async fn begin(indexing: Option<&Indexing>, store: &Arc<dyn Store>) -> Result<Self> {
        if let Some(Indexing { intake, status }) = indexing {
            return Ok(Self { complete: status.clone(), loaded: intake.loaded(), watched: None });
        }
        let watched = Watched::begin(store.clone()).await?;
        Ok(Self { complete: watched.clone(), loaded: watched.loaded(), watched: Some(watched) })
    }
}

impl Writing {
    fn new(
        config: &Config,
        store: Arc<dyn Store>,
        Written { timelines, tasks, wishes }: Written,
        fan_out: &Handle,
        clock: Clock,
    ) -> Self {
        let graph = {
            // what comes from servers is work of the fan-out, too
            let _entered = fan_out.enter();
            Graph::new(config.graph.clone(), store.clone())
        };
        let deps = skyweir_writer::Deps { store, timelines, tasks, graph: graph.clone(), clock };
        let (writer, handle) = Writer::new(config.writer.clone(), deps);
        Self { writer, handle, graph, wishes }
    }
}

/// Who answers as long as not all follows are known, if we don't.
fn meanwhile(api: &skyweir_api::Config) -> Option<String> {
    let upstream = api.upstream.as_ref().filter(|_| api.upstream_until_complete)?;
    Some(format!(
        "until all follows are known GetTimeline, GetFollowers and GetFollows are passed on to {upstream}"
    ))
}
