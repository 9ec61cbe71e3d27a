//! `cargo xtask bench`: the bars of the design, met or missed beside what they are compared with, and the studies.
//!
//! Each run of the bars and each study is a process of its own, which leaves its figures as JSON. `--write` keeps them
//! in `docs/performance.json` and makes `docs/performance.md` and `docs/plots/` of that.

mod data;
mod figures;
mod misses;
mod official;
mod page;
mod plot;
mod program;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use self::data::{Data, Part};
use self::program::Program;
use crate::ci::{Servers, cargo};
use crate::run::root;

/// The part of the figures that holds all bars.
const BARS: &str = "bars";

/// Which bars, and how large.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Only these bars and studies, and `bars` for all bars; the list: `--list`. None: all bars, and with `--write` the
    /// studies, too, but for `soak`.
    names: Vec<String>,
    /// Only prints the names.
    #[arg(long)]
    list: bool,
    /// The size of everything: 1 is what the bars are about (some 7 GiB of memory), 0.05 a smoke test.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// How often the bars run. A figure is the median; a bar counts as met when more than half of the runs meet it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: u32,
    /// Makes docs/performance.md and its plots of the figures. Needs all bars, or studies only.
    #[arg(long)]
    write: bool,
    /// How long `soak` takes.
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// The share of the sustained rate that `soak` feeds.
    #[arg(long, default_value_t = 0.8)]
    share: f64,
    /// Leaves the official Postgres data plane out, also where the shared folder could run it.
    #[arg(long)]
    no_official: bool,
    /// Leaves out the cache misses of `stages`, which valgrind counts in some minutes.
    #[arg(long)]
    no_misses: bool,
    /// Writes the figures to this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the data directories are made; the system's folder for temporary files if not given.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs them. A bar that is missed is printed, and no error.
pub(crate) fn run(options: &Options) -> Result<()> {
    let program = Program::build()?;
    if options.list {
        for name in program.bars.iter().chain(&program.studies) {
            println!("{name}");
        }
        return Ok(());
    }
    let (bars, studies) = wanted(options, &program)?;
    let mut data = Data::default();
    if !bars.is_empty() {
        let part = measure_bars(options, &program, &bars)?;
        keep(options, &mut data, BARS, part)?;
    }
    for study in studies {
        println!("\n== study: {study}");
        let mut part = part(options)?;
        let Some(mut servers) = servers(&study)? else { continue };
        let variables = [servers.variables(), servers.lend()?].concat();
        part.take(program.run(options, std::slice::from_ref(&study), &variables)?);
        servers.down()?;
        if study == "stages" && !options.no_misses {
            part.tables.extend(misses::count(&program)?);
        }
        keep(options, &mut data, &study, part)?;
    }
    for part in data.parts.values() {
        figures::print(&part.figures);
    }
    Ok(())
}

/// The servers that a study needs; none of them for most. `None` where they can't be had.
fn servers(study: &str) -> Result<Option<Servers>> {
    let nodes = match study {
        "cql" | "cql_fan_out" => 1,
        "cql_nodes" => 3,
        _ => return Ok(Some(Servers::default())),
    };
    let servers = Servers::up(nodes, true)?;
    Ok(servers.are_there().then_some(servers))
}

/// Keeps a part as soon as it is there: a later one may fail, and all take long.
fn keep(options: &Options, data: &mut Data, name: &str, part: Part) -> Result<()> {
    if options.write {
        let mut kept = Data::load(&page::data_file())?;
        kept.parts.insert(name.to_owned(), part.clone());
        kept.save(&page::data_file())?;
        page::write(&kept)?;
    }
    data.parts.insert(name.to_owned(), part);
    match &options.json {
        Some(file) => data.save(file),
        None => Ok(()),
    }
}

/// The bars and the studies that are asked for, in their order.
fn wanted(options: &Options, program: &Program) -> Result<(Vec<String>, Vec<String>)> {
    for name in &options.names {
        let known = name == BARS || program.bars.contains(name) || program.studies.contains(name);
        ensure!(known, "no benchmark is named {name}: see cargo xtask bench --list");
    }
    let named = |name: &String| options.names.contains(name);
    let all = options.names.is_empty() || named(&BARS.to_owned());
    let bars: Vec<String> = program.bars.iter().filter(|name| all || named(name)).cloned().collect();
    let by_default = |name: &str| options.names.is_empty() && options.write && name != "soak";
    let studies = program.studies.iter().filter(|name| by_default(name) || named(name)).cloned().collect();
    let partly = !bars.is_empty() && bars.len() < program.bars.len();
    ensure!(!(options.write && partly), "--write takes all bars (name them `bars`) or none");
    Ok((bars, studies))
}

fn measure_bars(options: &Options, program: &Program, bars: &[String]) -> Result<Part> {
    let mut part = part(options)?;
    for run in 1..=options.runs {
        println!("\n== run {run} of {}", options.runs);
        part.take(program.run(options, bars, &[])?);
    }
    if bars.iter().any(|name| name == "ingest") {
        println!("\n== decoding of recorded messages");
        cargo(&["bench", "--locked", "-p", "skyweir-indexer", "--bench", "decode"], &[])?;
    }
    if part.figures.iter().any(|figure| figure.compared.official.is_some()) && !options.no_official {
        // what only compares is no reason to lose the figures
        match official::measure() {
            Ok(Some(official)) => official.put_into(&mut part.figures),
            Ok(None) => println!("the official data plane is left out: no oracle in the shared folder"),
            Err(error) => println!("the official data plane is left out: {error:#}"),
        }
    }
    Ok(part)
}

/// A part without figures, which says where they come from.
fn part(options: &Options) -> Result<Part> {
    let line = told(std::env::args().skip(2));
    let dirty = !said("git", &["status", "--porcelain", "--", ":!docs"])?.is_empty();
    let commit = said("git", &["rev-parse", "--short=12", "HEAD"])?;
    Ok(Part {
        command: format!("cargo xtask bench {}", line.join(" ")).trim_end().to_owned(),
        date: said("date", &["-u", "+%Y-%m-%d"])?,
        commit: if dirty { format!("{commit}, with changes") } else { commit },
        rust: said("rustc", &["--version"])?,
        scale: options.scale,
        ..Part::default()
    })
}

/// The command as the page names it, without where this machine puts its files.
fn told(mut args: impl Iterator<Item = String>) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--json" | "--dir" => drop(args.next()),
            place if place.starts_with("--json=") || place.starts_with("--dir=") => {}
            _ => told.push(arg),
        }
    }
    told
}

fn said(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program).args(args).current_dir(root()).output();
    let output = output.with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        bail!("{program} {} failed ({})", args.join(" "), output.status);
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Reads a file of the workspace; empty if it isn't there.
fn read_or_empty(file: &std::path::Path) -> Result<String> {
    match fs::read_to_string(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        read => read.with_context(|| file.display().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_no_place_of_a_machine() {
        let line = "tenth --json /here/it.json --write --dir=/there --scale 0.3 --json=x --dir /there";
        assert_eq!(told(line.split(' ').map(str::to_owned)), ["tenth", "--write", "--scale", "0.3"]);
    }
}
