//! `skyweir backfill`: the whole network into a data directory, with a word from time to time about how far it is.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use indicatif::ProgressBar;
use skyweir_embedded::{EmbeddedStore, Rings};
use skyweir_indexer::archive::Backfill;
use skyweir_indexer::source::{SourceStatus, parse_archive};
use skyweir_types::Clock;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::cli::{BackfillOptions, ServeOptions};
use crate::config::Config;
use crate::coverage;
use crate::pace;
use crate::serve::{Signals, install_tls, io_runtime};
use crate::telemetry::{self, LogFormat};

/// Runs it to its end, or until it is told to stop; then it can be run again.
pub(crate) fn command(options: &BackfillOptions) -> Result<ExitCode> {
    let config = Config::load(&ServeOptions {
        config: options.config.clone(),
        data_dir: options.data_dir.clone(),
        items_since: options.items_since,
        log_format: options.log_format,
        log: options.log.clone(),
        ..ServeOptions::default()
    })?;
    let is_watched = config.log_format == LogFormat::Text && std::io::stderr().is_terminal();
    let bar = is_watched.then(pace::bar);
    telemetry::logs(config.log_format, &config.log, bar.clone())?;
    install_tls()?;
    let from = options.from.clone().unwrap_or_else(|| config.source.clone());
    // before a data directory is made for it
    parse_archive(&from, i64::MIN)?;
    let io = io_runtime(config.runtime.io_threads)?;
    let ended = io.block_on(run(config, &from, bar.as_ref()));
    io.shutdown_background();
    ended
}

async fn run(config: Config, from: &str, bar: Option<&ProgressBar>) -> Result<ExitCode> {
    let (clock, status) = (Clock::system(), Arc::new(SourceStatus::default()));
    let mut signals = Signals::new()?;
    let settings = config.store.clone();
    let store = tokio::task::spawn_blocking(move || EmbeddedStore::open(settings)).await;
    let store = store.map_err(|_| anyhow!("opening the data directory panicked, see above"))??;
    let (since, shared) = (config.backfill.items_since.before(clock.now_micros()), Arc::new(store.clone()));
    coverage::adopt(&config.data_dir, shared.as_ref()).await?;
    let backfill = Backfill::begin(config.indexer, shared, from, since, clock, status.clone()).await?;
    // timelines of before would lack what is read now without tasks: they fill again
    tokio::task::spawn_blocking(move || Rings::forget(&store)).await??;
    let (live, stop) = (backfill.live(), CancellationToken::new());
    info!(from, data.dir = %config.data_dir.display(), "backfill begins");
    let mut work = std::pin::pin!(pace::beside(&status, bar, backfill.run(stop.clone())));
    let reached = loop {
        tokio::select! {
            ended = &mut work => break ended?,
            signal = signals.next() => {
                info!(signal, "stopping");
                stop.cancel();
            }
        }
    };
    let Some(reached) = reached else {
        info!("stopped before the end: the same command goes on where it was");
        return Ok(ExitCode::FAILURE);
    };
    info!(reached, "backfill is complete; `skyweir serve --source {live}` goes on from there");
    Ok(ExitCode::SUCCESS)
}
