//! Tasks of several writers: each takes its part from the stream's consumer group, and acknowledges what is readable.
//!
//! Whoever gives no sign of life for a while loses what it has to others, which go on behind the page that it told of.
//! *Done* is the group's: below it nothing is unacknowledged, whoever had it.

mod held;
mod scripts;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use redis::aio::ConnectionManager;
use skyweir_store::{Error, Reach, Reached, Result, Taken, Tasks};
use skyweir_types::TaskId;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior};

use self::held::Held;
use self::scripts::{Consumer, NoGroup, Take};
use crate::cluster::Cluster;
use crate::config::Config;
use crate::error::{corrupt, redis as refused};
use crate::log;
use crate::table::visible::{LogRow, Visible};
use crate::{metrics, redis_link};

pub(crate) use scripts::{Keys, id, of_id, standing, with_group};

/// How often it is looked what all writers have done.
const LOOK: Duration = Duration::from_millis(100);
/// How often it is told which pages are reached.
const TELL: Duration = Duration::from_millis(250);
/// How long Redis is asked to wait for a task before it is asked again.
const WAIT: Duration = Duration::from_millis(500);
/// A sign of life comes this many times in the time after which others claim.
const RENEWALS: u32 = 5;
/// It is looked for what can be claimed this many times in it.
const CLAIMS: u32 = 8;

/// Asks what stands in the store of the log: what is kept, what is lost.
type AskLogRow = Box<dyn Fn() -> BoxFuture<'static, Result<LogRow>> + Send + Sync>;

/// The tasks of a store as one of its writers has them.
pub struct Group {
    consumer: Consumer,
    /// Of its own: while Redis waits for a task it answers nothing else there.
    waiting: ConnectionManager,
    /// Whether Redis answers who looks what is done.
    reach: Arc<Reach>,
    log_row: AskLogRow,
    /// What is without a sign of life for this long is claimed.
    claim: Duration,
    /// When it is looked for such the next time.
    next_claim: Mutex<Instant>,
    held: Mutex<Held>,
    /// Something is finished.
    finished: Notify,
    done: watch::Sender<TaskId>,
    next: watch::Sender<TaskId>,
    /// What was lost below this one, timelines were opened without.
    lost_below: TaskId,
}

/// What [`Group::run`] has done, and when.
struct Told {
    renewed: Instant,
    told: Instant,
}

impl Group {
    /// Joins the group of the store's writers; makes it where there is none, from *kept* on. `lost_below`: the task
    /// that the timelines were opened with.
    ///
    /// # Errors
    /// `Unavailable` when Redis or the cluster doesn't answer; `Corrupt` when tasks were lost since.
    pub async fn join(cluster: &Cluster, lost_below: TaskId) -> Result<Self> {
        let Cluster { db, config, .. } = cluster.clone();
        let (name, visible) = (db.name(), Arc::new(Visible::prepare(&db).await?));
        let log_row = move || {
            let (db, visible) = (Arc::clone(&db), Arc::clone(&visible));
            async move { visible.read(&db).await.map(|(_, row)| row) }.boxed()
        };
        Self::join_as(name, &config, cluster.redis(), Box::new(log_row), lost_below).await
    }

    /// As a consumer whose name nobody else has or had.
    async fn join_as(
        name: String,
        config: &Config,
        reach: Arc<Reach>,
        log_row: AskLogRow,
        lost_below: TaskId,
    ) -> Result<Self> {
        let connection = redis_link::connect(config, Duration::ZERO).await?;
        let waiting = redis_link::connect(config, WAIT).await?;
        let consumer = Consumer { connection, keys: Keys::of(&config.keyspace), name };
        tracing::info!(consumer.name = consumer.name, "joins the group of writers");
        let group = Self {
            consumer,
            waiting,
            reach,
            log_row,
            claim: Duration::from_millis(config.claim_ms),
            next_claim: Mutex::new(Instant::now()),
            held: Mutex::default(),
            finished: Notify::new(),
            done: watch::Sender::new(TaskId(0)),
            next: watch::Sender::new(TaskId(0)),
            lost_below,
        };
        if !group.look().await? {
            group.look().await?;
        }
        Ok(group)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_claim(&self) -> MutexGuard<'_, Instant> {
        self.next_claim.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is time to look for what can be claimed.
    fn claims(&self) -> bool {
        let (now, mut next) = (Instant::now(), self.next_claim());
        let is_due = now >= *next;
        if is_due {
            *next = now + self.claim / CLAIMS;
        }
        is_due
    }

    /// Redis was away: nobody could give a sign of life, so nothing is claimed before everybody had the time to.
    fn away(&self) {
        *self.next_claim() = Instant::now() + self.claim;
    }

    /// Makes the group that isn't there (any more), from what no restart needs on: what was handed out is again.
    async fn make(&self) -> Result<()> {
        let row = (self.log_row)().await?;
        // as Redis may have forgotten
        raise(&self.next, row.kept);
        if self.consumer.make(row.kept).await? {
            tracing::info!(task.first = row.kept.0, "made the group of writers");
        }
        Ok(())
    }

    /// One step of [`Tasks::take`]: what there is, or where to wait.
    async fn step(&self, n: usize) -> Result<std::result::Result<Vec<Taken>, TaskId>> {
        let taken = self.consumer.take(n, self.claims(), self.claim.as_millis()).await?;
        let Ok(Take { delivered, claimed, tasks }) = taken else {
            self.make().await?;
            return Ok(Ok(Vec::new()));
        };
        metrics::claimed(claimed);
        if tasks.is_empty() {
            return Ok(Err(delivered));
        }
        let mut taken = tasks.iter().map(|entry| read(entry)).collect::<Result<Vec<_>>>()?;
        let mut held = self.held();
        // what we have is still ours if it comes again
        taken.retain(|taken| held.take(taken.id));
        Ok(Ok(taken))
    }

    /// Waits a while for a task behind this one.
    async fn wait(&self, delivered: TaskId) -> Result<()> {
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(1).arg("BLOCK").arg(WAIT.as_millis() as u64);
        command.arg("STREAMS").arg(&self.consumer.keys.tasks).arg(id(delivered));
        let found: redis::RedisResult<redis::Value> = command.query_async(&mut self.waiting.clone()).await;
        found.map(|_| ()).map_err(|e| refused("waiting for tasks", &e))
    }

    /// Looks what is done; false if there was no group.
    async fn look(&self) -> Result<bool> {
        let Consumer { connection, keys, .. } = &self.consumer;
        let Some((done, next)) = self.reach.by(standing(connection, keys)).await? else {
            self.make().await?;
            return Ok(false);
        };
        raise(&self.next, next);
        let known = *self.done.borrow();
        if done > known {
            // before anything is appended behind tasks that are lost, it is noted that they are
            let row = (self.log_row)().await?;
            if row.lost_below > self.lost_below.max(known) {
                return Err(corrupt(format_args!(
                    "tasks below {} are lost: the Redis stream {} missed them, and they have left the journal; start \
                     again, then all timelines fill anew",
                    row.lost_below, keys.tasks
                )));
            }
            raise(&self.done, done);
        }
        Ok(true)
    }

    /// Acknowledges what is finished.
    async fn tell_finished(&self) -> Result<()> {
        let finished = self.held().finished();
        if finished.is_empty() {
            return Ok(());
        }
        match self.consumer.finish(&finished).await? {
            Ok(ours) => metrics::taken_away(finished.len() as u64 - ours),
            Err(NoGroup) => self.make().await?,
        }
        self.held().acknowledged(&finished);
        Ok(())
    }

    /// Gives signs of life, and tells which pages are reached.
    async fn tell_reached(&self, told: &mut Told) -> Result<()> {
        let now = Instant::now();
        let all = now - told.renewed >= self.claim / RENEWALS;
        if !all && now - told.told < TELL {
            return Ok(());
        }
        let news = self.held().news(all);
        if !news.is_empty() {
            let Ok(lost) = self.consumer.renew(&news).await? else {
                return self.make().await;
            };
            let mut held = self.held();
            held.told(&news);
            let lost = lost.iter().filter_map(|id| of_id(id)).filter(|task| held.lose(*task)).count();
            metrics::taken_away(lost as u64);
        }
        told.told = now;
        if all {
            told.renewed = now;
        }
        Ok(())
    }
}

#[async_trait]
impl Tasks for Group {
    fn alone(&self) -> bool {
        false
    }

    async fn take(&self, n: usize) -> Result<Vec<Taken>> {
        loop {
            let step = async {
                match self.step(n).await? {
                    Ok(taken) => Ok(taken),
                    Err(delivered) => self.wait(delivered).await.map(|()| Vec::new()),
                }
            };
            match step.await {
                Ok(taken) if taken.is_empty() => {}
                Ok(taken) => return Ok(taken),
                Err(error) => {
                    self.away();
                    return Err(error);
                }
            }
        }
    }

    fn is_ours(&self, task: TaskId) -> bool {
        self.held().is_at_work(task)
    }

    fn reached(&self, task: TaskId, reached: Reached) {
        self.held().reached(task, reached);
    }

    fn finish(&self, task: TaskId) {
        if self.held().finish(task) {
            self.finished.notify_one();
        }
    }

    fn done(&self) -> watch::Receiver<TaskId> {
        self.done.subscribe()
    }

    fn next(&self) -> watch::Receiver<TaskId> {
        self.next.subscribe()
    }

    async fn newest(&self) -> Result<TaskId> {
        let Consumer { connection, keys, .. } = &self.consumer;
        // only a group that is there tells
        let next = loop {
            match self.reach.by(standing(connection, keys)).await? {
                Some((_, next)) => break next,
                None => self.make().await?,
            }
        };
        raise(&self.next, next);
        Ok(TaskId(self.next.borrow().0.saturating_sub(1)))
    }

    async fn run(&self) -> Result<()> {
        let mut pace = tokio::time::interval(LOOK);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = Told { renewed: Instant::now(), told: Instant::now() };
        let mut fails = false;
        loop {
            let step = async {
                tokio::select! {
                    () = self.finished.notified() => self.tell_finished().await,
                    _ = pace.tick() => {
                        let finished = async {
                            self.tell_finished().await?;
                            self.tell_reached(&mut told).await
                        };
                        let finished = finished.await;
                        // also where that failed: by it is known whether Redis answers
                        self.look().await.and(finished)
                    }
                }
            };
            match step.await {
                Ok(()) => fails = false,
                Err(error @ Error::Corrupt(_)) => return Err(error),
                Err(error) => {
                    self.away();
                    if !fails {
                        tracing::warn!(%error, "the group of writers can't be asked, trying again");
                    }
                    fails = true;
                }
            }
        }
    }

    async fn give_back(&self) -> Result<()> {
        self.tell_finished().await?;
        self.consumer.give_back().await?;
        self.look().await.map(|_| ())
    }
}

/// What is known never falls: what was done once is done, also when Redis doesn't know of it any more.
fn raise(known: &watch::Sender<TaskId>, now: TaskId) {
    known.send_if_modified(|known| {
        let is_news = now > *known;
        *known = now.max(*known);
        is_news
    });
}

/// A task as [`scripts`] answers it.
fn read(entry: &[String]) -> Result<Taken> {
    let bad = || corrupt(format_args!("the Redis stream of tasks, or its hash of pages, has {entry:?}"));
    let [at, task, pages] = entry else { return Err(bad()) };
    let id = of_id(at).ok_or_else(bad)?;
    let task = log::of_text(task).ok_or_else(bad)?;
    let reached = match pages.as_str() {
        "" => None,
        pages => Some(held::of_text(pages).ok_or_else(bad)?),
    };
    Ok(Taken { id, task, reached })
}
