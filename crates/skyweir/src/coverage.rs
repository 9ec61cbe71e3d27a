//! What is said of follows that can't be known, and the mark file with which directories of before say that none is.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};
use skyweir_store::Store;

/// Said as long as a store isn't whole.
pub(crate) const NOTE: &str = "no backfill: only follows made since this data directory began are known, or some were \
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

#[cfg(test)]
mod tests {
    use skyweir_store::MemoryStore;

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
}
