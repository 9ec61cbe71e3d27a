//! `skyweir backfill`: the whole network into a data directory, with a word from time to time about how far it is.

mod load;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, ensure};
use indicatif::ProgressBar;
use skyweir_embedded::{Bulk, EmbeddedStore, Rings};
use skyweir_indexer::archive::{Backfill, Loader, check_url, has_archive};
use skyweir_indexer::source::SourceStatus;
use skyweir_store::Load as _;
use skyweir_types::Clock;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use crate::attended::{Attended, opened};
use crate::cli::{BackfillOptions, ServeOptions};
use crate::config::{Backend, Config};
use crate::coverage;
use crate::pace;
use crate::serve::{install_tls, io_runtime};
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
    ensure!(
        config.backend == Backend::Embedded,
        "skyweir backfill loads a data directory, and backend is \"scylla\": skyweir serve begins with the archive of \
         its Jetstream v2 itself"
    );
    let is_watched = config.log_format == LogFormat::Text && std::io::stderr().is_terminal();
    let bar = is_watched.then(pace::bar);
    telemetry::logs(config.log_format, &config.log, bar.clone())?;
    install_tls()?;
    let from = options.from.clone().unwrap_or_else(|| config.source.clone());
    // before a data directory is made for it
    check_url(&from)?;
    let io = io_runtime(config.runtime.io_threads)?;
    let ended = io.block_on(run(config, &from, bar.as_ref()));
    io.shutdown_background();
    bar.iter().for_each(ProgressBar::finish_and_clear);
    ended
}

async fn run(config: Config, from: &str, bar: Option<&ProgressBar>) -> Result<ExitCode> {
    let mut work = Attended::new(bar)?;
    info!(from, data.dir = %config.data_dir.display(), "backfill begins");
    let status = Arc::new(SourceStatus::default());
    let Some((reached, live)) = backfill(config, from, &status, &mut work).await? else {
        info!("stopped before the end: the same command goes on where it was");
        return Ok(ExitCode::FAILURE);
    };
    match status.repositories_missing() {
        0 => info!(
            reached,
            "backfill is complete; `skyweir serve --source {live}` with this data directory goes on from there"
        ),
        missing => warn!(
            reached,
            "backfill is done, but {missing} repositories couldn't be had, and the follows in them aren't known: run it \
             again to try those; `skyweir serve --source {live}` with this data directory goes on from there"
        ),
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells where the live stream goes on, and its name; `None` when it was stopped before the end.
async fn backfill(
    config: Config,
    from: &str,
    status: &Arc<SourceStatus>,
    work: &mut Attended<'_>,
) -> Result<Option<(u64, String)>> {
    let clock = Clock::system();
    let since = config.backfill.items_since.before(clock.now_micros());
    let settings = config.store.clone();
    let bulk = match opened(move || Bulk::open(settings)).await? {
        Some(bulk) if bulk.place().is_empty() => {
            let asked = work.until_stopped(has_archive(&config.indexer, from, clock.clone())).await;
            if let Some(Ok(true)) = asked {
                Some(bulk)
            } else {
                bulk.discard()?;
                let Some(asked) = asked else { return Ok(None) };
                asked?;
                None
            }
        }
        bulk => bulk,
    };
    let settings = config.store.clone();
    let store = match bulk {
        Some(bulk) => {
            let (settings, told) = (config.indexer.clone(), status.clone());
            let loader = Loader::new(settings, from, since, clock.clone(), told)?;
            load::run(&loader, bulk, status, work).await?
        }
        None => Some(opened(move || EmbeddedStore::open(settings)).await?),
    };
    let Some(store) = store else { return Ok(None) };
    // what the store doesn't have yet is applied event by event
    let shared = Arc::new(store.clone());
    coverage::adopt(&config.data_dir, shared.as_ref()).await?;
    let begun = Backfill::begin(config.indexer, shared, from, since, clock, status.clone());
    let Some(backfill) = work.until_stopped(begun).await else { return Ok(None) };
    let backfill = backfill?;
    // timelines of before would lack what is read now without tasks: they fill again
    spawn_blocking(move || Rings::forget(&store)).await??;
    let live = backfill.live();
    let reached = work.attend(backfill.run(work.stop.clone()), pace::of_archive(status)).await?;
    Ok(reached.map(|reached| (reached, live)))
}
