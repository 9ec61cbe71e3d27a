//! `cargo xtask oracle`: Bluesky's own software, unmodified, judges the service.
//!
//! Looks for the oracle's folder in `--dir`, then `SKYWEIR_ORACLE`, then copies `oracle` of the shared folder
//! (`SKYWEIR_SHARED`, else `../shared` beside the workspace) to `target/oracle` and runs its `setup.sh`.
//!
//! One network serves for all, as it takes most of a minute to start. By the first appview an account is deleted
//! there, and what that did before leaves the firehose; so what begins at the firehose's beginning comes first. An
//! appview takes more than a minute, almost all of it the official software's own work. So of the embedded service
//! there are two: alone and enrolled by reads, behind a router and all enrolled. What is passed on doesn't depend on
//! who is enrolled, and compare judges all timelines in both. The second looks at few users before the network
//! changes, as the first does at all of them. A third is the cluster's, of which see there; it comes first, as each
//! one makes all feeds longer.

mod cluster;
mod embedded;
mod folder;
mod network;
mod processes;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::run::{Binary, Serve, Table, fresh_seed, metric, skip};
pub(crate) use folder::folder;
pub(crate) use network::Network;

/// How long the network, a start of the service or a judgement may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Where it is, by the environment.
const DIR: &str = "SKYWEIR_ORACLE";

/// Where the oracle is, and what it judges.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// The oracle's folder, installed or not.
    #[arg(long, env = DIR)]
    pub(crate) dir: Option<PathBuf>,
    /// Only bring the network up and down.
    #[arg(long)]
    pub(crate) network_only: bool,
    /// Judge only this.
    #[arg(long)]
    pub(crate) only: Option<Part>,
    /// Where all random choices come from; a new one each time when left out.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    #[command(flatten)]
    pub(crate) binary: Binary,
}

/// What is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Part {
    /// The service in one process, on a data directory.
    Embedded,
    /// The roles in processes of their own, on CQL and Redis.
    Cluster,
}

impl Options {
    /// All of it, as continuous integration has it.
    pub(crate) fn usual(binary: Binary) -> Self {
        Self { dir: named(), binary, ..Self::default() }
    }
}

/// Sets the oracle up, if there is one: [`run`] has little left to do then.
pub(crate) fn prepare() -> Result<()> {
    folder(named().as_deref()).map(drop)
}

/// The oracle's folder that the environment names.
pub(crate) fn named() -> Option<PathBuf> {
    std::env::var_os(DIR).map(Into::into)
}

/// Runs it; an error when the judges find a fault.
pub(crate) fn run(options: &Options) -> Result<()> {
    let Some(dir) = folder(options.dir.as_deref())? else {
        return skip("no oracle: neither SKYWEIR_ORACLE nor an oracle folder in SKYWEIR_SHARED or ../shared");
    };
    let temp = tempfile::Builder::new().prefix("skyweir-oracle-").tempdir()?;
    if options.network_only {
        let network = Network::start(&dir, temp.path())?;
        println!("network is up: {}", network.firehose);
        return Ok(());
    }
    let binary = options.binary.path()?;
    let mut rows = Vec::new();
    let done = judge(options, &dir, &binary, temp.path(), &mut rows);
    println!("oracle:");
    let mut table = Table::new(&["judged", "exit", "seconds", "said"]);
    for row in &rows {
        table.row([row.what.clone(), row.status.clone(), format!("{:.1}", row.seconds), row.said.clone()]);
    }
    table.print();
    let bad = rows.iter().filter(|row| !row.good).count();
    if bad > 0 || done.is_err() {
        println!("logs are kept in {}", temp.keep().display());
    }
    done?;
    ensure!(bad == 0, "{bad} of {} judgements found faults", rows.len());
    Ok(())
}

fn judge(
    options: &Options,
    dir: &Path,
    binary: &Path,
    temp: &Path,
    rows: &mut Vec<network::Row>,
) -> Result<()> {
    let wants = |part| options.only.is_none_or(|only| only == part);
    println!("starting the network");
    let network = Network::start(dir, temp)?;
    let mut services = Vec::new();
    if wants(Part::Embedded) {
        for mode in ["reads", "all"] {
            services.push(embedded::Embedded::new(&network, binary, temp, mode)?);
        }
    }
    for service in &mut services {
        service.whole_firehose(rows)?;
    }
    if wants(Part::Cluster) {
        let seed = options.seed.unwrap_or_else(fresh_seed);
        cluster::judge(&network, binary, temp, seed, rows)?;
    }
    if let [reads, all] = services.as_mut_slice() {
        reads.appview_alone(rows)?;
        all.appview(rows)?;
    }
    for service in &mut services {
        service.backfilled(rows)?;
    }
    Ok(())
}

/// What the judge of all timelines is told: for so many seconds from its start it asks again.
fn compare(target: &str) -> [&str; 5] {
    ["compare.mjs", "--target", target, "--settle", "120"]
}

/// What lets the API pass on what isn't its own.
fn upstream(network: &Network) -> [String; 4] {
    ["--upstream", &network.dataplane, "--upstream-http", "1.1"].map(String::from)
}

fn still_serving(serve: &mut Serve) -> Result<()> {
    if let Some(status) = serve.ended()? {
        bail!("the service ended by itself ({status}):\n{}", serve.tail());
    }
    Ok(())
}

/// What a service alone has to have done, by its metrics: answered timelines itself, passed on the rest, lost none.
fn passed(metrics: &str) -> Result<()> {
    let own = "skyweir_api_request_seconds_count{method=\"bsky.Service/GetTimeline\",code=\"ok\"}";
    let ended = |outcome| {
        metric(metrics, &format!("skyweir_api_passed_request_seconds_count{{outcome={outcome:?}}}"))
    };
    let (own, passed) = (metric(metrics, own).unwrap_or(0.0), ended("ok").unwrap_or(0.0));
    println!("answered {own} timelines, passed on {passed} calls");
    ensure!(
        own > 0.0 && passed > 0.0,
        "nothing was judged: {own} timelines of ours, {passed} calls passed on"
    );
    for outcome in ["unreachable", "broken", "timeout", "overload", "too_large"] {
        let lost = ended(outcome).unwrap_or(0.0);
        ensure!(lost == 0.0, "{lost} calls that were passed on ended as {outcome}");
    }
    Ok(())
}
