//! The streams over real sockets, from upstreams that break, lie, fall silent or refuse.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod running;

use std::time::Duration;

use running::{Running, config, post, upstream};
use skyweir_indexer::Skip;
use skyweir_indexer::source::{Ended, SourceConfig, StartAt};
use skyweir_loadtest::UpstreamConfig;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

#[tokio::test]
async fn malformed_messages_dont_end_the_connection() {
    let upstream = upstream(UpstreamConfig::default(), 0).await;
    let mut v2 = Running::start(&upstream.url_v2(), config(), StartAt::Live);
    let mut firehose = Running::start(&upstream.url_firehose(), config(), StartAt::Live);
    upstream.accepted(2).await;
    upstream.raw("{not json");
    upstream.raw_binary(b"\xff\xff".to_vec());
    upstream.push(post(1));
    assert_eq!(v2.next().await.skipped, [Skip::Undecodable]);
    assert_eq!(v2.next().await.skipped, [Skip::BinaryMessage]);
    assert_eq!(firehose.next().await.skipped, [Skip::TextMessage]);
    assert_eq!(firehose.next().await.skipped, [Skip::Undecodable]);
    // the sequence goes back, stands still, goes on
    for seq in [5, 5, 3, 6] {
        upstream.push_frame(seq, &post(seq).to_firehose_frame(seq, None));
    }
    let mut found = Vec::new();
    for _ in 0..5 {
        let frame = firehose.next().await;
        found.push((frame.position, frame.skipped.first().copied()));
    }
    let regress = (None, Some(Skip::SeqRegress));
    assert_eq!(found, [(Some(1), None), (Some(5), None), regress, regress, (Some(6), None)]);
    assert_eq!(v2.positions(1).await, [1]);
    assert_eq!((v2.status.snapshot().reconnects, firehose.status.snapshot().reconnects), (0, 0));
    v2.stop().await;
    firehose.stop().await;
}

#[tokio::test]
async fn messages_that_the_socket_cannot_pass_on_are_stepped_over() {
    let upstream = upstream(UpstreamConfig::default(), 2).await;
    upstream.push_frame(3, &vec![0; 9_000]);
    upstream.push_frame(4, &vec![0; 3_000]);
    upstream.push_frame(5, &post(5).to_firehose_frame(5, None));
    let small = SourceConfig { max_message_bytes: 2_000, ..config() };
    let mut source = Running::start(&upstream.url_firehose(), small, StartAt::From(0));
    let frames = source.up_to(5).await;
    let big = frames.iter().filter(|frame| frame.skipped == [Skip::TooBig]).count();
    assert!(big >= 2, "{frames:?}");
    assert!(source.status.snapshot().reconnects >= 1);
    source.stop().await;
}

#[tokio::test]
async fn the_future_is_cut_off() {
    let upstream = upstream(UpstreamConfig::default(), 0).await;
    for (n, url) in (1..).zip([upstream.url_firehose(), upstream.url_v2(), upstream.url_v1()]) {
        let mut source = Running::start(&url, config(), StartAt::Live);
        // a legacy server without zstd is asked a second time
        upstream.accepted(n).await;
        let mut event = post(n);
        // the year 2096
        event.time_us = 4_000_000_000_000_000;
        upstream.push(event);
        let frame = source.next().await;
        assert_eq!(frame.skipped, [Skip::FutureTime]);
        assert!(frame.events[0].time_us < 4_000_000_000_000_000 && frame.time_us == frame.events[0].time_us);
        // a legacy position is a time as well
        let expected = if url.ends_with("/subscribe") { frame.time_us as u64 } else { n };
        assert_eq!(frame.position, Some(expected));
        source.stop().await;
    }
}

#[tokio::test]
async fn a_silent_socket_is_given_up() {
    let upstream = upstream(UpstreamConfig::default(), 1).await;
    let quick = SourceConfig { ping_ms: 20, liveness_ms: 200, ..config() };
    let mut source = Running::start(&upstream.url_v2(), quick, StartAt::From(1));
    assert_eq!(source.positions(1).await, [1]);
    upstream.silence(true);
    upstream.accepted(2).await;
    upstream.silence(false);
    upstream.push(post(2));
    source.up_to(2).await;
    assert!(source.status.snapshot().last_failure.unwrap().contains("silent"));
    source.stop().await;
}

#[tokio::test]
async fn a_server_that_refuses_is_asked_again() {
    let upstream = upstream(UpstreamConfig::default(), 2).await;
    upstream.refuse(Some(503));
    let mut source = Running::start(&upstream.url_firehose(), config(), StartAt::From(0));
    upstream.refused(3).await;
    let status = source.status.snapshot();
    assert!(!status.connected && status.last_failure.unwrap().contains("503"));
    upstream.refuse(None);
    assert_eq!(source.positions(2).await, [1, 2]);
    source.stop().await;
}

#[tokio::test]
async fn a_full_queue_makes_upstream_wait_and_stopping_is_prompt() {
    let upstream = upstream(UpstreamConfig::default(), 500).await;
    let narrow = SourceConfig { queue: 1, ..config() };
    let source = Running::start(&upstream.url_v2(), narrow, StartAt::From(1));
    upstream.accepted(1).await;
    source.stop().await;
    // nobody takes the frames any more: it ends as well
    let Running { frames, mut task, stop: _stop, .. } =
        Running::start(&upstream.url_v2(), config(), StartAt::From(1));
    drop(frames);
    assert_eq!(task.join_next().await.unwrap().unwrap().unwrap(), Ended::Stopped);
}

#[tokio::test]
async fn it_says_who_it_is_and_sends_nothing_but_its_question() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap();
    let plain = SourceConfig { compress: false, ..config() };
    for (path, protocol) in [
        ("network.bsky.jetstream.subscribeEvents", Some("xrpc.v1.json")),
        ("com.atproto.sync.subscribeRepos", None),
    ] {
        let source = Running::start(&format!("ws://{host}/xrpc/{path}"), plain.clone(), StartAt::Live);
        let asked = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                assert!(socket.read_buf(&mut head).await.unwrap() > 0);
            }
            String::from_utf8(head).unwrap().to_ascii_lowercase()
        };
        let head = tokio::time::timeout(Duration::from_secs(20), asked).await.unwrap();
        assert!(head.contains(&format!("user-agent: skyweir/{}", env!("CARGO_PKG_VERSION"))), "{head}");
        let expected = protocol.map(|name| format!("sec-websocket-protocol: {name}"));
        assert_eq!(expected.is_some(), head.contains("sec-websocket-protocol"), "{head}");
        assert!(expected.is_none_or(|line| head.contains(&line)), "{head}");
        source.stop().await;
    }
}
