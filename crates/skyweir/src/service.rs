//! The composition: what is made of what, in which order it starts and stops.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use metrics_exporter_prometheus::PrometheusHandle;
use skyweir_api::Api;
use skyweir_graph::Graph;
use skyweir_indexer::source::{SourceStatus, parse};
use skyweir_indexer::{Begin, Intake};
use skyweir_store::{Complete as _, Completeness};
use skyweir_types::Clock;
use skyweir_writer::Writer;
use tokio::runtime::Handle;
use tracing::{info, warn};

use crate::admin::{self, Readiness};
use crate::config::Config;
use crate::coverage;
use crate::pace;
use crate::parts::Parts;
use crate::ports::Ports;
use crate::stores::Stores;

const INDEXER: &str = "indexer";

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
        ports: Ports,
        stores: Stores,
        fan_out: &Handle,
        recorder: PrometheusHandle,
        clock: Clock,
    ) -> Result<Self> {
        let kind = parse(&config.source)?;
        let Stores { store, timelines, tasks, lease } = stores;
        let status = Arc::new(SourceStatus::default());
        let begin = Begin {
            cursor: config.cursor,
            backfill: config.backfill.at_start,
            items_since_us: config.backfill.items_since.before(clock.now_micros()),
            has_timelines: timelines.enrolled() > 0,
        };
        let (shared, told) = (store.clone(), status.clone());
        let intake = Intake::begin(config.indexer, shared, kind, begin, clock.clone(), told).await?;
        let loaded = intake.loaded();
        if status.completeness() == Completeness::Partial {
            warn!("{}", coverage::NOTE);
        }
        let (grpc, admin) = (ports.grpc.listen()?, ports.admin.listen()?);
        let graph_server = match ports.graph {
            Some(port) => {
                let server = skyweir_graph::Server::new(config.graph.clone(), store.clone());
                Some((server, port.listen()?))
            }
            None => None,
        };

        let draw = config.timeline.draw_key;
        let graph = {
            // what comes from servers is work of the fan-out, too
            let _entered = fan_out.enter();
            Graph::new(config.graph, store.clone())
        };
        let (writer, handle) = Writer::new(
            config.writer,
            skyweir_writer::Deps {
                store: store.clone(),
                timelines: timelines.clone(),
                tasks,
                graph: graph.clone(),
                clock,
            },
        );
        let meanwhile = meanwhile(&config.api);
        let data_dir = config.data_dir;
        let api = Api::new(
            config.api,
            skyweir_api::Deps {
                store: store.clone(),
                timelines,
                enrol: Arc::new(handle.clone()),
                deliveries: Arc::new(handle.clone()),
                complete: status.clone(),
                draw,
            },
        );
        let draining = AtomicBool::new(false);
        let (source, loaded_too) = (status.clone(), loaded.clone());
        let readiness = Readiness { source, writer: handle, loaded: loaded_too, meanwhile, draining };
        let readiness = Arc::new(readiness);

        let (grpc_at, admin_at) = (grpc.local_addr()?, admin.local_addr()?);
        let here = Handle::current();
        let mut parts = Parts::default();
        parts.start(INDEXER, &here, |stop| async move {
            pace::beside(None, pace::of_archive(&status), intake.run(stop)).await
        });
        parts.start("api", &here, |stop| api.serve(grpc, stop));
        parts.start("writer", fan_out, |stop| async move {
            // what a backfill reads leaves it no tasks: until that is over nobody may be enrolled, and reads merge
            match stop.run_until_cancelled(loaded.cancelled()).await {
                Some(()) => writer.run(stop).await,
                None => Ok(()),
            }
        });
        parts.start("graph", fan_out, |stop| graph.run(stop));
        parts.start("lease", &here, |stop| lease.watch(stop));
        if let Some((server, listener)) = graph_server {
            info!(graph.addr = %listener.local_addr()?, "serving the follower graph to other processes");
            parts.start("graph server", fan_out, |stop| server.run(listener, stop));
        }
        let said = readiness.clone();
        parts.start("admin port", &here, |stop| admin::run(admin, recorder, said, data_dir, stop));
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

/// Who answers as long as not all follows are known, if we don't.
fn meanwhile(api: &skyweir_api::Config) -> Option<String> {
    let upstream = api.upstream.as_ref().filter(|_| api.upstream_until_complete)?;
    Some(format!(
        "until all follows are known GetTimeline, GetFollowers and GetFollows are passed on to {upstream}"
    ))
}
