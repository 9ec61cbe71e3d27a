//! The metrics of the read API.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

const REQUEST_SECONDS: &str = "skyweir_api_request_seconds";
const ITEMS: &str = "skyweir_api_items_total";
const PAGES: &str = "skyweir_api_pages_total";
const MERGES_SHARED: &str = "skyweir_api_shared_merges_total";
const SCANNED: &str = "skyweir_api_scanned_references_total";
const REFUSED: &str = "skyweir_api_refused_requests_total";
const RUNNING: &str = "skyweir_api_running_requests";
const CONNECTIONS: &str = "skyweir_api_open_connections";
const PASSED_SECONDS: &str = "skyweir_api_passed_request_seconds";
const PASSING: &str = "skyweir_api_passing_requests";
const UPSTREAM_CONNECTIONS: &str = "skyweir_api_upstream_connections";

/// Gives every metric of this crate its help text.
pub fn describe() {
    describe_histogram!(
        REQUEST_SECONDS,
        Unit::Seconds,
        "Time to answer a gRPC request, by method and status code (cancelled: the client left, or its deadline passed)"
    );
    describe_counter!(ITEMS, Unit::Count, "Timeline items returned, by source (cache or merge)");
    describe_counter!(
        PAGES,
        Unit::Count,
        "Timeline pages returned, by kind (cache, mixed, merge or unknown_actor)"
    );
    describe_counter!(
        MERGES_SHARED,
        Unit::Count,
        "Pages answered by a merge that another request for the same page had run"
    );
    describe_counter!(SCANNED, Unit::Count, "References looked at for timeline pages, shown or not");
    describe_counter!(
        REFUSED,
        Unit::Count,
        "Requests answered UNAVAILABLE by a limit, by reason (overload or timeout)"
    );
    describe_gauge!(RUNNING, Unit::Count, "Requests running now, health checks aside");
    describe_gauge!(CONNECTIONS, Unit::Count, "Open client connections");
    describe_histogram!(
        PASSED_SECONDS,
        Unit::Seconds,
        "Time of a call that is passed on to the data plane behind us, to its last byte, by outcome (ok; error: its \
         own; unreachable, broken, timeout, overload, too_large; cancelled: the client left, or its deadline passed)"
    );
    describe_gauge!(PASSING, Unit::Count, "Calls that are being passed on now");
    describe_gauge!(
        UPSTREAM_CONNECTIONS,
        Unit::Count,
        "Open connections to the data plane that calls are passed on to"
    );
}

pub(crate) fn request(method: &'static str, code: &'static str, seconds: f64) {
    histogram!(REQUEST_SECONDS, "method" => method, "code" => code).record(seconds);
}

pub(crate) fn page(kind: &'static str, from_cache: u32, from_merge: u32, scanned: usize) {
    counter!(PAGES, "kind" => kind).increment(1);
    counter!(ITEMS, "source" => "cache").increment(u64::from(from_cache));
    counter!(ITEMS, "source" => "merge").increment(u64::from(from_merge));
    counter!(SCANNED).increment(scanned as u64);
}

pub(crate) fn merge_shared() {
    counter!(MERGES_SHARED).increment(1);
}

pub(crate) fn refused(reason: &'static str) {
    counter!(REFUSED, "reason" => reason).increment(1);
}

pub(crate) fn passed(outcome: &'static str, seconds: f64) {
    histogram!(PASSED_SECONDS, "outcome" => outcome).record(seconds);
}

/// Counts something as open from its making to its drop.
pub(crate) struct Open(&'static str);

impl Open {
    pub(crate) fn request() -> Self {
        Self::new(RUNNING)
    }

    pub(crate) fn connection() -> Self {
        Self::new(CONNECTIONS)
    }

    pub(crate) fn passed_request() -> Self {
        Self::new(PASSING)
    }

    pub(crate) fn upstream_connection() -> Self {
        Self::new(UPSTREAM_CONNECTIONS)
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
