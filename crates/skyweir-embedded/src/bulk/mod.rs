//! A whole network's accounts and follows into an empty data directory, past the per-event path: sorted runs, then each
//! table written once, in order.
//!
//! What comes out is what the same operations one by one would have left, but for which rows are folded into blocks,
//! and for the numbers of further records of an edge. The folder `loading` has all that was taken so far, up to a
//! durable place; the database is made of it, and made again if that is cut off. From the first such place on, or from
//! where the database is made, the directory is refused until the load is finished.

mod columns;
mod fold;
mod keys;
mod manifest;
mod names;
mod others;
mod rows;
mod sorter;
mod tables;
mod tail;
mod written;

use std::path::{Path, PathBuf};

use skyweir_store::{AccountRow, Error, Load, LoadStep, Result, SyncMark};
use skyweir_types::{ActorId, Did, RecordKey, Tid};

use self::columns::Columns;
use self::manifest::Manifest;
use self::names::Names;
use self::rows::{Kind, Step};
use self::sorter::Sorter;
use self::tail::{Extent, Tail};
use crate::codec::rkey_tid;
use crate::db::{Db, Read as _};
use crate::error::{corrupt, io, sync_folder};
use crate::lock::DirLock;
use crate::table::{Table, meta};
use crate::{Config, EmbeddedStore};

pub(crate) use manifest::refuse_unfinished;
pub use written::Written;

/// How far [`Bulk::write`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkProgress {
    /// What is being written.
    pub stage: &'static str,
    /// How many rows of it are.
    pub done: u64,
    /// How many there will be.
    pub of: u64,
}

/// Loads accounts and follows into an empty data directory. See the module.
pub struct Bulk {
    config: Config,
    folder: PathBuf,
    memory: usize,
    /// What is durable.
    manifest: Manifest,
    /// What is when the last run is written.
    writing: Option<Manifest>,
    place: Vec<u8>,
    steps: Sorter<Step>,
    names: Names,
    columns: Columns,
    keys: Tail,
    notes: Tail,
    /// The last: a run that is being written ends before another may begin.
    lock: DirLock,
}

impl Bulk {
    /// Begins a load into an empty data directory, which is made if it isn't there, or goes on with one that was cut
    /// off. `None` when the directory holds something else.
    ///
    /// # Errors
    /// `Unavailable` when another process has the directory or the disk refuses, `Corrupt` when what a load has left
    /// contradicts itself.
    pub fn open(config: Config) -> Result<Option<Self>> {
        let lock = DirLock::take(&config.data_dir)?;
        let folder = manifest::folder(&config.data_dir);
        let manifest = match Manifest::read(&folder)? {
            Some(manifest) if !manifest.place.is_empty() => manifest,
            None if !is_empty(&config)? => {
                // a load that has ended may have left files
                manifest::remove(&config.data_dir)?;
                return Ok(None);
            }
            nothing => begin(&config.data_dir, &folder, nothing.is_some())?,
        };
        let memory = config.load_mb << 20;
        let [names, accounts, keys, notes] = match manifest.files {
            // the rest is in the tables
            [.., notes] if manifest.is_written => {
                let none = Extent::default();
                [none, none, none, notes]
            }
            files => files,
        };
        let names = Names::open(&folder, names)?;
        let mut bulk = Self {
            memory,
            place: manifest.place.clone(),
            steps: Sorter::new(&folder, "steps", memory).behind(manifest.runs, manifest.steps),
            columns: Columns::open(&folder, names.len(), accounts)?,
            keys: Tail::summed(&folder, "keys", keys)?,
            notes: Tail::open(&folder, "notes", notes.len)?,
            config,
            lock,
            folder,
            manifest,
            writing: None,
            names,
        };
        if !bulk.is_written() {
            bulk.read_revs()?;
        }
        Ok(Some(bulk))
    }

    /// Begins a load as [`Bulk::open`].
    ///
    /// # Errors
    /// As [`Bulk::open`], and `Unavailable` when the directory holds something else.
    pub fn begin(config: Config) -> Result<Self> {
        let data_dir = config.data_dir.clone();
        Self::open(config)?.ok_or_else(|| {
            Error::Unavailable(format!(
                "{} holds accounts already: a whole network can only be loaded into an empty directory",
                data_dir.display()
            ))
        })
    }

    /// Takes back a load that has nothing yet: the directory is as empty as before.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses.
    pub fn discard(self) -> Result<()> {
        manifest::remove(&self.config.data_dir)
    }

    /// Whether the tables are written, so that no step may come any more; then only the notes are known.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.manifest.is_written
    }

    /// Adds a follow record, in a commit of its own: [`Load::step`] for whoever has no place to go on from.
    ///
    /// # Errors
    /// As [`Load::step`].
    pub fn follow(&mut self, follower: ActorId, subject: ActorId, rkey: &RecordKey, rev: Tid) -> Result<()> {
        self.step(follower, LoadStep::Put { rkey, rev, subject, goes_on: false })?;
        self.make_room()
    }

    /// Writes all tables and finishes: [`Bulk::write`] for whoever has noted nothing.
    ///
    /// # Errors
    /// As [`Bulk::write`].
    pub async fn finish(self, progress: &mut (dyn FnMut(BulkProgress) + Send)) -> Result<EmbeddedStore> {
        self.write(i64::MIN, progress).await?.finish()
    }

    /// The greatest revs are in the runs.
    fn read_revs(&mut self) -> Result<()> {
        for run in 0..self.steps.runs() {
            let mut run = self.steps.run(run)?;
            while let Some(step) = run.next()? {
                let subject = if step.kind == Kind::Put { step.value } else { 0 };
                if subject.max(step.actor.into()) >= self.columns.len() as u64 {
                    return Err(corrupt("a load has a step of an account without a name"));
                }
                if let Kind::Put | Kind::Delete | Kind::Other = step.kind {
                    self.columns.saw(ActorId(step.actor), Tid(step.rev));
                }
            }
        }
        Ok(())
    }

    fn files(&mut self) -> [&mut Tail; 4] {
        [self.names.file(), self.columns.file(), &mut self.keys, &mut self.notes]
    }

    /// Makes all that has come durable when there is much of it.
    fn make_room(&mut self) -> Result<()> {
        let saved = self.writing.as_ref().unwrap_or(&self.manifest).files;
        let grown = self.files().map(|file| file.len()).iter().sum::<u64>()
            - saved.map(|extent| extent.len).iter().sum::<u64>();
        if self.steps.is_full() || grown > self.memory as u64 { self.save() } else { Ok(()) }
    }

    /// Waits until what is being made durable is.
    fn wait(&mut self) -> Result<()> {
        let writing = self.writing.take();
        self.steps.wait()?;
        if let Some(manifest) = writing {
            self.manifest = manifest;
        }
        Ok(())
    }

    /// Has all that has come made durable by another thread.
    fn save(&mut self) -> Result<()> {
        self.wait()?;
        let handles = self.files().into_iter().map(Tail::handle).collect::<Result<Vec<_>>>()?;
        let files = self.files().map(|file| file.extent());
        let (runs, steps, place) = (self.steps.runs() + 1, self.steps.pushed(), self.place.clone());
        let (manifest, folder) =
            (Manifest { is_written: false, runs, steps, files, place }, self.folder.clone());
        self.writing = Some(manifest.clone());
        self.steps.spill(move || {
            let synced = handles.iter().try_for_each(std::fs::File::sync_data);
            synced.map_err(|e| io("cannot sync", &folder, &e))?;
            // what has no place isn't gone on with: nothing is lost with it, and the directory is as empty as before
            if manifest.place.is_empty() { Ok(()) } else { manifest.write(&folder) }
        })
    }
}

/// Whether a directory has no database, or one that knows nothing.
fn is_empty(config: &Config) -> Result<bool> {
    if !config.data_dir.join("db").exists() {
        return Ok(true);
    }
    let moment = Db::open(config)?.snapshot();
    let is_there = |key: &[u8]| -> Result<bool> { Ok(moment.get(Table::Meta, key)?.is_some()) };
    Ok(!is_there(meta::KEY_ACTORS)? && !is_there(meta::KEY_CURSOR)?)
}

/// Begins with nothing. `is_marked`: tables of which nothing counts may be there.
fn begin(data_dir: &Path, folder: &Path, is_marked: bool) -> Result<Manifest> {
    if is_marked {
        remove_database(data_dir)?;
    }
    manifest::remove(data_dir)?;
    std::fs::create_dir_all(folder).map_err(|e| io("cannot make", folder, &e))?;
    sync_folder(data_dir)?;
    Ok(Manifest::default())
}

/// Removes tables that a load has begun to write, or that hold nothing.
fn remove_database(data_dir: &Path) -> Result<()> {
    let folder = data_dir.join("db");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(|e| io("cannot remove", &folder, &e))?;
        sync_folder(data_dir)?;
    }
    Ok(())
}

impl Load for Bulk {
    fn place(&self) -> &[u8] {
        &self.manifest.place
    }

    fn actor(&mut self, did: &Did) -> Result<ActorId> {
        let (actor, is_new) = self.names.number(did)?;
        if is_new {
            self.columns.grow(self.names.len());
        }
        Ok(actor)
    }

    fn account(&self, actor: ActorId) -> AccountRow {
        self.columns.row(actor)
    }

    fn set_account(&mut self, actor: ActorId, row: AccountRow) -> Result<()> {
        self.columns.set(actor, row)
    }

    fn sync_marks(&self) -> Vec<(ActorId, SyncMark)> {
        self.columns.syncs().collect()
    }

    fn greatest_rev(&self, actor: ActorId) -> Tid {
        self.columns.rev(actor)
    }

    fn step(&mut self, actor: ActorId, step: LoadStep<'_>) -> Result<()> {
        let subject = if let LoadStep::Put { subject, .. } = step { subject } else { actor };
        if actor.0.max(subject.0) as usize >= self.columns.len() {
            return Err(corrupt("a follow of an account without a number"));
        }
        let mut row = Step { actor: actor.0, ..Step::default() };
        let (rkey, rev) = match step {
            LoadStep::Put { rkey, rev, subject, goes_on } => {
                (row.goes_on, row.value) = (goes_on, subject.0.into());
                (Some(rkey), rev)
            }
            LoadStep::Delete { rkey, rev, at_ms, goes_on } => {
                (row.kind, row.goes_on, row.value) = (Kind::Delete, goes_on, at_ms as u64);
                (Some(rkey), rev)
            }
            LoadStep::Other { rev } => {
                row.kind = Kind::Other;
                (None, rev)
            }
            LoadStep::Wipe => {
                row.kind = Kind::Wipe;
                (None, Tid::ZERO)
            }
            LoadStep::Sweep(mark) => {
                (row.kind, row.value) = (Kind::Sweep, mark.since_ms as u64);
                (None, mark.rev)
            }
        };
        if !matches!(row.kind, Kind::Wipe | Kind::Sweep) {
            self.columns.saw(actor, rev);
        }
        row.rev = rev.0;
        if let Some(rkey) = rkey {
            row.rkey = match rkey_tid(rkey) {
                Some(tid) => tid.0,
                None => {
                    row.is_text = true;
                    keys::push(&mut self.keys, rkey)?
                }
            };
        }
        self.steps.push(row);
        Ok(())
    }

    fn note(&mut self, note: &[u8]) -> Result<()> {
        written::note(&mut self.notes, note)
    }

    fn reached(&mut self, place: &[u8]) -> Result<()> {
        self.place.clear();
        self.place.extend_from_slice(place);
        self.make_room()
    }

    fn sync(&mut self) -> Result<()> {
        self.save()?;
        self.wait()
    }
}
