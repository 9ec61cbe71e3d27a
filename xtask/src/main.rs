//! Developer commands: `cargo xtask ci`, `torture`, `oracle`, `mutants`, `bench`, `dashboard`, `cql`, `redis`.
//!
//! Everything here drives programs from outside; nothing of Skyweir is linked, so that it builds in seconds.
#![expect(clippy::print_stdout, reason = "what these commands print is what they are for")]

mod bench;
mod ci;
mod cql;
mod dashboard;
mod mutants;
mod oracle;
mod redis;
mod run;
mod torture;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer commands of Skyweir.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything that has to hold before a commit.
    Ci(ci::Options),
    /// Kills the service again and again and cuts its power, then compares every timeline with a model.
    Torture(torture::Options),
    /// Lets Bluesky's own software judge the service.
    Oracle(oracle::Options),
    /// Checks what is in deploy/, and that each query of the dashboard finds something on a service under load.
    Dashboard(dashboard::Options),
    /// Applies known bugs one by one and expects the tests to notice each.
    Mutants(mutants::Options),
    /// Prints the bars of the design, met or missed, beside what they are compared with.
    Bench(bench::Options),
    /// A real CQL server for tests and benchmarks.
    Cql(cql::Options),
    /// A Redis for tests and benchmarks.
    Redis(redis::Options),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Ci(options) => ci::run(&options),
        Command::Torture(options) => torture::run(&options),
        Command::Oracle(options) => oracle::run(&options),
        Command::Dashboard(options) => dashboard::run(&options),
        Command::Mutants(options) => mutants::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Cql(options) => cql::run(&options),
        Command::Redis(options) => redis::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
