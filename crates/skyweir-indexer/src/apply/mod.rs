//! Applying events to the records: contract, rules 1–9. Every step may come again and changes nothing then.

mod account;
mod keep;
mod left;
mod marks;
mod record;
mod sync;

use std::collections::HashSet;

use skyweir_store::{Result, Task, Txn, View};
use skyweir_types::{AcrossAccounts, ActorId, Body, Event, RecordRef, Tid};

use keep::Leaving;
use marks::Marks;

pub use keep::Swept;

pub(crate) use account::is_news;
pub(crate) use left::{Left, What};
pub(crate) use sync::begins;

/// How many rows a step reads at a time.
const PAGE: usize = 1_000;
/// No commit has more operations.
pub(crate) const COMMIT_MOST: usize = 200;
/// How many resyncs may be under way; beyond, the oldest end early.
pub(crate) const SYNCS_MOST: usize = 100_000;

/// How long things are remembered, in stream time.
#[derive(Clone, Copy, Debug)]
pub struct Horizons {
    /// Tombstones are kept this long, milliseconds.
    pub tombstones_ms: i64,
    /// A resync whose account stays quiet ends after this, milliseconds.
    pub sync_grace_ms: i64,
    /// A post or repost from before this time, microseconds since 1970, is left out unless it is stored already.
    pub items_since_us: i64,
    /// Posts and reposts leave once their `sortAt` is older than this, milliseconds; `None`: they stay.
    pub keep_ms: Option<i64>,
    /// The source tells where resyncs end, and nothing else ends one; those without records are fetched.
    pub ends_told: bool,
}

impl Default for Horizons {
    fn default() -> Self {
        Self {
            tombstones_ms: 7 * 24 * 3_600_000,
            sync_grace_ms: 600_000,
            items_since_us: i64::MIN,
            keep_ms: None,
            ends_told: false,
        }
    }
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// It changed something.
    Applied,
    /// The record has this content already; its rev was lifted.
    Unchanged,
    /// Its rev isn't above the stored one: a replay, or one that came late. Or it is older than what is wanted.
    Stale,
}

/// Applies events in order. Holds nothing that the store doesn't hold too, but for the stream's clock.
pub struct Applier {
    across: AcrossAccounts,
    horizons: Horizons,
    /// Greatest event time seen, microseconds.
    stream_us: i64,
    syncs: Marks,
    /// How many of them were dropped for others, unread, since it was asked.
    dropped: u64,
    /// The commit whose operations are coming. A Jetstream sends each in a message of its own.
    commit: Option<(ActorId, Tid)>,
    /// Keys that this commit has written: its later operations on them count at the same rev.
    written: HashSet<RecordRef>,
    /// Whether tasks are left for the writer.
    tasks: bool,
    /// Follows, and what happens to accounts, are loaded past this: only posts and reposts are ours.
    are_follows_loaded: bool,
    leaving: Leaving,
}

impl Applier {
    /// Begins where the store stands.
    ///
    /// # Errors
    /// Whatever the view answers.
    pub async fn load(view: &dyn View, across: AcrossAccounts, horizons: Horizons) -> Result<Self> {
        let stream_us = view.cursor().await?.map_or(i64::MIN, |cursor| cursor.time_us);
        let syncs = view.sync_marks(SYNCS_MOST).await?.into_iter().collect();
        let (commit, written) = (None, HashSet::new());
        let (tasks, are_follows_loaded) = (true, false);
        let leaving = Leaving::new(view.horizon().await?);
        Ok(Self {
            across,
            horizons,
            stream_us,
            syncs,
            dropped: 0,
            commit,
            written,
            tasks,
            are_follows_loaded,
            leaving,
        })
    }

    /// Leaves no tasks from now on: for stores of which nobody keeps a timeline yet.
    pub(crate) fn without_tasks(self) -> Self {
        Self { tasks: false, ..self }
    }

    /// Forgets what a failed transaction may have left in memory.
    ///
    /// # Errors
    /// Whatever the view answers.
    pub async fn reload(&mut self, view: &dyn View) -> Result<()> {
        let loaded = Self::load(view, self.across, self.horizons).await?;
        let leaving = loaded.leaving.behind(&self.leaving);
        *self = Self { tasks: self.tasks, leaving, ..loaded };
        Ok(())
    }

    /// The stream's own clock: the greatest event time seen, microseconds since 1970.
    #[must_use]
    pub fn stream_us(&self) -> i64 {
        self.stream_us
    }

    /// Lets the stream's clock go on, and the horizon with it.
    pub(crate) fn reached(&mut self, stream_us: i64) {
        self.stream_us = self.stream_us.max(stream_us);
        self.leaving.follow(self.stream_ms(), self.horizons.keep_ms);
    }

    /// How many accounts were to be fetched, and had to make room for others, since [`Applier::take_dropped`].
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(crate) fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Whether many accounts may be marked before others have to make room.
    pub(crate) fn has_much_room(&self) -> bool {
        self.syncs.len() < SYNCS_MOST / 2
    }

    fn stream_ms(&self) -> i64 {
        self.stream_us.div_euclid(1000)
    }

    /// Applies the events of one upstream message, in order. `outcomes` gets one entry an event.
    ///
    /// # Errors
    /// Whatever the transaction answers; it has to be dropped then, and the whole group applied again.
    pub async fn frame(
        &mut self,
        txn: &mut dyn Txn,
        events: &[Event],
        outcomes: &mut Vec<Outcome>,
    ) -> Result<()> {
        if self.across == AcrossAccounts::Upstream {
            // a commit is one message: the same again is a replay
            self.commit = None;
        }
        for event in events {
            self.reached(event.time_us);
            let outcome = match &event.body {
                Body::Record(op) => self.record(txn, event, op).await?,
                Body::Account(status) => self.account(txn, event, *status).await?,
                Body::Sync { rev, records_follow } => self.sync(txn, event, *rev, *records_follow).await?,
                Body::SyncEnd { rev, is_whole } => self.sync_end(txn, event, *rev, *is_whole).await?,
            };
            outcomes.push(outcome);
        }
        self.leaving.events += events.len();
        Ok(())
    }

    async fn append(&self, txn: &mut dyn Txn, task: Task) -> Result<()> {
        if self.tasks {
            txn.append(task).await?;
        }
        Ok(())
    }

    /// Applies the events of a message without a place. Where resyncs are fetched it doesn't come in the stream's
    /// order: its clock stands still, and revs decide what happened before.
    ///
    /// # Errors
    /// As [`Applier::frame`].
    pub async fn beside(
        &mut self,
        txn: &mut dyn Txn,
        events: &[Event],
        outcomes: &mut Vec<Outcome>,
    ) -> Result<()> {
        if !self.horizons.ends_told {
            return self.frame(txn, events, outcomes).await;
        }
        let (across, stream_us) = (self.across, self.stream_us);
        self.across = AcrossAccounts::Slips;
        let applied = self.frame(txn, events, outcomes).await;
        (self.across, self.stream_us) = (across, stream_us);
        applied
    }

    /// Ends a group: resyncs whose grace is over are swept, tombstones past their time forgotten and items that have
    /// left removed (some at a time).
    ///
    /// # Errors
    /// As [`Applier::frame`].
    pub async fn end_group(&mut self, txn: &mut dyn Txn) -> Result<()> {
        if self.stream_us == i64::MIN {
            return Ok(());
        }
        let stream_ms = self.stream_ms();
        self.end_quiet_syncs(txn, stream_ms).await?;
        self.leaving.begin_group();
        self.forget_tombstones(txn).await?;
        self.let_go(txn).await
    }
}
