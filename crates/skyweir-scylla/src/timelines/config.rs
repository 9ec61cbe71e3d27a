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
        }
    }
}
