//! The network's history, fed to the service over a WebSocket.

use std::time::Duration;

use anyhow::{Result, ensure};
use indicatif::HumanCount;
use metrics_exporter_prometheus::PrometheusHandle;
use skyweir_loadtest::{Network, Upstream};
use tokio::time::Instant;

use super::stage::{Stage, short};
use super::{WAITING, post};

/// So many events are made at a time.
const CHUNK: usize = 2_000;
/// The stand-in has sent all but so many before it gets more.
const AHEAD: u64 = WAITING as u64 / 2;
/// What was sent has to be applied within this time.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// The first act.
pub(super) struct Feed<'a> {
    pub(super) network: &'a Network,
    pub(super) upstream: &'a Upstream,
    pub(super) stage: &'a Stage,
    pub(super) recorder: PrometheusHandle,
}

impl Feed<'_> {
    /// Feeds everything and waits until it is applied.
    pub(super) async fn run(self) -> Result<()> {
        let Self { network, upstream, stage, recorder } = self;
        stage.act("A network comes in over a WebSocket")?;
        let actors = network.actors();
        let follows: u64 = (0..actors).map(|actor| network.followees(actor).len() as u64).sum();
        let traffic = network.spec().events;
        let told = format!(
            "{} accounts, {} follows, then {} posts, reposts, unfollows, deletes and others",
            HumanCount(actors.into()),
            HumanCount(follows),
            HumanCount(traffic)
        );
        stage.say(told)?;
        let began = Instant::now();
        let bar = stage.bar(follows + traffic, "events");
        let mut events = network.events();
        let mut last_us = 0;
        loop {
            let chunk = events.by_ref().take(CHUNK).inspect(|event| last_us = event.time_us);
            let Some(seq) = upstream.push_many(chunk) else { break };
            upstream.sent(seq.saturating_sub(AHEAD)).await;
            bar.set_position(seq);
        }
        // no filter of the service leaves out a post: when this one is applied, all before it are
        let end = post(network, last_us + 1, "The network is complete.");
        let seq = upstream.push(end);
        upstream.sent(seq).await;
        applied(&recorder, last_us + 1).await?;
        bar.finish_and_clear();
        let took = began.elapsed();
        let rate = (follows + traffic) as f64 / took.as_secs_f64();
        stage.say(format_args!(
            "all applied, each synced to disk: {}, {} events/s, generating them included",
            short(took),
            HumanCount(rate as u64)
        ))
    }
}

/// Waits until an event of this time is applied and synced.
async fn applied(recorder: &PrometheusHandle, time_us: u64) -> Result<()> {
    let began = Instant::now();
    // the metric has seconds with a fraction, which is exact to less than a microsecond
    while stream_seconds(recorder) * 1e6 < time_us as f64 - 0.5 {
        ensure!(began.elapsed() < PATIENCE, "not all events were applied after {} s", PATIENCE.as_secs());
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

/// The time of the newest applied event, seconds since 1970.
fn stream_seconds(recorder: &PrometheusHandle) -> f64 {
    let text = recorder.render();
    let value = text.lines().find_map(|line| line.strip_prefix("skyweir_indexer_stream_time_seconds "));
    value.and_then(|value| value.parse().ok()).unwrap_or(0.0)
}
