//! The lease while it is held: who has it commits, and who has lost it finds out by the next commit at the latest.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use skyweir_store::{Error, Result};
use skyweir_types::Clock;
use tokio::sync::{Mutex, watch};

use crate::config::Config;
use crate::error::corrupt;
use crate::session::Db;
use crate::table::lease::{Lease, Row};

/// How often a step is asked for whose answer was lost.
const ASK_AGAIN: u32 = 3;

/// The lease in our hands.
pub(crate) struct Hold {
    lease: Lease,
    clock: Clock,
    length: Duration,
    session: String,
    epoch: i64,
    /// One step at a time: two at once would be in each other's way on the server.
    gate: Mutex<()>,
    is_lost: watch::Sender<bool>,
    is_given_back: AtomicBool,
}

impl Hold {
    /// Takes the lease: a free one, one that is over, or one of the same name. The row is as it was found then, with
    /// the last transaction of whoever had it.
    pub(crate) async fn take(db: &Db, config: &Config, clock: Clock) -> Result<(Self, Row)> {
        let lease = Lease::prepare(db).await?;
        let length = Duration::from_millis(config.lease_ms);
        let session = db.name();
        let mut hold = Self {
            lease,
            clock,
            length,
            session,
            epoch: 0,
            gate: Mutex::new(()),
            is_lost: watch::Sender::new(false),
            is_given_back: AtomicBool::new(false),
        };
        let mut refused = None;
        for _ in 0..ASK_AGAIN {
            match hold.attempt(db, &config.holder).await {
                Ok(Some(row)) => {
                    hold.epoch = row.epoch;
                    return Ok((hold, row));
                }
                Ok(None) => {}
                // it may be ours all the same: the next attempt reads that
                Err(error) => refused = Some(error),
            }
        }
        // also where the last answer was lost: nobody would give it back
        if let Ok(Some(row)) = hold.ours(db).await {
            hold.epoch = row.epoch;
            return Ok((hold, row));
        }
        Err(refused.unwrap_or_else(|| {
            Error::Unavailable("several indexers want to write at once; leave one of them running".into())
        }))
    }

    /// The row if it is ours now, `None` if it changed meanwhile.
    async fn attempt(&self, db: &Db, holder: &str) -> Result<Option<Row>> {
        let Some(found) = self.lease.read(db).await? else {
            self.lease.make(db, holder, &self.session, self.until_ms()).await?;
            return self.ours(db).await;
        };
        if found.session == self.session {
            return Ok(Some(found));
        }
        let left_ms = found.until_ms - self.clock.now_ms();
        if found.holder != holder && left_ms > 0 {
            return Err(Error::Unavailable(format!(
                "the indexer {:?} may write for another {left_ms} ms; stop it, or wait until it is gone",
                found.holder
            )));
        }
        let new = Row {
            holder: holder.to_owned(),
            session: self.session.clone(),
            epoch: found.epoch + 1,
            until_ms: self.until_ms(),
            ..found
        };
        self.lease.take(db, &new, new.epoch - 1).await?;
        self.ours(db).await
    }

    async fn ours(&self, db: &Db) -> Result<Option<Row>> {
        Ok(self.lease.read(db).await?.filter(|row| row.session == self.session))
    }

    fn until_ms(&self) -> i64 {
        self.clock.now_ms() + self.length.as_millis() as i64
    }

    /// How often it was taken or given back, with this time.
    pub(crate) fn epoch(&self) -> i64 {
        self.epoch
    }

    pub(crate) fn length(&self) -> Duration {
        self.length
    }

    /// Whether another indexer has it.
    pub(crate) fn is_lost(&self) -> bool {
        *self.is_lost.borrow()
    }

    /// Whether it was given back.
    pub(crate) fn is_given_back(&self) -> bool {
        self.is_given_back.load(Ordering::Acquire)
    }

    /// Waits until another indexer has it.
    pub(crate) async fn lost(&self) {
        let mut is_lost = self.is_lost.subscribe();
        // the sender lives as long as this
        let _ = is_lost.wait_for(|lost| *lost).await;
    }

    /// What to say to who wants to write.
    ///
    /// # Errors
    /// `Unavailable` once it is lost or given back.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_given_back() {
            return Err(Error::Unavailable("this indexer has ended; start it again".into()));
        }
        if !self.is_lost() {
            return Ok(());
        }
        Err(Error::Unavailable(
            "another indexer writes to this store by now; stop it, then start this one again".into(),
        ))
    }

    /// The last transaction that is committed, whoever has done it.
    pub(crate) async fn committed(&self, db: &Db) -> Result<i64> {
        self.lease.committed(db).await
    }

    async fn row(&self, db: &Db) -> Result<Row> {
        self.lease.read(db).await?.ok_or_else(|| corrupt("the row of the lease is gone"))
    }

    /// Holds it longer. Up to when it is asked for, nobody else has written.
    pub(crate) async fn renew(&self, db: &Db) -> Result<()> {
        let _one = self.gate.lock().await;
        self.check()?;
        if !self.lease.renew(db, self.until_ms(), self.epoch).await? {
            self.is_lost.send_replace(true);
            self.check()?;
        }
        Ok(())
    }

    /// Ends it now, for whoever comes next: nothing is renewed or committed any more. Again is no harm.
    pub(crate) async fn give_back(&self, db: &Db) -> Result<()> {
        let _one = self.gate.lock().await;
        self.is_given_back.store(true, Ordering::Release);
        if self.is_lost() {
            return Ok(());
        }
        // who has it by now, if it isn't ours, keeps it; after an answer that is lost that may be nobody
        match self.lease.give_back(db, self.epoch).await {
            Err(_) => self.lease.give_back(db, self.epoch).await.map(drop),
            Ok(_) => Ok(()),
        }
    }

    /// The commit point of a transaction: done when it answers. After an error that isn't the loss of the lease it may
    /// be done or not, and has to be asked for again before anything else is.
    pub(crate) async fn commit(&self, db: &Db, seq: i64, entry: i64) -> Result<()> {
        let _one = self.gate.lock().await;
        self.check()?;
        let mut asked = 0;
        loop {
            match self.lease.commit(db, seq, entry, self.until_ms(), self.epoch).await {
                Ok(true) => return Ok(()),
                Ok(false) => break,
                Err(_) if asked < ASK_AGAIN => asked += 1,
                Err(error) => return Err(error),
            }
        }
        let row = self.row(db).await?;
        if row.session != self.session {
            self.is_lost.send_replace(true);
            return self.check();
        }
        // an earlier call was heard, its answer wasn't
        if (row.seq, row.entry) == (seq, entry) {
            return Ok(());
        }
        Err(corrupt(format_args!("transaction {} was committed where {seq} should come next", row.seq)))
    }
}
