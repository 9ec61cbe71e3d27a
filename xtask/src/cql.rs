//! `cargo xtask cql`: a real CQL server for tests and benchmarks, on loopback.
//!
//! Node N listens on 127.0.0.N, all on one port, as drivers assume one port for a cluster. ScyllaDB's nodes are
//! containers, Cassandra's are Java programs; either way one home holds a cluster, and `down` leaves none running.

mod cassandra;
mod cluster;
mod jars;
mod scylla;
mod settings;
mod wire;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use cassandra::Cassandra;
pub(crate) use cluster::{Cluster, EngineName, Wish};
use scylla::Scylla;

/// How tests find the server.
pub(crate) const VARIABLE: &str = "SKYWEIR_TEST_CQL";

/// How tests that take nodes away find this program, and the cluster's home as it finds it.
pub(crate) const NODES: &str = "SKYWEIR_TEST_NODES";
pub(crate) const HOME: &str = "SKYWEIR_CQL_HOME";

/// What to do with the cluster of a home.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
    /// Where everything is kept; by default `skyweir-cql` in the system's temp folder.
    #[arg(long, global = true, env = HOME)]
    home: Option<PathBuf>,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Starts what isn't running, and prints SKYWEIR_TEST_CQL=... when all nodes answer.
    Up(Wish),
    /// Stops all nodes.
    Down {
        /// And removes their data; what was fetched stays.
        #[arg(long)]
        wipe: bool,
    },
    /// Kills a node with SIGKILL.
    Kill { node: u8 },
    /// Starts a node that was killed, and waits until it answers.
    Start { node: u8 },
    /// Lets a node stand still: it keeps its connections and answers nothing.
    Pause { node: u8 },
    /// Lets a paused node go on.
    Resume { node: u8 },
    /// Tells of each node where it is and whether it runs.
    Status,
}

/// Runs one of the commands.
pub(crate) fn run(options: &Options) -> Result<()> {
    let home = options.home.clone().unwrap_or_else(|| std::env::temp_dir().join("skyweir-cql"));
    let home = std::path::absolute(home)?;
    let found = || {
        Cluster::find(&home)?.with_context(|| {
            format!("there is no cluster in {}: `cargo xtask cql up` makes one", home.display())
        })
    };
    match &options.command {
        Command::Up(wish) => println!("{VARIABLE}={}", Cluster::up(&home, wish, false)?.addrs()),
        Command::Down { wipe } => {
            if let Some(cluster) = Cluster::find(&home)? {
                cluster.down(*wipe)?;
            }
        }
        Command::Kill { node } => found()?.kill(*node)?,
        Command::Start { node } => found()?.start(*node)?,
        Command::Pause { node } => found()?.pause(*node)?,
        Command::Resume { node } => found()?.resume(*node)?,
        Command::Status => match Cluster::look(&home)? {
            Some(cluster) => cluster.status().iter().for_each(|line| println!("{line}")),
            None => println!("no cluster in {}", home.display()),
        },
    }
    Ok(())
}

/// Runs one statement at a node.
pub(crate) fn query(node: &str, statement: &str) -> Result<()> {
    wire::query(node, statement).with_context(|| format!("{statement}, at {node}"))
}

/// What has to be installed before Cassandra can run, if anything.
pub(crate) fn missing(home: &Path) -> Option<String> {
    jars::missing(home)
}
