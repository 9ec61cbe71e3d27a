//! What the group asks of Redis, each a script: one step, whoever else asks at the same time.
//!
//! Keys are the stream of tasks and the hash of pages. Whoever needs the group where there is none is answered nothing.

use redis::aio::ConnectionManager;
use skyweir_store::Result;
use skyweir_types::TaskId;

use crate::error::redis as refused;

/// A script that may ask for the last task that the group has handed out, of those that are in the stream; second, also
/// of those that it has lost since. Nothing without a group.
macro_rules! with_group {
    ($script:literal) => {
        concat!(
            r"
local function added()
  local info = redis.call('XINFO', 'STREAM', KEYS[1])
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then return tonumber(string.match(info[i + 1], '%d+$')) end
  end
end
local function delivered()
  if redis.call('EXISTS', KEYS[1]) == 0 then return nil end
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local is_ours, last = false, nil
    for i = 1, #group, 2 do
      if group[i] == 'name' then is_ours = group[i + 1] == 'writers' end
      if group[i] == 'last-delivered-id' then last = tonumber(string.match(group[i + 1], '%d+$')) end
    end
    if is_ours then return math.min(last, added()), last end
  end
  return nil
end
",
            $script
        )
    };
}
pub(crate) use with_group;

/// Makes the group behind the task `ARGV[1]`. Of a former one no pages count: they would stay for ever.
const MAKE: &str = with_group!(
    r"
if delivered() then return 0 end
redis.call('XGROUP', 'CREATE', KEYS[1], 'writers', '0-' .. ARGV[1], 'MKSTREAM')
redis.call('DEL', KEYS[2])
return 1
"
);

/// Takes up to `ARGV[2]` tasks for `ARGV[1]`; if `ARGV[3]` is 1 first those of which there was no sign of life for
/// `ARGV[4]` ms. Consumers of long ago that have none are forgotten then. Answers the last task that was handed out, how
/// many were claimed, and (id, task, pages) of each.
const TAKE: &str = with_group!(
    r"
if not delivered() then return false end
local found, claimed, n = {}, 0, tonumber(ARGV[2])
if ARGV[3] == '1' then
  for _, idle in ipairs(redis.call('XPENDING', KEYS[1], 'writers', 'IDLE', ARGV[4], '-', '+', n)) do
    local entry = redis.call('XCLAIM', KEYS[1], 'writers', ARGV[1], ARGV[4], idle[1])[1]
    if entry then found[#found + 1] = entry else redis.call('HDEL', KEYS[2], idle[1]) end
  end
  claimed = #found
  for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], 'writers')) do
    local of = {}
    for i = 1, #consumer, 2 do of[consumer[i]] = consumer[i + 1] end
    if of['pending'] == 0 and of['idle'] > tonumber(ARGV[4]) and of['name'] ~= ARGV[1] then
      redis.call('XGROUP', 'DELCONSUMER', KEYS[1], 'writers', of['name'])
    end
  end
end
if #found < n then
  local new = redis.call('XREADGROUP', 'GROUP', 'writers', ARGV[1], 'COUNT', n - #found, 'STREAMS', KEYS[1], '>')
  if new then
    for _, entry in ipairs(new[1][2]) do found[#found + 1] = entry end
  end
end
local tasks = {}
for i, entry in ipairs(found) do
  tasks[i] = {entry[1], entry[2][2], redis.call('HGET', KEYS[2], entry[1]) or ''}
end
return {delivered(), claimed, tasks}
"
);

/// Acknowledges tasks of `ARGV[1]`, as far as they are still its own: how many.
const FINISH: &str = with_group!(
    r"
if not delivered() then return false end
local ours = 0
for i = 2, #ARGV do
  if #redis.call('XPENDING', KEYS[1], 'writers', ARGV[i], ARGV[i], 1, ARGV[1]) == 1 then
    redis.call('XACK', KEYS[1], 'writers', ARGV[i])
    redis.call('HDEL', KEYS[2], ARGV[i])
    ours = ours + 1
  end
end
return ours
"
);

/// A sign of life for tasks of `ARGV[1]`, each with the page that was reached, if that is news. Answers which aren't
/// its own any more.
const RENEW: &str = with_group!(
    r"
if not delivered() then return false end
local lost = {}
for i = 2, #ARGV, 2 do
  if #redis.call('XPENDING', KEYS[1], 'writers', ARGV[i], ARGV[i], 1, ARGV[1]) == 1 then
    redis.call('XCLAIM', KEYS[1], 'writers', ARGV[1], 0, ARGV[i], 'JUSTID')
    if ARGV[i + 1] ~= '' then redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
  else
    lost[#lost + 1] = ARGV[i]
  end
end
return lost
"
);

/// *Done* over all writers, and the number that the next task gets.
const STANDING: &str = with_group!(
    r"
local last = delivered()
if not last then return false end
local done = last + 1
local pending = redis.call('XPENDING', KEYS[1], 'writers')
if pending[1] > 0 then done = math.min(done, tonumber(string.match(pending[2], '%d+$'))) end
return {done, added() + 1}
"
);

/// Gives all tasks of `ARGV[1]` to nobody, as if there had been no sign of life for an hour, and forgets it.
const GIVE_BACK: &str = with_group!(
    r"
if not delivered() then return false end
while true do
  local pending = redis.call('XPENDING', KEYS[1], 'writers', '-', '+', 1000, ARGV[1])
  if #pending == 0 then break end
  for _, entry in ipairs(pending) do
    redis.call('XCLAIM', KEYS[1], 'writers', 'nobody', 0, entry[1], 'IDLE', 3600000, 'JUSTID')
  end
end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], 'writers', ARGV[1])
return 1
"
);

/// How many tasks one script is about at most. Redis does nothing else meanwhile.
const TASKS_MOST: usize = 500;

/// The keys of one store's tasks.
#[derive(Clone)]
pub(crate) struct Keys {
    /// The stream.
    pub(crate) tasks: String,
    /// By task, how far its fan-out is.
    pages: String,
}

impl Keys {
    /// Of the store of this name.
    pub(crate) fn of(name: &str) -> Self {
        Self { tasks: format!("{name}:tasks"), pages: format!("{name}:pages") }
    }
}

/// What the group takes in one step.
pub(super) struct Take {
    /// The last task that was handed out to anybody.
    pub(super) delivered: TaskId,
    /// How many of these somebody else had.
    pub(super) claimed: usize,
    /// (id, task, pages) of each.
    pub(super) tasks: Vec<Vec<String>>,
}

/// *Done* over all writers, and the number that the next task gets; `None` without a group.
pub(crate) async fn standing(
    connection: &ConnectionManager,
    keys: &Keys,
) -> Result<Option<(TaskId, TaskId)>> {
    let found: Option<(u64, u64)> = run(connection, keys, "asking what is done", STANDING, &[]).await?;
    Ok(found.map(|(done, next)| (TaskId(done), TaskId(next))))
}

/// One consumer of the group.
pub(super) struct Consumer {
    pub(super) connection: ConnectionManager,
    pub(super) keys: Keys,
    /// Of all times no other one has this name.
    pub(super) name: String,
}

/// What a script asked where there is no group.
pub(super) struct NoGroup;

impl Consumer {
    async fn run<T: redis::FromRedisValue>(
        &self,
        doing: &'static str,
        script: &str,
        values: &[String],
    ) -> Result<std::result::Result<T, NoGroup>> {
        let values: Vec<_> = std::iter::once(&self.name).chain(values).cloned().collect();
        let found: Option<T> = run(&self.connection, &self.keys, doing, script, &values).await?;
        Ok(found.ok_or(NoGroup))
    }

    /// Makes the group, if there is none, so that it begins with this task.
    pub(super) async fn make(&self, first: TaskId) -> Result<bool> {
        let before = [first.0.saturating_sub(1).to_string()];
        let made: Option<u64> =
            run(&self.connection, &self.keys, "making the group of writers", MAKE, &before).await?;
        Ok(made == Some(1))
    }

    /// See [`TAKE`].
    pub(super) async fn take(
        &self,
        n: usize,
        claims: bool,
        claim_ms: u128,
    ) -> Result<std::result::Result<Take, NoGroup>> {
        let values = [n.to_string(), u8::from(claims).to_string(), claim_ms.to_string()];
        let found = self.run::<(u64, usize, Vec<Vec<String>>)>("taking tasks", TAKE, &values).await?;
        let take = |(delivered, claimed, tasks)| Take { delivered: TaskId(delivered), claimed, tasks };
        Ok(found.map(take))
    }

    /// See [`FINISH`].
    pub(super) async fn finish(&self, tasks: &[TaskId]) -> Result<std::result::Result<u64, NoGroup>> {
        let mut ours = 0;
        for tasks in tasks.chunks(TASKS_MOST) {
            let ids: Vec<_> = tasks.iter().map(|task| id(*task)).collect();
            match self.run::<u64>("acknowledging tasks", FINISH, &ids).await? {
                Ok(some) => ours += some,
                Err(none) => return Ok(Err(none)),
            }
        }
        Ok(Ok(ours))
    }

    /// See [`RENEW`].
    pub(super) async fn renew(
        &self,
        tasks: &[(TaskId, String)],
    ) -> Result<std::result::Result<Vec<String>, NoGroup>> {
        let mut lost = Vec::new();
        for tasks in tasks.chunks(TASKS_MOST) {
            let values: Vec<_> = tasks.iter().flat_map(|(task, pages)| [id(*task), pages.clone()]).collect();
            match self.run::<Vec<String>>("renewing tasks", RENEW, &values).await? {
                Ok(mut some) => lost.append(&mut some),
                Err(none) => return Ok(Err(none)),
            }
        }
        Ok(Ok(lost))
    }

    /// See [`GIVE_BACK`].
    pub(super) async fn give_back(&self) -> Result<()> {
        // without a group there is nothing to give back
        self.run::<u64>("giving tasks back", GIVE_BACK, &[]).await.map(|_| ())
    }
}

/// A task's id in the stream.
pub(crate) fn id(task: TaskId) -> String {
    format!("0-{}", task.0)
}

/// Back from [`id`].
pub(crate) fn of_id(id: &str) -> Option<TaskId> {
    Some(TaskId(id.strip_prefix("0-")?.parse().ok()?))
}

async fn run<T: redis::FromRedisValue>(
    connection: &ConnectionManager,
    keys: &Keys,
    doing: &'static str,
    script: &str,
    values: &[String],
) -> Result<Option<T>> {
    let mut command = redis::cmd("EVAL");
    command.arg(script).arg(2).arg(&keys.tasks).arg(&keys.pages).arg(values);
    command.query_async(&mut connection.clone()).await.map_err(|e| refused(doing, &e))
}
