//! What the store tells of itself.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

const COMMIT_SECONDS: &str = "skyweir_scylla_commit_seconds";
const COMMIT_ROWS: &str = "skyweir_scylla_commit_rows_total";
const GAPS: &str = "skyweir_scylla_task_gaps_total";
const UNDONE: &str = "skyweir_scylla_tasks_undone";
const CLAIMED: &str = "skyweir_scylla_tasks_claimed_total";
const TAKEN_AWAY: &str = "skyweir_scylla_tasks_taken_away_total";
const RESENT: &str = "skyweir_scylla_batches_resent_total";
const TRIMS: &str = "skyweir_scylla_trims_total";
const RELOADS: &str = "skyweir_scylla_enrolments_reloaded_total";
const WISHES_DROPPED: &str = "skyweir_scylla_wishes_dropped_total";
const TOUCHES_DROPPED: &str = "skyweir_scylla_reads_untold_total";
const READS_MISSED: &str = "skyweir_scylla_reads_missed_total";

/// Describes this crate's metrics to the recorder.
pub fn describe() {
    describe_histogram!(
        COMMIT_SECONDS,
        Unit::Seconds,
        "Time of one transaction, from its entry in the journal to its tasks in Redis."
    );
    describe_counter!(
        COMMIT_ROWS,
        Unit::Count,
        "Rows written or removed by transactions, without the journal's."
    );
    describe_counter!(
        GAPS,
        Unit::Count,
        "Times that tasks were missing in Redis, by what came of it: appended again from the journal, or lost."
    );
    describe_gauge!(
        UNDONE,
        Unit::Count,
        "Tasks in Redis that no writer has done. Over `scylla.tasks_most` the indexer waits."
    );
    describe_counter!(
        CLAIMED,
        Unit::Count,
        "Tasks that this writer has taken over from another that stopped, or gave no sign of life."
    );
    describe_counter!(
        TAKEN_AWAY,
        Unit::Count,
        "Tasks that another writer has taken over from this one while it was at work on them."
    );
    describe_counter!(
        RESENT,
        Unit::Count,
        "Batches of references that the node they belong to did not take in time, sent again to another."
    );
    describe_counter!(TRIMS, Unit::Count, "Times that a timeline's oldest references were removed.");
    describe_counter!(
        RELOADS,
        Unit::Count,
        "Times that news of enrolments could not be followed in Redis, so that all were read from the cluster again, \
         by why: missing, restarted (Redis was), unreadable (of another version)."
    );
    describe_counter!(
        WISHES_DROPPED,
        Unit::Count,
        "Wishes of reads that no writer in another process gets, by why: full, unavailable, unreadable."
    );
    describe_counter!(
        TOUCHES_DROPPED,
        Unit::Count,
        "Reads of timelines that other processes are not told of, as too many were read within a minute, or Redis did not \
         take them."
    );
    describe_counter!(
        READS_MISSED,
        Unit::Count,
        "Times that a writer could not hear which timelines were read elsewhere, by why: missing (there were more than \
         `scylla.timelines.reads_most`, or Redis lost them), unreadable (of another version)."
    );
}

pub(crate) fn committed(seconds: f64, rows: usize) {
    metrics::histogram!(COMMIT_SECONDS).record(seconds);
    metrics::counter!(COMMIT_ROWS).increment(rows as u64);
}

/// What came of tasks that were missing: `mended` or `lost`.
pub(crate) fn gap(outcome: &'static str) {
    metrics::counter!(GAPS, "outcome" => outcome).increment(1);
}

pub(crate) fn undone(tasks: u64) {
    metrics::gauge!(UNDONE).set(tasks as f64);
}

pub(crate) fn claimed(tasks: usize) {
    metrics::counter!(CLAIMED).increment(tasks as u64);
}

pub(crate) fn taken_away(tasks: u64) {
    metrics::counter!(TAKEN_AWAY).increment(tasks);
}

pub(crate) fn resent() {
    metrics::counter!(RESENT).increment(1);
}

pub(crate) fn trimmed() {
    metrics::counter!(TRIMS).increment(1);
}

pub(crate) fn reloaded(why: &'static str) {
    metrics::counter!(RELOADS, "why" => why).increment(1);
}

pub(crate) fn touches_dropped(n: u64) {
    metrics::counter!(TOUCHES_DROPPED).increment(n);
}

pub(crate) fn reads_missed(why: &'static str, n: u64) {
    if n > 0 {
        metrics::counter!(READS_MISSED, "why" => why).increment(n);
    }
}

pub(crate) fn wishes_dropped(why: &'static str, n: u64) {
    if n > 0 {
        metrics::counter!(WISHES_DROPPED, "why" => why).increment(n);
    }
}
