//! Calls that are passed on to an existing data plane, over real sockets.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use common::World;
use common::serve::Served;
use common::upstream::{Fake, Log, Outcomes, PIECE};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use skyweir_api::UpstreamHttp;
use skyweir_store::Completeness;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::transport::Endpoint;
use tower::{Service as _, ServiceExt as _};

const BOTH: [UpstreamHttp; 2] = [UpstreamHttp::One, UpstreamHttp::Two];

/// A service with this upstream.
async fn before(
    url: &str,
    http: UpstreamHttp,
    set: impl FnOnce(&mut skyweir_api::Config),
) -> (World, Served) {
    let mut world = World::crowded().await;
    (world.config.upstream, world.config.upstream_http) = (Some(url.parse().unwrap()), http);
    set(&mut world.config);
    let served = Served::world(&world).await;
    (world, served)
}

async fn with(fake: &Fake, http: UpstreamHttp) -> (World, Served) {
    before(&fake.url(), http, |_| {}).await
}

fn request(method: &str, body: Bytes) -> Request<Body> {
    let builder = Request::post(format!("http://skyweir/bsky.Service/{method}"));
    let builder = builder.header("content-type", "application/grpc+proto").header("te", "trailers");
    let builder = builder.header("grpc-timeout", "70S").header("x-bsky-caller", "appview");
    builder.body(Body::new(Full::new(body))).unwrap()
}

async fn send(served: &Served, request: Request<Body>) -> Response<Body> {
    let mut channel = served.channel.clone();
    channel.ready().await.unwrap().call(request).await.unwrap()
}

/// An answer, read to its end.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    head: HeaderMap,
    data: Bytes,
    trailers: HeaderMap,
}

impl Answer {
    fn said(&self, name: &str) -> &str {
        self.trailers.get(name).or(self.head.get(name)).map_or("", |value| value.to_str().unwrap())
    }

    /// Its gRPC status and message, as they stand in a header.
    fn grpc(&self) -> (&str, &str) {
        (self.said("grpc-status"), self.said("grpc-message"))
    }
}

async fn call(served: &Served, method: &str, body: impl Into<Bytes>) -> Answer {
    whole(send(served, request(method, body.into())).await).await
}

async fn whole(answer: Response<Body>) -> Answer {
    let (head, body) = answer.into_parts();
    let whole = body.collect().await.unwrap();
    let trailers = whole.trailers().cloned().unwrap_or_default();
    Answer { status: head.status, head: head.headers, data: whole.to_bytes(), trailers }
}

async fn soon<T>(coming: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), coming).await.expect("it has to come")
}

#[tokio::test]
async fn what_is_not_ours_is_passed_on_as_it_is() {
    for http in BOTH {
        let mut fake = Fake::start(http).await;
        let (_, mut served) = with(&fake, http).await;
        // more than a request of ours may have
        let body = Bytes::from_iter((0..200_000_u32).map(|n| (n % 251) as u8));
        let answer = call(&served, "Echo", body.clone()).await;
        assert_eq!((answer.grpc(), answer.data.len()), (("0", ""), body.len()), "{answer:?}");
        assert_eq!(answer.data, body);
        assert_eq!((answer.said("x-kept"), answer.said("x-from")), ("yes", "upstream"));
        assert!(!answer.head.contains_key("transfer-encoding"), "{answer:?}");
        let seen = fake.seen.try_recv().unwrap();
        assert_eq!((seen.method.as_str(), seen.uri.path()), ("POST", "/bsky.Service/Echo"));
        let host = seen.headers.get("host").map(|host| host.to_str().unwrap().to_owned());
        let host = host.or(seen.uri.authority().map(ToString::to_string));
        assert_eq!(host, Some(fake.address.to_string()));
        for (name, value) in [("grpc-timeout", "70S"), ("x-bsky-caller", "appview"), ("te", "trailers")] {
            assert_eq!(seen.headers[name], value);
        }
        // ours are ours
        assert!(!served.page("eve", 5, "").await.unwrap().items.is_empty());
        assert!(fake.seen.try_recv().is_err());
    }
}

#[tokio::test]
async fn errors_are_passed_on_as_they_are() {
    for http in BOTH {
        let fake = Fake::start(http).await;
        let (_, served) = with(&fake, http).await;
        let answer = call(&served, "Fails", "").await;
        assert_eq!((answer.grpc(), answer.data.len()), (("5", "none%20here"), 0));
        assert_eq!(answer.trailers["grpc-status-details-bin"], "CAUSBG5vbmU");
        let answer = call(&served, "FailsAtOnce", "").await;
        assert_eq!((answer.grpc().0, answer.trailers.len()), ("9", 0));
        assert_eq!(answer.head["grpc-status-details-bin"], "CAk");
        let answer = call(&served, "Html", "").await;
        assert_eq!((answer.status, &answer.data[..]), (StatusCode::BAD_GATEWAY, &b"<h1>not here</h1>"[..]));
    }
}

#[tokio::test]
async fn an_answer_is_passed_on_while_it_comes() {
    for http in BOTH {
        let fake = Fake::start(http).await;
        let (_, served) = with(&fake, http).await;
        let mut answer = send(&served, request("Waits", Bytes::new())).await;
        fake.gate.add_permits(1);
        let first = soon(answer.body_mut().frame()).await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), PIECE);
        fake.gate.add_permits(2);
        let rest = soon(whole(answer)).await;
        assert_eq!((rest.grpc().0, &rest.data[..]), ("0", PIECE));
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_call_upstream() {
    for http in BOTH {
        let outcomes = Outcomes::default();
        let _recording = metrics::set_default_local_recorder(&outcomes);
        let mut fake = Fake::start(http).await;
        let (_, served) = with(&fake, http).await;
        let mut waiting = JoinSet::new();
        let (mut channel, asked) = (served.channel.clone(), request("Stalls", Bytes::new()));
        waiting.spawn(async move { channel.ready().await.unwrap().call(asked).await.map(drop) });
        soon(fake.seen.recv()).await.unwrap();
        waiting.shutdown().await;
        soon(fake.left.recv()).await.unwrap();
        let mut answer = send(&served, request("StallsAmid", Bytes::new())).await;
        soon(answer.body_mut().frame()).await.unwrap().unwrap();
        drop(answer);
        soon(fake.left.recv()).await.unwrap();
        assert_eq!(call(&served, "Echo", "x").await.grpc().0, "0");
        assert_eq!(outcomes.take(), ["cancelled", "cancelled", "ok"]);
    }
}

#[tokio::test]
async fn what_takes_too_long_is_cut_off_and_unavailable() {
    for http in BOTH {
        let mut fake = Fake::start(http).await;
        let (_, served) = before(&fake.url(), http, |config| config.upstream_timeout_ms = 60).await;
        for (method, data) in [("Stalls", &b""[..]), ("StallsAmid", PIECE)] {
            let answer = soon(call(&served, method, "")).await;
            assert_eq!((answer.grpc().0, &answer.data[..]), ("14", data), "{answer:?}");
            assert!(answer.grpc().1.contains("api.upstream_timeout_ms"), "{answer:?}");
            soon(fake.left.recv()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off_as_well() {
    for http in BOTH {
        let outcomes = Outcomes::default();
        let _recording = metrics::set_default_local_recorder(&outcomes);
        let mut fake = Fake::start(http).await;
        let (_, served) = before(&fake.url(), http, |config| config.upstream_timeout_ms = 1_000).await;
        // by then all that the client lets come unread has come, and the body isn't asked any more
        let unread = send(&served, request("Floods", Bytes::new())).await;
        soon(fake.left.recv()).await.unwrap();
        assert_eq!(outcomes.take(), ["timeout"]);
        let answer = soon(whole(unread)).await;
        assert_eq!(answer.grpc().0, "14");
        assert!(answer.grpc().1.contains("api.upstream_timeout_ms"));
    }
}

#[tokio::test]
async fn clients_that_do_not_read_hold_up_no_others() {
    for http in BOTH {
        let fake = Fake::start(http).await;
        let (_, served) = with(&fake, http).await;
        let mut unread = Vec::new();
        for _ in 0..6 {
            unread.push(send(&served, request("Floods", Bytes::new())).await);
        }
        let other = Endpoint::from_shared(format!("http://{}", served.address)).unwrap();
        let mut other = other.connect().await.unwrap();
        for _ in 0..100 {
            let asked = other.ready().await.unwrap().call(request("Echo", vec![7; 30_000].into()));
            assert_eq!(soon(whole(asked.await.unwrap())).await.grpc().0, "0");
        }
    }
}

#[tokio::test]
async fn what_breaks_off_is_unavailable() {
    for http in BOTH {
        let outcomes = Outcomes::default();
        let _recording = metrics::set_default_local_recorder(&outcomes);
        let fake = Fake::start(http).await;
        let (_, served) = with(&fake, http).await;
        let answer = soon(call(&served, "Breaks", "")).await;
        assert_eq!(answer.grpc().0, "14", "{answer:?}");
        assert!(answer.grpc().1.starts_with("the%20data%20plane%20broke%20off"), "{answer:?}");
        assert_eq!(call(&served, "Fails", "").await.grpc().0, "5");
        assert_eq!(outcomes.take(), ["broken", "error"]);
    }
}

#[tokio::test]
async fn what_is_too_large_is_cut_off() {
    for http in BOTH {
        let mut fake = Fake::start(http).await;
        let (_, served) = before(&fake.url(), http, |config| config.upstream_max_bytes = 2_000).await;
        let answer = soon(call(&served, "Echo", vec![0; 2_001])).await;
        assert_eq!((answer.grpc().0, answer.data.len()), ("8", 0), "{answer:?}");
        assert!(answer.grpc().1.contains("api.upstream_max_bytes"), "{answer:?}");
        assert_eq!(call(&served, "Echo", vec![0; 2_000]).await.data.len(), 2_000);
        let answer = soon(call(&served, "Floods", "")).await;
        assert_eq!(answer.grpc().0, "8", "{answer:?}");
        assert!(answer.data.len() <= 2_000);
        soon(fake.left.recv()).await.unwrap();
    }
}

#[tokio::test]
async fn an_upstream_that_is_away_is_unavailable_until_it_is_back() {
    for http in BOTH {
        let outcomes = Outcomes::default();
        let _recording = metrics::set_default_local_recorder(&outcomes);
        let fake = Fake::start(http).await;
        let (_, mut served) = with(&fake, http).await;
        assert_eq!(call(&served, "Echo", "x").await.grpc().0, "0");
        let address = fake.address;
        fake.end().await;
        let away = async {
            loop {
                let answer = call(&served, "Echo", "x").await;
                assert_eq!(answer.grpc().0, "14", "{answer:?}");
                // the first may meet the end of the connection
                if answer.grpc().1.contains("(api.upstream)") {
                    return;
                }
            }
        };
        soon(away).await;
        assert_eq!(outcomes.take().last().unwrap(), "unreachable");
        assert!(!served.page("eve", 5, "").await.unwrap().items.is_empty(), "ours don't need it");
        let _back = Fake::at(address, http).await;
        assert_eq!(call(&served, "Echo", "x").await.grpc().0, "0");
    }
}

#[tokio::test]
async fn the_wrong_http_is_told() {
    let log = Log::default();
    let _logging = tracing::subscriber::set_default(log.clone());
    for (speaks, set) in [(UpstreamHttp::One, UpstreamHttp::Two), (UpstreamHttp::Two, UpstreamHttp::One)] {
        let fake = Fake::start(speaks).await;
        let (_, served) = with(&fake, set).await;
        for _ in 0..2 {
            let answer = soon(call(&served, "Echo", "x")).await;
            assert_eq!(answer.grpc().0, "14", "{answer:?}");
            assert!(answer.grpc().1.contains("api.upstream_http"), "{answer:?}");
        }
        assert_eq!(log.take(), ["calls can't be passed on"], "once");
        let address = fake.address;
        fake.end().await;
        let _right = Fake::at(address, set).await;
        assert_eq!(call(&served, "Echo", "x").await.grpc().0, "0");
        assert_eq!(log.take(), ["calls are passed on again"]);
    }
}

#[tokio::test]
async fn one_too_many_is_unavailable_and_takes_nothing_from_ours() {
    for http in BOTH {
        let mut fake = Fake::start(http).await;
        let set = |config: &mut skyweir_api::Config| {
            (config.upstream_requests, config.max_requests) = (1, 1);
        };
        let (_, mut served) = before(&fake.url(), http, set).await;
        let stuck = send(&served, request("StallsAmid", Bytes::new())).await;
        soon(fake.seen.recv()).await.unwrap();
        let answer = call(&served, "Echo", "x").await;
        assert_eq!(answer.grpc().0, "14");
        assert!(answer.grpc().1.contains("api.upstream_requests"), "{answer:?}");
        assert!(!served.page("eve", 5, "").await.unwrap().items.is_empty());
        drop(stuck);
        soon(fake.left.recv()).await.unwrap();
        assert_eq!(call(&served, "Echo", "x").await.grpc().0, "0", "its place is free again");
    }
}

#[tokio::test]
async fn connections_are_kept_and_bounded() {
    for (http, most) in [(UpstreamHttp::One, 3), (UpstreamHttp::Two, 1)] {
        let fake = Fake::start(http).await;
        let (_, served) = before(&fake.url(), http, |config| config.upstream_connections = 3).await;
        for _ in 0..5 {
            assert_eq!(call(&served, "Echo", "x").await.grpc().0, "0");
            assert_eq!(call(&served, "Fails", "x").await.grpc().0, "5");
            assert_eq!(call(&served, "FailsAtOnce", "x").await.grpc().0, "9");
        }
        assert_eq!(fake.opened.load(Ordering::SeqCst), 1);
        let mut calls = JoinSet::new();
        for _ in 0..40 {
            let (mut channel, asked) = (served.channel.clone(), request("Echo", vec![7; 30_000].into()));
            calls
                .spawn(async move { whole(channel.ready().await.unwrap().call(asked).await.unwrap()).await });
        }
        for answer in calls.join_all().await {
            assert_eq!((answer.grpc().0, answer.data.len()), ("0", 30_000));
        }
        let opened = fake.opened.load(Ordering::SeqCst);
        assert!(opened <= most && opened * 2 > most, "{opened} connections");
    }
}

#[tokio::test]
async fn ours_are_passed_on_as_well_until_all_follows_are_known() {
    let mut fake = Fake::start(UpstreamHttp::Two).await;
    let (world, mut served) = with(&fake, UpstreamHttp::Two).await;
    for known in [Completeness::Loading(0.5), Completeness::Partial] {
        world.complete.set(known);
        assert_eq!(served.page("eve", 5, "").await.unwrap_err().code(), tonic::Code::FailedPrecondition);
        assert_eq!(soon(fake.seen.recv()).await.unwrap().uri.path(), "/bsky.Service/GetTimeline");
    }
    world.complete.set(Completeness::Whole);
    assert!(!served.page("eve", 5, "").await.unwrap().items.is_empty());
    let set = |config: &mut skyweir_api::Config| config.upstream_until_complete = false;
    let (world, mut served) = before(&fake.url(), UpstreamHttp::Two, set).await;
    world.complete.set(Completeness::Partial);
    assert!(!served.page("eve", 5, "").await.unwrap().items.is_empty());
    assert!(fake.seen.try_recv().is_err());
}

#[tokio::test]
async fn what_cannot_be_passed_on_is_unimplemented() {
    let mut fake = Fake::start(UpstreamHttp::Two).await;
    let (_, served) = with(&fake, UpstreamHttp::Two).await;
    let mut other = request("Echo", Bytes::new());
    *other.uri_mut() = "http://skyweir/other.Service/Echo".parse().unwrap();
    assert_eq!(whole(send(&served, other).await).await.grpc().0, "12");
    let mut web = request("Echo", Bytes::new());
    web.headers_mut().insert("content-type", "application/json".parse().unwrap());
    assert_eq!(whole(send(&served, web).await).await.grpc().0, "12");
    assert!(fake.seen.try_recv().is_err());
    let alone = Served::world(&World::new()).await;
    assert_eq!(call(&alone, "Echo", "").await.grpc().0, "12");
}
