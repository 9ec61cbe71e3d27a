//! The bars of the design, each beside what it is compared with, and studies of how figures come about:
//! `cargo xtask bench`, which runs each run of the bars and each study in a process of its own.
//!
//! Nothing here is a timed test: what is missed is printed as missed. The bars run one after the other in one process;
//! those about memory come first, so that no freed heap blurs them. To join: a module, and a line in [`BENCHES`].
#![expect(clippy::print_stdout, reason = "a benchmark prints what it found")]

mod archive;
mod bare;
mod celebrity;
mod claim;
mod cold;
mod cql;
mod crowd;
mod events;
mod first_reads;
mod growth;
mod hibernating;
mod ingest;
mod load;
mod lossy;
mod machine;
mod memory;
mod pages;
mod post;
mod readers;
mod reading;
mod report;
mod rng;
mod served;
mod simulation;
mod slow_shard;
mod soak;
mod space;
mod stages;
mod sustained;
mod tenth;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::report::Report;
use crate::served::Served;

/// What a benchmark stands on.
#[derive(Clone, Copy)]
enum Bench {
    /// On nothing but a folder of its own. Runs before any crowd is there.
    Alone(fn(&mut Report, &Path, f64) -> Result<()>),
    /// On the timelines of one crowd, served as the service would; all of these share it.
    InTheCrowd(fn(&mut Report, &mut Served, f64) -> Result<()>),
    /// On that crowd's data directory once its service has stopped; knows how many edges there are.
    AfterTheCrowd(fn(&mut Report, &Path, usize) -> Result<()>),
    /// As [`Bench::Alone`], but no bar: runs only when it is named, in a process of its own.
    Study(fn(&mut Report, &Options, &Path) -> Result<()>),
}

use Bench::{AfterTheCrowd, Alone, InTheCrowd, Study};

/// All benchmarks by name, in the order in which they run. What has several parts stands here as often.
const BENCHES: &[(&str, Bench)] = &[
    ("memory", Alone(memory::run)),
    ("cold", Alone(cold::run)),
    ("ingest", Alone(ingest::run)),
    ("readers", Alone(readers::run)),
    ("slow_shard", Alone(slow_shard::run)),
    ("first_reads", Alone(first_reads::run)),
    ("pages", Alone(pages::like_the_network)),
    ("pages", InTheCrowd(|report, served, _| pages::read(report, served, &served.dir.join("pages")))),
    ("post", InTheCrowd(|report, served, _| post::run(report, served))),
    ("celebrity", InTheCrowd(celebrity::run)),
    ("sustained", InTheCrowd(sustained::run)),
    ("hibernating", InTheCrowd(|report, served, _| hibernating::run(report, served))),
    ("pages", AfterTheCrowd(pages::of_the_crowd)),
    ("tenth", Study(|report, options, dir| tenth::run(report, dir, options.scale))),
    ("archive", Study(|report, options, dir| archive::run(report, dir, options.scale))),
    ("growth", Study(|report, options, dir| growth::run(report, dir, options.scale))),
    (
        "stages",
        Study(|report, options, dir| stages::run(report, dir, options.scale, options.under_callgrind)),
    ),
    ("lossy", Study(|report, options, dir| lossy::run(report, dir, options.scale))),
    ("simulation", Study(|report, options, _| simulation::run(report, options.scale))),
    ("cql", Study(|report, options, _| cql::run(report, options.scale))),
    ("cql_nodes", Study(|report, options, _| cql::nodes(report, options.scale))),
    ("cql_fan_out", Study(|report, options, dir| cql::fan_out(report, dir, options.scale))),
    ("space", Study(|report, options, dir| space::run(report, dir, options.scale))),
    ("soak", Study(soak::run)),
];

/// Prints the bars of the design, met or missed.
#[derive(Debug, Parser)]
#[command(name = "bars")]
struct Options {
    /// Which benchmarks; all bars and no study if none is named.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Only prints the names, `bar` or `study` before each.
    #[arg(long)]
    list: bool,
    /// The size of everything; 1 is what the bars are about, 0.05 a smoke test.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Writes the figures to this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the data directories are made; the system's folder for temporary files if not given.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// How long `soak` takes.
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// The share of the sustained rate that `soak` feeds.
    #[arg(long, default_value_t = 0.8)]
    share: f64,
    /// `stages` does each stage once, on a tiny crowd, for callgrind to count.
    #[arg(long)]
    under_callgrind: bool,
    /// What cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// As the service: its histograms are emptied this often.
const UPKEEP: Duration = Duration::from_secs(5);

// as `skyweir`
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    if options.list {
        for (name, bench) in BENCHES {
            println!("{} {name}", if matches!(bench, Study(_)) { "study" } else { "bar" });
        }
        return Ok(());
    }
    ensure!((0.001..=4.0).contains(&options.scale), "--scale goes from 0.001 to 4");
    for name in &options.names {
        ensure!(BENCHES.iter().any(|(known, _)| known == name), "no benchmark is named {name}: see --list");
    }
    let named = |name: &str| options.names.iter().any(|asked| asked == name);
    let wanted =
        |name: &str, bench: &Bench| named(name) || options.names.is_empty() && !matches!(bench, Study(_));
    let wanted = || BENCHES.iter().filter(|(name, bench)| wanted(name, bench));
    let place = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let temp = tempfile::Builder::new().prefix("skyweir-bars-").tempdir_in(place)?;
    // as in the service, counters and histograms cost what they cost
    let metrics =
        PrometheusBuilder::new().set_buckets(&[0.001, 0.1])?.install_recorder().context("metrics")?;
    // what histograms have taken is kept until somebody comes for it
    let kept = metrics.clone();
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(UPKEEP);
            kept.run_upkeep();
        }
    });
    let mut report = Report::new(options.scale, metrics);
    report.machine()?;
    for (name, bench) in wanted() {
        if let Alone(run) = bench {
            run(&mut report, &temp.path().join(name), options.scale)?;
        }
    }
    if wanted().any(|(_, bench)| matches!(bench, InTheCrowd(_) | AfterTheCrowd(_))) {
        let benches: Vec<Bench> = wanted().map(|(_, bench)| *bench).collect();
        in_the_crowd(&mut report, &temp.path().join("crowd"), options.scale, &benches)?;
    }
    for (name, bench) in wanted() {
        if let Study(run) = bench {
            run(&mut report, options, &temp.path().join(name))?;
        }
    }
    report.absent();
    report.table();
    if let Some(file) = &options.json {
        report.write_json(file)?;
    }
    Ok(())
}

/// The bars that read and write the timelines of one crowd.
fn in_the_crowd(report: &mut Report, dir: &Path, scale: f64, benches: &[Bench]) -> Result<()> {
    let mut served = Served::start(report, dir, crowd::Shape::of(scale))?;
    for bench in benches {
        if let InTheCrowd(run) = bench {
            run(report, &mut served, scale)?;
        }
    }
    let edges = served.crowd.edge_count();
    served.stop()?;
    for bench in benches {
        if let AfterTheCrowd(run) = bench {
            run(report, dir, edges)?;
        }
    }
    Ok(())
}
