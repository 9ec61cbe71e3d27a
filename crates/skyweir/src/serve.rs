//! `skyweir serve`: from the settings to the exit code.

use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use metrics_exporter_prometheus::PrometheusHandle;
use skyweir_indexer::source::{SourceKind, parse};
use skyweir_types::Clock;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::cli::ServeOptions;
use crate::config::{Backend, Config};
use crate::ports::Ports;
use crate::service::Service;
use crate::stores::{Ground, Stores};
use crate::telemetry::{self, LogFormat};

/// How far the fan-out stands back behind reads: about a third of their share when both want a core.
const FAN_OUT_NICE: i32 = 5;

/// Runs the service until it is told to stop.
pub(crate) fn command(options: &ServeOptions) -> Result<ExitCode> {
    let config = Config::load(options)?;
    if config.roles.indexer {
        readable(&config.source)?;
    }
    telemetry::logs(config.log_format, &config.log, None)?;
    let recorder = telemetry::metrics()?;
    install_tls()?;
    let format = config.log_format;
    let io = io_runtime(config.runtime.io_threads)?;
    let fan_out = fan_out_runtime(config.runtime.fanout_threads)?;
    let version = env!("CARGO_PKG_VERSION");
    match config.backend {
        Backend::Embedded => info!(version, data.dir = %config.data_dir.display(), "skyweir starts"),
        Backend::Scylla => {
            let keyspace = config.scylla.keyspace.as_str();
            info!(version, scylla.keyspace = keyspace, roles = %config.roles, "skyweir starts");
        }
    }
    let ended = io.block_on(run(config, fan_out.handle(), recorder));
    // all parts have ended, or must not be waited for any longer
    fan_out.shutdown_background();
    io.shutdown_background();
    match ended {
        // who reads the log with a program reads no other lines
        Err(error) if format == LogFormat::Json => {
            error!(error = format!("{error:#}"), "failed");
            Ok(ExitCode::FAILURE)
        }
        ended => ended.map(|()| ExitCode::SUCCESS),
    }
}

/// Refuses a file that can't be read, before anything is made or opened for it. A pipe is opened once, by who reads it:
/// what is written to it meanwhile would be lost.
fn readable(source: &str) -> Result<()> {
    let SourceKind::File(path) = parse(source)? else { return Ok(()) };
    let cannot = || format!("cannot read the source {}", path.display());
    let kind = std::fs::metadata(&path).with_context(cannot)?;
    if kind.is_dir() {
        bail!("{}: it is a directory, name a file in it", cannot());
    }
    if kind.is_file() {
        std::fs::File::open(&path).with_context(cannot)?;
    }
    Ok(())
}

/// How long the lease may take to be given back by a service that has failed, or wasn't through in time: the cluster may
/// give no answer. With `shutdown_grace_seconds` it is less than an operator's service manager waits.
const GIVE_BACK: Duration = Duration::from_secs(5);

async fn run(config: Config, fan_out: &Handle, recorder: PrometheusHandle) -> Result<()> {
    let mut signals = Signals::new()?;
    let grace = config.shutdown_grace_seconds;
    let stop = CancellationToken::new();
    let mut starting = pin!(start(config, fan_out, recorder, &stop));
    let started = tokio::select! {
        started = &mut starting => started?,
        signal = signals.next() => {
            info!(signal, "stopping while starting");
            stop.cancel();
            in_time(starting, &mut signals, grace).await?
        }
    };
    let Some(mut service) = started else {
        info!("stopped while starting");
        return Ok(());
    };
    let ended = tokio::select! {
        // it had just started
        () = stop.cancelled() => in_time(service.stop(), &mut signals, grace).await,
        ended = service.run() => ended,
        signal = signals.next() => {
            info!(signal, grace.seconds = grace, "stopping");
            in_time(service.stop(), &mut signals, grace).await
        }
    };
    if ended.is_err() {
        tokio::select! {
            () = service.give_lease_back() => {}
            () = tokio::time::sleep(GIVE_BACK) => {
                warn!("ended before the lease was given back: an indexer of another name waits until it is over");
            }
            signal = signals.next() => warn!(signal, "ended before the lease was given back"),
        }
    }
    ended?;
    info!("stopped");
    Ok(())
}

/// Waits for what stops, as long as it may take.
async fn in_time<T>(
    stopping: impl Future<Output = Result<T>>,
    signals: &mut Signals,
    grace: u64,
) -> Result<T> {
    tokio::select! {
        stopped = stopping => stopped,
        signal = signals.next() => {
            bail!("{signal} while stopping: ended at once, what was not finished is done after the next start")
        }
        () = tokio::time::sleep(Duration::from_secs(grace)) => bail!(
            "not stopped after {grace} s (shutdown_grace_seconds): ended all the same, what was not finished is done \
             after the next start"
        ),
    }
}

/// Takes the ports, opens records and timelines, then starts the service; `None` when it was stopped before. Unless it
/// has started the lease is given back then: so only a second signal or the grace drops this half way.
pub(crate) async fn start(
    config: Config,
    fan_out: &Handle,
    recorder: PrometheusHandle,
    stop: &CancellationToken,
) -> Result<Option<Service>> {
    let clock = Clock::system();
    let ports = Ports::take(&config)?;
    let Some(ground) = Ground::take(&config, clock.clone(), stop).await? else { return Ok(None) };
    let lease = ground.lease();
    let starting = async {
        let stores = Stores::open(&config, ground, clock.clone()).await?;
        Service::start(config, ports, stores, lease.clone(), fan_out, recorder, clock).await
    };
    let started = stop.run_until_cancelled(starting).await;
    if !matches!(started, Some(Ok(_)))
        && let Some(lease) = lease
    {
        lease.give_back().await;
    }
    started.transpose()
}

/// The runtime of sockets, reads and the indexer.
pub(crate) fn io_runtime(threads: usize) -> Result<Runtime> {
    build(Builder::new_multi_thread().thread_name("io"), threads)
}

/// The runtime of the fan-out, whose threads step back when reads need the cores.
pub(crate) fn fan_out_runtime(threads: usize) -> Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    // what comes from outside comes first: new tasks, and shard workers that a thread's own queue of 256 has no room
    // for; else they wait until the pages of all jobs at work are read
    builder.global_queue_interval(1);
    build(builder.thread_name("fan-out").on_thread_start(step_back), threads)
}

fn build(builder: &mut Builder, threads: usize) -> Result<Runtime> {
    let built = builder.worker_threads(threads).enable_all().build();
    built.with_context(|| format!("cannot start {threads} threads"))
}

/// Linux keeps a nice value for each thread; elsewhere it would be the whole process that steps back.
fn step_back() {
    if cfg!(target_os = "linux")
        && let Err(error) = rustix::process::nice(FAN_OUT_NICE)
    {
        debug!(%error, "fan-out keeps the priority of reads");
    }
}

/// TLS for upstream connections: one provider for the process.
pub(crate) fn install_tls() -> Result<()> {
    let installed = rustls::crypto::ring::default_provider().install_default();
    installed.map_err(|_| anyhow!("another TLS provider is installed already"))
}

/// SIGTERM and SIGINT.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// From now on these signals no longer end the process by themselves.
    pub(crate) fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// The name of the next one.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_pipe_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("lines");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let (source, (told, said)) = (format!("file:{}", pipe.display()), channel());
        // opened, it would wait for who writes to it
        std::thread::spawn(move || told.send(readable(&source).is_ok()));
        assert_eq!(said.recv_timeout(Duration::from_secs(10)), Ok(true));
    }
}
