//! A source that runs on a stand-in's stream.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use skyweir_indexer::source::{
    Ended, Error, Frame, FrameReceiver, SavedPosition, Source, SourceConfig, SourceStatus, StartAt, parse,
    queue,
};
use skyweir_loadtest::{Event, Upstream, UpstreamConfig};
use skyweir_types::Clock;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) const DID: &str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
/// 2026-01-01
pub(crate) const START: u64 = 1_767_225_600_000_000;

pub(crate) fn post(n: u64) -> Event {
    let record = json!({"$type": "app.bsky.feed.post", "createdAt": "2026-01-01T00:00:00.000Z", "text": n.to_string()});
    Event::create(DID, START + n * 1_000_000, "app.bsky.feed.post", &format!("k{n}"), record)
}

pub(crate) fn config() -> SourceConfig {
    SourceConfig { backoff_least_ms: 1, backoff_most_ms: 5, overlap_ms: 1, ..SourceConfig::default() }
}

/// A running source and what it hands on.
pub(crate) struct Running {
    pub(crate) frames: FrameReceiver,
    pub(crate) status: Arc<SourceStatus>,
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinSet<Result<Ended, Error>>,
}

impl Running {
    pub(crate) fn start(url: &str, config: SourceConfig, start: StartAt) -> Self {
        let (sender, frames) = queue(&config);
        let source = Source::new(parse(url).unwrap(), config, Clock::system()).unwrap();
        let (status, stop) = (Arc::new(SourceStatus::default()), CancellationToken::new());
        let mut task = JoinSet::new();
        task.spawn(source.run(start, sender, status.clone(), stop.clone()));
        Self { frames, status, stop, task }
    }

    /// The next frame; a source that hands on nothing fails the test instead of hanging it.
    pub(crate) async fn next(&mut self) -> Frame {
        let next = tokio::time::timeout(Duration::from_secs(20), self.frames.recv()).await;
        next.expect("no frame came").expect("the source has ended")
    }

    pub(crate) async fn positions(&mut self, count: usize) -> Vec<u64> {
        let mut positions = Vec::new();
        while positions.len() < count {
            positions.extend(self.next().await.position);
        }
        positions
    }

    /// Frames up to this position.
    pub(crate) async fn up_to(&mut self, last: u64) -> Vec<Frame> {
        let mut frames = Vec::new();
        while frames.last().and_then(|frame: &Frame| frame.position) != Some(last) {
            frames.push(self.next().await);
        }
        frames
    }

    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        let ended = self.task.join_next().await.unwrap().unwrap().unwrap();
        assert_eq!(ended, Ended::Stopped);
        assert!(!self.status.snapshot().connected);
    }
}

pub(crate) async fn upstream(config: UpstreamConfig, events: u64) -> Upstream {
    let upstream = Upstream::start(config).await.unwrap();
    upstream.push_many((1..=events).map(post));
    upstream
}

pub(crate) fn query(upstream: &Upstream) -> String {
    upstream.subscribers().recent.last().unwrap().query.clone()
}

pub(crate) fn resume(position: u64, time_us: u64) -> StartAt {
    StartAt::Resume(SavedPosition { position, time_us: time_us as i64 })
}
