//! The composition: what is made of what, in which order it starts and stops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use metrics_exporter_prometheus::PrometheusHandle;
use skyweir_api::Api;
use skyweir_embedded::{EmbeddedStore, Rings};
use skyweir_graph::Graph;
use skyweir_indexer::Indexer;
use skyweir_indexer::source::{Source, SourceStatus, parse};
use skyweir_store::{Store, Timelines};
use skyweir_types::Clock;
use skyweir_writer::Writer;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::admin::{self, Readiness};
use crate::config::Config;
use crate::coverage;
use crate::parts::Parts;

const INDEXER: &str = "indexer";

/// What the data directory holds, open.
pub(crate) struct Data {
    store: EmbeddedStore,
    rings: Rings,
}

impl Data {
    /// Opens the data directory: its records, then the last checkpoint of its rings. Blocks.
    pub(crate) fn open(config: &Config) -> Result<Self> {
        let store = EmbeddedStore::open(config.store.clone())?;
        let rings = Rings::open(&store, &config.rings, config.timeline.draw_key)?;
        Ok(Self { store, rings })
    }
}

/// The running service.
pub(crate) struct Service {
    /// Where gRPC answers.
    pub(crate) grpc: SocketAddr,
    /// Where metrics and readiness answer.
    pub(crate) admin: SocketAddr,
    parts: Parts,
    readiness: Arc<Readiness>,
}

impl Service {
    /// Puts the parts together and starts them: graph and writer on the runtime of the fan-out, all others on this one.
    pub(crate) async fn start(
        config: Config,
        data: Data,
        fan_out: &Handle,
        recorder: PrometheusHandle,
        clock: Clock,
    ) -> Result<Self> {
        let kind = parse(&config.source)?;
        let saved = data.store.view().await?.cursor().await?.map(|cursor| cursor.source);
        let coverage = coverage::note(&config.data_dir, &kind, config.cursor, saved.as_deref())?;
        let complete = watch::channel(coverage.is_none()).1;
        let coverage = coverage.map(|note| passed_on(note, &config.api));
        if let Some(note) = &coverage {
            warn!("{note}");
        }
        let grpc = listen(config.grpc, "gRPC", "--grpc").await?;
        let admin = listen(config.admin, "admin", "--admin").await?;

        let draw = config.timeline.draw_key;
        let store: Arc<dyn Store> = Arc::new(data.store);
        let timelines: Arc<dyn Timelines> = Arc::new(data.rings);
        let graph = Graph::new(config.graph, store.clone());
        let (writer, handle) = Writer::new(
            config.writer,
            skyweir_writer::Deps {
                store: store.clone(),
                timelines: timelines.clone(),
                graph: graph.clone(),
                clock: clock.clone(),
            },
        );
        let api = Api::new(
            config.api,
            skyweir_api::Deps {
                store: store.clone(),
                timelines,
                enrol: Arc::new(handle.clone()),
                deliveries: Arc::new(handle.clone()),
                draw,
                complete,
            },
        );
        let source = Source::new(kind, config.indexer.source.clone(), clock)?;
        let status = Arc::new(SourceStatus::default());
        let indexer = Indexer::new(config.indexer, store, source, config.cursor, status.clone());
        let draining = AtomicBool::new(false);
        let readiness = Arc::new(Readiness { source: status, writer: handle, draining, coverage });

        let (grpc_at, admin_at) = (grpc.local_addr()?, admin.local_addr()?);
        let here = Handle::current();
        let mut parts = Parts::default();
        parts.start(INDEXER, &here, |stop| async move { indexer.run(stop).await.map(drop) });
        parts.start("api", &here, |stop| api.serve(grpc, stop));
        parts.start("writer", fan_out, |stop| writer.run(stop));
        parts.start("graph", fan_out, |stop| graph.run(stop));
        let said = readiness.clone();
        parts.start("admin port", &here, |stop| admin::run(admin, recorder, said, stop));
        info!(grpc.addr = %grpc_at, admin.addr = %admin_at, "serving");
        Ok(Self { grpc: grpc_at, admin: admin_at, parts, readiness })
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
}

/// Adds who answers meanwhile.
fn passed_on(note: String, api: &skyweir_api::Config) -> String {
    match &api.upstream {
        Some(upstream) if api.upstream_until_complete => {
            format!("{note}; GetTimeline, GetFollowers and GetFollows are passed on to {upstream}")
        }
        _ => note,
    }
}

async fn listen(at: SocketAddr, what: &str, flag: &str) -> Result<TcpListener> {
    let bound = TcpListener::bind(at).await;
    bound.with_context(|| format!("cannot open the {what} port {at}; choose another with {flag} ADDR:PORT"))
}
