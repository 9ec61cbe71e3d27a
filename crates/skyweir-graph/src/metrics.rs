//! Metrics of the follower graph.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

const PAGES: &str = "skyweir_graph_pages_total";
const FOLLOWERS: &str = "skyweir_graph_followers_total";
const HIGH_FOLLOWS: &str = "skyweir_graph_high_follow_accounts";
const FAILURES: &str = "skyweir_graph_snapshot_failures_total";

/// Tells the recorder what each metric means. Call once, after the recorder is installed.
pub fn describe() {
    describe_counter!(PAGES, Unit::Count, "Pages of followers read");
    describe_counter!(FOLLOWERS, Unit::Count, "Followers read in pages");
    describe_gauge!(
        HIGH_FOLLOWS,
        Unit::Count,
        "Accounts that follow more than the reasonable limit, as of the last snapshot"
    );
    describe_counter!(FAILURES, Unit::Count, "High-follow snapshots that failed and were tried again");
}

pub(crate) fn page(followers: usize) {
    counter!(PAGES).increment(1);
    counter!(FOLLOWERS).increment(followers as u64);
}

pub(crate) fn snapshot(accounts: usize) {
    gauge!(HIGH_FOLLOWS).set(accounts as f64);
}

pub(crate) fn snapshot_failed() {
    counter!(FAILURES).increment(1);
}
