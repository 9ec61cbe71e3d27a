//! `skyweir backfill`: the whole network into a data directory, with a word from time to time about how far it is.

mod load;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use indicatif::ProgressBar;
use skyweir_embedded::{Bulk, EmbeddedStore, Rings};
use skyweir_indexer::archive::{Backfill, Loader};
use skyweir_indexer::source::{SourceStatus, parse_archive};
use skyweir_types::Clock;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::cli::{BackfillOptions, ServeOptions};
use crate::config::Config;
use crate::coverage;
use crate::pace::{self, Said};
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
    bar.iter().for_each(ProgressBar::finish_and_clear);
    ended
}

async fn run(config: Config, from: &str, bar: Option<&ProgressBar>) -> Result<ExitCode> {
    let (clock, status) = (Clock::system(), Arc::new(SourceStatus::default()));
    let mut work = Attended { signals: Signals::new()?, stop: CancellationToken::new(), bar };
    let since = config.backfill.items_since.before(clock.now_micros());
    let loader = Loader::new(config.indexer.clone(), from, since, clock.clone(), status.clone())?;
    info!(from, data.dir = %config.data_dir.display(), "backfill begins");
    let settings = config.store.clone();
    let empty =
        spawn_blocking(move || Bulk::open(settings)).await.context("opening the data directory")??;
    let settings = config.store.clone();
    let store = match empty {
        Some(bulk) => load::run(&loader, bulk, &status, &mut work).await?,
        None => Some(
            spawn_blocking(move || EmbeddedStore::open(settings))
                .await
                .context("opening the data directory")??,
        ),
    };
    let reached = match store {
        Some(store) => apply(config, store, from, since, clock, status, &mut work).await?,
        None => None,
    };
    let Some((reached, live)) = reached else {
        info!("stopped before the end: the same command goes on where it was");
        return Ok(ExitCode::FAILURE);
    };
    info!(reached, "backfill is complete; `skyweir serve --source {live}` goes on from there");
    Ok(ExitCode::SUCCESS)
}

/// Applies what the store doesn't have, event by event; tells where the live stream goes on, and its name.
async fn apply(
    config: Config,
    store: EmbeddedStore,
    from: &str,
    since: i64,
    clock: Clock,
    status: Arc<SourceStatus>,
    work: &mut Attended<'_>,
) -> Result<Option<(u64, String)>> {
    let shared = Arc::new(store.clone());
    coverage::adopt(&config.data_dir, shared.as_ref()).await?;
    let backfill = Backfill::begin(config.indexer, shared, from, since, clock, status.clone()).await?;
    // timelines of before would lack what is read now without tasks: they fill again
    spawn_blocking(move || Rings::forget(&store)).await??;
    let live = backfill.live();
    let reached = work.attend(backfill.run(work.stop.clone()), pace::of_archive(&status)).await?;
    Ok(reached.map(|reached| (reached, live)))
}

/// Waits for what is at work, says how far it is, and hands on that it shall stop.
struct Attended<'a> {
    signals: Signals,
    stop: CancellationToken,
    bar: Option<&'a ProgressBar>,
}

impl Attended<'_> {
    async fn attend<T>(&mut self, work: impl Future<Output = T>, say: impl FnMut() -> Option<Said>) -> T {
        let mut work = std::pin::pin!(pace::beside(self.bar, say, work));
        loop {
            tokio::select! {
                ended = &mut work => return ended,
                signal = self.signals.next() => {
                    info!(signal, "stopping");
                    self.stop.cancel();
                }
            }
        }
    }
}
