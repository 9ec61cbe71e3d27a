//! The end of a load: the tables are written, then what was noted is applied by whoever noted it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;

use skyweir_store::{Notes, Result, Store as _};

use super::keys::Keys;
use super::manifest;
use super::others::Others;
use super::tables::{self, Loaded};
use super::tail::Tail;
use super::{Bulk, BulkProgress, remove_database};
use crate::EmbeddedStore;
use crate::db::Db;
use crate::error::{corrupt, io};

/// How many records that need the usual path make a transaction.
const GROUP: u64 = 500;

/// Appends a note: u32 bytes, their CRC-32, and these.
pub(super) fn note(file: &mut Tail, note: &[u8]) -> Result<()> {
    file.push(&(note.len() as u32).to_be_bytes())?;
    file.push(&crc32fast::hash(note).to_be_bytes())?;
    file.push(note)
}

impl Bulk {
    /// Writes all tables, unless they are: the store is open then, and has all steps. Tombstones of before a time, in
    /// milliseconds since 1970, are forgotten. Cut off, it begins again.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses: then it can be done again.
    pub async fn write(
        mut self,
        before_ms: i64,
        progress: &mut (dyn FnMut(BulkProgress) + Send),
    ) -> Result<Written> {
        self.wait()?;
        self.columns.forget_revs();
        let data_dir = self.config.data_dir.clone();
        if self.is_written() {
            let db = Db::open(&self.config)?;
            let store = EmbeddedStore::assemble(self.config, self.lock, db)?;
            return Ok(Written { store, data_dir, notes: self.notes });
        }
        // also of a load without a place: its tables don't fit together until all are there
        self.manifest.write(&self.folder)?;
        remove_database(&data_dir)?;
        let db = Db::open(&self.config)?;
        let mut others = Others::begin(&self.folder)?;
        let syncs: Vec<_> = self.columns.syncs().collect();
        let (runs, mut manifest) = (self.steps.runs(), self.manifest);
        self.keys.check()?;
        let keys = Keys::open(self.keys.path())?;
        let loaded = Loaded { steps: self.steps, keys, names: self.names, columns: self.columns, before_ms };
        tables::write(&db, &self.folder, self.memory, loaded, &mut others, progress)?;
        let store = EmbeddedStore::assemble(self.config, self.lock, db)?;
        let mut txn = store.begin().await?;
        for (actor, mark) in syncs {
            let mut row = txn.account(actor).await?;
            row.sync = Some(mark);
            txn.set_account(actor, row).await?;
        }
        txn.commit().await?;
        put_others(&store, others, progress).await?;
        (manifest.is_written, manifest.files[3]) = (true, self.notes.extent());
        self.notes.handle()?.sync_data().map_err(|e| io("cannot sync", self.notes.path(), &e))?;
        manifest.write(&self.folder)?;
        for run in 0..runs {
            // what isn't removed now is with the folder
            let _ = std::fs::remove_file(self.folder.join(format!("steps-{run}.run")));
        }
        Ok(Written { store, data_dir, notes: self.notes })
    }
}

async fn put_others(
    store: &EmbeddedStore,
    others: Others,
    progress: &mut (dyn FnMut(BulkProgress) + Send),
) -> Result<()> {
    let of = others.len();
    let mut left = others.read()?;
    let mut done = 0;
    while done < of {
        let mut txn = store.begin().await?;
        let before = done;
        while done - before < GROUP
            && let Some(other) = left.next()?
        {
            other.put(txn.as_mut()).await?;
            done += 1;
        }
        txn.commit().await?;
        progress(BulkProgress { stage: "other records", done, of });
    }
    Ok(())
}

/// A load whose tables are written.
pub struct Written {
    store: EmbeddedStore,
    data_dir: PathBuf,
    notes: Tail,
}

impl Written {
    /// The store, which has all steps.
    #[must_use]
    pub fn store(&self) -> &EmbeddedStore {
        &self.store
    }

    /// How far the notes go: the number behind the last.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.notes.len()
    }

    /// The notes from a number on that [`Notes::next`] gave, or 0.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses.
    pub fn notes(&mut self, from: u64) -> Result<Box<dyn Notes>> {
        let (at, path) = (from, self.notes.path().to_owned());
        Ok(Box::new(NotesReader { file: self.notes.read(from)?, path, at }))
    }

    /// Ends the load: the directory is as any other then.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses.
    pub fn finish(self) -> Result<EmbeddedStore> {
        manifest::remove(&self.data_dir)?;
        Ok(self.store)
    }
}

struct NotesReader {
    file: BufReader<File>,
    path: PathBuf,
    at: u64,
}

impl Notes for NotesReader {
    fn next(&mut self) -> Result<Option<(Vec<u8>, u64)>> {
        let failed = |e| io("cannot read", &self.path, &e);
        if self.file.fill_buf().map_err(failed)?.is_empty() {
            return Ok(None);
        }
        let (mut len, mut crc) = ([0; 4], [0; 4]);
        self.file.read_exact(&mut len).and_then(|()| self.file.read_exact(&mut crc)).map_err(failed)?;
        let mut note = Vec::new();
        // no more memory than the file has
        let len = u64::from(u32::from_be_bytes(len));
        self.file.by_ref().take(len).read_to_end(&mut note).map_err(failed)?;
        if note.len() as u64 != len || crc32fast::hash(&note) != u32::from_be_bytes(crc) {
            return Err(corrupt(format_args!("{} isn't what was written", self.path.display())));
        }
        self.at += 8 + note.len() as u64;
        Ok(Some((note, self.at)))
    }
}
