//! The steps of a commit, each of which may be the last one before the process ends: whoever comes next goes on from
//! there, or finds that nothing was done.
//!
//! 1. The whole transaction is written to the journal.
//! 2. The lease takes its number: from here on it is committed.
//! 3. What follows from it is written, in any order, all of it at the transaction's number.
//! 4. It is shown to views.
//! 5. Its tasks are appended to the log, and announced.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use skyweir_store::{Error, Result};
use skyweir_types::ItemId;
use tokio::time::Instant;

use crate::entry::Entry;
use crate::error::corrupt;
use crate::metrics;
use crate::moment::Moment;
use crate::store::Inner;
use crate::table::Stamp;
use crate::table::lease::Row;

/// What only the one that writes knows.
#[derive(Default)]
pub(crate) struct Writer {
    /// The store as the last transaction left it.
    pub(crate) moment: Arc<Moment>,
    /// Its entry in the journal.
    pub(crate) entry: i64,
    /// The next item's number: those of transactions that were dropped stay used.
    pub(crate) next_item: ItemId,
    /// No tombstone is older than this.
    pub(crate) oldest_tombstone: i64,
    /// How many entries this process has written.
    attempts: i64,
    /// A transaction that isn't through.
    pending: Option<Pending>,
}

struct Pending {
    entry: Entry,
    number: i64,
    stage: Stage,
}

/// What is done of a transaction that is in the journal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// It may be committed or not.
    Asked,
    Committed,
    Shown,
}

impl Writer {
    /// Of a store that shows this moment.
    pub(crate) fn new(moment: Moment, row: &Row) -> Self {
        Self {
            next_item: moment.next_item,
            moment: Arc::new(moment),
            entry: row.entry,
            oldest_tombstone: i64::MIN,
            attempts: 0,
            pending: None,
        }
    }
}

impl Inner {
    /// Takes the store over as the lease's row says that it is.
    pub(crate) async fn recover(&self, writer: &mut Writer, row: &Row) -> Result<()> {
        let shown = writer.moment.seq;
        if shown > row.seq {
            // unless it was taken again meanwhile
            self.hold.renew(&self.db).await?;
            return Err(corrupt(format_args!(
                "transaction {shown} shows, but only {} were committed",
                row.seq
            )));
        }
        if row.seq > 0 {
            let entry = self.entry(row.seq, row.entry).await?;
            let missing = || corrupt(format_args!("the journal misses the last transaction, {}", row.seq));
            let entry = entry.ok_or_else(missing)?;
            let stage = if shown == row.seq { Stage::Shown } else { Stage::Committed };
            writer.pending = Some(Pending { entry, number: row.entry, stage });
            self.settle(writer).await?;
        }
        let (last, next) = (self.log.last().await?, writer.moment.next_task);
        if last >= next {
            self.hold.renew(&self.db).await?;
            return Err(Error::Unavailable(format!(
                "Redis has tasks up to {last}, of which this store appended none from {next} on; \
                 name another keyspace or another Redis server, or delete the stream {}",
                self.log.key()
            )));
        }
        self.next_task.send_replace(next);
        Ok(())
    }

    /// Commits a transaction whose effects these are; `former` and the numbers are its own.
    pub(crate) async fn commit(&self, writer: &mut Writer, entry: Entry) -> Result<()> {
        let (begun, rows) = (Instant::now(), entry.effects.len());
        writer.attempts += 1;
        if writer.attempts >> 40 != 0 {
            return Err(Error::Limit("2^40 transactions of one process; start it again".into()));
        }
        let number = self.hold.epoch() << 40 | writer.attempts;
        self.journal.put(&self.db, entry.moment.seq, number, &entry.encode()).await?;
        writer.pending = Some(Pending { entry, number, stage: Stage::Asked });
        self.is_unsettled.store(true, Ordering::Release);
        self.settle(writer).await?;
        metrics::committed(begun.elapsed().as_secs_f64(), rows);
        Ok(())
    }

    /// Brings a transaction through that isn't yet.
    pub(crate) async fn settle(&self, writer: &mut Writer) -> Result<()> {
        self.settle_shown(writer).await?;
        let Some(Pending { entry, .. }) = &writer.pending else { return Ok(()) };
        self.append(entry).await?;
        let next_task = entry.moment.next_task;
        writer.pending = None;
        if *self.next_task.borrow() < next_task {
            self.next_task.send_replace(next_task);
        }
        Ok(())
    }

    /// As far as views see it.
    pub(crate) async fn settle_shown(&self, writer: &mut Writer) -> Result<()> {
        let Some(pending) = &mut writer.pending else { return Ok(()) };
        let seq = pending.entry.moment.seq;
        if pending.stage == Stage::Asked {
            if let Err(error) = self.hold.commit(&self.db, seq, pending.number).await {
                if self.hold.is_lost() || self.hold.is_given_back() {
                    // whoever has the lease has found it committed or not
                    writer.pending = None;
                    self.is_unsettled.store(false, Ordering::Release);
                }
                return Err(error);
            }
            pending.stage = Stage::Committed;
        }
        let known = Instant::now();
        if pending.stage == Stage::Committed {
            let stamp = Stamp { seq, ttl: self.ttl };
            let effects = &pending.entry.effects;
            self.db.each(effects.len(), |at| self.tables.write(&self.db, &effects[at], stamp)).await?;
            self.visible.show(&self.db, &pending.entry.moment).await?;
            self.remembered.take(&pending.entry.effects);
            pending.stage = Stage::Shown;
        }
        writer.moment = Arc::new(pending.entry.moment.clone());
        writer.next_item = writer.next_item.max(writer.moment.next_item);
        writer.entry = pending.number;
        self.show(&writer.moment, known);
        self.is_unsettled.store(false, Ordering::Release);
        Ok(())
    }

    /// Appends the tasks of a transaction, and those before it that Redis has lost.
    async fn append(&self, entry: &Entry) -> Result<()> {
        let first = entry.first_task();
        let Some(last) = self.log.append(first, &entry.tasks, self.log.kept()).await? else { return Ok(()) };
        // what writers of other processes have cut isn't missing
        self.log.note(self.visible.read(&self.db).await?.1);
        let kept = self.log.kept();
        let needed = last.next().max(kept);
        tracing::warn!(last = last.0, next = first.0, "tasks are missing in Redis, appending them again");
        let (mut older, mut former) = (Vec::new(), (entry.moment.seq - 1, entry.former));
        let mut found = first;
        while found > needed && former.0 > 0 {
            let Some(entry) = self.entry(former.0, former.1).await? else { break };
            found = entry.first_task();
            former = (entry.moment.seq - 1, entry.former);
            older.push(entry);
        }
        metrics::gap(if found > needed { "lost" } else { "mended" });
        if found > needed {
            tracing::error!(from = needed.0, to = found.0, "tasks are lost");
            // first of all: what is appended behind the gap hides it from whoever comes next
            self.visible.lose(&self.db, found).await?;
            self.log.note_lost(found);
        }
        for entry in older.iter().rev() {
            self.log.append(entry.first_task(), &entry.tasks, entry.first_task()).await?;
        }
        self.log.append(first, &entry.tasks, first).await?;
        Ok(())
    }

    /// Appends what Redis has lost since the last transaction, if nobody writes: the next one would do it as well.
    pub(crate) async fn mend_log(&self) -> Result<()> {
        let next = *self.next_task.borrow();
        if self.log.last().await?.next() >= next {
            return Ok(());
        }
        let _one = self.settling.lock().await;
        let Ok(writer) = self.writer.try_lock() else { return Ok(()) };
        let (seq, number) = (writer.moment.seq, writer.entry);
        match self.entry(seq, number).await? {
            Some(entry) => self.append(&entry).await,
            None => Err(corrupt(format_args!("the journal misses the last transaction, {seq}"))),
        }
    }

    async fn entry(&self, seq: i64, number: i64) -> Result<Option<Entry>> {
        let bytes = self.journal.get(&self.db, seq, number).await?;
        bytes.map(|bytes| Entry::decode(&bytes)).transpose()
    }
}
