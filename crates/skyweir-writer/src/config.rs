//! What can be set, with its limits and defaults.

use serde::{Deserialize, Serialize};
use skyweir_types::DrawKey;

/// Whose timelines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum EnrolMode {
    /// Those that are read.
    #[default]
    Reads,
    /// Those of all known accounts.
    All,
}

/// Settings of the writer: `[writer]` in `skyweir.toml`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Accounts that follow more than this many others get a sample. Shared with the API; set by `[timeline]`.
    #[serde(skip)]
    pub reasonable_limit: u32,
    /// How many references a timeline keeps. Shared with the rings and the API; set by `[timeline]`.
    #[serde(skip)]
    pub cap: usize,
    /// Key of the draw. Shared with the API and the store; set by `[timeline]`.
    #[serde(skip)]
    pub draw: DrawKey,
    /// Whose timelines are written: `reads` (those that are read, the default) or `all`.
    pub enrol: EnrolMode,
    /// How many tasks are worked on at once, 1 to 100,000 (default 256). More stay in the task log. An eighth of them
    /// are for large fan-outs, the others for all other tasks.
    pub jobs: usize,
    /// A fan-out is large when its author has more followers than this, at least 1 (default 10,000).
    pub large_followers: u32,
    /// How many large fan-outs are put off while smaller ones begin, at least 1 (default 10,000). When more come, what
    /// is behind them stays in the task log.
    pub parked: usize,
    /// How many references may be held by jobs that wait for nothing but a shard, 256 for each job itself (default
    /// 1,000,000). While there is room for them, others work in their place.
    pub aside: usize,
    /// How many pages are read and split at the same time; 0 (default): one for each thread of the fan-out. Who has
    /// had the fewest pages comes first; every fourth turn goes to whoever has waited longest.
    pub pages_at_once: usize,
    /// How many references wait for one shard, at least 10,000 (default 20,000). A quarter of the room is for small
    /// fan-outs. When a shard is full, pages with references for it wait.
    pub shard_queue: usize,
    /// How many references one call writes to a shard at most, at least 1 (default 4,096).
    pub shard_batch: usize,
    /// A write that failed is tried again after this many milliseconds (default 50), then after twice as many, ...
    pub retry_least_ms: u64,
    /// ... but never after more than this many milliseconds (default 5,000).
    pub retry_most_ms: u64,
    /// How many timelines wait to be enrolled, at least 1 (default 10,000). More wishes are dropped: the next read has
    /// them again.
    pub enrol_queue: usize,
    /// How many timelines are filled at once, at least 1 (default 4).
    pub enrol_at_once: usize,
    /// How many of the timelines that were read, but not enrolled for want of memory, are remembered, at least 1
    /// (default 65,536): one that is read again within a day is enrolled in place of a less useful one.
    pub candidates: usize,
    /// A timeline gets a new generation for its floor at most once in this many seconds (default 300).
    pub repair_seconds: u64,
    /// A timeline that nobody has read for this many hours hibernates (default 336: 14 days). Only with `enrol = "reads"`.
    pub hibernate_hours: u64,
    /// One that nobody visited again after it was enrolled hibernates after this many hours already (default 24), so
    /// that a crawler that reads every timeline once doesn't keep them all.
    pub hibernate_once_hours: u64,
    /// How often idle timelines and rates are looked at, seconds, at least 1 (default 60).
    pub housekeeping_seconds: u64,
    /// The rings are saved after this many seconds of fan-out (default 15), so that a replay after a crash takes about
    /// as long.
    pub checkpoint_work_seconds: u64,
    /// They are saved at least this often, seconds, if anything has changed (default 600).
    pub checkpoint_seconds: u64,
    /// The accounting of this many newest items is kept (default 100,000).
    pub deliveries: usize,
    /// At shutdown, work that has begun may take this many milliseconds to finish (default 5,000); the rest is done
    /// after the next start.
    pub drain_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            reasonable_limit: 2_000,
            cap: 800,
            draw: DrawKey::default(),
            enrol: EnrolMode::Reads,
            jobs: 256,
            large_followers: 10_000,
            parked: 10_000,
            aside: 1_000_000,
            pages_at_once: 0,
            shard_queue: 20_000,
            shard_batch: 4_096,
            retry_least_ms: 50,
            retry_most_ms: 5_000,
            enrol_queue: 10_000,
            enrol_at_once: 4,
            candidates: 65_536,
            repair_seconds: 300,
            hibernate_hours: 14 * 24,
            hibernate_once_hours: 24,
            housekeeping_seconds: 60,
            checkpoint_work_seconds: 15,
            checkpoint_seconds: 600,
            deliveries: 100_000,
            drain_ms: 5_000,
        }
    }
}
