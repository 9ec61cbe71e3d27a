//! The streams over real sockets, well and ill behaved upstreams alike.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use skyweir_indexer::Skip;
use skyweir_indexer::source::{
    Ended, Error, Frame, SavedPosition, Source, SourceConfig, SourceStatus, StartAt, parse,
};
use skyweir_loadtest::{Dictionary, Event, Upstream, UpstreamConfig};
use skyweir_types::Clock;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const DID: &str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
/// 2026-01-01
const START: u64 = 1_767_225_600_000_000;

fn post(n: u64) -> Event {
    let record = json!({"$type": "app.bsky.feed.post", "createdAt": "2026-01-01T00:00:00.000Z", "text": n.to_string()});
    Event::create(DID, START + n * 1_000_000, "app.bsky.feed.post", &format!("k{n}"), record)
}

fn config() -> SourceConfig {
    SourceConfig {
        backoff_least_ms: 1,
        backoff_most_ms: 5,
        overlap_seqs: 2,
        overlap_ms: 1,
        ..SourceConfig::default()
    }
}

/// A running source and what it hands on.
struct Running {
    frames: mpsc::Receiver<Frame>,
    status: Arc<SourceStatus>,
    stop: CancellationToken,
    task: JoinSet<Result<Ended, Error>>,
}

impl Running {
    fn start(url: &str, config: SourceConfig, start: StartAt) -> Self {
        let (sender, frames) = mpsc::channel(config.queue);
        let source = Source::new(parse(url).unwrap(), config, Clock::system()).unwrap();
        let (status, stop) = (Arc::new(SourceStatus::default()), CancellationToken::new());
        let mut task = JoinSet::new();
        task.spawn(source.run(start, sender, status.clone(), stop.clone()));
        Self { frames, status, stop, task }
    }

    /// The next frame; a source that hands on nothing fails the test instead of hanging it.
    async fn next(&mut self) -> Frame {
        let next = tokio::time::timeout(Duration::from_secs(20), self.frames.recv()).await;
        next.expect("no frame came").expect("the source has ended")
    }

    async fn positions(&mut self, count: usize) -> Vec<u64> {
        let mut positions = Vec::new();
        while positions.len() < count {
            positions.extend(self.next().await.position);
        }
        positions
    }

    /// Frames up to this position.
    async fn up_to(&mut self, last: u64) -> Vec<Frame> {
        let mut frames = Vec::new();
        while frames.last().and_then(|frame: &Frame| frame.position) != Some(last) {
            frames.push(self.next().await);
        }
        frames
    }

    async fn stop(mut self) {
        self.stop.cancel();
        let ended = self.task.join_next().await.unwrap().unwrap().unwrap();
        assert_eq!(ended, Ended::Stopped);
        assert!(!self.status.snapshot().connected);
    }
}

async fn upstream(config: UpstreamConfig, events: u64) -> Upstream {
    let upstream = Upstream::start(config).await.unwrap();
    upstream.push_many((1..=events).map(post));
    upstream
}

fn query(upstream: &Upstream) -> String {
    upstream.subscribers().recent.last().unwrap().query.clone()
}

fn resume(position: u64, time_us: u64) -> StartAt {
    StartAt::Resume(SavedPosition { position, time_us: time_us as i64 })
}

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
    assert_eq!(resumed.positions(5).await, [7, 8, 9, 11, 12], "it begins slightly before");
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
        upstream.push_frame(seq, &post(seq).to_firehose_frame(seq));
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
    upstream.push_frame(5, &post(5).to_firehose_frame(5));
    let small = SourceConfig { max_message_bytes: 2_000, ..config() };
    let mut source = Running::start(&upstream.url_firehose(), small, StartAt::From(0));
    let frames = source.up_to(5).await;
    let big = frames.iter().filter(|frame| frame.skipped == [Skip::TooBig]).count();
    assert!(big >= 2, "{frames:?}");
    assert!(source.status.snapshot().reconnects >= 1);
    source.stop().await;
}

#[tokio::test]
async fn the_future_is_cut_off_on_the_firehose() {
    let upstream = upstream(UpstreamConfig::default(), 0).await;
    let mut source = Running::start(&upstream.url_firehose(), config(), StartAt::Live);
    upstream.accepted(1).await;
    let mut event = post(1);
    // the year 2096
    event.time_us = 4_000_000_000_000_000;
    upstream.push(event);
    let frame = source.next().await;
    assert_eq!(frame.skipped, [Skip::FutureTime]);
    assert!(frame.events[0].time_us < 4_000_000_000_000_000 && frame.time_us == frame.events[0].time_us);
    source.stop().await;
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
