//! What can be set, with its limits and defaults.

use std::path::PathBuf;

use serde::Deserialize;

/// Settings of the record store: `[store]` in `skyweir.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where everything is kept; made if it isn't there. One process at a time. Set by `data_dir`.
    #[serde(skip)]
    pub data_dir: PathBuf,
    /// Memory for blocks read from disk, MiB. Default 64.
    pub cache_mb: u64,
    /// Memory for items that were read, MiB, at least 1. Default 64: some 300,000 posts.
    pub item_cache_mb: u64,
    /// Memory for whom readers follow, MiB, at least 1. Default 64: 100,000 readers that follow 100 others. Whoever
    /// follows more than fit into a sixteenth of it is looked up edge by edge.
    pub follow_cache_mb: u64,
    /// Memory for the DIDs of accounts that were read, MiB, at least 1. Default 32: some 120,000 accounts.
    pub name_cache_mb: u64,
    /// How large the journals may grow before tables are flushed for them, MiB, at least 64. Default 256.
    pub journal_mb: u64,
    /// Memory for one table's unflushed writes, MiB of keys and values, at least 1; in memory they take up to three
    /// times as much. Default 32.
    pub memtable_mb: u64,
    /// How many accounts transactions remember the number of, and of how many what changes about them; some 250 bytes
    /// for both. Default 131,072.
    pub remembered_accounts: usize,
    /// Threads that flush and compact, at least 1. Default 2.
    pub worker_threads: usize,
    /// Memory for rows that wait to be sorted while a whole network is loaded, MiB, 64 to 65,536; while tables are
    /// written it is twice as much, and some 50 KiB for each run: those are files, all open then, of 11,000 rows for
    /// each MiB. DIDs and what changes about accounts come on top, for each account. Default 512.
    pub load_mb: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: "data".into(),
            cache_mb: 64,
            item_cache_mb: 64,
            follow_cache_mb: 64,
            name_cache_mb: 32,
            journal_mb: 256,
            memtable_mb: 32,
            remembered_accounts: 131_072,
            worker_threads: 2,
            load_mb: 512,
        }
    }
}

/// Settings of the timelines in memory: `[rings]` in `skyweir.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RingsConfig {
    /// How many slices (shards) the actors are split into, 1 to 65,536. Default 128: a page of followers wakes the
    /// workers of all, and a fan-out thread's own queue has room for 256 tasks; more than fit lose their turns.
    pub slices: u32,
    /// How many references a timeline keeps, 1 to 65,536. Default 800. Shared with the writer and the API; set by
    /// `[timeline]`.
    #[serde(skip)]
    pub cap: usize,
    /// Bytes that all timelines may take; beside it comes a bit for each account known. Default 4 GiB. Set by
    /// `[timeline]`.
    #[serde(skip)]
    pub memory_bytes: u64,
    /// Threads that read the checkpoint at start. Default 2.
    pub restore_threads: usize,
}

impl Default for RingsConfig {
    fn default() -> Self {
        Self { slices: 128, cap: 800, memory_bytes: 4 << 30, restore_threads: 2 }
    }
}
