//! The stand-in upstream as a client sees it: v2 and v1, live and replayed, plain and compressed, well and ill behaved.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use skyweir_loadtest::{Dictionary, Event, Network, NetworkSpec, Upstream, UpstreamConfig, firehose_error};
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_websockets::{ClientBuilder, MaybeTlsStream, Message, WebSocketStream};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

const START: u64 = 1_767_225_600_000_000;

fn post(n: u64) -> Event {
    let record = json!({"$type": "app.bsky.feed.post", "createdAt": "2026-01-01T00:00:00.000Z", "text": n.to_string()});
    Event::create(
        "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa",
        START + n,
        "app.bsky.feed.post",
        &format!("k{n}"),
        record,
    )
}

fn follow(n: u64) -> Event {
    Event::delete("did:plc:bbbbbbbbbbbbbbbbbbbbbbbb", START + n, "app.bsky.graph.follow", &format!("k{n}"))
}

async fn start() -> Upstream {
    Upstream::start(UpstreamConfig::default()).await.unwrap()
}

async fn connect(url: &str) -> Socket {
    ClientBuilder::new().uri(url).unwrap().connect().await.unwrap().0
}

/// The next message; a stand-in that sends nothing fails the test instead of hanging it.
async fn next(socket: &mut Socket) -> Option<Message> {
    let next = tokio::time::timeout(Duration::from_secs(20), socket.next()).await.expect("nothing was sent");
    next.and_then(Result::ok)
}

async fn json(socket: &mut Socket) -> Value {
    serde_json::from_str(next(socket).await.unwrap().as_text().unwrap()).unwrap()
}

async fn seqs(socket: &mut Socket, count: usize) -> Vec<u64> {
    let mut seqs = Vec::new();
    for _ in 0..count {
        seqs.push(json(socket).await["payload"]["seq"].as_u64().unwrap());
    }
    seqs
}

/// A plain request's answer, or that to an upgrade which is refused.
async fn get(upstream: &Upstream, target: &str, upgrade: bool) -> (String, Vec<u8>) {
    let mut socket = TcpStream::connect(upstream.address()).await.unwrap();
    let upgrade = if upgrade { "Upgrade: websocket\r\nConnection: Upgrade\r\n" } else { "" };
    socket.write_all(format!("GET {target} HTTP/1.1\r\nHost: x\r\n{upgrade}\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    let split = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    (String::from_utf8_lossy(&answer[..split]).into_owned(), answer[split + 4..].to_vec())
}

async fn refusal(upstream: &Upstream, query: &str) -> String {
    let path = "/xrpc/network.bsky.jetstream.subscribeEvents";
    let (head, body) = get(upstream, &format!("{path}?{query}"), true).await;
    assert!(head.starts_with("HTTP/1.1 400 Bad Request"), "{head}");
    serde_json::from_slice::<Value>(&body).unwrap()["error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn v2_live_and_replay() {
    let upstream = start().await;
    upstream.push_many((1..=3).map(post));
    let mut live = connect(&upstream.url_v2()).await;
    let mut all = connect(&format!("{}?cursor=0", upstream.url_v2())).await;
    let mut some =
        connect(&format!("{}?cursor=3&collections=app.bsky.feed.*&kinds=commit", upstream.url_v2())).await;
    let mut future = connect(&format!("{}?cursor=99", upstream.url_v2())).await;
    let mut timed = connect(&format!("{}?cursor={}", upstream.url_v2(), START + 2)).await;
    upstream.accepted(5).await;
    assert_eq!(upstream.push(follow(4)), 4);
    assert_eq!(upstream.push(post(5)), 5);
    assert_eq!(seqs(&mut live, 2).await, [4, 5]);
    assert_eq!(seqs(&mut all, 5).await, [1, 2, 3, 4, 5]);
    assert_eq!(seqs(&mut some, 2).await, [3, 5]);
    assert_eq!(seqs(&mut future, 2).await, [4, 5]);
    assert_eq!(seqs(&mut timed, 4).await, [2, 3, 4, 5]);
    upstream.sent(5).await;
    let subscribers = upstream.subscribers();
    assert_eq!((subscribers.live, subscribers.accepted), (5, 5));
    assert_eq!(subscribers.recent[1].query, "cursor=0");
    drop(live);
    upstream.connected(4).await;
}

#[tokio::test]
async fn v2_floor_and_refusals() {
    let upstream = start().await;
    upstream.push_many((1..=5).map(post));
    upstream.set_floor(3);
    assert_eq!(refusal(&upstream, "cursor=2").await, "CursorTooOld");
    assert_eq!(refusal(&upstream, "zstdDictionary=1").await, "UnknownZstdDictionary");
    assert_eq!(refusal(&upstream, "compress=true").await, "InvalidRequest");
    upstream.refused(3).await;
    let mut zero = connect(&format!("{}?cursor=0", upstream.url_v2())).await;
    assert_eq!(seqs(&mut zero, 3).await, [3, 4, 5]);
    let mut clamped = connect(&format!("{}?cursor={START}", upstream.url_v2())).await;
    let info = json(&mut clamped).await;
    assert_eq!(info["payload"]["$type"], "network.bsky.jetstream.subscribeEvents#info");
    assert_eq!(info["payload"]["name"], "OutdatedCursor");
    assert_eq!(seqs(&mut clamped, 3).await, [3, 4, 5]);
    upstream.refuse(Some(503));
    assert!(get(&upstream, "/subscribe", true).await.0.starts_with("HTTP/1.1 503 Service Unavailable"));
}

#[tokio::test]
async fn v2_subprotocol_and_client_frames() {
    let upstream = start().await;
    let name = http::HeaderName::from_static("sec-websocket-protocol");
    let value = http::HeaderValue::from_static("xrpc.v1.json");
    let builder = ClientBuilder::new()
        .uri(&upstream.url_v2())
        .unwrap()
        .add_header(name.clone(), value.clone())
        .unwrap();
    let (mut socket, response) = builder.connect().await.unwrap();
    assert_eq!(response.headers().get(&name), Some(&value));
    socket.send(Message::text("hello")).await.unwrap();
    let close = next(&mut socket).await.unwrap();
    assert_eq!(u16::from(close.as_close().unwrap().0), 1008);
}

#[tokio::test]
async fn misbehaviour() {
    let upstream = start().await;
    upstream.push_many((1..=9).map(post));
    let mut socket = connect(&format!("{}?cursor=8", upstream.url_v2())).await;
    assert_eq!(seqs(&mut socket, 2).await, [8, 9]);
    upstream.raw("{not json");
    assert_eq!(next(&mut socket).await.unwrap().as_text(), Some("{not json"));
    upstream.skip_seqs(10);
    assert_eq!(upstream.push(post(20)), 20);
    assert_eq!(seqs(&mut socket, 1).await, [20]);
    upstream.cut();
    assert!(next(&mut socket).await.is_none(), "no close frame");
    upstream.connected(0).await;

    upstream.replay_overlap(3);
    let mut socket = connect(&format!("{}?cursor=20", upstream.url_v2())).await;
    // the raw message of before lies among the three, and is for nobody any more
    assert_eq!(seqs(&mut socket, 3).await, [8, 9, 20]);

    upstream.silence(true);
    upstream.push(post(21));
    upstream.silence(false);
    assert_eq!(seqs(&mut socket, 1).await, [21]);

    upstream.fail("ConsumerTooSlow", "too slow");
    assert_eq!(
        json(&mut socket).await,
        json!({"$type": "error", "error": "ConsumerTooSlow", "message": "too slow"})
    );
    assert!(next(&mut socket).await.unwrap().is_close());

    upstream.replay_overlap(0);
    upstream.cut_after(Some(2));
    let mut socket = connect(&format!("{}?cursor=1", upstream.url_v2())).await;
    assert_eq!(seqs(&mut socket, 2).await, [1, 2]);
    assert!(next(&mut socket).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn silence_sends_nothing() {
    let upstream = start().await;
    let mut socket = connect(&upstream.url_v2()).await;
    upstream.accepted(1).await;
    upstream.silence(true);
    upstream.push(post(1));
    // the paused clock moves on only when no task can
    assert!(tokio::time::timeout(Duration::from_secs(3_600), socket.next()).await.is_err());
    upstream.silence(false);
    let message = socket.next().await.unwrap().unwrap();
    assert!(message.as_text().unwrap().contains("\"seq\":1"));
}

#[tokio::test]
async fn v1_live_replay_and_options() {
    let upstream = start().await;
    upstream.push_many([post(1), follow(2), Event::sync("did:plc:a", START + 3), post(4)]);
    let url = upstream.url_v1();
    let mut replay = connect(&format!("{url}?cursor={}&wantedCollections=app.bsky.feed.*", START + 1)).await;
    assert_eq!(json(&mut replay).await["time_us"], START + 1);
    let second = json(&mut replay).await;
    assert_eq!((&second["time_us"], &second["cursor"]), (&json!(START + 4), &json!(4)));
    let options = r#"{"type":"options_update","payload":{"wantedCollections":["app.bsky.graph.follow"]}}"#;
    replay.send(Message::text(options)).await.unwrap();
    replay.send(Message::ping("x")).await.unwrap();
    assert!(next(&mut replay).await.unwrap().is_pong(), "the options were read before");
    upstream.push_many([post(5), follow(6), Event::account("did:plc:a", START + 7, false, Some("deleted"))]);
    assert_eq!(json(&mut replay).await["commit"]["rkey"], "k6");
    assert_eq!(json(&mut replay).await["account"]["status"], "deleted");
}

async fn both_compressed(v1: Dictionary, v2: Dictionary) {
    let id = v2.id;
    let config = UpstreamConfig {
        dictionary_v1: Some(v1.clone()),
        dictionary_v2: Some(v2.clone()),
        ..UpstreamConfig::default()
    };
    let upstream = Upstream::start(config).await.unwrap();
    let network = Network::new(NetworkSpec { actors: 20, events: 200, ..NetworkSpec::default() }).unwrap();
    let events: Vec<Event> = network.traffic().collect();
    upstream.push_many(events.iter().cloned());

    let path = "/xrpc/network.bsky.jetstream.getZstdDictionary";
    let (head, body) = get(&upstream, &format!("{path}?id={id}"), false).await;
    assert!(head.starts_with("HTTP/1.1 200 OK") && head.contains("application/octet-stream"), "{head}");
    assert_eq!(body, v2.bytes);
    assert_eq!(get(&upstream, path, false).await.1, v2.bytes);
    let (head, body) = get(&upstream, &format!("{path}?id={}", id + 1), false).await;
    assert!(
        head.starts_with("HTTP/1.1 400") && String::from_utf8_lossy(&body).contains("DictionaryNotFound")
    );

    let mut socket_v2 = connect(&format!("{}?cursor=1&zstdDictionary={id}", upstream.url_v2())).await;
    let mut socket_v1 = connect(&format!("{}?cursor=0&compress=true", upstream.url_v1())).await;
    let mut plain_v2 = zstd::bulk::Decompressor::with_dictionary(&v2.bytes).unwrap();
    let mut plain_v1 = zstd::bulk::Decompressor::with_dictionary(&v1.bytes).unwrap();
    for (seq, event) in (1..).zip(&events) {
        for (socket, plain, expected) in [
            (&mut socket_v2, &mut plain_v2, event.to_jetstream_v2_json(seq)),
            (&mut socket_v1, &mut plain_v1, event.to_jetstream_v1_json(Some(seq)).unwrap()),
        ] {
            let message = next(socket).await.unwrap();
            assert!(message.is_binary());
            let text = plain.decompress(message.as_payload(), 1 << 20).unwrap();
            assert_eq!(String::from_utf8(text).unwrap(), expected);
        }
    }
}

#[tokio::test]
async fn zstd_with_a_raw_dictionary() {
    let bytes = post(7).to_jetstream_v2_json(7).repeat(20).into_bytes();
    both_compressed(Dictionary { id: 1, bytes: bytes.clone() }, Dictionary { id: 77, bytes }).await;
}

#[tokio::test]
async fn zstd_with_the_real_dictionaries() {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shared =
        std::env::var_os("SKYWEIR_SHARED").map_or(beside, PathBuf::from).join("data/zstd-dictionaries");
    let read = |name: &str| std::fs::read(shared.join(name));
    let (Ok(v1), Ok(v2)) =
        (read("jetstream_v1_legacy_subscribe.zdict"), read("jetstream_v2_subscribe_events_20260811.zdict"))
    else {
        assert!(std::env::var("SKYWEIR_REQUIRE_ALL").as_deref() != Ok("1"), "no shared dictionaries");
        println!("skipped: no shared dictionaries");
        return;
    };
    both_compressed(Dictionary { id: 1_612_007_021, bytes: v1 }, Dictionary { id: 20_260_811, bytes: v2 })
        .await;
}

#[tokio::test]
async fn firehose_frames_and_errors() {
    let upstream = start().await;
    upstream.push(post(1));
    upstream.push_frame(10, b"ten");
    upstream.push_frame(11, b"eleven");
    let mut socket = connect(&format!("{}?cursor=1", upstream.url_firehose())).await;
    assert_eq!(next(&mut socket).await.unwrap().as_payload().as_ref(), b"ten".as_slice());
    assert_eq!(next(&mut socket).await.unwrap().as_payload().as_ref(), b"eleven".as_slice());
    let mut all = connect(&format!("{}?cursor=0", upstream.url_firehose())).await;
    assert_eq!(
        next(&mut all).await.unwrap().as_payload().as_ref(),
        post(1).to_firehose_frame(1, None).as_slice()
    );
    upstream.fail("ConsumerTooSlow", "x");
    let error = next(&mut socket).await.unwrap();
    assert_eq!(error.as_payload().as_ref(), firehose_error("ConsumerTooSlow", "x").as_slice());
    assert!(next(&mut socket).await.unwrap().is_close());
    let mut future = connect(&format!("{}?cursor=99", upstream.url_firehose())).await;
    let error = next(&mut future).await.unwrap();
    assert!(error.as_payload().windows(12).any(|window| window == b"FutureCursor"));
}

#[tokio::test]
async fn stopping_closes_everything() {
    let upstream = start().await;
    let mut socket = connect(&upstream.url_v2()).await;
    let address = upstream.address();
    upstream.stop().await;
    assert!(next(&mut socket).await.is_none());
    assert!(TcpStream::connect(address).await.is_err());
}
