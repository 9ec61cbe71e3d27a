//! How much a store holds: what is said of follows that can't be known, how processes that don't fill it are told, and
//! the mark file with which directories of before say that none is missing.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use skyweir_indexer::is_loaded;
use skyweir_store::{Complete, Completeness, Error, Store};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// Said as long as a store isn't whole.
pub(crate) const NOTE: &str = "no backfill: only follows made since this store began are known, or some were \
                               missed in a gap or couldn't be had, so timelines lack accounts that are followed";

/// Told of a directory by a file, before the store itself knew it.
const MARK: &str = "FROM_THE_BEGINNING";

/// Moves what a mark file says into the store. It counts once, so that nobody has to ask both.
///
/// # Errors
/// The store or the data directory refuses.
pub(crate) async fn adopt(data_dir: &Path, store: &dyn Store) -> Result<()> {
    let mark = data_dir.join(MARK);
    if !mark.exists() {
        return Ok(());
    }
    let mut txn = store.begin().await?;
    txn.set_whole(true).await?;
    txn.commit().await?;
    let removed = std::fs::remove_file(&mark);
    // a mark that came back would hide a gap since
    let removed = removed.and_then(|()| File::open(data_dir)?.sync_all());
    removed.with_context(|| format!("cannot remove {}", mark.display()))
}

/// How often a process without the indexer looks what its store says of itself.
const LOOK: Duration = Duration::from_secs(1);

/// What a store says of itself, for a process that doesn't fill it.
pub(crate) struct Watched {
    store: Arc<dyn Store>,
    is_whole: AtomicBool,
    loaded: CancellationToken,
}

impl Watched {
    /// Looks for the first time.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn begin(store: Arc<dyn Store>) -> Result<Arc<Self>> {
        let watched = Self { store, is_whole: AtomicBool::new(false), loaded: CancellationToken::new() };
        watched.look().await?;
        Ok(Arc::new(watched))
    }

    /// Is cancelled once timelines may be kept: what is read upstream from then on leaves tasks.
    pub(crate) fn loaded(&self) -> CancellationToken {
        self.loaded.clone()
    }

    /// Looks until stopped.
    ///
    /// # Errors
    /// The store is corrupt.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) -> skyweir_store::Result<()> {
        while stop.run_until_cancelled(sleep(LOOK)).await.is_some() {
            match stop.run_until_cancelled(self.look()).await {
                Some(Err(error @ Error::Corrupt(_))) => return Err(error),
                // what was known is true still, or nearly so
                Some(Err(error)) => debug!(%error, "it isn't known how much the store holds by now"),
                Some(Ok(())) | None => {}
            }
        }
        Ok(())
    }

    async fn look(&self) -> skyweir_store::Result<()> {
        let view = self.store.view().await?;
        self.is_whole.store(view.is_whole().await?, Ordering::Relaxed);
        if is_loaded(view.cursor().await?.as_ref()) {
            self.loaded.cancel();
        }
        Ok(())
    }
}

impl Complete for Watched {
    fn completeness(&self) -> Completeness {
        if self.is_whole.load(Ordering::Relaxed) { Completeness::Whole } else { Completeness::Partial }
    }
}

#[cfg(test)]
mod tests {
    use skyweir_store::{MemoryStore, SavedCursor};

    use super::*;

    #[tokio::test]
    async fn a_mark_counts_once() {
        let (dir, store) = (tempfile::tempdir().unwrap(), MemoryStore::new());
        let whole = async || store.view().await.unwrap().is_whole().await.unwrap();
        adopt(dir.path(), &store).await.unwrap();
        assert!(!whole().await);
        std::fs::write(dir.path().join(MARK), "ws://h/subscribe").unwrap();
        adopt(dir.path(), &store).await.unwrap();
        assert!(whole().await && !dir.path().join(MARK).exists());
        let mut txn = store.begin().await.unwrap();
        txn.set_whole(false).await.unwrap();
        txn.commit().await.unwrap();
        adopt(dir.path(), &store).await.unwrap();
        assert!(!whole().await);
    }

    #[tokio::test]
    async fn a_store_says_itself_how_much_it_holds() {
        let store = Arc::new(MemoryStore::new());
        let watched = Watched::begin(store.clone()).await.unwrap();
        for (source, whole, loaded) in [
            (None, false, false),
            (Some("archive of ws://h/x"), false, false),
            (Some("a move of ws://h/x at 1 1 1 1: items 1"), false, false),
            (Some("ws://h/x"), true, true),
            (Some("archive behind ws://h/x"), false, true),
        ] {
            let mut txn = store.begin().await.unwrap();
            txn.set_whole(whole).await.unwrap();
            if let Some(source) = source {
                let cursor = SavedCursor { source: source.into(), position: 1, time_us: 1 };
                txn.set_cursor(cursor).await.unwrap();
            }
            txn.commit().await.unwrap();
            watched.look().await.unwrap();
            assert_eq!(watched.completeness() == Completeness::Whole, whole, "{source:?}");
            assert_eq!(watched.loaded().is_cancelled(), loaded, "{source:?}");
        }
    }
}
