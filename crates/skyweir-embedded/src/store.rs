//! The store of records: opening it, beginning views and transactions, trimming the task log.

use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use async_trait::async_trait;
use skyweir_store::{Result, Store, Txn, View};
use skyweir_types::{ActorId, TaskId};
use tokio::sync::{Mutex, watch};

use crate::Config;
use crate::accounts::Accounts;
use crate::blocking::blocking;
use crate::bulk::refuse_unfinished;
use crate::cache::Caches;
use crate::db::{Db, Read, must_exist};
use crate::lock::DirLock;
use crate::remembered::Remembered;
use crate::table::heads::Head;
use crate::table::{Table, actors, follow_blocks, meta, tasks};
use crate::txn::EmbeddedTxn;
use crate::view::EmbeddedView;

/// How many rows of tasks are deleted in one batch.
const TRIM_BATCH: usize = 1_000;

/// The record store of one machine. Cheap to clone; the data directory is free again once all clones, views,
/// transactions and the rings are gone.
#[derive(Clone)]
pub struct EmbeddedStore {
    pub(crate) inner: Arc<Inner>,
}

/// The next numbers, and what else one transaction leaves to the next.
#[derive(Debug)]
pub(crate) struct Numbers {
    pub(crate) actors: u32,
    pub(crate) items: u64,
    pub(crate) tasks: u64,
    /// No tombstone is older, milliseconds: a scan from the start would walk over all that was ever forgotten.
    pub(crate) oldest_tombstone: i64,
    pub(crate) remembered: Remembered,
}

/// Fields are dropped in this order: the database before its lock.
pub(crate) struct Inner {
    pub(crate) db: Db,
    pub(crate) accounts: Accounts,
    pub(crate) caches: Caches,
    pub(crate) numbers: Arc<Mutex<Numbers>>,
    pub(crate) next_task: watch::Sender<TaskId>,
    pub(crate) config: Config,
    /// No horizon that is committed, or about to be, is greater: most stores never have one.
    pub(crate) horizon: AtomicI64,
    /// No task below this one is stored.
    first_task: AtomicU64,
    _lock: DirLock,
}

impl EmbeddedStore {
    /// Opens a data directory, a new one if there is none. Blocks for as long as the journals take to be read.
    ///
    /// # Errors
    /// `Unavailable` when another process has it, when its format is another one or the disk refuses; `Corrupt` when
    /// what it holds contradicts itself.
    pub fn open(config: Config) -> Result<Self> {
        let lock = DirLock::take(&config.data_dir)?;
        refuse_unfinished(&config.data_dir)?;
        let db = Db::open(&config)?;
        Self::assemble(config, lock, db)
    }

    /// As [`EmbeddedStore::open`], of a data directory that is there.
    ///
    /// # Errors
    /// The same, and `Unavailable` when there is none.
    pub fn open_existing(config: Config) -> Result<Self> {
        must_exist(&config.data_dir)?;
        Self::open(config)
    }

    /// The store of an open database.
    pub(crate) fn assemble(config: Config, lock: DirLock, db: Db) -> Result<Self> {
        meta::raise_format(&db)?;
        let moment = db.snapshot();
        let number = |key| moment.get(Table::Meta, key)?.map(|bytes| meta::read_number(&bytes)).transpose();
        let numbers = Numbers {
            actors: number(meta::KEY_ACTORS)?.unwrap_or(0).try_into().unwrap_or(u32::MAX),
            items: number(meta::KEY_ITEMS)?.unwrap_or(1),
            tasks: number(meta::KEY_TASKS)?.unwrap_or(1),
            oldest_tombstone: i64::MIN,
            remembered: Remembered::new(config.remembered_accounts),
        };
        let accounts = Accounts::default();
        moment.scan(Table::Heads, Bound::Unbounded, None, &mut |key, value| {
            accounts.load(actors::read_number(key)?, &Head::decode(value)?);
            Ok(true)
        })?;
        let mut first_task = numbers.tasks;
        moment.scan(Table::Tasks, Bound::Unbounded, None, &mut |key, value| {
            first_task = tasks::decode(key, value)?.first().map_or(first_task, |(id, _)| id.0);
            Ok(false)
        })?;
        tracing::info!(
            actors = numbers.actors,
            task.first = first_task,
            task.next = numbers.tasks,
            "store opened"
        );
        Ok(Self {
            inner: Arc::new(Inner {
                db,
                accounts,
                caches: Caches::new(&config, numbers.actors),
                next_task: watch::Sender::new(TaskId(numbers.tasks)),
                numbers: Arc::new(Mutex::new(numbers)),
                config,
                horizon: AtomicI64::new(meta::horizon(&moment)?),
                first_task: AtomicU64::new(first_task),
                _lock: lock,
            }),
        })
    }

    /// Bytes on disk of records, without the rings.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses.
    pub fn disk_space(&self) -> Result<u64> {
        self.inner.db.disk_space()
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn view(&self) -> Result<Box<dyn View>> {
        Ok(Box::new(EmbeddedView::new(Arc::clone(&self.inner))))
    }

    async fn begin(&self) -> Result<Box<dyn Txn>> {
        let numbers = Arc::clone(&self.inner.numbers).lock_owned().await;
        Ok(Box::new(EmbeddedTxn::new(Arc::clone(&self.inner), numbers)))
    }

    fn next_task(&self) -> watch::Receiver<TaskId> {
        self.inner.next_task.subscribe()
    }

    async fn trim_tasks(&self, kept: TaskId) -> Result<()> {
        // on a thread that may block: a batch waits for the sync of whoever commits, and when the disk falls behind
        let inner = Arc::clone(&self.inner);
        blocking("trim", move || {
            while inner.trim_some(kept)? {}
            Ok(())
        })
        .await
    }
}

impl Inner {
    /// How many accounts are interned at a moment.
    pub(crate) fn actor_count(read: &impl Read) -> Result<u32> {
        let stored = read.get(Table::Meta, meta::KEY_ACTORS)?;
        Ok(stored
            .map(|bytes| meta::read_number(&bytes))
            .transpose()?
            .unwrap_or(0)
            .try_into()
            .unwrap_or(u32::MAX))
    }

    /// Forgets a batch of tasks below `kept`; false when there are none.
    fn trim_some(&self, kept: TaskId) -> Result<bool> {
        // from the first stored one on: a scan from the start would walk over all that was ever deleted
        let first = TaskId(self.first_task.load(Ordering::Acquire));
        if first >= kept {
            return Ok(false);
        }
        let mut batch = self.db.lazy_batch();
        let mut begins = first;
        let mut n = 0;
        let visit = &mut |key: &[u8], value: &[u8]| {
            let mut row = tasks::decode(key, value)?;
            row.retain(|(id, _)| *id >= kept);
            n += 1;
            if let Some((id, _)) = row.first() {
                // the row goes on with what is kept of it
                begins = *id;
                let row: Vec<_> = row.into_iter().map(|(_, task)| task).collect();
                batch.put(Table::Tasks, key, tasks::encode(&row));
                return Ok(false);
            }
            batch.remove(Table::Tasks, key);
            begins = tasks::last(key)?.next();
            Ok(n < TRIM_BATCH)
        };
        self.db.snapshot().scan(Table::Tasks, Bound::Included(&tasks::key(first)), None, visit)?;
        if n == 0 {
            return Ok(false);
        }
        batch.commit()?;
        self.first_task.fetch_max(begins.0, Ordering::AcqRel);
        Ok(begins < kept)
    }

    /// Whether one account follows another now.
    pub(crate) fn follows_now(&self, viewer: ActorId, author: ActorId) -> Result<bool> {
        // of one moment: an edge may go from its row into a block meanwhile, or back
        follow_blocks::edge(&self.db.snapshot(), viewer, author).map(|edge| edge.is_some())
    }
}
