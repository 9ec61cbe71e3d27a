//! The service on a real socket, with the generated client.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use skyweir_api::{Api, Config, Deps, ServeError};
use skyweir_proto::bsky::service_client::ServiceClient;
use skyweir_proto::bsky::{GetTimelineRequest, GetTimelineResponse};
use skyweir_proto::skyweir::v1::timeline_service_client::TimelineServiceClient;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::{Shown, World};

/// A running service and its clients.
pub(crate) struct Served {
    pub(crate) bsky: ServiceClient<Channel>,
    pub(crate) own: TimelineServiceClient<Channel>,
    pub(crate) channel: Channel,
    pub(crate) address: SocketAddr,
    pub(crate) stop: CancellationToken,
    tasks: JoinSet<Result<(), ServeError>>,
}

impl Served {
    pub(crate) async fn world(world: &World) -> Self {
        Self::with(world.config.clone(), world.deps()).await
    }

    pub(crate) async fn with(config: Config, deps: Deps) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(Api::new(config, deps).serve(listener, stop.clone()));
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        Self {
            bsky: ServiceClient::new(channel.clone()),
            own: TimelineServiceClient::new(channel.clone()),
            channel,
            address,
            stop,
            tasks,
        }
    }

    /// Stops the service and waits for its end.
    pub(crate) async fn end(mut self) -> Result<(), ServeError> {
        self.stop.cancel();
        self.tasks.join_next().await.unwrap().unwrap()
    }

    pub(crate) async fn page(
        &mut self,
        name: &str,
        limit: i32,
        cursor: &str,
    ) -> Result<GetTimelineResponse, Status> {
        let request = GetTimelineRequest {
            actor_did: format!("did:plc:{name}"),
            limit,
            cursor: cursor.into(),
            ..GetTimelineRequest::default()
        };
        self.ask(request).await
    }

    pub(crate) async fn ask(&mut self, request: GetTimelineRequest) -> Result<GetTimelineResponse, Status> {
        Ok(self.bsky.get_timeline(request).await?.into_inner())
    }

    /// Pages to the end. The limits are used in turn.
    pub(crate) async fn walk(&mut self, first: GetTimelineRequest, limits: &[i32]) -> Vec<Shown> {
        let (mut shown, mut sent, mut request) = (Vec::new(), BTreeSet::new(), first);
        for limit in limits.iter().cycle() {
            request.limit = *limit;
            let page = self.ask(request.clone()).await.unwrap();
            assert!(page.items.len() <= *limit as usize);
            shown.extend(page.items.into_iter().map(|item| (item.uri, item.repost)));
            if page.cursor.is_empty() {
                return shown;
            }
            assert!(!page.cursor.contains("::"));
            assert!(sent.insert(page.cursor.clone()), "cursor {} came twice", page.cursor);
            request.cursor = page.cursor;
        }
        shown
    }

    pub(crate) async fn walk_all(&mut self, name: &str, limits: &[i32]) -> Vec<Shown> {
        let actor_did = format!("did:plc:{name}");
        self.walk(GetTimelineRequest { actor_did, ..GetTimelineRequest::default() }, limits).await
    }
}
