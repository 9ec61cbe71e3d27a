//! The server around the reads: limits, health, reflection, shutdown.

mod common;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use common::World;
use common::serve::Served;
use skyweir_proto::bsky::PingRequest;
use skyweir_proto::bsky::service_client::ServiceClient;
use skyweir_proto::skyweir::v1::{self, GraphStatus};
use skyweir_store::{Completeness, Error, Result, Store, Txn, View};
use skyweir_types::TaskId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Semaphore, watch};
use tokio_stream::StreamExt;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, ServerReflectionResponse, server_reflection_request::MessageRequest,
    server_reflection_response::MessageResponse,
};

/// The store with a gate before its views, which a test opens and closes; `asked` counts the views that wait or went.
struct Gated {
    inner: Arc<dyn Store>,
    gate: Arc<Semaphore>,
    asked: watch::Sender<usize>,
    broken: bool,
}

#[async_trait]
impl Store for Gated {
    async fn view(&self) -> Result<Box<dyn View>> {
        if self.broken {
            return Err(Error::Unavailable("gone".into()));
        }
        self.asked.send_modify(|asked| *asked += 1);
        drop(self.gate.acquire().await.expect("never closed"));
        self.inner.view().await
    }
    async fn begin(&self) -> Result<Box<dyn Txn>> {
        self.inner.begin().await
    }
    fn next_task(&self) -> watch::Receiver<TaskId> {
        self.inner.next_task()
    }
    async fn trim_tasks(&self, kept: TaskId) -> Result<()> {
        self.inner.trim_tasks(kept).await
    }
}

#[tokio::test]
async fn each_answer_tells_whether_the_graph_is_known() {
    let world = World::crowded().await;
    let mut served = Served::world(&world).await;
    let did = || "did:plc:eve".to_owned();
    for (known, graph, share) in [
        (Completeness::Loading(0.25), GraphStatus::Loading, 0.25),
        (Completeness::Partial, GraphStatus::Partial, 0.0),
        (Completeness::Whole, GraphStatus::Complete, 0.0),
    ] {
        world.complete.set(known);
        let status = served.own.get_status(v1::GetStatusRequest {}).await.unwrap().into_inner();
        assert_eq!((status.graph(), status.loaded_share), (graph, share));
        let request = v1::GetTimelineRequest { actor_did: did(), ..Default::default() };
        let page = served.own.get_timeline(request).await.unwrap().into_inner();
        assert!(!page.items.is_empty(), "it is answered");
        let request = v1::GetFollowerPageRequest { actor_did: did(), ..Default::default() };
        let followers = served.own.get_follower_page(request).await.unwrap().into_inner();
        let request = v1::GetFollowPageRequest { actor_did: did(), ..Default::default() };
        let follows = served.own.get_follow_page(request).await.unwrap().into_inner();
        let request = v1::GetFollowCountsRequest { actor_did: did() };
        let counts = served.own.get_follow_counts(request).await.unwrap().into_inner();
        let told = [
            page.graph_incomplete,
            followers.graph_incomplete,
            follows.graph_incomplete,
            counts.graph_incomplete,
        ];
        assert_eq!(told, [known != Completeness::Whole; 4]);
    }
}

fn gated(world: &World, broken: bool) -> (Arc<Gated>, skyweir_api::Deps) {
    let gate = Arc::new(Semaphore::new(0));
    let store = Arc::new(Gated { inner: world.store.clone(), gate, asked: watch::Sender::new(0), broken });
    let deps = skyweir_api::Deps { store: store.clone(), ..world.deps() };
    (store, deps)
}

#[tokio::test]
async fn a_late_answer_is_unavailable() {
    let mut world = World::crowded().await;
    world.config.timeout_ms = 20;
    let (store, deps) = gated(&world, false);
    let mut served = Served::with(world.config.clone(), deps).await;
    let status = served.page("eve", 5, "").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
    assert_eq!(*store.asked.borrow(), 1, "the request never met the gate");
}

#[tokio::test]
async fn one_too_many_is_unavailable_at_once() {
    let mut world = World::crowded().await;
    world.config.max_requests = 2;
    let (store, deps) = gated(&world, false);
    let mut served = Served::with(world.config.clone(), deps).await;
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..2 {
        let mut bsky = served.bsky.clone();
        running.spawn(async move {
            let request = skyweir_proto::bsky::GetTimelineRequest {
                actor_did: "did:plc:eve".into(),
                ..Default::default()
            };
            bsky.get_timeline(request).await
        });
    }
    store.asked.subscribe().wait_for(|asked| *asked == 2).await.unwrap();
    assert_eq!(served.page("eve", 5, "").await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(health(&served, "").await, 1, "an overloaded service is alive");
    store.gate.add_permits(10);
    while let Some(answer) = running.join_next().await {
        assert!(!answer.unwrap().unwrap().into_inner().items.is_empty());
    }
    assert!(!served.page("eve", 5, "").await.unwrap().items.is_empty());
}

#[tokio::test]
async fn a_cancelled_request_gives_its_place_back() {
    let mut world = World::crowded().await;
    world.config.max_requests = 1;
    world.config.timeout_ms = 3_600_000;
    let (store, deps) = gated(&world, false);
    let mut served = Served::with(world.config.clone(), deps).await;
    let mut bsky = served.bsky.clone();
    let mut running = tokio::task::JoinSet::new();
    running.spawn(async move {
        let request =
            skyweir_proto::bsky::GetTimelineRequest { actor_did: "did:plc:eve".into(), ..Default::default() };
        bsky.get_timeline(request).await
    });
    store.asked.subscribe().wait_for(|asked| *asked == 1).await.unwrap();
    assert!(served.bsky.ping(PingRequest {}).await.is_err(), "the only place is taken");
    running.shutdown().await;
    // the gate stays closed: only the client's leaving can end the read
    let free = async { while served.bsky.ping(PingRequest {}).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(60), free).await.expect("nobody waits for it, and it goes on");
}

#[tokio::test]
async fn a_store_that_is_gone_is_unavailable() {
    let world = World::crowded().await;
    let (_, deps) = gated(&world, true);
    let mut served = Served::with(world.config.clone(), deps).await;
    assert_eq!(served.page("eve", 5, "").await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn a_request_too_large_is_refused() {
    let world = World::new();
    let mut served = Served::world(&world).await;
    let status = served.page(&"x".repeat(70_000), 5, "").await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange);
    served.bsky.ping(PingRequest {}).await.unwrap();
}

async fn health(served: &Served, service: &str) -> i32 {
    let request = HealthCheckRequest { service: service.into() };
    let answer = HealthClient::new(served.channel.clone()).check(request).await;
    answer.expect("health checks are always answered").into_inner().status
}

#[tokio::test]
async fn health_and_reflection() {
    let served = Served::world(&World::new()).await;
    for service in ["", "bsky.Service", "skyweir.v1.TimelineService"] {
        assert_eq!(health(&served, service).await, 1, "{service}");
    }
    let mut client = tonic::client::Grpc::new(served.channel.clone());
    client.ready().await.unwrap();
    let ask = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let codec = tonic_prost::ProstCodec::<ServerReflectionRequest, ServerReflectionResponse>::default();
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo".parse().unwrap();
    let answers = client.streaming(Request::new(tokio_stream::once(ask)), path, codec).await.unwrap();
    let answer = answers.into_inner().next().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}")
    };
    let names: Vec<_> = list.service.into_iter().map(|service| service.name).collect();
    for name in ["bsky.Service", "skyweir.v1.TimelineService", "grpc.health.v1.Health"] {
        assert!(names.iter().any(|known| known == name), "{name} in {names:?}");
    }
}

#[tokio::test]
async fn shutdown_lets_open_requests_finish() {
    let world = World::crowded().await;
    let (store, deps) = gated(&world, false);
    let served = Served::with(world.config.clone(), deps).await;
    let mut bsky = served.bsky.clone();
    let mut running = tokio::task::JoinSet::new();
    running.spawn(async move {
        let request =
            skyweir_proto::bsky::GetTimelineRequest { actor_did: "did:plc:eve".into(), ..Default::default() };
        bsky.get_timeline(request).await
    });
    store.asked.subscribe().wait_for(|asked| *asked == 1).await.unwrap();
    served.stop.cancel();
    store.gate.add_permits(10);
    assert!(!running.join_next().await.unwrap().unwrap().unwrap().into_inner().items.is_empty());
    let address = served.address;
    served.end().await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let mut world = World::crowded().await;
    world.config.drain_ms = 10;
    let (store, deps) = gated(&world, false);
    let served = Served::with(world.config.clone(), deps).await;
    let mut bsky = served.bsky.clone();
    let mut running = tokio::task::JoinSet::new();
    running.spawn(async move {
        let request =
            skyweir_proto::bsky::GetTimelineRequest { actor_did: "did:plc:eve".into(), ..Default::default() };
        bsky.get_timeline(request).await
    });
    store.asked.subscribe().wait_for(|asked| *asked == 1).await.unwrap();
    served.end().await.unwrap();
}

#[tokio::test]
async fn connections_over_the_limit_wait_for_one_to_close() {
    let mut world = World::new();
    world.config.max_connections = 1;
    let mut served = Served::world(&world).await;
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", served.address)).unwrap();
    let mut second = ServiceClient::new(endpoint.connect_lazy());
    let mut running = tokio::task::JoinSet::new();
    running.spawn(async move { second.ping(PingRequest {}).await });
    for _ in 0..50 {
        served.bsky.ping(PingRequest {}).await.unwrap();
    }
    assert!(running.try_join_next().is_none(), "the second connection was served");
    drop((served.bsky, served.own, served.channel));
    running.join_next().await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_that_never_speaks_is_closed() {
    let mut world = World::new();
    world.config.keepalive_ms = 100;
    let served = Served::world(&world).await;
    for begun in [&b""[..], b"PRI * HTTP/2.0\r\n"] {
        let mut silent = tokio::net::TcpStream::connect(served.address).await.unwrap();
        silent.write_all(begun).await.unwrap();
        let mut said = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(60), silent.read_to_end(&mut said)).await;
        assert!(read.is_ok(), "it is still open");
    }
}
