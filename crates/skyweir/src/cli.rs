//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use skyweir_api::{UpstreamHttp, UpstreamUrl};
use skyweir_indexer::CursorChoice;
use skyweir_scylla::Dialect;
use skyweir_writer::EnrolMode;

use crate::roles::Roles;
use crate::telemetry::LogFormat;

/// An open, sharded, lossy timeline service for AT Protocol AppViews.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the service: events in, timelines out.
    Serve(ServeOptions),
    /// Starts with the whole network: reads the archive of a Jetstream v2, or the repositories of a relay or PDS, into
    /// a data directory, for `serve` to go on.
    Backfill(BackfillOptions),
    /// Shows it all on a generated network, in a minute, with nothing to set up.
    Demo(DemoOptions),
    /// Prints an account's timeline, read from a running service.
    Timeline(TimelineOptions),
    /// Says whether a running service is ready, and what a person should know of it; fails when nobody answers.
    Status(StatusOptions),
    /// Opens a data directory, verifies its invariants and prints what it holds.
    Check {
        /// The data directory; no service may be running on it.
        #[arg(long, env = "SKYWEIR_DATA_DIR", default_value = ".skyweir")]
        data_dir: PathBuf,
    },
    /// Copies what a data directory holds into an empty keyspace of a cluster, for `serve` to go on there.
    Move(MoveOptions),
    /// Prints the statements that make the keyspace of a cluster and its tables, or applies them.
    Schema(SchemaOptions),
    /// Looks after the rings: timelines in memory and their checkpoints.
    #[command(subcommand)]
    Rings(RingsCommand),
}

/// Looks after the rings.
#[derive(Debug, Subcommand)]
pub(crate) enum RingsCommand {
    /// Drops all rings of a data directory. Nothing is lost: they fill again as they are read.
    Drop {
        /// The data directory; no service may be running on it.
        #[arg(long, env = "SKYWEIR_DATA_DIR", default_value = ".skyweir")]
        data_dir: PathBuf,
    },
}

/// Settings that are given on the command line or in the environment; they win over the file.
#[derive(Debug, Default, Args)]
pub(crate) struct ServeOptions {
    /// A configuration file (TOML). Without it the defaults hold.
    #[arg(long, env = "SKYWEIR_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// What this process does, of indexer, graph, writer and api; all of it by default, and always where the backend is
    /// a data directory.
    #[arg(long, env = "SKYWEIR_ROLES", value_name = "ROLE,...")]
    pub(crate) roles: Option<Roles>,
    /// Where everything is kept.
    #[arg(long, env = "SKYWEIR_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Upstream, known by its URL's path: Jetstream v2 or v1, a firehose, or file:PATH.
    #[arg(long, env = "SKYWEIR_SOURCE", value_name = "URL")]
    pub(crate) source: Option<String>,
    /// Where to begin upstream: live, auto (the saved cursor, else a backfill where the source has an archive, else
    /// live), or a number.
    #[arg(long, env = "SKYWEIR_CURSOR", value_name = "live|auto|N")]
    pub(crate) cursor: Option<CursorChoice>,
    /// Whether an empty data directory begins with a backfill, where the source is a Jetstream v2 and the cursor auto.
    #[arg(long, env = "SKYWEIR_BACKFILL", value_name = "true|false")]
    pub(crate) backfill: Option<bool>,
    /// How old posts and reposts of a backfill may be: a number of days or hours, as in 7d or 36h, or all. Follows are
    /// always all.
    #[arg(long, env = "SKYWEIR_ITEMS_SINCE", value_name = "AGE")]
    pub(crate) items_since: Option<Age>,
    /// Address of the gRPC port; port 0 takes a free one.
    #[arg(long, env = "SKYWEIR_GRPC", value_name = "ADDR:PORT")]
    pub(crate) grpc: Option<SocketAddr>,
    /// Address of the admin port; port 0 takes a free one.
    #[arg(long, env = "SKYWEIR_ADMIN", value_name = "ADDR:PORT")]
    pub(crate) admin: Option<SocketAddr>,
    /// An existing data plane, http://HOST:PORT, that gets all calls of an AppView that aren't ours.
    #[arg(long, env = "SKYWEIR_UPSTREAM", value_name = "URL")]
    pub(crate) upstream: Option<UpstreamUrl>,
    /// Which HTTP that data plane speaks.
    #[arg(long, env = "SKYWEIR_UPSTREAM_HTTP", value_enum)]
    pub(crate) upstream_http: Option<Http>,
    /// Whose timelines are written: those that are read, or all.
    #[arg(long, env = "SKYWEIR_ENROL", value_enum)]
    pub(crate) enrol: Option<Enrol>,
    /// Follows above which a timeline is sampled.
    #[arg(long, env = "SKYWEIR_REASONABLE_LIMIT", value_name = "FOLLOWS")]
    pub(crate) reasonable_limit: Option<u32>,
    /// References that a timeline keeps ready; older ones are merged when they are read.
    #[arg(long, env = "SKYWEIR_CAP", value_name = "REFERENCES")]
    pub(crate) cap: Option<usize>,
    /// Memory for all timelines, MiB; over it the least useful ones hibernate.
    #[arg(long, env = "SKYWEIR_MEMORY_MB", value_name = "MIB")]
    pub(crate) memory_mb: Option<u64>,
    /// Lines a second at which a file source is read; 0 is full speed.
    #[arg(long, env = "SKYWEIR_REPLAY_RATE", value_name = "LINES")]
    pub(crate) replay_rate: Option<f64>,
    /// How log lines look.
    #[arg(long, env = "SKYWEIR_LOG_FORMAT", value_enum)]
    pub(crate) log_format: Option<LogFormat>,
    /// Which log lines come, in the syntax of RUST_LOG.
    #[arg(long, env = "SKYWEIR_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

/// What to start with.
#[derive(Debug, Args)]
pub(crate) struct BackfillOptions {
    /// A configuration file (TOML). Without it the defaults hold.
    #[arg(long, env = "SKYWEIR_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Where everything is kept; empty, or from a backfill that was cut off. No service may be running on it.
    #[arg(long, env = "SKYWEIR_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// A Jetstream v2, a relay or a PDS: http(s)://HOST, or the URL of its stream. Without it the configured source.
    #[arg(long, env = "SKYWEIR_BACKFILL_FROM", value_name = "URL")]
    pub(crate) from: Option<String>,
    /// How old posts and reposts may be: a number of days or hours, as in 7d (the default) or 36h, or all. Follows are
    /// always all.
    #[arg(long, env = "SKYWEIR_ITEMS_SINCE", value_name = "AGE")]
    pub(crate) items_since: Option<Age>,
    /// How log lines look.
    #[arg(long, env = "SKYWEIR_LOG_FORMAT", value_enum)]
    pub(crate) log_format: Option<LogFormat>,
    /// Which log lines come, in the syntax of RUST_LOG.
    #[arg(long, env = "SKYWEIR_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

/// What to move, and where to.
#[derive(Debug, Args)]
pub(crate) struct MoveOptions {
    /// The configuration file (TOML) of the service to be: with backend = "scylla", and the keyspace it is for.
    #[arg(long, env = "SKYWEIR_CONFIG")]
    pub(crate) config: PathBuf,
    /// The data directory; no service may be running on it.
    #[arg(long, env = "SKYWEIR_DATA_DIR")]
    pub(crate) data_dir: PathBuf,
    /// How log lines look.
    #[arg(long, env = "SKYWEIR_LOG_FORMAT", value_enum)]
    pub(crate) log_format: Option<LogFormat>,
    /// Which log lines come, in the syntax of RUST_LOG.
    #[arg(long, env = "SKYWEIR_LOG", value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

/// Whose tables, and what becomes of them.
#[derive(Debug, Args)]
pub(crate) struct SchemaOptions {
    /// A configuration file (TOML) that names the cluster. Without it the defaults hold.
    #[arg(long, env = "SKYWEIR_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Make on the cluster what isn't there, instead of printing it.
    #[arg(long)]
    pub(crate) apply: bool,
    /// For which server statements are printed.
    #[arg(long, value_enum, default_value_t = Server::Scylla, conflicts_with = "apply")]
    pub(crate) dialect: Server,
}

/// A CQL server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Server {
    /// ScyllaDB.
    Scylla,
    /// Apache Cassandra 5.
    Cassandra,
}

impl From<Server> for Dialect {
    fn from(server: Server) -> Self {
        match server {
            Server::Scylla => Self::Scylla,
            Server::Cassandra => Self::Cassandra,
        }
    }
}

/// An age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    /// Any.
    All,
    /// At most so many hours.
    Hours(u32),
}

impl Age {
    /// The time that is so long ago, microseconds since 1970.
    pub(crate) fn before(self, now_us: i64) -> i64 {
        match self {
            Self::All => i64::MIN,
            Self::Hours(hours) => now_us.saturating_sub(i64::from(hours) * 3_600_000_000),
        }
    }
}

impl FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number =
            |digits: &str, hours: u32| digits.parse::<u32>().ok()?.checked_mul(hours).map(Self::Hours);
        let age = match (text.strip_suffix('d'), text.strip_suffix('h')) {
            _ if text == "all" => Some(Self::All),
            (Some(days), _) => number(days, 24),
            (_, Some(hours)) => number(hours, 1),
            _ => None,
        };
        age.ok_or_else(|| format!("{text:?} is no age: expected for example 7d, 36h or all"))
    }
}

/// Whose timelines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Enrol {
    /// Those that are read.
    Reads,
    /// Those of all known accounts.
    All,
}

impl From<Enrol> for EnrolMode {
    fn from(enrol: Enrol) -> Self {
        match enrol {
            Enrol::Reads => Self::Reads,
            Enrol::All => Self::All,
        }
    }
}

/// The HTTP of an existing data plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Http {
    /// HTTP/1.1.
    #[value(name = "1.1")]
    One,
    /// HTTP/2 without TLS.
    #[value(name = "2")]
    Two,
}

impl From<Http> for UpstreamHttp {
    fn from(http: Http) -> Self {
        match http {
            Http::One => Self::One,
            Http::Two => Self::Two,
        }
    }
}

/// Settings of the demo.
#[derive(Debug, Args)]
pub(crate) struct DemoOptions {
    /// Accounts of the generated network.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(200..=1_000_000))]
    pub(crate) actors: u32,
    /// Seed of the generated network.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Leave the service running until Ctrl-C.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Which log lines of the service come, in the syntax of RUST_LOG.
    #[arg(long, env = "SKYWEIR_LOG", value_name = "FILTER", default_value = "error")]
    pub(crate) log: String,
}

/// What to read, and from where.
#[derive(Debug, Args)]
pub(crate) struct TimelineOptions {
    /// The account whose timeline is read.
    pub(crate) did: String,
    /// Address of the service's gRPC port.
    #[arg(long, env = "SKYWEIR_GRPC", default_value = "127.0.0.1:7700", value_name = "ADDR:PORT")]
    pub(crate) grpc: String,
    /// Items a page, 1 to 100.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i32).range(1..=100))]
    pub(crate) limit: i32,
    /// Read all pages, not only the first.
    #[arg(long)]
    pub(crate) all: bool,
    /// Print one JSON object a line for each item, and nothing else.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Whom to ask.
#[derive(Debug, Args)]
pub(crate) struct StatusOptions {
    /// Address of the service's admin port.
    #[arg(long, env = "SKYWEIR_ADMIN", default_value = "127.0.0.1:7701", value_name = "ADDR:PORT")]
    pub(crate) admin: String,
    /// Fail also when it runs and isn't ready.
    #[arg(long)]
    pub(crate) ready: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        let hours = |text: &str| text.parse::<Age>();
        assert_eq!((hours("7d"), hours("36h")), (Ok(Age::Hours(168)), Ok(Age::Hours(36))));
        assert_eq!((hours("all"), hours("0d")), (Ok(Age::All), Ok(Age::Hours(0))));
        assert_eq!(Age::All.before(5), i64::MIN);
        assert_eq!(Age::Hours(1).before(3_600_000_007), 7);
        for text in ["", "7", "d", "-1d", "7 d", "1.5d", "4294967295d"] {
            assert!(hours(text).unwrap_err().contains("expected for example 7d, 36h or all"), "{text}");
        }
    }
}
