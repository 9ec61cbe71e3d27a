//! `skyweir demo`: the real service on a generated network, from the first event to timelines, in a minute.

mod feed;
mod show;
mod stage;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use metrics_exporter_prometheus::PrometheusHandle;
use skyweir_indexer::CursorChoice;
use skyweir_loadtest::{Event, Network, NetworkSpec, Upstream, UpstreamConfig};
use skyweir_types::Clock;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use self::feed::Feed;
use self::show::Show;
use self::stage::Stage;
use crate::cli::DemoOptions;
use crate::config::Config;
use crate::serve::{self, Signals, fan_out_runtime, io_runtime};
use crate::service::Service;
use crate::telemetry::{self, LogFormat};

const POST: &str = "app.bsky.feed.post";
/// So many events wait at the stand-in upstream at most.
const WAITING: usize = 50_000;
/// The network's history begins so long ago.
const HISTORY_US: i64 = 3_600_000_000;

/// Runs it.
pub(crate) fn command(options: &DemoOptions) -> Result<ExitCode> {
    telemetry::logs(LogFormat::Text, &options.log, None)?;
    let recorder = telemetry::metrics()?;
    let threads = Config::default().runtime;
    let io = io_runtime(threads.io_threads)?;
    let fan_out = fan_out_runtime(threads.fanout_threads)?;
    let ended = io.block_on(run(options, fan_out.handle(), recorder));
    fan_out.shutdown_background();
    io.shutdown_background();
    ended.map(|()| ExitCode::SUCCESS)
}

async fn run(options: &DemoOptions, fan_out: &Handle, recorder: PrometheusHandle) -> Result<()> {
    let mut signals = Signals::new()?;
    let clock = Clock::system();
    let stage = Stage::new();
    let dir = tempfile::Builder::new().prefix("skyweir-demo-").tempdir()?;
    let network = Network::new(spec(options, clock.now_micros()))?;
    let upstream =
        Upstream::start(UpstreamConfig { log_limit: WAITING, ..UpstreamConfig::default() }).await?;
    let config = config(options, dir.path(), upstream.url_v2());
    let (limit, grace) = (config.timeline.reasonable_limit, config.shutdown_grace_seconds);
    let started = serve::start(config, fan_out, recorder.clone(), &CancellationToken::new()).await?;
    let mut service = started.context("stopped before it had started")?;
    let (grpc, admin) = (service.grpc.context("the demo reads over gRPC")?, service.admin);
    stage.say(format_args!("The service runs: gRPC at {grpc}, metrics at http://{admin}/metrics"))?;

    let acts = async {
        Feed { network: &network, upstream: &upstream, stage: &stage, recorder }.run().await?;
        let show = Show::open(&network, &upstream, &stage, &clock, &grpc.to_string(), limit).await?;
        show.run().await?;
        next_steps(&stage, &network, grpc, options.keep)
    };
    let acts = async {
        acts.await?;
        // what is left are the service and a signal
        if options.keep { std::future::pending().await } else { Ok(()) }
    };
    let shown = tokio::select! {
        shown = acts => shown,
        ended = service.run() => ended,
        signal = signals.next() => stage.say(format_args!("{signal}: stopping")),
    };
    let stopped = stop(service, grace).await;
    shown.and(stopped)
}

async fn stop(mut service: Service, grace: u64) -> Result<()> {
    let stopped = tokio::time::timeout(Duration::from_secs(grace), service.stop()).await;
    stopped.with_context(|| format!("the service did not stop within {grace} s"))?
}

/// A celebrity, five accounts that follow half of the network, and many that follow few.
fn spec(options: &DemoOptions, now_us: i64) -> NetworkSpec {
    NetworkSpec {
        seed: options.seed,
        actors: options.actors,
        mean_follows: 15.0,
        mass_followers: 5,
        start_us: u64::try_from(now_us - HISTORY_US).unwrap_or(0),
        follows_per_second: 100_000.0,
        // half an hour of traffic
        events_per_second: f64::from(options.actors) / 1_800.0,
        events: options.actors.into(),
        ..NetworkSpec::default()
    }
}

fn config(options: &DemoOptions, dir: &Path, source: String) -> Config {
    let mut config = Config {
        data_dir: dir.to_owned(),
        source,
        cursor: CursorChoice::At(0),
        grpc: (Ipv4Addr::LOCALHOST, 0).into(),
        admin: (Ipv4Addr::LOCALHOST, 0).into(),
        ..Config::default()
    };
    // low enough for a small network to have accounts that follow far too many
    config.timeline.reasonable_limit = (options.actors / 20).max(20);
    config.share();
    config
}

/// A post of the celebrity.
fn post(network: &Network, time_us: u64, text: &str) -> Event {
    let record = serde_json::json!({
        "$type": POST,
        "createdAt": skyweir_loadtest::rfc3339_millis(time_us),
        "text": text,
    });
    Event::create(&network.did(0), time_us, POST, &skyweir_loadtest::tid(time_us, 0), record)
}

fn next_steps(stage: &Stage, network: &Network, grpc: SocketAddr, keep: bool) -> Result<()> {
    let did = network.did(1);
    let running = if keep {
        "The service goes on until Ctrl-C. Try:".to_owned()
    } else {
        "Leave it running with `--keep`, which tells its own address, then try:".to_owned()
    };
    let call = format!("-d '{{\"actorDid\":\"{did}\"}}' {grpc} skyweir.v1.TimelineService/GetTimeline");
    let skyweir = std::env::args().next().unwrap_or_else(|| "skyweir".to_owned());
    stage.act("What next")?;
    stage.say(running)?;
    stage.say(format_args!("  {skyweir} timeline {did} --grpc {grpc}"))?;
    stage.say(format_args!("  grpcurl -plaintext {call}"))?;
    stage.say(
        "The real network, from now on, into ./.skyweir (without the flag all of it, which takes long):",
    )?;
    stage.say(format_args!("  {skyweir} serve --backfill false"))?;
    stage.say("An AppView can have it for its data plane when yours stands behind it (--upstream):")?;
    stage.say("  README.md, \"The AppView\"")
}
