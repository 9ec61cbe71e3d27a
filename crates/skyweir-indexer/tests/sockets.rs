//! The streams over real sockets: cursors, compression, what the server says of the stream.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;
mod running;

use running::{DID, Running, START, config, post, query, resume, upstream};
use serde_json::json;
use skyweir_indexer::Skip;
use skyweir_indexer::source::{SourceConfig, StartAt};
use skyweir_loadtest::{Dictionary, Event, UpstreamConfig};

#[tokio::test]
async fn v2_live_from_and_resumed() {
    let upstream = upstream(UpstreamConfig::default(), 9).await;
    let mut live = Running::start(&upstream.url_v2(), config(), StartAt::Live);
    upstream.accepted(1).await;
    let asked = query(&upstream);
    assert!(asked.contains("collections=app.bsky.graph.follow") && !asked.contains("cursor="), "{asked}");
    let mut all = Running::start(&upstream.url_v2(), config(), StartAt::From(0));
    let mut resumed = Running::start(&upstream.url_v2(), config(), resume(9, START));
    upstream.accepted(3).await;
    upstream.push(Event::create(DID, START, "app.bsky.feed.like", "k", json!({})));
    upstream.push(Event::account(DID, START + 20_000_000, false, Some("deleted")));
    upstream.push(Event::identity(DID, START + 21_000_000, None));
    assert_eq!(live.positions(2).await, [11, 12]);
    assert_eq!(all.positions(11).await, [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12]);
    assert_eq!(resumed.positions(3).await, [9, 11, 12], "it begins with the last that is known");
    let status = live.status.snapshot();
    assert_eq!((status.connected, status.reconnects, status.gaps), (true, 0, 0));
    assert!(status.last_frame_us.is_some());
    live.stop().await;
    upstream.connected(2).await;
}

#[tokio::test]
async fn a_cut_socket_is_opened_again_where_it_stood() {
    let upstream = upstream(UpstreamConfig::default(), 5).await;
    for (n, url) in (1..).zip([upstream.url_v2(), upstream.url_v1(), upstream.url_firehose()]) {
        let begin = if url.ends_with("subscribe") { START } else { 0 };
        let plain = SourceConfig { compress: false, ..config() };
        let mut source = Running::start(&url, plain, StartAt::From(begin));
        upstream.accepted(n * 2 - 1).await;
        let before = source.positions(5 + n as usize - 1).await;
        upstream.cut();
        upstream.accepted(n * 2).await;
        upstream.push(post(5 + n));
        let last = if url.ends_with("subscribe") { START + (5 + n) * 1_000_000 } else { 5 + n };
        let after = source.up_to(last).await;
        // one of them may come twice, none is missing
        assert!(after.first().unwrap().position.unwrap() <= before.last().unwrap() + 1_000_000);
        assert!(source.status.snapshot().reconnects >= 1 && source.status.snapshot().gaps == 0);
        source.stop().await;
    }
}

#[tokio::test]
async fn a_cut_after_every_few_messages_loses_nothing() {
    let upstream = upstream(UpstreamConfig::default(), 40).await;
    upstream.cut_after(Some(4));
    for url in [upstream.url_v2(), upstream.url_firehose()] {
        let mut source = Running::start(&url, config(), StartAt::From(1));
        let mut seen: Vec<_> = source.up_to(40).await.iter().filter_map(|frame| frame.position).collect();
        assert!(source.status.snapshot().reconnects > 5);
        seen.sort_unstable();
        seen.dedup();
        // from 1 the firehose begins behind it, v2 with it
        assert_eq!(seen.last(), Some(&40));
        assert_eq!(seen.len() as u64, 41 - seen[0]);
        assert!(seen[0] <= 2);
        source.stop().await;
    }
}

#[tokio::test]
async fn a_cursor_that_is_too_old_goes_on_by_time() {
    let upstream = upstream(UpstreamConfig::default(), 30).await;
    upstream.set_floor(10);
    let mut source = Running::start(&upstream.url_v2(), config(), resume(5, START + 20_000_000));
    assert_eq!(source.positions(2).await, [20, 21]);
    let status = source.status.snapshot();
    assert_eq!((status.gaps, status.last_gap.unwrap().reason.as_str()), (1, "CursorTooOld"));
    source.stop().await;
    // the time is too old as well: from the oldest, and it stays one gap
    let mut source = Running::start(&upstream.url_v2(), config(), resume(5, START + 5_000_000));
    assert_eq!(source.positions(2).await, [10, 11]);
    assert_eq!(source.status.snapshot().gaps, 1);
    source.stop().await;
    let mut source = Running::start(&upstream.url_v2(), config(), StartAt::From(5));
    assert_eq!(source.positions(2).await, [10, 11]);
    assert_eq!(source.status.snapshot().gaps, 1);
    source.stop().await;
}

#[tokio::test]
async fn zstd_on_both_jetstreams() {
    let read = |name: &str| common::shared(&format!("zstd-dictionaries/{name}"));
    let (Some(v1), Some(v2)) =
        (read("jetstream_v1_legacy_subscribe.zdict"), read("jetstream_v2_subscribe_events_20260811.zdict"))
    else {
        return;
    };
    let zstd = UpstreamConfig {
        dictionary_v1: Some(Dictionary { id: 1_612_007_021, bytes: v1 }),
        dictionary_v2: Some(Dictionary { id: 20_260_811, bytes: v2 }),
        ..UpstreamConfig::default()
    };
    let upstream = upstream(zstd, 50).await;
    let mut source = Running::start(&upstream.url_v2(), config(), StartAt::From(1));
    assert_eq!(source.positions(50).await, (1..=50).collect::<Vec<_>>());
    assert!(query(&upstream).contains("zstdDictionary=20260811"));
    // a message that is no zstd, and one that is too big once decompressed
    upstream.raw_binary(b"noise".to_vec());
    upstream.raw("x".repeat(10_000_001));
    assert_eq!(source.next().await.skipped, [Skip::Undecodable]);
    assert_eq!(source.next().await.skipped, [Skip::TooBig]);
    upstream.push(post(51));
    assert_eq!(source.positions(1).await, [51], "the connection survived both");
    assert_eq!(source.status.snapshot().reconnects, 0);
    source.stop().await;
    let mut source = Running::start(&upstream.url_v1(), config(), StartAt::From(START));
    assert_eq!(source.positions(51).await.len(), 51);
    assert!(query(&upstream).contains("compress=true"));
    source.stop().await;
}

#[tokio::test]
async fn without_a_usable_dictionary_it_goes_on_uncompressed() {
    // a raw dictionary doesn't say its id
    let raw = Dictionary { id: 7, bytes: b"no structured dictionary".repeat(20) };
    let zstd = UpstreamConfig { dictionary_v2: Some(raw), ..UpstreamConfig::default() };
    let upstream = upstream(zstd, 3).await;
    let mut source = Running::start(&upstream.url_v2(), config(), StartAt::From(1));
    assert_eq!(source.positions(3).await, [1, 2, 3]);
    assert!(!query(&upstream).contains("zstdDictionary"));
    source.stop().await;
    // a legacy server that knows no zstd refuses
    let mut source = Running::start(&upstream.url_v1(), config(), StartAt::From(START));
    assert_eq!(source.positions(3).await.len(), 3);
    upstream.refused(1).await;
    assert!(!query(&upstream).contains("compress"));
    source.stop().await;
}

#[tokio::test]
async fn a_dictionary_that_is_refused_is_given_up() {
    // the server hands out a dictionary under another id than the one in its header, and refuses that one
    let Some(bytes) = common::shared("zstd-dictionaries/jetstream_v2_subscribe_events_20260811.zdict") else {
        return;
    };
    let zstd =
        UpstreamConfig { dictionary_v2: Some(Dictionary { id: 7, bytes }), ..UpstreamConfig::default() };
    let upstream = upstream(zstd, 3).await;
    let mut source = Running::start(&upstream.url_v2(), config(), StartAt::From(1));
    assert_eq!(source.positions(3).await, [1, 2, 3]);
    upstream.refused(2).await;
    assert!(!query(&upstream).contains("zstdDictionary"));
    source.stop().await;
}

#[tokio::test]
async fn errors_and_info_frames() {
    let upstream = upstream(UpstreamConfig::default(), 3).await;
    let mut accepted = 0;
    for url in [upstream.url_v2(), upstream.url_firehose()] {
        let mut source = Running::start(&url, config(), StartAt::From(0));
        source.positions(3).await;
        upstream.fail("ConsumerTooSlow", "too slow");
        accepted += 2;
        upstream.accepted(accepted).await;
        upstream.info("OutdatedCursor", "gone");
        upstream.push(post(9));
        source.up_to(upstream.last_seq()).await;
        let status = source.status.snapshot();
        assert_eq!((status.reconnects, status.gaps), (1, 1));
        assert!(status.last_failure.unwrap().contains("ConsumerTooSlow"));
        assert_eq!(status.last_gap.unwrap().reason, "OutdatedCursor");
        source.stop().await;
        upstream.connected(0).await;
        upstream.set_floor(upstream.last_seq() - 2);
    }
}

#[tokio::test]
async fn a_future_cursor_on_the_firehose_is_a_gap() {
    let upstream = upstream(UpstreamConfig::default(), 3).await;
    let mut source = Running::start(&upstream.url_firehose(), config(), resume(1_000, START));
    upstream.accepted(2).await;
    upstream.push(post(4));
    assert_eq!(source.positions(1).await, [4]);
    let status = source.status.snapshot();
    assert_eq!((status.gaps, status.last_gap.unwrap().reason.as_str()), (1, "FutureCursor"));
    // and from there on it resumes as usual
    upstream.cut();
    upstream.accepted(3).await;
    upstream.push(post(5));
    source.up_to(5).await;
    assert_eq!(source.status.snapshot().gaps, 1);
    source.stop().await;
}

#[tokio::test]
async fn a_sequence_that_begins_anew_is_a_gap() {
    // v2 takes a cursor of the future for "live", without a word
    let upstream = upstream(UpstreamConfig::default(), 3).await;
    let mut source = Running::start(&upstream.url_v2(), config(), resume(1_000, START));
    upstream.accepted(1).await;
    assert!(query(&upstream).contains("cursor=1000"));
    upstream.push(post(4));
    assert_eq!(source.positions(1).await, [4]);
    upstream.cut();
    upstream.accepted(2).await;
    assert!(query(&upstream).contains("cursor=4"), "it goes on in the new sequence");
    upstream.push(post(5));
    source.up_to(5).await;
    let status = source.status.snapshot();
    assert_eq!((status.gaps, status.last_gap.unwrap().reason.as_str()), (1, "AnotherSequence"));
    source.stop().await;
}
