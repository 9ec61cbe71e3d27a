//! A service that is small enough to be right: it joins follows and items at each read, and misbehaves on demand.

mod timelines;

use futures::StreamExt;
use serde_json::Value;
use skyweir_proto::skyweir::v1::timeline_service_server::{TimelineService, TimelineServiceServer};
use skyweir_proto::skyweir::v1::{
    GetDeliveryRequest, GetDeliveryResponse, GetFollowCountsRequest, GetFollowCountsResponse,
    GetFollowPageRequest, GetFollowPageResponse, GetFollowerPageRequest, GetFollowerPageResponse,
    GetStatusRequest, GetStatusResponse, GetTimelineRequest, GetTimelineResponse,
};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use timelines::Timelines;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_websockets::ClientBuilder;
use tonic::{Request, Response, Status};

/// What it does wrong on the pages that it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mischief {
    None,
    /// An item twice.
    Doubles,
    /// An item left out.
    Omits,
    /// Two items in the wrong order.
    Swaps,
    /// An item whose author isn't followed, in its right place.
    Slips,
    /// Right pages, after a while.
    Dawdles,
    /// Once all readers have come, every second first page of a reader is refused.
    Refuses,
}

/// What the harness is told: how many readers there are, and how many items a page of theirs has. Its other pages have
/// other sizes.
pub(crate) const READERS: u64 = 40;
pub(crate) const PAGE: i32 = 20;

/// How long a page takes then.
const DAWDLE: std::time::Duration = std::time::Duration::from_millis(100);

/// The running stub; ends when dropped.
pub(crate) struct Stub {
    pub(crate) api: String,
    pub(crate) admin: String,
    state: Arc<Mutex<Timelines>>,
    tasks: JoinSet<()>,
}

#[derive(Clone)]
struct Answers {
    state: Arc<Mutex<Timelines>>,
    mischief: Mischief,
    /// First pages of readers so far.
    read: Arc<AtomicU64>,
}

impl Answers {
    fn refuses(&self, request: &GetTimelineRequest) -> bool {
        if request.limit != PAGE || !request.cursor.is_empty() {
            return false;
        }
        let before = self.read.fetch_add(1, Ordering::Relaxed);
        self.mischief == Mischief::Refuses && before >= READERS && before.is_multiple_of(2)
    }
}

impl Stub {
    pub(crate) async fn start(mischief: Mischief) -> Self {
        Self::at("127.0.0.1:0", mischief).await
    }

    /// Answers gRPC at this address.
    pub(crate) async fn at(api: &str, mischief: Mischief) -> Self {
        let state = Arc::new(Mutex::new(Timelines::default()));
        let mut tasks = JoinSet::new();
        let api = TcpListener::bind(api).await.unwrap();
        let admin = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
        let (api_address, admin_address) = (address(&api), address(&admin));
        let service =
            TimelineServiceServer::new(Answers { state: state.clone(), mischief, read: Arc::default() });
        tasks.spawn(async move {
            let server = tonic::transport::Server::builder().add_service(service);
            server.serve_with_incoming(TcpListenerStream::new(api)).await.unwrap();
        });
        tasks.spawn(metrics(admin, state.clone()));
        Self { api: api_address, admin: admin_address, state, tasks }
    }

    /// Reads the Jetstream at this address, by its older wire.
    pub(crate) fn read(&mut self, url: &str) {
        let server = url.strip_prefix("ws://").and_then(|rest| rest.split('/').next()).unwrap();
        let (url, state) = (format!("ws://{server}/subscribe?cursor=0"), self.state.clone());
        self.tasks.spawn(async move {
            let (mut socket, _) = ClientBuilder::new().uri(&url).unwrap().connect().await.unwrap();
            while let Some(Ok(message)) = socket.next().await {
                let Some(text) = message.as_text() else { return };
                let event: Value = serde_json::from_str(text).unwrap();
                state.lock().unwrap().apply(&event);
            }
        });
    }
}

/// Tells each who asks what is applied; nothing ever lags.
async fn metrics(listener: TcpListener, state: Arc<Mutex<Timelines>>) {
    loop {
        let Ok((mut socket, _)) = listener.accept().await else { return };
        let _ = answer(&mut socket, &state).await;
    }
}

async fn answer(socket: &mut TcpStream, state: &Mutex<Timelines>) -> std::io::Result<()> {
    let (reader, mut writer) = socket.split();
    let mut lines = BufReader::new(reader).lines();
    while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}
    let seconds = state.lock().unwrap().stream_us as f64 / 1e6;
    let text = format!(
        "HTTP/1.0 200 OK\r\n\r\nskyweir_indexer_stream_time_seconds {seconds:.6}\n\
         skyweir_writer_lag_tasks 0\nskyweir_writer_lag_seconds 0\n"
    );
    writer.write_all(text.as_bytes()).await?;
    writer.shutdown().await
}

#[tonic::async_trait]
impl TimelineService for Answers {
    async fn get_timeline(
        &self,
        request: Request<GetTimelineRequest>,
    ) -> Result<Response<GetTimelineResponse>, Status> {
        let request = request.into_inner();
        if self.mischief == Mischief::Dawdles {
            tokio::time::sleep(DAWDLE).await;
        }
        if self.refuses(&request) {
            return Err(Status::unavailable("no room"));
        }
        let state = self.state.lock().unwrap();
        Ok(Response::new(state.page(&request, self.mischief)))
    }

    async fn get_follower_page(
        &self,
        _: Request<GetFollowerPageRequest>,
    ) -> Result<Response<GetFollowerPageResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn get_follow_page(
        &self,
        _: Request<GetFollowPageRequest>,
    ) -> Result<Response<GetFollowPageResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn get_follow_counts(
        &self,
        _: Request<GetFollowCountsRequest>,
    ) -> Result<Response<GetFollowCountsResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn get_delivery(
        &self,
        _: Request<GetDeliveryRequest>,
    ) -> Result<Response<GetDeliveryResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }

    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        Err(Status::unimplemented("nobody asks"))
    }
}
