//! Reads timelines over gRPC, as clients do.

use super::screen::Screen;
use anyhow::Context;
use skyweir_proto::skyweir::v1::timeline_service_client::TimelineServiceClient;
use skyweir_proto::skyweir::v1::{GetTimelineRequest, GetTimelineResponse};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// Longer than any read may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// A service that opens its data directory meanwhile is waited for so long.
const OPENING: Duration = Duration::from_secs(60);
/// How often it is tried.
const LOOK: Duration = Duration::from_millis(100);

/// Some connections, taken in turn.
#[derive(Debug)]
pub(super) struct Client {
    connections: Vec<TimelineServiceClient<Channel>>,
    next: AtomicUsize,
}

impl Client {
    /// Waits for a service that isn't there yet, and says so.
    pub(super) async fn connect(grpc: &str, connections: usize, screen: &Screen) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{grpc}"))
            .with_context(|| format!("{grpc:?} is no address: expected ADDR:PORT"))?
            .connect_timeout(PATIENCE)
            .tcp_nodelay(true)
            .timeout(PATIENCE);
        let until = Instant::now() + OPENING;
        let mut is_told = false;
        let mut opened = Vec::with_capacity(connections);
        while opened.len() < connections {
            match endpoint.connect().await {
                Ok(channel) => opened.push(TimelineServiceClient::new(channel)),
                Err(_) if Instant::now() < until => {
                    if !is_told {
                        let most = OPENING.as_secs();
                        screen.say(format_args!("nobody answers at {grpc} yet: waiting, up to {most} s"))?;
                        is_told = true;
                    }
                    sleep(LOOK).await;
                }
                Err(error) => return Err(error).with_context(|| format!("nobody answers at {grpc}")),
            }
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
