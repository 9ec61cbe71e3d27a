//! `skyweir move`: a data directory into an empty keyspace of a cluster, for `serve` to go on there.

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use indicatif::ProgressBar;
use skyweir_embedded::EmbeddedStore;
use skyweir_indexer::source::unfinished;
use skyweir_scylla::{Cluster, Config as ScyllaConfig, Lease, ScyllaStore};
use skyweir_store::{Error, Move, MoveError, MoveProgress, Moved, SavedCursor, Store, is_move};
use skyweir_types::Clock;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::attended::{Attended, opened};
use crate::cli::{MoveOptions, ServeOptions};
use crate::config::{Backend, Config};
use crate::coverage;
use crate::pace::{self, Said};
use crate::serve::io_runtime;
use crate::telemetry::{self, LogFormat};

/// How many accounts, items or records one transaction takes: as much as two full groups of the indexer.
const BATCH: usize = 1_000;
/// How often in a row the cluster may be unavailable before a person is asked, and the pause before each further try.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_secs(1);

/// Runs it to its end, or until it is told to stop; then it can be run again.
pub(crate) fn command(options: &MoveOptions) -> Result<ExitCode> {
    let config = Config::load(&ServeOptions {
        config: Some(options.config.clone()),
        data_dir: Some(options.data_dir.clone()),
        log_format: options.log_format,
        log: options.log.clone(),
        ..ServeOptions::default()
    })?;
    ensure!(
        config.backend == Backend::Scylla,
        "skyweir move copies a data directory into a cluster: {} has to say backend = \"scylla\", and the keyspace in \
         [scylla]",
        options.config.display()
    );
    let is_watched = config.log_format == LogFormat::Text && std::io::stderr().is_terminal();
    let bar = is_watched.then(pace::bar);
    telemetry::logs(config.log_format, &config.log, bar.clone())?;
    let io = io_runtime(config.runtime.io_threads)?;
    let ended = io.block_on(run(config, bar.as_ref()));
    io.shutdown_background();
    bar.iter().for_each(ProgressBar::finish_and_clear);
    ended
}

async fn run(config: Config, bar: Option<&ProgressBar>) -> Result<ExitCode> {
    let mut work = Attended::new(bar)?;
    let (source, saved) = source(&config).await?;
    let Some(target) = work.until_stopped(target(&config, &saved)).await else { return Ok(stopped()) };
    let target = target?;
    // to its end, as nobody else could give back what it takes
    let lease = work.attend(Lease::take(&target, Clock::system()), || None).await?;
    let told = Told::new();
    let moved = {
        let stop = work.stop.clone();
        let moving = async {
            let store = ScyllaStore::with(&lease).await?;
            let (data_dir, keyspace) = (config.data_dir.display(), &config.scylla.keyspace);
            info!(data.dir = %data_dir, scylla.keyspace = keyspace, "moving");
            copy(source, Arc::new(store), &lease, &told).await
        };
        let mut say = told.say();
        work.attend(stop.run_until_cancelled(moving), || Some(say())).await
    };
    if let Err(error) = lease.give_back().await {
        warn!(%error, "the lease isn't given back: `skyweir serve` is refused until it is over (scylla.lease_ms)");
    }
    let Some(moved) = moved else { return Ok(stopped()) };
    let Moved { accounts, items, records } = moved?;
    let seconds = told.begun.elapsed().as_secs();
    info!(
        accounts,
        items,
        records,
        seconds,
        "moved: `skyweir serve` with this configuration goes on from {}",
        saved.source
    );
    Ok(ExitCode::SUCCESS)
}

fn stopped() -> ExitCode {
    info!("stopped before the end: the same command goes on where it was");
    ExitCode::FAILURE
}

/// The data directory, and where it stands upstream.
async fn source(config: &Config) -> Result<(Arc<dyn Store>, SavedCursor)> {
    let settings = config.store.clone();
    let store: Arc<dyn Store> = Arc::new(opened(move || EmbeddedStore::open_existing(settings)).await?);
    coverage::adopt(&config.data_dir, store.as_ref()).await?;
    let saved = store.view().await?.cursor().await?.ok_or(MoveError::Nothing);
    let saved = saved.with_context(|| cannot(&config.data_dir))?;
    if let Some(live) = unfinished(&saved.source) {
        let data_dir = config.data_dir.display();
        bail!(
            "{data_dir} can't be moved yet: its backfill from {live} was cut off; `skyweir backfill` or `skyweir \
             serve` on it goes on where it was"
        );
    }
    Ok((store, saved))
}

fn cannot(data_dir: &Path) -> String {
    format!("{} can't be moved", data_dir.display())
}

/// The keyspace, if it may hold this move. A move has a name of its own, so neither a service that is at work there, or
/// comes while this is, nor the move takes the lease from the other.
async fn target(config: &Config, source: &SavedCursor) -> Result<Cluster> {
    let holder = format!("a move by {}", config.scylla.holder);
    let cluster = Cluster::connect(&ScyllaConfig { holder, ..config.scylla.clone() }).await?;
    // whoever has moved already is told that, and not that the service there has the lease
    match ScyllaStore::saved_cursor(&cluster).await? {
        Some(saved) if saved != *source && !is_move(&saved) => Err(MoveError::NotEmpty.into()),
        _ => Ok(cluster),
    }
}

/// Copies until all is there. What may pass by itself is tried again.
async fn copy(
    source: Arc<dyn Store>,
    target: Arc<ScyllaStore>,
    lease: &Lease,
    told: &Told,
) -> Result<Moved, MoveError> {
    let mut moving = Move::begin(source, target, BATCH).await?;
    loop {
        match moving.run(&|progress| told.tell(progress)).await {
            Err(MoveError::Store(Error::Unavailable(why))) if told.fails() <= TRIES && !lease.is_lost() => {
                warn!(error = %why, "the cluster refuses, trying again");
                tokio::time::sleep(PAUSE).await;
            }
            ended => return ended,
        }
    }
}

/// How far it is, from who copies to who says so.
struct Told {
    begun: Instant,
    progress: Mutex<Option<MoveProgress>>,
    failures: AtomicU32,
}

impl Told {
    fn new() -> Self {
        Self { begun: Instant::now(), progress: Mutex::new(None), failures: AtomicU32::new(0) }
    }

    fn tell(&self, progress: MoveProgress) {
        self.failures.store(0, Ordering::Relaxed);
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
    }

    /// How often it has failed in a row.
    fn fails(&self) -> u32 {
        self.failures.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn say(&self) -> impl FnMut() -> Said {
        let mut before = (self.begun, 0);
        move || {
            let progress = *self.progress.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(progress) = progress else { return Said { share: 0.0, line: "looking".into() } };
            let (now, all) = (Instant::now(), copied(&progress.moved));
            let pace = (all - before.1) as f64 / (now - before.0).as_secs_f64().max(0.001);
            before = (now, all);
            said(&progress, pace)
        }
    }
}

fn copied(moved: &Moved) -> u64 {
    moved.accounts + moved.items + moved.records
}

/// `pace`: rows a second. How many posts there are nobody knows, so the bar stands still meanwhile.
fn said(MoveProgress { stage, done, of, .. }: &MoveProgress, pace: f64) -> Said {
    match of {
        None => Said { share: 0.1, line: format!("{stage}: {done}, {pace:.0} a second") },
        Some(of) => {
            let share = *done as f64 / (*of).max(1) as f64;
            let (from, part) = if *stage == MoveProgress::FIRST { (0.0, 0.1) } else { (0.2, 0.8) };
            let line = format!("{stage}: {:.1} %, {pace:.0} a second", share * 100.0);
            Said { share: from + part * share, line }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_what_is_copied_how_much_and_how_fast() {
        let at = |stage, done, of| said(&MoveProgress { stage, done, of, moved: Moved::default() }, 99.6);
        let Said { share, line } = at(MoveProgress::FIRST, 1, Some(8));
        assert_eq!((share, line.as_str()), (0.0125, "accounts: 12.5 %, 100 a second"));
        let Said { share, line } = at("posts and reposts", 70, None);
        assert_eq!((share, line.as_str()), (0.1, "posts and reposts: 70, 100 a second"));
        assert_eq!(at("other records, by accounts", 0, Some(0)).share, 0.2);
        assert_eq!(at("other records, by accounts", 8, Some(8)).share, 1.0);
    }
}
