//! Metrics of the indexer.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use skyweir_types::Body;

use crate::apply::{Outcome, Swept};

const EVENTS: &str = "skyweir_indexer_events_total";
const SKIPPED: &str = "skyweir_indexer_skipped_total";
const MESSAGES: &str = "skyweir_indexer_messages_total";
const COMMITS: &str = "skyweir_indexer_commits_total";
const COMMIT_SECONDS: &str = "skyweir_indexer_commit_seconds";
const RETRIES: &str = "skyweir_indexer_commit_retries_total";
const RESYNCS: &str = "skyweir_indexer_resyncs_total";
const BROKEN_CHAINS: &str = "skyweir_indexer_broken_chains_total";
const STREAM_TIME: &str = "skyweir_indexer_stream_time_seconds";
const HORIZON: &str = "skyweir_indexer_horizon_seconds";
const SWEPT: &str = "skyweir_indexer_swept_items_total";
const SWEEP_BEHIND: &str = "skyweir_indexer_sweep_behind_seconds";
const ENDED: &str = "skyweir_indexer_source_ended";
const WHOLE: &str = "skyweir_indexer_whole";
const ARCHIVE_SHARE: &str = "skyweir_indexer_archive_share";
const ARCHIVE_EVENTS: &str = "skyweir_indexer_archive_events_total";
const ARCHIVE_BYTES: &str = "skyweir_indexer_archive_bytes_total";

/// Tells the recorder what each metric means. Call once, after the recorder is installed.
pub fn describe() {
    describe_counter!(EVENTS, Unit::Count, "Events applied, by kind and by what became of them");
    describe_counter!(SKIPPED, Unit::Count, "Operations and messages that were skipped, by reason");
    describe_counter!(MESSAGES, Unit::Count, "Upstream messages received");
    describe_counter!(COMMITS, Unit::Count, "Groups of events committed and synced");
    describe_histogram!(
        COMMIT_SECONDS,
        Unit::Seconds,
        "Time to apply a group of events, retries included, until it is synced"
    );
    describe_counter!(RETRIES, Unit::Count, "Commits that the store refused and that were tried again");
    describe_counter!(
        RESYNCS,
        Unit::Count,
        "Repositories to be fetched anew as the firehose said so, or lost something of them, by what became of it"
    );
    describe_counter!(
        BROKEN_CHAINS,
        Unit::Count,
        "Commits on a firehose before which others of their account were lost, whether it is fetched anew or not"
    );
    describe_gauge!(
        STREAM_TIME,
        Unit::Seconds,
        "Greatest event time seen, seconds since 1970: now minus this is the lag"
    );
    describe_gauge!(
        HORIZON,
        Unit::Seconds,
        "Items before this time have left, seconds since 1970; only where `items.keep` is or was set"
    );
    describe_counter!(SWEPT, Unit::Count, "Items that had left and were removed with their records");
    describe_gauge!(
        SWEEP_BEHIND,
        Unit::Seconds,
        "How far removing what has left is behind the horizon, what may still be replayed included; 0 when all is gone"
    );
    describe_gauge!(ENDED, Unit::Count, "1 once a file or archive has been read to its end and applied");
    // from the start on, so that an upstream that is dead by then is told from one that isn't asked
    gauge!(ENDED).set(0.0);
    counter!(MESSAGES).increment(0);
    counter!(RETRIES).increment(0);
    describe_gauge!(
        WHOLE,
        Unit::Count,
        "1 when all follows up to the place upstream are known, 0 when some are missing or an archive is being read"
    );
    describe_gauge!(
        ARCHIVE_SHARE,
        Unit::Count,
        "Share of the archive that is read and handed on, from 0 to 1; as it was once that is over; not of repositories"
    );
    describe_counter!(
        ARCHIVE_EVENTS,
        Unit::Count,
        "Events that an archive had for us, without those of repositories"
    );
    describe_counter!(
        ARCHIVE_BYTES,
        Unit::Bytes,
        "Bytes that came of an archive or of repositories, before they are unpacked"
    );
}

pub(crate) fn applied(body: &Body, outcome: Outcome) {
    let kind = match body {
        Body::Record(op) => match op.collection {
            skyweir_types::Collection::Post => "post",
            skyweir_types::Collection::Repost => "repost",
            skyweir_types::Collection::Follow => "follow",
        },
        Body::Account(_) => "account",
        Body::Sync { .. } | Body::SyncEnd { .. } => "sync",
    };
    let outcome = match outcome {
        Outcome::Applied => "applied",
        Outcome::Unchanged => "unchanged",
        Outcome::Stale => "stale",
    };
    counter!(EVENTS, "kind" => kind, "outcome" => outcome).increment(1);
}

pub(crate) fn skipped(reason: &'static str) {
    counter!(SKIPPED, "reason" => reason).increment(1);
}

pub(crate) fn messages(count: u64) {
    counter!(MESSAGES).increment(count);
}

pub(crate) fn committed(seconds: f64, stream_us: i64) {
    counter!(COMMITS).increment(1);
    histogram!(COMMIT_SECONDS).record(seconds);
    reached(stream_us);
}

/// The stream's time, unless nothing has come yet.
pub(crate) fn reached(stream_us: i64) {
    if stream_us != i64::MIN {
        gauge!(STREAM_TIME).set(stream_us as f64 / 1e6);
    }
}

pub(crate) fn left(horizon_ms: i64, swept: Swept) {
    gauge!(HORIZON).set(horizon_ms as f64 / 1e3);
    counter!(SWEPT).increment(swept.items);
    gauge!(SWEEP_BEHIND).set(swept.behind_ms as f64 / 1e3);
}

pub(crate) fn retried() {
    counter!(RETRIES).increment(1);
}

pub(crate) fn ended(ended: bool) {
    gauge!(ENDED).set(f64::from(u8::from(ended)));
}

pub(crate) fn whole(whole: bool) {
    gauge!(WHOLE).set(f64::from(u8::from(whole)));
}

pub(crate) fn archive(share: f64, events: u64) {
    gauge!(ARCHIVE_SHARE).set(share);
    counter!(ARCHIVE_EVENTS).increment(events);
}

pub(crate) fn archive_bytes(bytes: u64) {
    counter!(ARCHIVE_BYTES).increment(bytes);
}

pub(crate) fn chain_broken() {
    counter!(BROKEN_CHAINS).increment(1);
}

pub(crate) fn resynced(outcome: &'static str) {
    counter!(RESYNCS, "outcome" => outcome).increment(1);
}

/// Accounts whose mark had to make room for others'.
pub(crate) fn resyncs_dropped(count: u64) {
    if count > 0 {
        counter!(RESYNCS, "outcome" => "dropped").increment(count);
    }
}
