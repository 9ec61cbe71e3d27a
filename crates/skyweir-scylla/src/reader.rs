//! The store of a process that writes no records: views of what the indexer, another process, shows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::try_join;
use skyweir_store::{Error, Result, Store, Txn, View};
use skyweir_types::TaskId;
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::base::Base;
use crate::cluster::Cluster;
use crate::moment::Moment;
use crate::table::lease::Lease;
use crate::view::ScyllaView;

/// How often it is looked what shows by now, where nobody asks for a view: so late a writer learns of a task at most.
const LOOK: Duration = Duration::from_millis(100);

/// The records of a store that another process writes. It takes no lease: there may be as many as one likes.
pub struct ScyllaReader {
    inner: Arc<Inner>,
    /// Looks what shows as long as this is there.
    _looks: JoinSet<()>,
}

struct Inner {
    base: Arc<Base>,
    lease: Lease,
    /// How many times it was read what shows, with the one under way.
    begun: AtomicU64,
    /// Held while that is read: one at a time.
    newest: Mutex<Newest>,
    /// Tasks show that weren't announced.
    has_tasks: Notify,
}

/// What the last reading found.
struct Newest {
    /// Which one it was, counted by `begun`.
    number: u64,
    answer: Result<()>,
    shown: Shown,
}

/// What shows, and since when it is known.
struct Shown {
    moment: Arc<Moment>,
    /// When it was the newest for certain; `None` as long as it never was.
    known: Option<Instant>,
    /// When it was last looked what is committed, and what was.
    before: Option<(Instant, i64)>,
}

impl Shown {
    /// Takes what was found by a reading that began at `begun`: what shows, and what is committed.
    ///
    /// Of rows that a transaction replaces the old ones pass from when it writes its own, and that is after its commit.
    /// So what shows was the newest for certain whenever nothing behind it was committed.
    fn take(&mut self, begun: Instant, moment: Moment, committed: i64) {
        // a write that not all nodes have got yet may show, and then not
        if moment.seq > self.moment.seq {
            self.moment = Arc::new(moment);
        }
        let seq = self.moment.seq;
        if committed <= seq {
            self.known = Some(begun);
        } else if let Some((before, _)) = self.before.filter(|(_, committed)| *committed <= seq) {
            self.known = self.known.max(Some(before));
        }
        self.before = Some((begun, committed));
    }
}

impl ScyllaReader {
    /// Opens the store for reading.
    ///
    /// # Errors
    /// `Unavailable` when a server doesn't answer, or an indexer has ended within a commit and none is there to go on
    /// with it; `Corrupt` when what is stored contradicts itself.
    pub async fn open(cluster: &Cluster) -> Result<Self> {
        let patience = Duration::from_millis(cluster.config.request_timeout_ms);
        let (base, _) = Base::open(cluster).await?;
        let lease = Lease::prepare(&base.db).await?;
        let shown = Shown { moment: Arc::default(), known: None, before: None };
        let inner = Arc::new(Inner {
            base: Arc::new(base),
            lease,
            begun: AtomicU64::new(0),
            newest: Mutex::new(Newest { number: 0, answer: Ok(()), shown }),
            has_tasks: Notify::new(),
        });
        let until = Instant::now() + patience;
        // a commit that is under way ends soon
        while let Err(error) = inner.now().await {
            if matches!(error, Error::Corrupt(_)) || Instant::now() >= until {
                return Err(error);
            }
            sleep(LOOK).await;
        }
        inner.announce().await?;
        let mut looks = JoinSet::new();
        looks.spawn(look(Arc::clone(&inner)));
        Ok(Self { inner, _looks: looks })
    }

    /// Below this task some are lost for good: see [`crate::ScyllaStore::lost_below`].
    #[must_use]
    pub fn lost_below(&self) -> TaskId {
        self.inner.base.log.lost_below()
    }
}

impl Inner {
    /// What shows after this was asked, and until when a view of it may be read. Who asks while that is read shares the
    /// next reading, which begins after they asked.
    async fn now(&self) -> Result<(Arc<Moment>, Instant)> {
        let asked = self.begun.load(Ordering::SeqCst);
        let mut newest = self.newest.lock().await;
        if newest.number <= asked {
            let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let answer = self.base.cql.by(self.read(&mut newest.shown)).await;
            (newest.number, newest.answer) = (number, answer);
        }
        newest.answer.clone()?;
        let Shown { moment, known, .. } = &newest.shown;
        let Some(known) = known else {
            return Err(Error::Unavailable(format!(
                "transaction {} is committed, and doesn't show yet: start the indexer, which finishes it, or \
                 the same move again if one was cut off",
                moment.seq + 1
            )));
        };
        Ok((Arc::clone(moment), self.base.until(*known)))
    }

    async fn read(&self, shown: &mut Shown) -> Result<()> {
        let (begun, db) = (Instant::now(), &self.base.db);
        let ((moment, log), committed) = try_join!(self.base.visible.read(db), self.lease.committed(db))?;
        self.base.log.note(log);
        shown.take(begun, moment, committed);
        if shown.moment.next_task > *self.base.next_task.borrow() {
            self.has_tasks.notify_one();
        }
        Ok(())
    }

    /// Announces the tasks that show. They come to Redis after that: those that aren't there yet wait.
    async fn announce(&self) -> Result<()> {
        let shown = self.newest.lock().await.shown.moment.next_task;
        let Base { log, next_task, .. } = &*self.base;
        if shown > *next_task.borrow() {
            let next = shown.min(log.last().await?.next().max(log.kept()));
            next_task.send_if_modified(|known| {
                let is_news = next > *known;
                *known = next.max(*known);
                is_news
            });
        }
        Ok(())
    }
}

/// Looks for ever what shows, and announces tasks.
async fn look(inner: Arc<Inner>) {
    let mut pace = interval(LOOK);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut fails = false;
    loop {
        let looked = tokio::select! {
            _ = pace.tick() => inner.now().await.map(drop),
            () = inner.has_tasks.notified() => Ok(()),
        };
        let looked = looked.and(inner.announce().await);
        if let Err(error) = &looked
            && !fails
        {
            tracing::warn!(%error, "it can't be seen what the indexer shows, trying again ten times a second");
        }
        fails = looked.is_err();
    }
}

#[async_trait]
impl Store for ScyllaReader {
    async fn view(&self) -> Result<Box<dyn View>> {
        let (moment, until) = self.inner.now().await?;
        Ok(Box::new(ScyllaView::new(Arc::clone(&self.inner.base), moment, until)))
    }

    async fn begin(&self) -> Result<Box<dyn Txn>> {
        Err(Error::Unavailable(
            "this process only reads records; let one with the role indexer write them (skyweir serve --roles)"
                .into(),
        ))
    }

    fn next_task(&self) -> watch::Receiver<TaskId> {
        self.inner.base.next_task.subscribe()
    }

    async fn trim_tasks(&self, kept: TaskId) -> Result<()> {
        self.inner.base.trim_tasks(kept).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Readings, each a second after the one before: (shows, is committed), and the second at which what then shows was
    /// the newest for certain.
    fn known(readings: &[(i64, i64)]) -> Option<u64> {
        let start = Instant::now();
        let mut shown = Shown { moment: Arc::default(), known: None, before: None };
        for (second, (seq, committed)) in readings.iter().enumerate() {
            let begun = start + Duration::from_secs(second as u64);
            shown.take(begun, Moment { seq: *seq, ..Moment::default() }, *committed);
        }
        shown.known.map(|known| (known - start).as_secs())
    }

    #[test]
    fn what_shows_is_the_newest_until_something_behind_it_is_committed() {
        assert_eq!(known(&[(0, 0)]), Some(0));
        assert_eq!(known(&[(4, 4), (4, 4), (5, 5)]), Some(2));
        // the commit of 5 was under way when it was first seen, and hangs
        assert_eq!(known(&[(4, 4), (4, 5), (4, 5), (4, 5)]), Some(0));
        // each time it was looked one was under way: its rows weren't written when the one before was looked at
        assert_eq!(known(&[(4, 4), (4, 5), (5, 6), (6, 7)]), Some(2));
        assert_eq!(known(&[(4, 5)]), None);
        assert_eq!(known(&[(4, 5), (4, 5)]), None);
        assert_eq!(known(&[(4, 5), (5, 6)]), Some(0));
        // what has shown doesn't go away
        assert_eq!(known(&[(5, 5), (4, 5)]), Some(1));
    }
}
