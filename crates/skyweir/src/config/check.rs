//! The ranges of all settings.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use skyweir_indexer::source::{Error as SourceError, Source, parse};
use skyweir_scylla::{Config as ScyllaConfig, Password, check_keyspace, check_login};
use skyweir_types::Clock;
use tracing_subscriber::EnvFilter;

use super::{Backend, Config};
use crate::cli::Age;
use crate::roles::Roles;

/// No pause, limit or queue of ours makes sense beyond this; it keeps sums and conversions from overflowing.
const MOST: u64 = 1 << 40;
/// Longest of all times that are given in milliseconds: a day.
const DAY_MS: u64 = 86_400_000;

/// A value that can't work.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// The key, with its section.
    pub(super) key: String,
    /// What is wrong, and what is expected.
    pub(super) what: String,
    /// Keys that are as much to blame, where this one isn't set.
    pub(super) others: &'static [&'static str],
}

#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn push(&mut self, key: &str, what: String) {
        self.0.push(Fault { key: key.to_owned(), what, others: &[] });
    }

    /// A key that is no use without another one.
    fn beside(&mut self, (key, is_set): (&str, bool), (other, is_there): (&str, bool)) {
        if is_set && !is_there {
            self.push(key, format!("is set: expected {other} beside it"));
        }
    }

    fn range(&mut self, key: &str, value: u64, range: RangeInclusive<u64>) {
        if range.contains(&value) {
            return;
        }
        let (least, most) = (range.start(), range.end());
        let expected = if *most == MOST { format!("at least {least}") } else { format!("{least} to {most}") };
        self.push(key, format!("is {value}: expected {expected}"));
    }
}

/// Everything that can't work.
pub(super) fn faults(config: &Config) -> Vec<Fault> {
    let mut faults = Faults::default();
    service(config, &mut faults);
    roles(config, &mut faults);
    storage(config, &mut faults);
    cluster(config, &mut faults);
    indexer(config, &mut faults);
    graph(config, &mut faults);
    fan_out(config, &mut faults);
    api(config, &mut faults);
    faults.0
}

fn service(config: &Config, faults: &mut Faults) {
    faults.range("shutdown_grace_seconds", config.shutdown_grace_seconds, 1..=600);
    faults.range("unreachable_seconds", config.unreachable_seconds, 0..=600);
    faults.range("runtime.io_threads", config.runtime.io_threads as u64, 1..=1_024);
    faults.range("runtime.fanout_threads", config.runtime.fanout_threads as u64, 1..=1_024);
    faults.range("timeline.reasonable_limit", config.timeline.reasonable_limit.into(), 1..=MOST);
    faults.range("timeline.cap", config.timeline.cap as u64, 1..=65_536);
    faults.range("timeline.memory_mb", config.timeline.memory_mb, 1..=1 << 24);
    if let Age::Hours(hours) = config.items.keep
        && !(24..=876_000).contains(&hours)
    {
        let what = format!("is {hours} hours: expected \"1d\" to \"36500d\", or \"all\"");
        faults.push("items.keep", what);
    }
    if config.data_dir.as_os_str().is_empty() {
        faults.push("data_dir", "is empty: expected the path of a directory".into());
    }
    if config.roles.api && config.grpc == config.admin && config.grpc.port() != 0 {
        faults.push("admin", format!("is {}, as grpc is: expected another port", config.admin));
    }
    if let Err(error) = EnvFilter::try_new(&config.log) {
        faults.push(
            "log",
            format!("is {:?}: {error}; expected for example info,skyweir_api=debug", config.log),
        );
    }
    let (served, graph) = match config.graph.listen {
        Some(_) => (" and graph.drain_ms", config.graph.drain_ms),
        None => ("", 0),
    };
    let drain = config.api.drain_ms.saturating_add(config.writer.drain_ms).saturating_add(graph);
    if drain >= config.shutdown_grace_seconds.saturating_mul(1_000) {
        let grace = config.shutdown_grace_seconds;
        let what = format!(
            "is {grace}: expected more than api.drain_ms and writer.drain_ms{served} together, which are {drain} ms"
        );
        let others = &["graph.drain_ms", "writer.drain_ms", "api.drain_ms"];
        faults.0.push(Fault { key: "shutdown_grace_seconds".into(), what, others });
    }
}

fn roles(config: &Config, faults: &mut Faults) {
    let roles = config.roles;
    if config.backend == Backend::Embedded && roles != Roles::ALL {
        let what = format!(
            "is {roles}: expected {}, as a data directory has one process; with backend = \"scylla\" there may be more",
            Roles::ALL
        );
        faults.push("roles", what);
    }
    if roles.graph && !roles.writer && config.graph.listen.is_none() {
        let what =
            "is not set: expected ADDR:PORT, as nobody asks the graph of a process without writer elsewhere";
        faults.push("graph.listen", what.into());
    }
}

fn storage(config: &Config, faults: &mut Faults) {
    let (store, rings) = (&config.store, &config.rings);
    faults.range("store.cache_mb", store.cache_mb, 1..=1_048_576);
    faults.range("store.item_cache_mb", store.item_cache_mb, 1..=1_048_576);
    faults.range("store.follow_cache_mb", store.follow_cache_mb, 1..=1_048_576);
    faults.range("store.name_cache_mb", store.name_cache_mb, 1..=1_048_576);
    faults.range("store.journal_mb", store.journal_mb, 64..=1_048_576);
    faults.range("store.memtable_mb", store.memtable_mb, 1..=65_536);
    faults.range("store.remembered_accounts", store.remembered_accounts as u64, 0..=1 << 32);
    faults.range("store.worker_threads", store.worker_threads as u64, 1..=256);
    faults.range("store.load_mb", store.load_mb as u64, 64..=65_536);
    faults.range("rings.slices", rings.slices.into(), 1..=65_536);
    faults.range("rings.restore_threads", rings.restore_threads as u64, 1..=256);
}

fn cluster(config: &Config, faults: &mut Faults) {
    let scylla = &config.scylla;
    if let Err(expected) = check_keyspace(&scylla.keyspace) {
        faults.push("scylla.keyspace", format!("is {:?}: {expected}", scylla.keyspace));
    }
    if scylla.nodes.is_empty() {
        faults.push("scylla.nodes", "is empty: expected at least one HOST:PORT".into());
    }
    if !scylla.redis.starts_with("redis://") {
        let what = format!("is {:?}: expected for example redis://127.0.0.1:6379", shown(&scylla.redis));
        faults.push("scylla.redis", what);
    }
    access(scylla, faults);
    if scylla.holder.is_empty() {
        faults.push("scylla.holder", "is empty: expected a name".into());
    }
    faults.range("scylla.replication", scylla.replication.into(), 1..=10);
    faults.range("scylla.claim_ms", scylla.claim_ms, 1_000..=600_000);
    faults.range("scylla.tasks_most", scylla.tasks_most, 1_000..=1_000_000_000);
    faults.range("scylla.lease_ms", scylla.lease_ms, 1_000..=600_000);
    faults.range("scylla.superseded_ttl_s", scylla.superseded_ttl_s.into(), 30..=86_400);
    if u64::from(scylla.superseded_ttl_s) * 1_000 < 2 * scylla.lease_ms {
        let (ttl, lease) = (scylla.superseded_ttl_s, scylla.lease_ms);
        let what = format!(
            "is {ttl}: expected at least twice scylla.lease_ms ({lease} ms); else views end before the lease is renewed"
        );
        faults.push("scylla.superseded_ttl_s", what);
    }
    faults.range("scylla.followers_bucket", scylla.followers_bucket.into(), 100..=1_000_000);
    faults.range("scylla.remembered_accounts", scylla.remembered_accounts as u64, 0..=1 << 32);
    faults.range("scylla.request_timeout_ms", scylla.request_timeout_ms, 100..=60_000);
    faults.range("scylla.speculate_ms", scylla.speculate_ms, 1..=60_000);
    faults.range("scylla.in_flight", scylla.in_flight as u64, 1..=4_096);
    faults.range("scylla.connections", scylla.connections as u64, 1..=64);
    faults.range("scylla.wishes_most", scylla.wishes_most as u64, 1..=1_000_000);
    let rows = &scylla.timelines;
    faults.range("scylla.timelines.trim_over", rows.trim_over as u64, 0..=65_536);
    faults.range("scylla.timelines.trims_at_once", rows.trims_at_once as u64, 1..=256);
    faults.range("scylla.timelines.shards_per_node", rows.shards_per_node.into(), 1..=1_024);
    faults.range("scylla.timelines.batch_rows", rows.batch_rows as u64, 1..=200);
    faults.range("scylla.timelines.batches_in_flight", rows.batches_in_flight.into(), 1..=256);
    faults.range("scylla.timelines.resend_ms", rows.resend_ms, 50..=60_000);
    faults.range("scylla.timelines.page_rows", rows.page_rows as u64, 2..=5_000);
    faults.range("scylla.timelines.news_most", rows.news_most, 1_000..=10_000_000);
    faults.range("scylla.timelines.reads_most", rows.reads_most as u64, 1_000..=100_000_000);
    faults.range("scylla.timelines.news_ms", rows.news_ms, 10..=60_000);
    faults.range("scylla.timelines.reload_ms", rows.reload_ms, 1..=60_000);
    faults.range("scylla.timelines.filling_ms", rows.filling_ms, 10_000..=3_600_000);
}

/// How the nodes let us in. What is in files is seen when they are read.
fn access(scylla: &ScyllaConfig, faults: &mut Faults) {
    let user = ("scylla.user", scylla.user.is_some());
    let password = ("scylla.password", scylla.password.is_some());
    let password_file = ("scylla.password_file", scylla.password_file.is_some());
    let (ca, any_address) = (("scylla.tls_ca", scylla.tls_ca.is_some()), !scylla.tls_verify_address);
    let certificate = ("scylla.tls_certificate", scylla.tls_certificate.is_some());
    let key = ("scylla.tls_key", scylla.tls_key.is_some());
    faults.beside(user, (password_file.0, password.1 || password_file.1));
    faults.beside(password, user);
    faults.beside(password_file, user);
    faults.beside(certificate, key);
    faults.beside(certificate, ca);
    faults.beside(key, certificate);
    if any_address && !ca.1 {
        faults.push("scylla.tls_verify_address", format!("is false: expected {} beside it", ca.0));
    }
    if password.1 && password_file.1 {
        faults.push(password.0, format!("is set, and {} as well: expected one of them", password_file.0));
    }
    if let Some(name) = &scylla.user
        && let Err(expected) = check_login(name)
    {
        faults.push(user.0, format!("is {name:?}: {expected}"));
    }
    if let Some(Err(expected)) = scylla.password.as_ref().map(Password::check) {
        faults.push(password.0, format!("can't be one: {expected}"));
    }
    let files = [&scylla.password_file, &scylla.tls_ca, &scylla.tls_certificate, &scylla.tls_key];
    for (path, (key, _)) in files.into_iter().zip([password_file, ca, certificate, key]) {
        if path.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            faults.push(key, "is empty: expected the path of a file".into());
        }
    }
}

/// A URL without who logs in there.
fn shown(url: &str) -> Cow<'_, str> {
    // a socket's has its password there
    if url.contains('?') {
        return "..".into();
    }
    let Some((before, host)) = url.rsplit_once('@') else { return url.into() };
    match before.split_once("://") {
        Some((scheme, _)) => format!("{scheme}://..@{host}").into(),
        None => format!("..@{host}").into(),
    }
}

fn indexer(config: &Config, faults: &mut Faults) {
    let indexer = &config.indexer;
    faults.range("indexer.group_events", indexer.group_events as u64, 1..=100_000);
    faults.range("indexer.group_ms", indexer.group_ms, 0..=1_000);
    faults.range("indexer.cursor_messages", indexer.cursor_messages, 1..=MOST);
    faults.range("indexer.cursor_ms", indexer.cursor_ms, 1..=DAY_MS);
    faults.range("indexer.tombstone_hours", indexer.tombstone_hours.into(), 1..=87_600);
    faults.range("indexer.sync_grace_seconds", indexer.sync_grace_seconds.into(), 1..=MOST);
    faults.range("indexer.retry_most_ms", indexer.retry_most_ms, 50..=DAY_MS);
    if !config.roles.indexer {
        return;
    }
    let source = parse(&config.source).map(|kind| Source::new(kind, indexer.source.clone(), Clock::system()));
    match source {
        Ok(Ok(_)) => {}
        Ok(Err(SourceError::Setting(why))) => {
            let (key, what) = why.split_once(": ").unwrap_or(("", why));
            faults.push(&format!("indexer.source.{key}"), what.to_owned());
        }
        Err(error) | Ok(Err(error)) => faults.push("source", format!("is no use: {error}")),
    }
}

fn graph(config: &Config, faults: &mut Faults) {
    let graph = &config.graph;
    faults.range("graph.page", graph.page as u64, 1..=100_000);
    faults.range("graph.snapshot_seconds", graph.snapshot_seconds, 1..=86_400);
    faults.range("graph.snapshot_most", graph.snapshot_most as u64, 1..=MOST);
    faults.range("graph.remote_streams", graph.remote_streams as u64, 1..=65_536);
    faults.range("graph.max_connections", graph.max_connections as u64, 1..=65_536);
    faults.range("graph.max_streams", graph.max_streams as u64, 1..=1_000_000);
    faults.range("graph.pages_at_once", graph.pages_at_once as u64, 1..=65_536);
    faults.range("graph.timeout_ms", graph.timeout_ms, 1..=DAY_MS);
    faults.range("graph.keepalive_ms", graph.keepalive_ms, 100..=DAY_MS);
    if let Some(at) = graph.listen
        && at.port() != 0
        && config.roles.graph
        && (at == config.admin || config.roles.api && at == config.grpc)
    {
        let other = if at == config.admin { "admin" } else { "grpc" };
        faults.push("graph.listen", format!("is {at}, as {other} is: expected another port"));
    }
}

fn fan_out(config: &Config, faults: &mut Faults) {
    let (graph, writer) = (&config.graph, &config.writer);
    faults.range("writer.jobs", writer.jobs as u64, 1..=100_000);
    faults.range("writer.large_followers", writer.large_followers.into(), 1..=u32::MAX.into());
    faults.range("writer.parked", writer.parked as u64, 1..=1_000_000);
    faults.range("writer.aside", writer.aside as u64, 0..=MOST);
    faults.range("writer.pages_at_once", writer.pages_at_once as u64, 0..=1_024);
    // a page may go to one shard whole; one that is larger than its part of the room pays for all of that
    faults.range("writer.shard_queue", writer.shard_queue as u64, (graph.page as u64).max(10_000)..=MOST);
    faults.range("writer.shard_batch", writer.shard_batch as u64, 1..=MOST);
    faults.range("writer.retry_least_ms", writer.retry_least_ms, 1..=DAY_MS);
    faults.range("writer.retry_most_ms", writer.retry_most_ms, writer.retry_least_ms.min(DAY_MS)..=DAY_MS);
    faults.range("writer.enrol_queue", writer.enrol_queue as u64, 1..=MOST);
    faults.range("writer.enrol_at_once", writer.enrol_at_once as u64, 1..=1_024);
    faults.range("writer.candidates", writer.candidates as u64, 1..=1 << 30);
    faults.range("writer.repair_seconds", writer.repair_seconds, 1..=MOST);
    faults.range("writer.hibernate_hours", writer.hibernate_hours, 1..=876_000);
    let hours = writer.hibernate_hours.clamp(1, 876_000);
    faults.range("writer.hibernate_once_hours", writer.hibernate_once_hours, 1..=hours);
    faults.range("writer.housekeeping_seconds", writer.housekeeping_seconds, 1..=86_400);
    faults.range("writer.checkpoint_work_seconds", writer.checkpoint_work_seconds, 1..=86_400);
    faults.range("writer.checkpoint_seconds", writer.checkpoint_seconds, 1..=86_400);
    faults.range("writer.deliveries", writer.deliveries as u64, 0..=MOST);
}

fn api(config: &Config, faults: &mut Faults) {
    let api = &config.api;
    faults.range("api.scan_limit", api.scan_limit as u64, 101..=MOST);
    faults.range("api.merges_at_once", api.merges_at_once as u64, 1..=1_000_000);
    faults.range("api.max_requests", api.max_requests as u64, 1..=1_000_000);
    faults.range("api.max_connections", api.max_connections as u64, 1..=1_000_000);
    faults.range("api.max_streams", api.max_streams.into(), 1..=1_000_000);
    faults.range("api.timeout_ms", api.timeout_ms, 1..=DAY_MS);
    faults.range("api.max_request_bytes", api.max_request_bytes as u64, 1_024..=1 << 30);
    faults.range("api.max_page_bytes", api.max_page_bytes as u64, 65_536..=1 << 30);
    faults.range("api.keepalive_ms", api.keepalive_ms, 100..=DAY_MS);
    faults.range("api.upstream_requests", api.upstream_requests as u64, 1..=1_000_000);
    faults.range("api.upstream_connections", api.upstream_connections as u64, 1..=65_536);
    faults.range("api.upstream_timeout_ms", api.upstream_timeout_ms, 1..=DAY_MS);
    faults.range("api.upstream_max_bytes", api.upstream_max_bytes, 1_024..=MOST);
    if let Some(upstream) = &api.upstream
        && upstream.authority().as_str() == config.grpc.to_string()
    {
        faults.push("api.upstream", format!("is {upstream}, our own gRPC port: expected another data plane"));
    }
}
