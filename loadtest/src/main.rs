//! `loadtest`: loads Skyweir from outside and says how it bore it.

use clap::{Parser, Subcommand};
use skyweir_loadtest::{GenerateOptions, RunOptions};
use std::process::ExitCode;

/// Loads Skyweir as the network would, and measures from outside.
#[derive(Debug, Parser)]
#[command(name = "loadtest", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sends a network to a service, reads from it, measures, and compares every page with what was sent. Exits with 1
    /// if one was wrong, or something failed.
    #[command(args_override_self = true)]
    Run(Box<RunOptions>),
    /// Makes a network with nobody listening, and says how fast that was.
    Generate(GenerateOptions),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(options) => run(*options),
        Command::Generate(options) => skyweir_loadtest::generate(&options).map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: RunOptions) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(skyweir_loadtest::run(options));
    runtime.shutdown_background();
    done
}
