//! `cargo xtask bench`: the bars of the design, met or missed, then the decoding of recorded messages.

use std::path::PathBuf;

use anyhow::Result;

use crate::ci::cargo;

/// Which bars, and how large.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Only these bars: memory, cold, ingest, slow_shard, pages, post, celebrity, sustained, hibernating.
    names: Vec<String>,
    /// The size of everything: 1 is what the bars are about (some 7 GiB of memory), 0.05 a smoke test.
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Writes the figures to this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the data directories are made; the system's folder for temporary files if not given.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs them. A bar that is missed is printed, and no error.
pub(crate) fn run(options: &Options) -> Result<()> {
    let Options { names, scale, json, dir } = options;
    let mut args =
        ["bench", "--locked", "-p", "skyweir", "--bench", "bars", "--"].map(str::to_owned).to_vec();
    args.extend(names.iter().cloned());
    args.extend(["--scale".to_owned(), scale.to_string()]);
    for (flag, path) in [("--json", json), ("--dir", dir)] {
        if let Some(path) = path {
            // cargo runs a benchmark in its package's folder
            args.extend([flag.to_owned(), std::path::absolute(path)?.display().to_string()]);
        }
    }
    cargo(&args.iter().map(String::as_str).collect::<Vec<_>>(), &[])?;
    if names.is_empty() || names.iter().any(|name| name == "ingest") {
        println!("\n== decoding of recorded messages");
        cargo(&["bench", "--locked", "-p", "skyweir-indexer", "--bench", "decode"], &[])?;
    }
    Ok(())
}
