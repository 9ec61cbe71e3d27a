//! The task log: a Redis Stream whose ids are the tasks' own numbers, so that appending one again changes nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::ConnectionManager;
use redis::streams::{StreamId, StreamRangeReply};
use skyweir_store::{Error, Reach, Result, Task};
use skyweir_types::{ActorId, ItemId, TaskId};
use tokio::time::Instant;

use crate::config::Config;
use crate::error::{corrupt, redis as refused};
use crate::group::{Keys, id, of_id, standing, with_group};
use crate::redis_link;
use crate::table::visible::LogRow;

/// How many tasks one command appends. Redis does nothing else meanwhile.
const APPEND_MOST: usize = 1_000;

/// Appends tasks from the number `ARGV[1]` on, those that aren't there, unless one is missing from `ARGV[2]` on: that
/// and its answer, the last number, are one step, or a restart of Redis between them would leave a gap.
/// What comes below what the group of writers has had was lost: it is nobody's any more, and handed out again.
const APPEND: &str = with_group!(
    r"
local last = 0
if redis.call('EXISTS', KEYS[1]) == 1 then last = added() end
local first = tonumber(ARGV[1])
if math.max(last + 1, tonumber(ARGV[2])) < first then return last end
local _, handed_out = delivered()
if handed_out and handed_out > last and first + #ARGV - 3 > last then
  redis.call('XGROUP', 'SETID', KEYS[1], 'writers', string.format('0-%.0f', math.max(last, first - 1)))
end
for i = 3, #ARGV do
  local id = first + i - 3
  if id > last then
    redis.call('XADD', KEYS[1], string.format('0-%.0f', id), 'task', ARGV[i])
    if handed_out and id <= handed_out then
      redis.call('XACK', KEYS[1], 'writers', string.format('0-%.0f', id))
    end
    last = id
  end
end
return math.max(last, first - 1)
"
);

/// The log of one store.
pub(crate) struct Log {
    connection: ConnectionManager,
    /// Whether it answers who appends, or looks for the last one.
    reach: Arc<Reach>,
    keys: Keys,
    /// Views that are taken now don't see tasks below this one.
    kept: AtomicU64,
    /// Views that are there may: so tasks are taken from Redis when they are too old.
    trims: Mutex<Trims>,
    /// Below this one tasks may be missing that nobody can append again.
    lost_below: AtomicU64,
}

/// What was cut and isn't taken from Redis yet.
struct Trims {
    /// For how long tasks that were cut stay.
    stay: Duration,
    /// Since when tasks below this one are cut.
    since: Option<(Instant, TaskId)>,
}

impl Log {
    /// Connects to the log of this keyspace, of which nothing below `kept` is needed, and some below `lost_below` may be
    /// missing.
    pub(crate) async fn connect(
        config: &Config,
        reach: Arc<Reach>,
        stay: Duration,
        LogRow { kept, lost_below }: LogRow,
    ) -> Result<Self> {
        Ok(Self {
            connection: redis_link::connect(config, Duration::ZERO).await?,
            reach,
            keys: Keys::of(&config.keyspace),
            kept: AtomicU64::new(kept.0),
            trims: Mutex::new(Trims { stay, since: None }),
            lost_below: AtomicU64::new(lost_below.0),
        })
    }

    /// The stream's name in Redis.
    pub(crate) fn key(&self) -> &str {
        &self.keys.tasks
    }

    /// How many tasks are in the log that the group of writers hasn't done; `None` without a group.
    pub(crate) async fn undone(&self) -> Result<Option<u64>> {
        let standing = standing(&self.connection, &self.keys).await?;
        Ok(standing.map(|(done, next)| next.0.saturating_sub(done.0)))
    }

    /// Below this one, tasks don't show.
    pub(crate) fn kept(&self) -> TaskId {
        TaskId(self.kept.load(Ordering::Acquire))
    }

    /// Below this one tasks may be missing that nobody can append again.
    pub(crate) fn lost_below(&self) -> TaskId {
        TaskId(self.lost_below.load(Ordering::Acquire))
    }

    /// Notes what stands in the store of the log by now.
    pub(crate) fn note(&self, LogRow { kept, lost_below }: LogRow) {
        self.kept.fetch_max(kept.0, Ordering::AcqRel);
        self.note_lost(lost_below);
    }

    /// Notes that nobody can append some of those below this one again.
    pub(crate) fn note_lost(&self, below: TaskId) {
        self.lost_below.fetch_max(below.0, Ordering::AcqRel);
    }

    /// Appends tasks from number `first` on; those that are there already stay as they are. `None`: they are in.
    /// Else nothing was done, as tasks from `needed` on are missing before them: the last one that is there.
    pub(crate) async fn append(
        &self,
        first: TaskId,
        tasks: &[Task],
        needed: TaskId,
    ) -> Result<Option<TaskId>> {
        let (mut first, mut rest) = (first, tasks);
        loop {
            let (now, later) = rest.split_at(rest.len().min(APPEND_MOST));
            let last = self.run(first, now, needed).await?;
            if last + 1 < first.0 {
                return Ok(Some(TaskId(last)));
            }
            first = TaskId(first.0 + now.len() as u64);
            if later.is_empty() {
                return Ok(None);
            }
            rest = later;
        }
    }

    /// The number of the last task that was ever appended, as far as Redis remembers; 0: none was.
    pub(crate) async fn last(&self) -> Result<TaskId> {
        self.run(TaskId(0), &[], TaskId(0)).await.map(TaskId)
    }

    async fn run(&self, first: TaskId, tasks: &[Task], needed: TaskId) -> Result<u64> {
        let mut command = redis::cmd("EVAL");
        command.arg(APPEND).arg(1).arg(self.key()).arg(first.0).arg(needed.0);
        for task in tasks {
            command.arg(text(*task));
        }
        let asked = async {
            let last = command.query_async(&mut self.connection.clone()).await;
            last.map_err(|e| refused("appending tasks", &e))
        };
        self.reach.by(asked).await
    }

    /// Tasks from one number up to, but without, another, at most `n`.
    ///
    /// # Errors
    /// Redis' own; `Unavailable` when it misses the first one and that comes again, `Corrupt` when it is lost.
    pub(crate) async fn read(&self, from: TaskId, to: TaskId, n: usize) -> Result<Vec<(TaskId, Task)>> {
        if n == 0 || from >= to {
            return Ok(Vec::new());
        }
        let found: StreamRangeReply = redis::cmd("XRANGE")
            .arg(self.key())
            .arg(id(from))
            .arg(id(TaskId(to.0 - 1)))
            .arg("COUNT")
            // Redis counts in as many bits, but with a sign
            .arg(i64::try_from(n).unwrap_or(i64::MAX))
            .query_async(&mut self.connection.clone())
            .await
            .map_err(|e| refused("reading tasks", &e))?;
        let found = found.ids.iter().map(|entry| read_entry(entry).ok_or_else(|| self.bad(entry)));
        let mut found = found.collect::<Result<Vec<_>>>()?;
        // what comes behind a gap comes too early
        let whole = found.iter().zip(from.0..).take_while(|((id, _), next)| id.0 == *next).count();
        found.truncate(whole);
        if found.is_empty() { Err(self.gap(from)) } else { Ok(found) }
    }

    /// What to say when this task is missing.
    fn gap(&self, missing: TaskId) -> Error {
        let (key, below) = (self.key(), self.lost_below());
        if missing < below {
            return corrupt(format_args!(
                "tasks from {missing} on, below {below}, are lost: the Redis stream {key} misses them, and they have \
                 left the journal; start again, then all timelines fill anew"
            ));
        }
        Error::Unavailable(format!(
            "the Redis stream {key} misses task {missing}; the indexer appends it again, see that Redis keeps its data"
        ))
    }

    fn bad(&self, entry: &StreamId) -> Error {
        corrupt(format_args!("the Redis stream {} has an entry {} that is no task", self.key(), entry.id))
    }

    /// Hides tasks below this one from views that are taken from now on, and takes those from Redis that no view sees.
    pub(crate) async fn trim(&self, kept: TaskId) -> Result<()> {
        self.kept.fetch_max(kept.0, Ordering::AcqRel);
        let due = {
            let mut trims = self.trims.lock().unwrap_or_else(PoisonError::into_inner);
            trims.next(self.kept(), Instant::now())
        };
        match due {
            Some(kept) => self.cut(kept).await,
            None => Ok(()),
        }
    }

    /// Takes from Redis what is below this task.
    pub(crate) async fn cut(&self, kept: TaskId) -> Result<()> {
        let mut command = redis::cmd("XTRIM");
        command.arg(self.key()).arg("MINID").arg(id(kept));
        let cut: redis::RedisResult<u64> = command.query_async(&mut self.connection.clone()).await;
        cut.map(|_| ()).map_err(|e| refused("cutting the task log", &e))
    }
}

impl Trims {
    /// Which task is old enough to be the first now, if that changes.
    fn next(&mut self, kept: TaskId, now: Instant) -> Option<TaskId> {
        let Some((since, old)) = self.since else {
            self.since = Some((now, kept));
            return None;
        };
        if now.duration_since(since) < self.stay {
            return None;
        }
        self.since = Some((now, kept));
        Some(old)
    }
}

/// A task as people read it in Redis.
fn text(task: Task) -> String {
    match task {
        Task::FanOut { item } => format!("fan-out {item}"),
        Task::Fill { viewer, author } => format!("fill {viewer} {author}"),
        Task::Purge { viewer, author } => format!("purge {viewer} {author}"),
    }
}

/// Back from [`text`].
pub(crate) fn of_text(text: &str) -> Option<Task> {
    let words: Vec<&str> = text.split(' ').collect();
    let actor = |word: &str| word.parse().ok().map(ActorId);
    match words[..] {
        ["fan-out", item] => Some(Task::FanOut { item: ItemId(item.parse().ok()?) }),
        ["fill", viewer, author] => Some(Task::Fill { viewer: actor(viewer)?, author: actor(author)? }),
        ["purge", viewer, author] => Some(Task::Purge { viewer: actor(viewer)?, author: actor(author)? }),
        _ => None,
    }
}

fn read_entry(entry: &StreamId) -> Option<(TaskId, Task)> {
    Some((of_id(&entry.id)?, of_text(&entry.get::<String>("task")?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_texts() {
        let (viewer, author) = (ActorId(3), ActorId(u32::MAX));
        let tasks = [
            Task::FanOut { item: ItemId(1 << 46) },
            Task::Fill { viewer, author },
            Task::Purge { viewer, author },
        ];
        for task in tasks {
            assert_eq!(of_text(&text(task)), Some(task));
        }
        for bad in ["", "fan-out", "fan-out x", "fill 1", "fill 1 2 3", "drop 1 2", "fill -1 2"] {
            assert_eq!(of_text(bad), None, "{bad}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_stay_as_long_as_views_may_see_them() {
        let stay = Duration::from_secs(10);
        let mut trims = Trims { stay, since: None };
        assert_eq!(trims.next(TaskId(5), Instant::now()), None);
        tokio::time::advance(stay - Duration::from_millis(1)).await;
        assert_eq!(trims.next(TaskId(9), Instant::now()), None);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(trims.next(TaskId(12), Instant::now()), Some(TaskId(5)));
        // what came later is as old only later
        assert_eq!(trims.next(TaskId(13), Instant::now()), None);
        tokio::time::advance(stay).await;
        assert_eq!(trims.next(TaskId(20), Instant::now()), Some(TaskId(12)));
    }
}
