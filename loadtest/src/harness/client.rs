//! Reads timelines over gRPC, as clients do.

use anyhow::Context;
use skyweir_proto::skyweir::v1::timeline_service_client::TimelineServiceClient;
use skyweir_proto::skyweir::v1::{GetTimelineRequest, GetTimelineResponse};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// Longer than any read may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Some connections, taken in turn.
#[derive(Debug)]
pub(super) struct Client {
    connections: Vec<TimelineServiceClient<Channel>>,
    next: AtomicUsize,
}

impl Client {
    pub(super) async fn connect(grpc: &str, connections: usize) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{grpc}"))
            .with_context(|| format!("{grpc:?} is no address: expected ADDR:PORT"))?
            .connect_timeout(PATIENCE)
            .tcp_nodelay(true)
            .timeout(PATIENCE);
        let mut opened = Vec::with_capacity(connections);
        for _ in 0..connections {
            let channel = endpoint.connect().await.with_context(|| format!("nobody answers at {grpc}"))?;
            opened.push(TimelineServiceClient::new(channel));
        }
        Ok(Self { connections: opened, next: AtomicUsize::new(0) })
    }

    /// One page of a timeline.
    pub(super) async fn page(
        &self,
        did: &str,
        limit: i32,
        cursor: &str,
    ) -> Result<GetTimelineResponse, Status> {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.connections.len();
        let request = GetTimelineRequest {
            actor_did: did.to_owned(),
            limit,
            cursor: cursor.to_owned(),
            ..GetTimelineRequest::default()
        };
        let answer = self.connections[at].clone().get_timeline(request).await?;
        Ok(answer.into_inner())
    }
}
