//! Skyweir: a sharded, lossy fan-out-on-write timeline service for AT Protocol AppViews. One binary.

mod admin;
mod attended;
mod backfill;
mod cli;
mod client;
mod config;
mod coverage;
mod data;
mod date;
mod demo;
mod elsewhere;
mod moving;
mod pace;
mod parts;
mod ports;
mod roles;
mod schema;
mod serve;
mod service;
mod status;
mod stores;
mod suggest;
mod telemetry;

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command, RingsCommand};

/// Reads and batches allocate and free small pieces on several threads, which the system's allocator does slowly.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(options) => serve::command(&options),
        Command::Backfill(options) => backfill::command(&options),
        Command::Demo(options) => demo::command(&options),
        Command::Timeline(options) => client::timeline(&options),
        Command::Status(options) => status::command(&options),
        Command::Check { data_dir } => data::check(&data_dir),
        Command::Move(options) => moving::command(&options),
        Command::Schema(options) => schema::command(&options),
        Command::Rings(RingsCommand::Drop { data_dir }) => data::drop_rings(&data_dir),
    };
    match done {
        Ok(code) => code,
        // the reader of a pipe has seen enough
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("skyweir: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
