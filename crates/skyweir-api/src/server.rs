//! The gRPC server: both interfaces, health and reflection, over cleartext HTTP/2.

use std::sync::Arc;
use std::time::Duration;

use skyweir_proto::FILE_DESCRIPTOR_SET;
use skyweir_proto::bsky::service_server::ServiceServer;
use skyweir_proto::skyweir::v1::timeline_service_server::TimelineServiceServer;
use skyweir_store::{Complete, Deliveries, Enrol, Store, TimelineReads};
use skyweir_types::DrawKey;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic_health::server::HealthReporter;

use crate::bsky::Bsky;
use crate::limits::Limits;
use crate::metrics::Open;
use crate::skyweir_v1::SkyweirV1;
use crate::upstream::Passing;
use crate::{Config, DeliveryReader, GraphReader, ServeError, TimelineReader};

/// What the API reads from.
#[derive(Clone)]
pub struct Deps {
    /// The records.
    pub store: Arc<dyn Store>,
    /// The cache of timelines.
    pub timelines: Arc<dyn TimelineReads>,
    /// Who enrols timelines.
    pub enrol: Arc<dyn Enrol>,
    /// Who keeps the accounting.
    pub deliveries: Arc<dyn Deliveries>,
    /// Who knows how much of the follow graph is there; until it is whole, what depends on it may be left to upstream.
    pub complete: Arc<dyn Complete>,
    /// Key of the draw: the writer's.
    pub draw: DrawKey,
}

/// The read API.
pub struct Api {
    config: Config,
    timelines: Arc<TimelineReader>,
    graph: Arc<GraphReader>,
    deliveries: Arc<DeliveryReader>,
    complete: Arc<dyn Complete>,
    passing: Passing,
}

impl Api {
    /// Puts the API together. Nothing runs yet.
    #[must_use]
    pub fn new(config: Config, deps: Deps) -> Self {
        let Deps { store, timelines, enrol, deliveries, complete, draw } = deps;
        Self {
            timelines: Arc::new(TimelineReader::new(store.clone(), timelines, enrol, draw, &config)),
            graph: Arc::new(GraphReader::new(store.clone(), &config)),
            deliveries: Arc::new(DeliveryReader::new(store, deliveries)),
            passing: Passing::new(&config, complete.clone()),
            complete,
            config,
        }
    }

    /// Serves until `stop`, then tells health checks so, accepts nothing more, and gives open requests
    /// [`Config::drain_ms`] to finish. Has to run on a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// [`ServeError`] when the server could not be built or the protocol stack failed. A client never stops it.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> Result<(), ServeError> {
        let config = self.config.clone();
        let keepalive = Duration::from_millis(config.keepalive_ms);
        let passing = self.passing.clone();
        let (health, routes) = self.routes().await?;
        let (sender, incoming) = skyweir_listen::channel();
        let server = Server::builder()
            .max_concurrent_streams(config.max_streams)
            .http2_keepalive_interval(Some(keepalive))
            .http2_keepalive_timeout(Some(keepalive))
            .layer(passing)
            .layer(Limits::new(&config))
            .add_routes(routes)
            .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
        let most = config.max_connections;
        let accept = skyweir_listen::accept(listener, most, 2 * keepalive, Open::connection, sender);
        let accept = async {
            tokio::select! {
                () = accept => {}
                () = stop.cancelled() => {}
            }
            // The listener is closed by now.
            set_not_serving(&health).await;
            tokio::time::sleep(Duration::from_millis(config.drain_ms)).await;
        };
        tokio::select! {
            served = server => Ok(served?),
            () = accept => {
                tracing::warn!(drain.ms = config.drain_ms, "clients did not finish in time, leaving them");
                Ok(())
            }
        }
    }

    async fn routes(self) -> Result<(HealthReporter, Routes), ServeError> {
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<ServiceServer<Bsky>>().await;
        health.set_serving::<TimelineServiceServer<SkyweirV1>>().await;
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()?;
        let most = self.config.max_request_bytes;
        let bsky = Bsky { timelines: self.timelines.clone(), graph: self.graph.clone() };
        let Self { timelines, graph, deliveries, complete, .. } = self;
        let own = SkyweirV1 { timelines, graph, deliveries, complete };
        let routes = Routes::new(ServiceServer::new(bsky).max_decoding_message_size(most))
            .add_service(TimelineServiceServer::new(own).max_decoding_message_size(most))
            .add_service(health_service)
            .add_service(reflection);
        Ok((health, routes))
    }
}

async fn set_not_serving(health: &HealthReporter) {
    health.set_service_status("", tonic_health::ServingStatus::NotServing).await;
    health.set_not_serving::<ServiceServer<Bsky>>().await;
    health.set_not_serving::<TimelineServiceServer<SkyweirV1>>().await;
}
