//! The harness: loads a service as the network would, and looks at it from outside only.

mod check;
mod child;
mod client;
mod finale;
mod generate;
mod measure;
mod observe;
mod options;
mod plot;
mod pump;
mod readers;
mod report;
mod scrape;
mod screen;
mod shared;
mod steps;
mod visibility;
mod world;

use crate::network::Network;
use crate::upstream::{Upstream, UpstreamConfig};
use child::{Serve, ServeSpec};
use client::Client;
pub use generate::{GenerateOptions, generate};
use measure::Latencies;
use observe::{Observed, now_us};
pub use options::{NetworkOptions, RunOptions};
use pump::Pump;
use readers::{Crowd, Reads};
use report::{Correctness, Report};
use screen::Screen;
use shared::{Shared, lock};
use std::sync::Arc;
use std::time::Duration;
use steps::Step;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use visibility::Visibility;
use world::World;

/// Runs the load; true if everything that was read is right.
///
/// # Errors
/// The options can't work, the service ended or doesn't answer, or what was sent is not applied.
pub async fn run(options: RunOptions) -> anyhow::Result<bool> {
    options.check()?;
    let options = Arc::new(options);
    let screen = Screen::new();
    let network = Network::new(options.network.spec(now_us()))?;
    let upstream = UpstreamConfig {
        port: options.upstream_port,
        log_limit: options.retention,
        ..UpstreamConfig::default()
    };
    let upstream = Upstream::start(upstream).await?;
    screen.say(format_args!("the Jetstream is {}", upstream.url_v2()))?;
    let mut serve = match &options.api {
        Some(_) => None,
        None => Some(Serve::start(&serve_spec(&options, &upstream)?).await?),
    };
    let (api, admin) = match (&serve, &options.api, &options.admin) {
        (Some(serve), _, _) => (serve.grpc.clone(), serve.admin.clone()),
        (None, Some(api), Some(admin)) => (api.clone(), admin.clone()),
        _ => anyhow::bail!("--api and --admin belong together"),
    };
    screen.say(format_args!("the service is at {api}, its metrics at http://{admin}/metrics"))?;
    let observed = Observed { admin, process: serve.as_ref().and_then(Serve::id) };
    let report = {
        let load = load(&network, &upstream, &options, &screen, api, observed);
        let ended = async {
            match &mut serve {
                Some(serve) => serve.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            report = load => report?,
            ended = ended => return Err(ended),
            interrupted = interrupted() => return Err(interrupted),
        }
    };
    report.say(&screen)?;
    report.save(&options, &screen)?;
    if let Some(serve) = serve {
        serve.stop().await?;
    }
    Ok(report.good())
}

/// Returns when somebody wants this program to end. Then the service that it started is ended too.
async fn interrupted() -> anyhow::Error {
    let told = async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            told = tokio::signal::ctrl_c() => told,
            _ = terminate.recv() => Ok(()),
        }
    };
    match told.await {
        Ok(()) => anyhow::anyhow!("interrupted"),
        Err(error) => anyhow::Error::from(error).context("waiting for signals"),
    }
}

fn serve_spec(options: &RunOptions, upstream: &Upstream) -> anyhow::Result<ServeSpec> {
    Ok(ServeSpec {
        program: options.program()?,
        source: upstream.url_v2(),
        data_dir: options.data_dir.clone(),
        loaded: options.loaded.as_deref().map(std::path::absolute).transpose()?,
        enrol: options.enrol.clone(),
        reasonable_limit: options.reasonable_limit,
        cap: options.cap,
        more: options.serve_args.clone(),
    })
}

/// All phases, with somebody who looks on.
async fn load(
    network: &Network,
    upstream: &Upstream,
    options: &Arc<RunOptions>,
    screen: &Screen,
    api: String,
    observed: Observed,
) -> anyhow::Result<Report> {
    let crowd = Arc::new(Crowd::draw(network, options));
    let shared = Arc::new(Shared::new(World::new(crowd.checked())));
    let client = Arc::new(Client::connect(&api, options.connections, screen).await?);
    let reads = Reads { shared: shared.clone(), client, crowd, options: options.clone() };
    let stop = CancellationToken::new();
    let mut observer = JoinSet::new();
    observer.spawn(observe::run(shared.clone(), observed, stop.clone()));
    let phases = phases(network, upstream, options, screen, &reads);
    let report = tokio::select! {
        report = phases => report?,
        Some(ended) = observer.join_next() => {
            ended??;
            anyhow::bail!("nobody looks on any more")
        }
    };
    stop.cancel();
    observer.join_all().await;
    Ok(report)
}

async fn phases(
    network: &Network,
    upstream: &Upstream,
    options: &Arc<RunOptions>,
    screen: &Screen,
    reads: &Reads,
) -> anyhow::Result<Report> {
    let shared = &reads.shared;
    let begin = |phase: &str| phase.clone_into(&mut lock(&shared.phase));
    let mut pump = Pump::new(network, upstream, shared.clone(), options.clone());
    begin("graph");
    let graph = if options.loaded.is_some() {
        reads.crowd.follows_of_checked(network, &mut shared.world());
        screen.say(format_args!("the follows of {} accounts are there already", network.actors()))?;
        pump::Speed::default()
    } else {
        screen.say(format_args!("the follows of {} accounts …", network.actors()))?;
        let graph = pump.graph(screen).await?;
        screen.say(format_args!("{} follows are applied", graph.events))?;
        graph
    };
    begin("history");
    screen.say(format_args!("{} events of history …", network.spec().events))?;
    let history = pump.history(screen).await?;
    begin("readers");
    screen.say(format_args!("{} readers come for the first time …", options.readers))?;
    reads.come(screen).await?;
    let mut steps = Vec::new();
    // what was measured until something failed is worth telling all the same
    let ended = async {
        climb(&mut pump, reads, screen, &mut steps).await?;
        begin("comparing");
        screen.say("all is quiet: the timelines of the checked readers are compared …")?;
        finale::compare(reads).await
    };
    let ended = ended.await;
    let samples = lock(&shared.series).clone();
    let live: Vec<_> = samples.iter().filter(|sample| sample.phase.starts_with("live")).cloned().collect();
    Ok(Report {
        version: Report::VERSION,
        network: network.spec().clone(),
        readers: options.readers,
        reads_per_second: options.reads_per_second,
        graph,
        history,
        steps,
        flatness: if options.soak { steps::flatness(&live) } else { Vec::new() },
        correctness: Correctness::new(shared.faults(), ended.as_ref().copied().unwrap_or(0)),
        samples,
        failure: ended.err().map(|error| format!("{error:#}")),
    })
}

/// The live phases, until one bends; then waits until what they left is delivered.
async fn climb(
    pump: &mut Pump<'_>,
    reads: &Reads,
    screen: &Screen,
    steps: &mut Vec<Step>,
) -> anyhow::Result<()> {
    let (shared, options) = (&reads.shared, &reads.options);
    for (number, factor) in options.steps().into_iter().enumerate() {
        let pace = factor * options.events_per_second;
        let name =
            if options.rate_ladder.is_empty() { "live".to_owned() } else { format!("live ×{factor}") };
        screen.say(format_args!(
            "{name}: {pace} events and {} reads a second for {} s …",
            options.reads_per_second, options.duration
        ))?;
        *lock(&shared.phase) = name;
        let step = live(pump, pace, number as u64, reads, screen).await?;
        let bent = step.bent.is_some();
        steps.push(step);
        "drain".clone_into(&mut lock(&shared.phase));
        pump.settled().await?;
        if bent {
            break;
        }
    }
    Ok(())
}

/// One live phase: traffic, reads and questions side by side.
async fn live(
    pump: &mut Pump<'_>,
    pace: f64,
    number: u64,
    reads: &Reads,
    screen: &Screen,
) -> anyhow::Result<Step> {
    let (shared, options) = (&reads.shared, &reads.options);
    let duration = Duration::from_secs_f64(options.duration);
    *lock(&shared.latencies) = Latencies::default();
    lock(&shared.seen).clear();
    let from = lock(&shared.series).last().map_or(0.0, |sample| sample.at);
    let visibility = Arc::new(Visibility::new(reads.clone()));
    let start = Instant::now();
    let end = start + duration;
    let (stop, bar) = (CancellationToken::new(), screen.clock(duration.as_secs()));
    let mut tasks = JoinSet::new();
    tasks.spawn(reads.clone().run(start, end, number));
    tasks.spawn(progress(shared.clone(), bar.clone(), start, stop.clone()));
    let sent = pump.live(pace, start, end, &visibility).await?;
    let until = lock(&shared.series).last().map_or(0.0, |sample| sample.at);
    stop.cancel();
    tasks.join_all().await;
    bar.finish_and_clear();
    visibility.drained().await;
    let samples = lock(&shared.series).clone();
    let samples: Vec<_> =
        samples.into_iter().filter(|sample| sample.at > from && sample.phase.starts_with("live")).collect();
    let during = samples.iter().filter(|sample| sample.at <= until).count();
    let (latencies, seen) = (lock(&shared.latencies).clone(), lock(&shared.seen).clone());
    let step = Step::new(pace, sent, &latencies, &seen, &samples, during, options);
    Ok(Step { passed_over: visibility.passed_over(), ..step })
}

/// Keeps the clock of a live phase.
async fn progress(shared: Arc<Shared>, bar: indicatif::ProgressBar, start: Instant, stop: CancellationToken) {
    let second = Duration::from_secs(1);
    while stop.run_until_cancelled(tokio::time::sleep(second)).await.is_some() {
        bar.set_position(start.elapsed().as_secs());
        if let Some(sample) = lock(&shared.series).last() {
            bar.set_message(format!(
                "{:.0} events/s, {:.0} references/s, lag {:.1} s, read p99 {:.1} ms, {} wrong pages",
                sample.events_per_second,
                sample.deliveries_per_second,
                sample.lag_seconds,
                sample.read_p99_ms.unwrap_or(0.0),
                shared.faults().wrong
            ));
        }
    }
}
