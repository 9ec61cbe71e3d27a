//! The bars of the design that need no load harness, each beside what it is compared with: `cargo xtask bench`.
//!
//! Nothing here is a timed test: what is missed is printed as missed. The bars run one after the other in one process;
//! those about memory come first, so that no freed heap blurs them.
#![expect(clippy::print_stdout, reason = "a benchmark prints what it found")]

mod bare;
mod celebrity;
mod cold;
mod crowd;
mod events;
mod hibernating;
mod ingest;
mod load;
mod machine;
mod memory;
mod pages;
mod post;
mod report;
mod rng;
mod served;
mod slow_shard;
mod sustained;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;

use crate::crowd::Shape;
use crate::report::Report;
use crate::served::Served;

/// Names that can be asked for, in the order in which they run.
const NAMES: [&str; 9] =
    ["memory", "cold", "ingest", "slow_shard", "pages", "post", "celebrity", "sustained", "hibernating"];
/// Those that share one crowd.
const IN_THE_CROWD: [&str; 5] = ["pages", "post", "celebrity", "sustained", "hibernating"];

/// Prints the bars of the design, met or missed.
#[derive(Debug, Parser)]
#[command(
    name = "bars",
    after_help = "NAME: memory, cold, ingest, slow_shard, pages, post, celebrity, sustained, hibernating"
)]
struct Options {
    /// Which bars; all if none is named.
    #[arg(value_name = "NAME", value_parser = NAMES)]
    names: Vec<String>,
    /// The size of everything; 1 is what the bars are about, 0.05 a smoke test.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Writes the figures to this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the data directories are made; the system's folder for temporary files if not given.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// What cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    ensure!((0.001..=4.0).contains(&options.scale), "--scale goes from 0.001 to 4");
    let scale = options.scale;
    let wanted = |name: &str| options.names.is_empty() || options.names.iter().any(|asked| asked == name);
    let place = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let temp = tempfile::Builder::new().prefix("skyweir-bars-").tempdir_in(place)?;
    // as in the service, counters and histograms cost what they cost
    metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder().context("metrics")?;
    let mut report = Report::new(scale);
    report.machine()?;
    let dir = |name: &str| temp.path().join(name);
    if wanted("memory") {
        memory::run(&mut report, &dir("memory"), scale)?;
    }
    if wanted("cold") {
        cold::run(&mut report, &dir("cold"), scale)?;
    }
    if wanted("ingest") {
        ingest::run(&mut report, &dir("ingest"), scale)?;
    }
    if wanted("slow_shard") {
        slow_shard::run(&mut report, &dir("slow_shard"), scale)?;
    }
    if IN_THE_CROWD.iter().any(|name| wanted(name)) {
        in_the_crowd(&mut report, &dir("crowd"), scale, &wanted)?;
    }
    report.absent();
    report.table();
    if let Some(file) = &options.json {
        report.write_json(file)?;
    }
    Ok(())
}

/// The bars that read and write the timelines of one crowd, served as the service would.
fn in_the_crowd(report: &mut Report, dir: &Path, scale: f64, wanted: &impl Fn(&str) -> bool) -> Result<()> {
    let mut served = Served::start(report, dir, Shape::of(scale))?;
    if wanted("pages") {
        pages::read(report, &served)?;
    }
    if wanted("post") {
        post::run(report, &mut served)?;
    }
    if wanted("celebrity") {
        celebrity::run(report, &mut served, scale)?;
    }
    if wanted("sustained") {
        sustained::run(report, &mut served, scale)?;
    }
    if wanted("hibernating") {
        hibernating::run(report, &served)?;
    }
    let edges = served.crowd.edge_count();
    served.stop()?;
    if wanted("pages") {
        pages::on_disk(report, dir, edges)?;
    }
    Ok(())
}
