//! What can be set of timelines, with its limits and defaults.

use serde::Deserialize;

/// Settings of the timelines' rows: `[scylla.timelines]` in `skyweir.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RowsConfig {
    /// How many references a timeline keeps when it is trimmed, 1 to 65,536. Set by the binary, from `timeline.cap`.
    #[serde(skip)]
    pub cap: usize,
    /// What may be known of timelines in memory, bytes. Set by the binary, from `timeline.memory_mb`.
    #[serde(skip)]
    pub memory_bytes: u64,
    /// How many references over the cap a timeline holds before it is trimmed, 0 to 65,536: trims are what the server
    /// bears worst, and each reads the timeline. Default 200.
    pub trim_over: usize,
    /// How many trims one write does at a time, 1 to 256. Default 16.
    pub trims_at_once: usize,
    /// In how many shards a node's share is cut where it has no cores of its own to tell (Cassandra), 1 to 1,024.
    /// Default 16.
    pub shards_per_node: u32,
    /// How many references one batch writes, 1 to 200: above 128 little is gained, above 200 the server warns.
    /// Default 128.
    pub batch_rows: usize,
    /// How many batches a (node, core) gets at a time, 1 to 256; fewer while it is slow. Default 8.
    pub batches_in_flight: u32,
    /// After how many milliseconds a batch is sent to another node, 50 to 60,000. Default 500.
    pub resend_ms: u64,
    /// Writes each reference by a request of its own, as many side by side as a batch would hold: ten times the work
    /// for the writer, for clusters that bear batches badly. Default false.
    pub single_inserts: bool,
    /// How many references one request reads, 2 to 5,000. Default 1,000.
    pub page_rows: usize,
    /// About how many news of enrolments Redis keeps, 1,000 to 10,000,000, of 150 bytes: 15 MB by default. A writer
    /// that is behind by more finds out from the cluster what is enrolled. Default 100,000.
    pub news_most: u64,
    /// How many reads of timelines a process tells the others within a minute, one of each timeline, and about how many
    /// of all processes Redis keeps, 1,000 to 100,000,000, of some 30 bytes here and 25 there. Of those beyond that
    /// others don't know, and take these timelines for less read than they are. Default 1,000,000.
    pub reads_most: usize,
    /// How often news of enrolments are read while no task asks for them, milliseconds, 10 to 60,000. Default 100.
    pub news_ms: u64,
    /// How long a writer waits after it has read from the cluster what is enrolled before it does so once more,
    /// milliseconds, 1 to 60,000; its fan-outs wait, too. While writers are updated one after another, each piece of
    /// news that an older one can't read makes it do so. Default 1,000.
    pub reload_ms: u64,
    /// How long a timeline may fill, milliseconds, 10,000 to 3,600,000: longer than 32 merges take one after another
    /// where the cluster is slow, as a writer begins up to so many together. One that isn't published by then leaves, as
    /// whoever began it may be gone; its reads merge until then. The clocks of all writers have to agree much better
    /// than this. Default 120,000.
    pub filling_ms: u64,
}

impl Default for RowsConfig {
    fn default() -> Self {
        Self {
            cap: 800,
            memory_bytes: 4_096 << 20,
            trim_over: 200,
            trims_at_once: 16,
            shards_per_node: 16,
            batch_rows: 128,
            batches_in_flight: 8,
            resend_ms: 500,
            single_inserts: false,
            page_rows: 1_000,
            news_most: 100_000,
            reads_most: 1_000_000,
            news_ms: 100,
            reload_ms: 1_000,
            filling_ms: 120_000,
        }
    }
}
