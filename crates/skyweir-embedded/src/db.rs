//! The fjall database: its keyspaces, and reading them at one moment.

use std::ops::Bound;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use fjall::config::{FilterPolicy, FilterPolicyEntry, PartitioningPolicy};
use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable, Slice, Snapshot,
};
use skyweir_store::Result;

use crate::Config;
use crate::error::{corrupt, db as db_error, sync_folder};
use crate::table::{Table, meta};

const MIB: u64 = 1024 * 1024;
/// How far flushes and compactions stand back: behind the fan-out, which stands back behind reads.
const WORKERS_NICE: i32 = 10;

/// Called with key and value; false ends the scan.
pub(crate) type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<bool> + Send + 'a;

/// Something that tables can be read from.
pub(crate) trait Read {
    /// One value.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Slice>>;
    /// Values in rising order of their keys, from `from` up to but without `to` (`None`: to the end).
    fn scan(&self, table: Table, from: Bound<&[u8]>, to: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<()>;
}

/// All tables.
#[derive(Clone)]
pub(crate) struct Db {
    database: Database,
    spaces: Arc<[Keyspace]>,
}

impl Db {
    /// Opens the database of a data directory, checks its format or sets it in a new one. Its flushes and compactions
    /// stand back behind everything else: Linux keeps a nice value for each thread and hands it on to those it starts.
    pub(crate) fn open(config: &Config) -> Result<Self> {
        let open = || {
            // elsewhere it would be the whole process that stands back
            if cfg!(target_os = "linux")
                && let Err(error) = rustix::process::nice(WORKERS_NICE)
            {
                tracing::debug!(%error, "compactions keep the priority of reads");
            }
            Self::open_here(config)
        };
        let opened = thread::scope(|scope| scope.spawn(open).join());
        opened.unwrap_or_else(|panic| resume_unwind(panic))
    }

    fn open_here(config: &Config) -> Result<Self> {
        let database = Database::builder(config.data_dir.join("db"))
            .cache_size(config.cache_mb.saturating_mul(MIB))
            .max_journaling_size(config.journal_mb.max(64).saturating_mul(MIB))
            .worker_threads(config.worker_threads.max(1))
            .open()
            .map_err(db_error)?;
        let memtable = config.memtable_mb.max(1).saturating_mul(MIB);
        let space = |table: Table| {
            let options = || {
                // below the first level, whose filters and indexes stay in memory, a look-up reads a part of each,
                // not all of it: docs/adr/0031-filters-in-parts.md
                let parts = || PartitioningPolicy::new([false, true]);
                let options = KeyspaceCreateOptions::default()
                    .max_memtable_size(memtable)
                    .filter_block_partitioning_policy(parts())
                    .index_block_partitioning_policy(parts());
                if table.is_looked_up() {
                    options
                } else {
                    options.filter_policy(FilterPolicy::all(FilterPolicyEntry::None))
                }
            };
            let is_new = !database.keyspace_exists(table.name());
            let space = database.keyspace(table.name(), options).map_err(db_error)?;
            if is_new {
                sync_folders(&config.data_dir)?;
            }
            Ok(space)
        };
        let first = space(Table::Meta)?;
        // also those that were made and not synced before the last end
        sync_folders(&config.data_dir)?;
        match first.get(meta::KEY_FORMAT).map_err(db_error)? {
            Some(format) => meta::check_format(&format)?,
            None if database.keyspace_count() == 1 => {
                let mut batch = database.batch().durability(Some(PersistMode::SyncAll));
                batch.insert(&first, meta::KEY_FORMAT, meta::FORMAT.to_be_bytes());
                batch.commit().map_err(db_error)?;
            }
            None => return Err(corrupt("the database has tables but no format")),
        }
        let spaces = Table::ALL.into_iter().map(space).collect::<Result<_>>()?;
        Ok(Self { database, spaces })
    }

    fn space(&self, table: Table) -> &Keyspace {
        &self.spaces[table as usize]
    }

    /// A moment of all tables.
    pub(crate) fn snapshot(&self) -> Moment {
        Moment { db: self.clone(), snapshot: self.database.snapshot() }
    }

    /// Begins a batch that is on disk before any of it shows.
    pub(crate) fn synced_batch(&self, capacity: usize) -> Batch<'_> {
        let batch = OwnedWriteBatch::with_capacity(self.database.clone(), capacity);
        Batch { db: self, batch: batch.durability(Some(PersistMode::SyncData)) }
    }

    /// Begins a batch that a power loss may take back.
    pub(crate) fn lazy_batch(&self) -> Batch<'_> {
        Batch { db: self, batch: self.database.batch().durability(Some(PersistMode::Buffer)) }
    }

    /// Begins to write an empty table in the order of its keys, past journal and memtable. What was written shows and
    /// is on disk once it is finished.
    pub(crate) fn ingest(&self, table: Table) -> Result<Ingest<'_>> {
        let mut table = Some(self.space(table).start_ingestion().map_err(db_error)?);
        Ok(Ingest(Box::new(move |entry| match (entry, &mut table) {
            (Some((key, value)), Some(table)) => table.write(key, value).map_err(db_error),
            (_, open) => open.take().map_or(Ok(()), |table| table.finish().map_err(db_error)),
        })))
    }

    /// Bytes on disk, with journals.
    pub(crate) fn disk_space(&self) -> Result<u64> {
        self.database.disk_space().map_err(db_error)
    }
}

/// Makes the name of a new keyspace durable, before there is another one. fjall syncs what is in its folder, and which
/// table the folder's number stands for, but not the folder's own name. A power loss would take whole tables away while
/// the journal, synced, still has their rows; and where it takes several folders away, their numbers are given to other
/// tables, while fjall goes on to read the former meaning of some, as sequence numbers begin anew as well.
fn sync_folders(data_dir: &Path) -> Result<()> {
    let db = data_dir.join("db");
    [&db.join("keyspaces"), &db, data_dir].into_iter().try_for_each(sync_folder)
}

/// Opens an existing data directory's database for a tool: refuses one that isn't there.
pub(crate) fn must_exist(dir: &Path) -> Result<()> {
    if dir.join("db").is_dir() {
        return Ok(());
    }
    Err(skyweir_store::Error::Unavailable(format!("{} is no data directory", dir.display())))
}

/// A table being written in one go. fjall doesn't export the type behind it, so a closure holds that: it is called
/// with each entry, and with `None` at the end.
pub(crate) struct Ingest<'a>(Box<Step<'a>>);

type Step<'a> = dyn FnMut(Option<(&[u8], &[u8])>) -> Result<()> + 'a;

impl Ingest<'_> {
    /// Keys have to rise.
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        (self.0)(Some((key, value)))
    }

    pub(crate) fn finish(mut self) -> Result<()> {
        (self.0)(None)
    }
}

/// Writes that take effect together.
pub(crate) struct Batch<'a> {
    db: &'a Db,
    batch: OwnedWriteBatch,
}

impl Batch<'_> {
    pub(crate) fn put(&mut self, table: Table, key: impl Into<Slice>, value: impl Into<Slice>) {
        self.batch.insert(self.db.space(table), key, value);
    }

    pub(crate) fn remove(&mut self, table: Table, key: impl Into<Slice>) {
        self.batch.remove(self.db.space(table), key);
    }

    pub(crate) fn commit(self) -> Result<()> {
        self.batch.commit().map_err(db_error)
    }
}

/// All tables at one moment.
#[derive(Clone)]
pub(crate) struct Moment {
    db: Db,
    snapshot: Snapshot,
}

impl Moment {
    /// Entries of a range, for merging with others.
    pub(crate) fn range(&self, table: Table, from: Bound<&[u8]>, to: Option<&[u8]>) -> fjall::Iter {
        let to = to.map_or(Bound::Unbounded, Bound::Excluded);
        self.snapshot.range::<&[u8], _>(self.db.space(table), (from, to))
    }
}

impl Read for Moment {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Slice>> {
        self.snapshot.get(self.db.space(table), key).map_err(db_error)
    }

    fn scan(&self, table: Table, from: Bound<&[u8]>, to: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<()> {
        for guard in self.range(table, from, to) {
            let (key, value) = guard.into_inner().map_err(db_error)?;
            if !visit(&key, &value)? {
                break;
            }
        }
        Ok(())
    }
}
