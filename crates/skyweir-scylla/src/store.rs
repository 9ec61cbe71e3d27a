//! The store: what is shared by its views and transactions, and how it is opened.

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use skyweir_store::{Result, SavedCursor, Store, Txn, View};
use skyweir_types::{Clock, TaskId};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::base::Base;
use crate::cluster::Cluster;
use crate::hold::Hold;
use crate::lease::Lease;
use crate::metrics;
use crate::moment::Moment;
use crate::remembered::Remembered;
use crate::settle::Writer;
use crate::table::journal::Journal;
use crate::table::visible::Visible;
use crate::txn::ScyllaTxn;
use crate::view::ScyllaView;

/// How often it is looked whether Redis has all tasks.
const LOOK: Duration = Duration::from_secs(1);
/// How rarely the lease is renewed at most: by that it is known whether the cluster answers.
const RENEW: Duration = Duration::from_secs(3);

/// The records of one service on CQL, their task log in Redis. Whoever opens it is its indexer.
pub struct ScyllaStore {
    inner: Arc<Inner>,
    /// Renews the lease and looks after the log as long as the store is there.
    _upkeep: JoinSet<()>,
}

pub(crate) struct Inner {
    pub(crate) base: Arc<Base>,
    pub(crate) journal: Journal,
    pub(crate) hold: Arc<Hold>,
    pub(crate) followers_bucket: u32,
    pub(crate) remembered: Remembered,
    /// There is no room while more tasks than so many aren't done.
    tasks_most: u64,
    /// How many weren't when it was looked last.
    undone: watch::Sender<u64>,
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
    /// Opens the store as its indexer: takes the lease, and does what a former one left undone. After an error the
    /// lease is given back; whoever may drop this half way takes it first, and opens with it.
    ///
    /// # Errors
    /// `Unavailable` when a server doesn't answer, or when another indexer has the lease; `Corrupt` when what is stored
    /// contradicts itself.
    pub async fn open(cluster: &Cluster, clock: Clock) -> Result<Self> {
        let lease = Lease::take(cluster, clock).await?;
        let opened = Self::with(&lease).await;
        if opened.is_err()
            && let Err(error) = lease.give_back().await
        {
            tracing::warn!(%error, "the lease isn't given back: an indexer of another name waits until it is over");
        }
        opened
    }

    /// Opens the store of whoever has this lease, and renews it from then on. Once for each lease. After an error, or
    /// where this is dropped half way, the lease is still there to be given back.
    ///
    /// # Errors
    /// `Unavailable` when a server doesn't answer; `Corrupt` when what is stored contradicts itself.
    pub async fn with(lease: &Lease) -> Result<Self> {
        let Lease { cluster, hold, row, known } = lease;
        let config = &cluster.config;
        let journal = Journal::prepare(&cluster.db).await?;
        let (base, moment) = Base::open(cluster).await?;
        base.log.cut(base.log.kept()).await?;
        let mut writer = Writer::new(moment.clone(), row);
        let inner = Arc::new(Inner {
            base: Arc::new(base),
            journal,
            hold: Arc::clone(hold),
            followers_bucket: config.followers_bucket.max(1),
            remembered: Remembered::new(config.remembered_accounts),
            tasks_most: config.tasks_most,
            undone: watch::Sender::new(0),
            writer: Arc::new(Mutex::new(Writer::default())),
            shown: StdMutex::new(Shown { moment: Arc::new(moment), known: *known }),
            is_unsettled: AtomicBool::new(false),
            settling: Mutex::new(()),
        });
        inner.recover(&mut writer, row).await?;
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
}

impl Deref for Inner {
    type Target = Base;

    fn deref(&self) -> &Base {
        &self.base
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

    /// Waits until there are so few tasks that are not done that more may come.
    async fn room(&self) {
        let mut undone = self.undone.subscribe();
        tokio::select! {
            // the sender lives as long as this
            _ = undone.wait_for(|undone| *undone <= self.tasks_most) => {}
            () = self.hold.lost() => {}
        }
    }

    /// Looks how many tasks aren't done.
    async fn count_undone(&self) -> Result<()> {
        let most = self.tasks_most;
        let undone = match self.log.undone().await? {
            Some(undone) => undone,
            // the first writer that comes makes the group there
            None => {
                let (_, row) = self.visible.read(&self.db).await?;
                self.next_task.borrow().0.saturating_sub(row.kept.0.max(1))
            }
        };
        metrics::undone(undone);
        let before = self.undone.send_replace(undone);
        match (before > most, undone > most) {
            (false, true) => {
                tracing::warn!(
                    tasks.undone = undone,
                    tasks.most = most,
                    "task log full, events wait for the writers"
                );
            }
            (true, false) => tracing::info!(tasks.undone = undone, "task log has room again"),
            _ => {}
        }
        Ok(())
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
        let is_ours = !self.hold.is_lost() && !self.hold.is_given_back();
        if !is_ours || shown.known.elapsed() > self.hold.length() {
            // the lease is gone, or wasn't renewed: perhaps somebody else writes by now
            let known = Instant::now();
            let committed = self.hold.committed(&self.db).await?;
            let (moment, _) = self.visible.read(&self.db).await?;
            // of what is committed and doesn't show, rows may have been written long before
            let known = if moment.seq >= committed { known } else { shown.known };
            self.show(&Arc::new(moment), known);
            shown = self.shown();
        }
        Ok((shown.moment, self.until(shown.known)))
    }
}

/// Renews the lease at least three times as often as it needs, until it is lost.
async fn renew(inner: Arc<Inner>) {
    let mut pace = tokio::time::interval(RENEW.min(inner.hold.length() / 3));
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        let known = Instant::now();
        // its rows come before it shows, and those that they replace pass from then on
        let is_under_way = inner.is_unsettled.load(Ordering::Acquire);
        match inner.cql.by(inner.hold.renew(&inner.db)).await {
            Ok(()) if is_under_way => {}
            Ok(()) => inner.show(&inner.shown().moment, known),
            Err(_) if inner.hold.is_given_back() => return,
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
    while !inner.hold.is_lost() && !inner.hold.is_given_back() {
        pace.tick().await;
        let mended = async {
            inner.mend_log().await?;
            inner.count_undone().await
        };
        let mended = mended.await;
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
        Ok(Box::new(ScyllaView::new(Arc::clone(&self.inner.base), moment, until)))
    }

    async fn begin(&self) -> Result<Box<dyn Txn>> {
        let mut writer = Arc::clone(&self.inner.writer).lock_owned().await;
        self.inner.hold.check()?;
        self.inner.settle(&mut writer).await?;
        Ok(Box::new(ScyllaTxn::new(Arc::clone(&self.inner), writer)))
    }

    async fn room(&self) {
        self.inner.room().await;
    }

    fn next_task(&self) -> watch::Receiver<TaskId> {
        self.inner.next_task.subscribe()
    }

    async fn trim_tasks(&self, kept: TaskId) -> Result<()> {
        self.inner.trim_tasks(kept).await
    }
}
