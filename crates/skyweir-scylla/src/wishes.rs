//! What reads wish for, from processes that don't write to one that does: a list in Redis, from which each wish is taken
//! once. A wish that is lost is no harm: the next read has it again. Reads themselves are told to all, in a stream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::ConnectionManager;
use skyweir_store::{Enrol, EnrolReason, Reach, Result};
use skyweir_types::{ActorId, Clock};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::cluster::Cluster;
use crate::error::redis as refused;
use crate::timelines::{Reads, TELL, Touches};
use crate::{metrics, redis_link};

/// How often wishes go to Redis, and how often a writer looks for some: no read waits for one.
const PACE: Duration = Duration::from_millis(20);
/// How many wishes one command brings or takes. Redis does nothing else meanwhile.
const AT_A_TIME: usize = 1_000;

/// Adds what there is room for of the wishes from `ARGV[2]` on, and tells how many there was none for.
const ADD: &str = r"
local room = tonumber(ARGV[1]) - redis.call('LLEN', KEYS[1])
local n = math.max(0, math.min(room, #ARGV - 1))
for i = 2, n + 1 do redis.call('RPUSH', KEYS[1], ARGV[i]) end
return #ARGV - 1 - n
";

/// What is wished for a timeline.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wish {
    /// `enrol VIEWER WHY`.
    Enrol(EnrolReason),
    /// `lower VIEWER RATE`.
    Lower(f32),
}

const REASONS: [(EnrolReason, &str); 3] = [
    (EnrolReason::Read, "read"),
    (EnrolReason::RateRose, "rate_rose"),
    (EnrolReason::FloorHigh, "floor_high"),
];

fn text(viewer: ActorId, wish: Wish) -> String {
    match wish {
        Wish::Enrol(why) => {
            let name = REASONS.iter().find(|(reason, _)| *reason == why).map_or("read", |(_, name)| *name);
            format!("enrol {viewer} {name}")
        }
        Wish::Lower(rate) => format!("lower {viewer} {rate}"),
    }
}

/// Back from [`text`].
fn of_text(text: &str) -> Option<(ActorId, Wish)> {
    let words: Vec<&str> = text.split(' ').collect();
    let [what, viewer, more] = words[..] else { return None };
    let wish = match what {
        "enrol" => Wish::Enrol(REASONS.iter().find(|(_, name)| *name == more)?.0),
        "lower" => Wish::Lower(more.parse().ok()?),
        _ => return None,
    };
    Some((ActorId(viewer.parse().ok()?), wish))
}

/// The list of one store.
#[derive(Clone)]
struct List {
    connection: ConnectionManager,
    /// Whether it answers.
    reach: Arc<Reach>,
    key: String,
    most: usize,
}

impl List {
    async fn connect(cluster: &Cluster) -> Result<Self> {
        let config = &cluster.config;
        Ok(Self {
            connection: redis_link::connect(config, Duration::ZERO).await?,
            reach: cluster.redis(),
            key: format!("{}:wishes", config.keyspace),
            most: config.wishes_most,
        })
    }

    /// Adds some; returns how many there was no room for.
    async fn add(&self, wishes: &[(ActorId, Wish)]) -> Result<u64> {
        let mut command = redis::cmd("EVAL");
        command.arg(ADD).arg(1).arg(&self.key).arg(self.most);
        for (viewer, wish) in wishes {
            command.arg(text(*viewer, *wish));
        }
        self.ask("bringing wishes of reads", &command).await
    }

    /// Takes up to `n`; nobody else gets them.
    async fn take(&self, n: usize) -> Result<Vec<String>> {
        let mut command = redis::cmd("LPOP");
        command.arg(&self.key).arg(n.min(AT_A_TIME));
        let taken: Option<Vec<String>> = self.ask("taking wishes of reads", &command).await?;
        Ok(taken.unwrap_or_default())
    }

    /// Looks whether Redis is there: for a while no read may wish for anything.
    async fn look(&self) -> Result<()> {
        let mut command = redis::cmd("LLEN");
        command.arg(&self.key);
        self.ask::<u64>("counting wishes of reads", &command).await.map(drop)
    }

    async fn ask<T: redis::FromRedisValue>(&self, doing: &str, command: &redis::Cmd) -> Result<T> {
        let asked = async {
            let answer = command.query_async(&mut self.connection.clone()).await;
            answer.map_err(|e| refused(doing, &e))
        };
        self.reach.by(asked).await
    }
}

fn pace() -> Interval {
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

/// The way from reads to writers in other processes. Cheap to clone.
#[derive(Clone)]
pub struct RemoteEnrol {
    inner: Arc<Inner>,
    /// Brings what is wished as long as somebody has this.
    _upkeep: Arc<JoinSet<()>>,
}

struct Inner {
    list: List,
    reads: Reads,
    /// One a timeline.
    waiting: Mutex<HashMap<ActorId, Wish>>,
    touches: Touches,
    clock: Clock,
}

impl RemoteEnrol {
    /// Connects. Has to run on a tokio runtime with time.
    ///
    /// # Errors
    /// `Unavailable` when Redis doesn't answer.
    pub async fn connect(cluster: &Cluster, clock: Clock) -> Result<Self> {
        let config = &cluster.config;
        let inner = Arc::new(Inner {
            list: List::connect(cluster).await?,
            reads: Reads::connect(config).await?,
            waiting: Mutex::default(),
            touches: Touches::new(config),
            clock,
        });
        let mut running = JoinSet::new();
        running.spawn(bring(Arc::clone(&inner)));
        Ok(Self { inner, _upkeep: Arc::new(running) })
    }
}

impl Inner {
    fn waiting(&self) -> MutexGuard<'_, HashMap<ActorId, Wish>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wish(&self, viewer: ActorId, wish: Wish) {
        let mut waiting = self.waiting();
        if waiting.len() < self.list.most || waiting.contains_key(&viewer) {
            waiting.insert(viewer, wish);
        } else {
            metrics::wishes_dropped("full", 1);
        }
    }

    /// Brings what has been wished since; what Redis doesn't take is dropped.
    async fn bring(&self) -> Result<()> {
        let wishes: Vec<_> = std::mem::take(&mut *self.waiting()).into_iter().collect();
        let mut left = wishes.len();
        for some in wishes.chunks(AT_A_TIME) {
            match self.list.add(some).await {
                Ok(dropped) => metrics::wishes_dropped("full", dropped),
                Err(error) => {
                    metrics::wishes_dropped("unavailable", left as u64);
                    return Err(error);
                }
            }
            left -= some.len();
        }
        Ok(())
    }
}

async fn bring(inner: Arc<Inner>) {
    let (mut pace, mut told, mut fails) = (pace(), Instant::now(), false);
    loop {
        pace.tick().await;
        let brought = async {
            if told.elapsed() >= TELL {
                told = Instant::now();
                // first: by it is known whether Redis answers
                inner.list.look().await?;
                inner.touches.tell(&inner.reads).await?;
            }
            inner.bring().await
        };
        fails = say("wishes of reads can't be brought to writers", &brought.await, fails);
    }
}

/// Logs the first of several failures; whether it was one.
fn say(what: &str, done: &Result<()>, fails: bool) -> bool {
    if let Err(error) = done
        && !fails
    {
        tracing::warn!(%error, "{what}; trying again");
    }
    done.is_err()
}

impl Enrol for RemoteEnrol {
    fn enrol(&self, viewer: ActorId, why: EnrolReason) {
        self.inner.wish(viewer, Wish::Enrol(why));
    }

    fn touch(&self, viewer: ActorId) {
        self.inner.touches.note(viewer, self.inner.clock.now_ms());
    }

    fn lower_rate(&self, viewer: ActorId, rate: f32) {
        self.inner.wish(viewer, Wish::Lower(rate));
    }

    /// Rows are durable: what was readable before a crash of a writer is readable after it.
    fn caught_up(&self) -> bool {
        true
    }
}

/// Takes wishes of other processes for a writer, for ever: as many at a time as there is `room` for.
///
/// # Errors
/// `Unavailable` when Redis doesn't answer at first; later failures are tried again.
pub async fn take_wishes(
    cluster: &Cluster,
    writer: Arc<dyn Enrol>,
    room: impl Fn() -> usize + Send,
) -> Result<()> {
    let list = List::connect(cluster).await?;
    let (mut pace, mut fails) = (pace(), false);
    loop {
        pace.tick().await;
        let room = room();
        if room == 0 {
            continue;
        }
        let taken = list.take(room).await;
        let taken = taken.map(|taken| {
            for text in taken {
                match of_text(&text) {
                    Some((viewer, Wish::Enrol(why))) => writer.enrol(viewer, why),
                    Some((viewer, Wish::Lower(rate))) => writer.lower_rate(viewer, rate),
                    None => metrics::wishes_dropped("unreadable", 1),
                }
            }
        });
        fails = say("wishes of reads can't be taken", &taken, fails);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_texts() {
        let reasons = REASONS.map(|(why, _)| Wish::Enrol(why));
        for wish in reasons.into_iter().chain([Wish::Lower(0.1), Wish::Lower(1.0)]) {
            assert_eq!(of_text(&text(ActorId(7), wish)), Some((ActorId(7), wish)));
        }
        for bad in ["", "enrol 7", "enrol x read", "enrol 7 why", "lower 7 x", "lower 7 0.5 1", "gone 7 1"] {
            assert_eq!(of_text(bad), None, "{bad}");
        }
    }
}
