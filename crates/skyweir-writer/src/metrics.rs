//! Metrics of the writer.

use metrics::{
    Counter, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use skyweir_store::{Counts, MemoryUse};

use crate::hot::Distribution;
use crate::progress::Lag;

const TASKS: &str = "skyweir_writer_tasks_total";
const TASK_SECONDS: &str = "skyweir_writer_task_seconds";
const REFERENCES: &str = "skyweir_writer_references_total";
const APPLY_SECONDS: &str = "skyweir_writer_apply_seconds";
const SHARD_FULL: &str = "skyweir_writer_shard_full_total";
const RETRIES: &str = "skyweir_writer_retries_total";
const LAG_TASKS: &str = "skyweir_writer_lag_tasks";
const LAG_REFERENCES: &str = "skyweir_writer_lag_references";
const LAG_SECONDS: &str = "skyweir_writer_lag_seconds";
const ENROLLED: &str = "skyweir_writer_enrolled_timelines";
const WISHES: &str = "skyweir_writer_enrol_queue_timelines";
const WISHES_DROPPED: &str = "skyweir_writer_enrol_dropped_total";
const GENERATIONS: &str = "skyweir_writer_generations_total";
const FILL_SECONDS: &str = "skyweir_writer_enrol_seconds";
const RATES_LOWERED: &str = "skyweir_writer_rates_lowered_total";
const HIBERNATED: &str = "skyweir_writer_hibernated_total";
const MEMORY: &str = "skyweir_writer_timelines_bytes";
const BUDGET: &str = "skyweir_writer_timelines_budget_bytes";
const SHARD_WRITES: &str = "skyweir_writer_shard_writes_per_second";
const HOT_SHARD: &str = "skyweir_writer_hot_shard_share_ratio";
const HOT_TIMELINES: &str = "skyweir_writer_hot_timelines_share_ratio";
const DROPPED: &str = "skyweir_writer_dropped_references_total";
const PURGED: &str = "skyweir_writer_purged_references_total";

/// Tells the recorder what each metric means. Call once, after the recorder is installed.
pub fn describe() {
    describe_counter!(TASKS, Unit::Count, "Tasks done, by kind (fan_out, fill, purge)");
    describe_histogram!(
        TASK_SECONDS,
        Unit::Seconds,
        "Time from a task's start to its last reference, by kind"
    );
    describe_counter!(
        REFERENCES,
        Unit::Count,
        "References of fan-outs, by what became of them (written, below_floor, sampled_out, hibernating); \
         a replay counts again"
    );
    describe_histogram!(APPLY_SECONDS, Unit::Seconds, "Time of one write to one shard, retries included");
    describe_counter!(SHARD_FULL, Unit::Count, "Pieces that waited because their shard's queue was full");
    describe_counter!(
        RETRIES,
        Unit::Count,
        "Storage operations that failed and were tried again, by operation"
    );
    describe_gauge!(LAG_TASKS, Unit::Count, "Tasks in the log that are not done");
    describe_gauge!(
        LAG_REFERENCES,
        Unit::Count,
        "References that these tasks still have to write; of tasks that are not read from the log yet, estimated by \
         the mean of those read lately"
    );
    describe_gauge!(LAG_SECONDS, Unit::Seconds, "Age of the oldest task that is not done");
    describe_gauge!(ENROLLED, Unit::Count, "Timelines that fan-out writes to");
    describe_gauge!(
        WISHES,
        Unit::Count,
        "Timelines that wait for a new generation or rate, or are getting it"
    );
    describe_counter!(
        WISHES_DROPPED,
        Unit::Count,
        "Wishes of reads that were dropped because the queue was full"
    );
    describe_counter!(
        GENERATIONS,
        Unit::Count,
        "Generations begun, by reason (read, rate_rose, floor_high) and outcome (published, superseded, failed; refused: no memory for it)"
    );
    describe_histogram!(
        FILL_SECONDS,
        Unit::Seconds,
        "Time from the beginning of a generation to its publication"
    );
    describe_counter!(RATES_LOWERED, Unit::Count, "Timelines whose rate was lowered");
    describe_counter!(
        HIBERNATED,
        Unit::Count,
        "Timelines that left, by reason: idle (nobody reads them) or memory (the least useful ones over the budget)"
    );
    describe_gauge!(
        SHARD_WRITES,
        Unit::CountPerSecond,
        "References that fan-out wrote lately to a shard, by quantile of the shards (0.5, 0.9, 0.99; 1 is the hottest)"
    );
    describe_gauge!(
        HOT_SHARD,
        Unit::Count,
        "The hottest shard's share of all that was written lately, 0 to 1"
    );
    describe_gauge!(
        HOT_TIMELINES,
        Unit::Count,
        "The share of the ten hottest timelines of all that was written lately, 0 to 1, at least; who they are tells \
         /hot of the admin port"
    );
    describe_gauge!(MEMORY, Unit::Bytes, "Memory that all timelines take");
    describe_gauge!(BUDGET, Unit::Bytes, "Memory that all timelines may take");
    describe_counter!(DROPPED, Unit::Count, "References to items that have left, taken out of timelines");
    describe_counter!(PURGED, Unit::Count, "References that purges took out of timelines");
}

pub(crate) fn task(kind: &'static str, seconds: f64) {
    counter!(TASKS, "kind" => kind).increment(1);
    histogram!(TASK_SECONDS, "kind" => kind).record(seconds);
}

pub(crate) fn hibernating(references: u64) {
    counter!(REFERENCES, "outcome" => "hibernating").increment(references);
}

/// The metrics of writes, looked up once: a busy shard writes thousands of times a second.
pub(crate) struct Writes {
    seconds: Histogram,
    written: Counter,
    below_floor: Counter,
    sampled_out: Counter,
    hibernating: Counter,
}

impl Writes {
    pub(crate) fn new() -> Self {
        Self {
            seconds: histogram!(APPLY_SECONDS),
            written: counter!(REFERENCES, "outcome" => "written"),
            below_floor: counter!(REFERENCES, "outcome" => "below_floor"),
            sampled_out: counter!(REFERENCES, "outcome" => "sampled_out"),
            hibernating: counter!(REFERENCES, "outcome" => "hibernating"),
        }
    }

    pub(crate) fn record(&self, seconds: f64, counts: &[Counts]) {
        let mut sum = Counts::default();
        for counts in counts {
            sum += *counts;
        }
        self.seconds.record(seconds);
        self.written.increment(sum.written);
        self.below_floor.increment(sum.below_floor);
        self.sampled_out.increment(sum.sampled_out);
        self.hibernating.increment(sum.hibernating);
    }
}

pub(crate) fn shard_full() {
    counter!(SHARD_FULL).increment(1);
}

pub(crate) fn retried(operation: &'static str) {
    counter!(RETRIES, "operation" => operation).increment(1);
}

pub(crate) fn gauges(lag: Lag, enrolled: u64, wishes: usize) {
    gauge!(LAG_TASKS).set(lag.tasks as f64);
    gauge!(LAG_REFERENCES).set(lag.references as f64);
    gauge!(LAG_SECONDS).set(lag.seconds);
    gauge!(ENROLLED).set(enrolled as f64);
    gauge!(WISHES).set(wishes as f64);
}

pub(crate) fn wish_dropped() {
    counter!(WISHES_DROPPED).increment(1);
}

pub(crate) fn generation(reason: &'static str, outcome: &'static str) {
    counter!(GENERATIONS, "reason" => reason, "outcome" => outcome).increment(1);
}

pub(crate) fn published(seconds: f64) {
    histogram!(FILL_SECONDS).record(seconds);
}

pub(crate) fn rate_lowered() {
    counter!(RATES_LOWERED).increment(1);
}

pub(crate) fn hibernated(reason: &'static str, timelines: u64) {
    counter!(HIBERNATED, "reason" => reason).increment(timelines);
}

pub(crate) fn hot(distribution: &Distribution) {
    let Distribution { shards, shard_share, timelines_share } = distribution;
    for (label, share) in [("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99), ("1", 1.0)] {
        let at = (shards.len().saturating_sub(1) as f64 * share).ceil() as usize;
        gauge!(SHARD_WRITES, "quantile" => label).set(shards.get(at).copied().unwrap_or(0.0));
    }
    gauge!(HOT_SHARD).set(*shard_share);
    gauge!(HOT_TIMELINES).set(*timelines_share);
}

pub(crate) fn memory(memory: MemoryUse) {
    gauge!(MEMORY).set(memory.bytes as f64);
    gauge!(BUDGET).set(memory.budget as f64);
}

pub(crate) fn dropped(references: u64) {
    counter!(DROPPED).increment(references);
}

pub(crate) fn purged(references: u64) {
    counter!(PURGED).increment(references);
}
