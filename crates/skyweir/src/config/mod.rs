//! The settings of the service: defaults, then the file, then environment and flags.

mod check;
mod file;
mod values;

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::{Result, bail};
use serde::Deserialize;
use skyweir_indexer::CursorChoice;
use skyweir_types::DrawKey;

use crate::cli::{Age, ServeOptions};
use crate::roles::Roles;
use crate::telemetry::LogFormat;
use file::Places;

/// Upstream, unless another one is named.
const DEFAULT_SOURCE: &str =
    "wss://jetstream.us-east.bsky.network/xrpc/network.bsky.jetstream.subscribeEvents";

/// All settings. What several crates share stands here once and is handed to them by [`Config::load`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// What records and timelines are kept in: `"embedded"` (the default), a data directory, or `"scylla"`, a cluster.
    pub(crate) backend: Backend,
    /// What this process does: some of `["indexer", "graph", "writer", "api"]`; default all, and always all with
    /// `"embedded"`.
    pub(crate) roles: Roles,
    /// Where everything is kept by `"embedded"`; default `.skyweir`.
    pub(crate) data_dir: PathBuf,
    /// Upstream; default the public Jetstream v2.
    pub(crate) source: String,
    /// Where to begin upstream: `"live"`, `"auto"` (the default: the saved cursor, else a backfill where the source has
    /// an archive, else live) or a number.
    #[serde(deserialize_with = "values::cursor")]
    pub(crate) cursor: CursorChoice,
    /// Address of the gRPC port; default `127.0.0.1:7700`. Port 0 takes a free one.
    pub(crate) grpc: SocketAddr,
    /// Address of the admin port; default `127.0.0.1:7701`. Port 0 takes a free one.
    pub(crate) admin: SocketAddr,
    /// After this many seconds of shutting down the process ends, finished or not; on a cluster after up to five more, in
    /// which an indexer's lease is given back. 1 to 600, default 25.
    pub(crate) shutdown_grace_seconds: u64,
    /// `/readyz` names a server that gives no answer (CQL, Redis, those of `graph.remote`) after this many seconds; 0
    /// to 600, default 5.
    pub(crate) unreachable_seconds: u64,
    /// Which log lines come, in the syntax of `RUST_LOG`; default `info`, of the
    /// database below us only what is wrong.
    pub(crate) log: String,
    /// `text` (the default) or `json`.
    pub(crate) log_format: LogFormat,
    /// What a data directory begins with.
    pub(crate) backfill: Backfill,
    /// Threads.
    pub(crate) runtime: Runtime,
    /// What a timeline is.
    pub(crate) timeline: Timeline,
    /// Posts and reposts.
    pub(crate) items: Items,
    /// The record store in a data directory.
    pub(crate) store: skyweir_embedded::Config,
    /// The timelines in memory.
    pub(crate) rings: skyweir_embedded::RingsConfig,
    /// A cluster, instead of `store` and `rings`.
    pub(crate) scylla: skyweir_scylla::Config,
    /// Events in.
    pub(crate) indexer: skyweir_indexer::Config,
    /// Follower pages.
    pub(crate) graph: skyweir_graph::Config,
    /// Fan-out.
    pub(crate) writer: skyweir_writer::Config,
    /// Timelines out.
    pub(crate) api: skyweir_api::Config,
}

/// What records and timelines are kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Backend {
    /// In a data directory of this machine.
    #[default]
    Embedded,
    /// On ScyllaDB or Apache Cassandra, with the task log in Redis.
    Scylla,
}

/// What a data directory begins with: `[backfill]` in `skyweir.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Backfill {
    /// Whether `serve` begins an empty data directory with a backfill, where the source is a Jetstream v2 and the
    /// cursor `"auto"`; default true. One that was cut off goes on in any case.
    pub(crate) at_start: bool,
    /// How old posts and reposts of a backfill may be: a number of days or hours, as in `"7d"` (the default) or
    /// `"36h"`, or `"all"`.
    #[serde(deserialize_with = "values::age")]
    pub(crate) items_since: Age,
}

/// Threads: `[runtime]` in `skyweir.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Runtime {
    /// Threads for sockets, reads and the indexer, 1 to 1,024; default one a core.
    pub(crate) io_threads: usize,
    /// Threads for fan-out, 1 to 1,024; default one for two cores, so that it never takes all from reads.
    pub(crate) fanout_threads: usize,
}

/// What a timeline is: `[timeline]` in `skyweir.toml`. Changing `cap` or `draw_key` is safe: rings are trimmed, or
/// fill again.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Timeline {
    /// Accounts that follow more than this many others get a sample; at least 1, default 2,000.
    pub(crate) reasonable_limit: u32,
    /// How many references a timeline keeps, 1 to 65,536, default 800; older ones are merged when they are read.
    pub(crate) cap: usize,
    /// Memory for all timelines, MiB, 1 to 16,777,216, default 4,096; over it the least useful ones hibernate. A fixed
    /// number, because a share of what the machine has would make one configuration behave differently on each. The
    /// default holds 400,000 full timelines of 800 references, or 3,000,000 of 100.
    pub(crate) memory_mb: u64,
    /// Key of the draw: 32 hexadecimal digits. All instances of a service need the same.
    #[serde(deserialize_with = "values::draw_key")]
    pub(crate) draw_key: DrawKey,
}

/// Posts and reposts: `[items]` in `skyweir.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Items {
    /// How old posts and reposts may get before they leave the store and all timelines, which end there: a number of
    /// days or hours, as in `"365d"`, from a day to a hundred years, or `"all"` (the default): none leaves. It is
    /// counted from their place in timelines, by the stream's clock. What has left stays away when more is kept later.
    #[serde(deserialize_with = "values::age")]
    pub(crate) keep: Age,
}

impl Default for Items {
    fn default() -> Self {
        Self { keep: Age::All }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            backend: Backend::default(),
            roles: Roles::default(),
            data_dir: ".skyweir".into(),
            source: DEFAULT_SOURCE.into(),
            cursor: CursorChoice::default(),
            grpc: (Ipv4Addr::LOCALHOST, 7700).into(),
            admin: (Ipv4Addr::LOCALHOST, 7701).into(),
            shutdown_grace_seconds: 25,
            unreachable_seconds: 5,
            log: "info,fjall=warn,lsm_tree=warn,scylla=warn".into(),
            log_format: LogFormat::default(),
            backfill: Backfill::default(),
            runtime: Runtime::default(),
            timeline: Timeline::default(),
            items: Items::default(),
            store: skyweir_embedded::Config::default(),
            rings: skyweir_embedded::RingsConfig::default(),
            scylla: skyweir_scylla::Config::default(),
            indexer: skyweir_indexer::Config::default(),
            graph: skyweir_graph::Config::default(),
            writer: skyweir_writer::Config::default(),
            api: skyweir_api::Config::default(),
        }
    }
}

impl Default for Backfill {
    fn default() -> Self {
        Self { at_start: true, items_since: Age::Hours(7 * 24) }
    }
}

impl Default for Runtime {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self { io_threads: cores.min(1_024), fanout_threads: cores.div_ceil(2).min(1_024) }
    }
}

impl Default for Timeline {
    fn default() -> Self {
        Self { reasonable_limit: 2_000, cap: 800, memory_mb: 4_096, draw_key: DrawKey::default() }
    }
}

impl Config {
    /// Puts the layers together and checks every range, so that nothing starts with a value that can't work.
    ///
    /// # Errors
    /// Names the file and line, the flag or the environment variable, and what is expected there.
    pub(crate) fn load(options: &ServeOptions) -> Result<Self> {
        let (mut config, places) = match &options.config {
            Some(path) => file::read(path)?,
            None => (Self::default(), Places::default()),
        };
        let flags = config.overlay(options);
        config.share();
        config.verify(&places, &flags)?;
        Ok(config)
    }

    /// Takes what was given by flag or environment; returns the flags of the keys that it set.
    fn overlay(&mut self, options: &ServeOptions) -> Vec<(&'static str, &'static str)> {
        let mut set = Vec::new();
        let mut take = |key, flag, given: bool| {
            if given {
                set.push((key, flag));
            }
        };
        take("roles", "--roles", put(&mut self.roles, options.roles));
        take("data_dir", "--data-dir", put(&mut self.data_dir, options.data_dir.clone()));
        take("source", "--source", put(&mut self.source, options.source.clone()));
        take("cursor", "--cursor", put(&mut self.cursor, options.cursor));
        let Backfill { at_start, items_since } = &mut self.backfill;
        take("backfill.at_start", "--backfill", put(at_start, options.backfill));
        take("backfill.items_since", "--items-since", put(items_since, options.items_since));
        take("grpc", "--grpc", put(&mut self.grpc, options.grpc));
        take("admin", "--admin", put(&mut self.admin, options.admin));
        take("log", "--log", put(&mut self.log, options.log.clone()));
        take("log_format", "--log-format", put(&mut self.log_format, options.log_format));
        take("writer.enrol", "--enrol", put(&mut self.writer.enrol, options.enrol.map(Into::into)));
        let upstream = options.upstream.clone().map(Some);
        take("api.upstream", "--upstream", put(&mut self.api.upstream, upstream));
        let http = options.upstream_http.map(Into::into);
        take("api.upstream_http", "--upstream-http", put(&mut self.api.upstream_http, http));
        let Timeline { reasonable_limit, cap, memory_mb, .. } = &mut self.timeline;
        take(
            "timeline.reasonable_limit",
            "--reasonable-limit",
            put(reasonable_limit, options.reasonable_limit),
        );
        take("timeline.cap", "--cap", put(cap, options.cap));
        take("timeline.memory_mb", "--memory-mb", put(memory_mb, options.memory_mb));
        let rate = &mut self.indexer.source.file_rate;
        take("indexer.source.file_rate", "--replay-rate", put(rate, options.replay_rate));
        set
    }

    /// Hands the shared values to the crates.
    pub(crate) fn share(&mut self) {
        let Timeline { reasonable_limit, cap, memory_mb, draw_key } = self.timeline;
        self.store.data_dir.clone_from(&self.data_dir);
        (self.rings.cap, self.rings.memory_bytes) = (cap, memory_mb << 20);
        let rows = &mut self.scylla.timelines;
        (rows.cap, rows.memory_bytes) = (cap, memory_mb << 20);
        self.indexer.keep_hours = match self.items.keep {
            Age::All => None,
            Age::Hours(hours) => Some(hours),
        };
        self.graph.reasonable_limit = reasonable_limit;
        (self.writer.reasonable_limit, self.writer.cap, self.writer.draw) = (reasonable_limit, cap, draw_key);
        (self.api.reasonable_limit, self.api.cap) = (reasonable_limit, cap);
    }

    fn verify(&self, places: &Places, flags: &[(&str, &str)]) -> Result<()> {
        let cluster = places.line("scylla").filter(|_| self.backend == Backend::Embedded);
        let unused = cluster.map(|at| {
            format!(
                "cannot use {at}: [scylla] is set, and backend is \"embedded\", which keeps all in data_dir: \
                 expected backend = \"scylla\" at the top of the file, or no [scylla]"
            )
        });
        let faults: Vec<String> = check::faults(self)
            .into_iter()
            .map(|fault| {
                let flag = flags.iter().find(|(key, _)| *key == fault.key).map(|(_, flag)| *flag);
                let others = fault.others.iter().find_map(|key| places.line(key));
                match (flag, places.line(&fault.key).or(others)) {
                    (Some(flag), _) => format!("cannot use the settings: {} {}", given(flag), fault.what),
                    (None, Some(at)) => format!("cannot use {at}: {} {}", fault.key, fault.what),
                    (None, None) => format!("cannot use the settings: {} {}", fault.key, fault.what),
                }
            })
            .chain(unused)
            .collect();
        if faults.is_empty() { Ok(()) } else { bail!(faults.join("\n")) }
    }
}

/// The flag, or the environment variable that was taken for want of it.
fn given(flag: &str) -> String {
    let variable = format!("SKYWEIR_{}", flag.trim_start_matches('-').replace('-', "_").to_uppercase());
    let is_flag = |arg: &str| arg.split('=').next() == Some(flag);
    let is_given = std::env::args_os().any(|arg| arg.to_str().is_some_and(is_flag));
    if is_given || std::env::var_os(&variable).is_none() { flag.to_owned() } else { variable }
}

fn put<T>(to: &mut T, given: Option<T>) -> bool {
    given.map(|given| *to = given).is_some()
}

#[cfg(test)]
mod tests;
