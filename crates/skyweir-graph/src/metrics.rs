//! Metrics of the follower graph.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

const PAGES: &str = "skyweir_graph_pages_total";
const FOLLOWERS: &str = "skyweir_graph_followers_total";
const HIGH_FOLLOWS: &str = "skyweir_graph_high_follow_accounts";
const FAILURES: &str = "skyweir_graph_snapshot_failures_total";
const RESUMED: &str = "skyweir_graph_resumed_streams_total";
const SERVED_PAGES: &str = "skyweir_graph_served_pages_total";
const REFUSED: &str = "skyweir_graph_refused_requests_total";
const STREAMS: &str = "skyweir_graph_open_streams";
const CONNECTIONS: &str = "skyweir_graph_open_connections";

/// Tells the recorder what each metric means. Call once, after the recorder is installed.
pub fn describe() {
    describe_counter!(PAGES, Unit::Count, "Pages of followers read, from the store or from a server");
    describe_counter!(FOLLOWERS, Unit::Count, "Followers read in pages");
    describe_gauge!(
        HIGH_FOLLOWS,
        Unit::Count,
        "Accounts that follow more than the reasonable limit, as of the last snapshot"
    );
    describe_counter!(
        FAILURES,
        Unit::Count,
        "High-follow snapshots that failed, or whose server was lost, and that were tried again"
    );
    describe_counter!(
        RESUMED,
        Unit::Count,
        "Streams of pages that went on behind the page before, by reason (lost: the server or its answer; idle: closed \
         by graph.remote_streams; view: a served one's view had ended)"
    );
    describe_counter!(SERVED_PAGES, Unit::Count, "Pages of followers that were served to other processes");
    describe_counter!(
        REFUSED,
        Unit::Count,
        "Requests of other processes answered UNAVAILABLE, by reason (streams: graph.max_streams; timeout; stopping)"
    );
    describe_gauge!(STREAMS, Unit::Count, "Open streams to other processes, of pages and snapshots");
    describe_gauge!(CONNECTIONS, Unit::Count, "Open connections of other processes");
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

pub(crate) fn resumed(reason: &'static str) {
    counter!(RESUMED, "reason" => reason).increment(1);
}

pub(crate) fn served() {
    counter!(SERVED_PAGES).increment(1);
}

pub(crate) fn refused(reason: &'static str) {
    counter!(REFUSED, "reason" => reason).increment(1);
}

/// Counts something as open from its making to its drop.
pub(crate) struct Open(&'static str);

impl Open {
    pub(crate) fn stream() -> Self {
        Self::new(STREAMS)
    }

    pub(crate) fn connection() -> Self {
        Self::new(CONNECTIONS)
    }

    fn new(name: &'static str) -> Self {
        gauge!(name).increment(1.0);
        Self(name)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        gauge!(self.0).decrement(1.0);
    }
}
