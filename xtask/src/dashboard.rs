//! `cargo xtask dashboard`: what is in `deploy/` holds, and every query of the dashboard finds something on a service
//! that is under load.
//!
//! The dashboard is made of `panels`. A service, `loadtest` and a Prometheus with the rules and the settings of
//! `deploy/` are started, then each query is asked as Grafana would.

mod document;
mod live;
mod names;
mod panel;
mod panels;
mod picture;
mod prometheus;
mod tools;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::run::{Binary, root};

/// What to do.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Only writes deploy/grafana/dashboards/skyweir.json.
    #[arg(long)]
    write: bool,
    /// Draws the dashboard as this PNG, too, with uPlot (by npm) and Chromium.
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
    /// How many seconds of load.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(10..=3600))]
    seconds: u32,
    #[command(flatten)]
    binary: Binary,
}

impl Options {
    /// What continuous integration does.
    pub(crate) fn short(binary: Binary) -> Self {
        Self { write: false, png: None, seconds: 20, binary }
    }
}

/// Runs it; an error when a file doesn't hold, or a query finds nothing.
pub(crate) fn run(options: &Options) -> Result<()> {
    let panels = panels::panels();
    if options.write {
        let file = root().join(document::FILE);
        fs::write(&file, document::text(&panels))
            .with_context(|| format!("cannot write {}", file.display()))?;
        println!("{} panels in {}", panels.len(), document::FILE);
        return Ok(());
    }
    names::check()?;
    tools::check()?;
    live::run(options, &panels)
}
