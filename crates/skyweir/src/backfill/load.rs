//! Into an empty directory: follows and accounts are loaded past the per-event path, what that leaves is applied.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use skyweir_embedded::{Bulk, BulkProgress, EmbeddedStore};
use skyweir_indexer::archive::Loader;
use skyweir_indexer::source::SourceStatus;
use skyweir_store::Load as _;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tracing::info;

use crate::attended::Attended;
use crate::pace::{self, Said};

/// Loads until all that is sealed is in the store, which it returns, or until stopped: then the next run goes on.
pub(super) async fn run(
    loader: &Loader,
    bulk: Bulk,
    status: &SourceStatus,
    work: &mut Attended<'_>,
) -> Result<Option<EmbeddedStore>> {
    loader.check(&bulk)?;
    let bulk = if bulk.is_written() {
        bulk
    } else {
        info!("reading the archive into an empty directory");
        match work.attend(loader.read(bulk, work.stop.clone()), pace::of_archive(status)).await? {
            (bulk, true) => bulk,
            (_, false) => return Ok(None),
        }
    };
    let (place, from_ms) = (bulk.place().to_vec(), loader.tombstones_from_ms(&bulk)?);
    let told = Arc::new(Mutex::new(BulkProgress { stage: "tables", done: 0, of: 1 }));
    let (tell, handle) = (told.clone(), Handle::current());
    info!("writing the tables");
    let write = spawn_blocking(move || {
        let mut tell = |progress| *tell.lock().unwrap_or_else(PoisonError::into_inner) = progress;
        handle.block_on(bulk.write(from_ms, &mut tell))
    });
    let say = || said(*told.lock().unwrap_or_else(PoisonError::into_inner));
    // the end of the process cuts it off, wherever it is: the next one begins the tables again
    let stop = work.stop.clone();
    let Some(written) = work.attend(stop.run_until_cancelled(write), say).await else { return Ok(None) };
    let mut written = written.context("writing the tables")??;
    let (store, of) = (Arc::new(written.store().clone()), written.end());
    let at = Mutex::new(0);
    let progress = |done| *at.lock().unwrap_or_else(PoisonError::into_inner) = done;
    let say = || {
        let done = *at.lock().unwrap_or_else(PoisonError::into_inner);
        said(BulkProgress { stage: "posts and reposts", done, of })
    };
    info!("applying posts and reposts");
    let left = loader.apply_left(store, &place, |from| written.notes(from), &progress, work.stop.clone());
    let is_all = work.attend(left, say).await?;
    if is_all { Ok(Some(written.finish()?)) } else { Ok(None) }
}

/// How far it is.
fn said(BulkProgress { stage, done, of }: BulkProgress) -> Option<Said> {
    let share = done as f64 / of.max(1) as f64;
    Some(Said { share, line: format!("{stage}: {:.1} %", share * 100.0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_stage_and_share() {
        let line = |stage, done, of| said(BulkProgress { stage, done, of }).unwrap().line;
        assert_eq!(line("followers", 1, 8), "followers: 12.5 %");
        assert_eq!(line("other records", 0, 0), "other records: 0.0 %");
    }
}
