//! The store: what is shared by its views and transactions, and how it is opened.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use skyweir_store::{Result, SavedCursor, Store, Txn, View};
use skyweir_types::{Clock, TaskId};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::hold::Hold;
use crate::log::Log;
use crate::moment::Moment;
use crate::remembered::Remembered;
use crate::session::Db;
use crate::settle::Writer;
use crate::table::Tables;
use crate::table::journal::Journal;
use crate::table::visible::Visible;
use crate::txn::ScyllaTxn;
use crate::view::ScyllaView;

/// A view ends this long before the rows that it needs may pass: the server counts in seconds.
const MARGIN: Duration = Duration::from_secs(5);
/// How often it is looked whether Redis has all tasks.
const LOOK: Duration = Duration::from_secs(1);

/// The records of one service on CQL, their task log in Redis. Whoever opens it is its indexer.
pub struct ScyllaStore {
    inner: Arc<Inner>,
    /// Renews the lease and looks after the log as long as the store is there.
    _upkeep: JoinSet<()>,
}

pub(crate) struct Inner {
    pub(crate) db: Arc<Db>,
    pub(crate) tables: Tables,
    pub(crate) journal: Journal,
    pub(crate) visible: Visible,
    pub(crate) log: Log,
    pub(crate) hold: Hold,
    pub(crate) ttl: i32,
    pub(crate) followers_bucket: u32,
    pub(crate) remembered: Remembered,
    pub(crate) next_task: watch::Sender<TaskId>,
    /// Held from begin to the end of a transaction: one at a time.
    pub(crate) writer: Arc<Mutex<Writer>>,
    shown: StdMutex<Shown>,
    /// Whether a transaction is under way from its journal to what shows, or was given up there.
    pub(crate) is_unsettled: AtomicBool,
    /// Held by who takes the writer only if it is free: so none of those finds it taken by another of them.
    pub(crate) settling: Mutex<()>,
}

/// What views show.
#[derive(Clone)]
struct Shown {
    moment: Arc<Moment>,
    /// When it was the newest for certain.
    known: Instant,
}

impl ScyllaStore {
    /// Opens the store as its indexer: takes the lease, and does what a former one left undone.
    ///
    /// # Errors
    /// `Unavailable` when a server doesn't answer, or when another indexer has the lease; `Corrupt` when what is stored
    /// contradicts itself.
    pub async fn open(cluster: &Cluster, clock: Clock) -> Result<Self> {
        let Cluster { db, config } = cluster.clone();
        let (tables, journal, visible) =
            futures::try_join!(Tables::prepare(&db), Journal::prepare(&db), Visible::prepare(&db))?;
        let known = Instant::now();
        let (hold, row) = Hold::take(&db, &config, clock).await?;
        let (moment, row_of_log) = visible.read(&db).await?;
        let stay = Duration::from_secs(config.superseded_ttl_s.into());
        let timeout = Duration::from_millis(config.request_timeout_ms);
        let log = Log::connect(&config.redis, &config.keyspace, timeout, stay, row_of_log).await?;
        let mut writer = Writer::new(moment.clone(), &row);
        let inner = Arc::new(Inner {
            db,
            tables,
            journal,
            visible,
            log,
            hold,
            ttl: i32::try_from(config.superseded_ttl_s).unwrap_or(i32::MAX),
            followers_bucket: config.followers_bucket.max(1),
            remembered: Remembered::new(config.remembered_accounts),
            next_task: watch::Sender::new(TaskId(1)),
            writer: Arc::new(Mutex::new(Writer::default())),
            shown: StdMutex::new(Shown { moment: Arc::new(moment), known }),
            is_unsettled: AtomicBool::new(false),
            settling: Mutex::new(()),
        });
        inner.recover(&mut writer, &row).await?;
        *inner.writer.lock().await = writer;
        let mut upkeep = JoinSet::new();
        upkeep.spawn(renew(Arc::clone(&inner)));
        upkeep.spawn(look_after_log(Arc::clone(&inner)));
        Ok(Self { inner, _upkeep: upkeep })
    }

    /// Where a store says to resume upstream, asked without opening it: whoever opens it takes the lease of the same
    /// name, also from a service at work.
    ///
    /// # Errors
    /// `Unavailable` when a server doesn't answer.
    pub async fn saved_cursor(cluster: &Cluster) -> Result<Option<SavedCursor>> {
        let (moment, _) = Visible::prepare(&cluster.db).await?.read(&cluster.db).await?;
        Ok(moment.cursor)
    }

    /// Below this task some are lost for good, of all times: Redis had lost them, and they had left the journal.
    /// Timelines that need tasks from below it may miss references, and have to be filled again.
    #[must_use]
    pub fn lost_below(&self) -> TaskId {
        self.inner.log.lost_below()
    }

    /// Waits until another indexer has the lease: from then on nothing that this one writes counts.
    pub async fn lease_lost(&self) {
        self.inner.hold.lost().await;
    }
}

impl Inner {
    /// Shows a transaction. `known`: when it was the newest for certain.
    pub(crate) fn show(&self, moment: &Arc<Moment>, known: Instant) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if moment.seq >= shown.moment.seq {
            *shown = Shown { moment: Arc::clone(moment), known: known.max(shown.known) };
        }
    }

    fn shown(&self) -> Shown {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a new view shows, and until when it may be read.
    async fn now(&self) -> Result<(Arc<Moment>, Instant)> {
        if self.is_unsettled.load(Ordering::Acquire) {
            let _one = self.settling.lock().await;
            if let Ok(mut writer) = self.writer.try_lock() {
                // what was given up may have been committed: a view from now on has to show it
                self.settle_shown(&mut writer).await?;
            }
        }
        let mut shown = self.shown();
        if shown.known.elapsed() > self.hold.length() {
            // the lease wasn't renewed: perhaps somebody else writes by now
            let known = Instant::now();
            let committed = self.hold.committed(&self.db).await?;
            let (moment, _) = self.visible.read(&self.db).await?;
            // of what is committed and doesn't show, rows may have been written long before
            let known = if moment.seq >= committed { known } else { shown.known };
            self.show(&Arc::new(moment), known);
            shown = self.shown();
        }
        let kept = Duration::from_secs(self.ttl.unsigned_abs().into());
        Ok((shown.moment, shown.known + kept.saturating_sub(MARGIN)))
    }
}

/// Renews the lease three times as often as it needs, until it is lost.
async fn renew(inner: Arc<Inner>) {
    let mut pace = tokio::time::interval(inner.hold.length() / 3);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        let known = Instant::now();
        // its rows come before it shows, and those that they replace pass from then on
        let is_under_way = inner.is_unsettled.load(Ordering::Acquire);
        match inner.hold.renew(&inner.db).await {
            Ok(()) if is_under_way => {}
            Ok(()) => inner.show(&inner.shown().moment, known),
            Err(error) if inner.hold.is_lost() => {
                tracing::error!(%error, "lease lost");
                return;
            }
            Err(error) => tracing::warn!(%error, "lease not renewed, trying again"),
        }
    }
}

/// Looks for ever whether Redis has all tasks, so that a writer doesn't wait for the next transaction.
async fn look_after_log(inner: Arc<Inner>) {
    let mut pace = tokio::time::interval(LOOK);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut fails = false;
    while !inner.hold.is_lost() {
        pace.tick().await;
        let mended = inner.mend_log().await;
        if let Err(error) = &mended
            && !fails
        {
            tracing::warn!(%error, "the task log can't be looked at, trying again each second");
        }
        fails = mended.is_err();
    }
}

#[async_trait]
impl Store for ScyllaStore {
    async fn view(&self) -> Result<Box<dyn View>> {
        let (moment, until) = self.inner.now().await?;
        Ok(Box::new(ScyllaView::new(Arc::clone(&self.inner), moment, until)))
    }

    async fn begin(&self) -> Result<Box<dyn Txn>> {
        let mut writer = Arc::clone(&self.inner.writer).lock_owned().await;
        self.inner.hold.check()?;
        self.inner.settle(&mut writer).await?;
        Ok(Box::new(ScyllaTxn::new(Arc::clone(&self.inner), writer)))
    }

    fn next_task(&self) -> watch::Receiver<TaskId> {
        self.inner.next_task.subscribe()
    }

    async fn trim_tasks(&self, kept: TaskId) -> Result<()> {
        // what is appended later isn't cut
        let kept = kept.min(*self.inner.next_task.borrow());
        self.inner.visible.keep(&self.inner.db, kept).await?;
        self.inner.log.trim(kept).await
    }
}
