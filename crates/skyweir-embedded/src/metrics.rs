//! What the store tells of itself.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

pub(crate) const COMMIT_SECONDS: &str = "skyweir_embedded_commit_seconds";
pub(crate) const COMMITS: &str = "skyweir_embedded_commits_total";
pub(crate) const COMMIT_KEYS: &str = "skyweir_embedded_commit_keys_total";
pub(crate) const CHECKPOINT_SECONDS: &str = "skyweir_embedded_checkpoint_seconds";
pub(crate) const CHECKPOINT_BYTES: &str = "skyweir_embedded_checkpoint_bytes_total";
pub(crate) const CACHE_LOOKUPS: &str = "skyweir_embedded_cache_lookups_total";
pub(crate) const CACHE_MISSES: &str = "skyweir_embedded_cache_misses_total";
pub(crate) const CACHE_BYTES: &str = "skyweir_embedded_cache_bytes";
pub(crate) const RINGS_ENROLLED: &str = "skyweir_embedded_rings_count";
pub(crate) const RINGS_DROPPED: &str = "skyweir_embedded_rings_dropped_total";
pub(crate) const RINGS_REFUSED: &str = "skyweir_embedded_rings_refused_total";

/// Describes this crate's metrics to the recorder.
pub fn describe() {
    describe_histogram!(COMMIT_SECONDS, Unit::Seconds, "Time of one synced commit of records and tasks.");
    describe_counter!(COMMITS, Unit::Count, "Commits of records and tasks.");
    describe_counter!(COMMIT_KEYS, Unit::Count, "Keys written or removed by commits.");
    describe_histogram!(CHECKPOINT_SECONDS, Unit::Seconds, "Time of one checkpoint of the rings.");
    describe_counter!(CHECKPOINT_BYTES, Unit::Bytes, "Bytes written by checkpoints of the rings.");
    describe_counter!(
        CACHE_LOOKUPS,
        Unit::Count,
        "Things that reads looked for in memory, by cache (items, follows or names)."
    );
    describe_counter!(
        CACHE_MISSES,
        Unit::Count,
        "Those of them that weren't there and were read from the tables, by cache."
    );
    describe_gauge!(
        CACHE_BYTES,
        Unit::Bytes,
        "Memory that a cache takes, by cache; the configuration bounds it."
    );
    describe_gauge!(
        RINGS_ENROLLED,
        Unit::Count,
        "Timelines that are filling or in, as of the last checkpoint."
    );
    describe_counter!(RINGS_DROPPED, Unit::Count, "Times that all rings were dropped at start.");
    describe_counter!(
        RINGS_REFUSED,
        Unit::Count,
        "Times that a full ring dropped its oldest reference because the memory budget had no room for more."
    );
}
