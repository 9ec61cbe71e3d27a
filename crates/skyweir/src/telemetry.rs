//! Logs and metrics of the process: installed once, at the start.

use std::io::{IsTerminal, Write};

use anyhow::{Context, Result};
use clap::ValueEnum;
use indicatif::ProgressBar;
use metrics::{Unit, describe_gauge, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde::Deserialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

pub(crate) mod machine;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

const BUILD_INFO: &str = "skyweir_build_info";

/// Buckets of all histograms of seconds: from 50 µs to 10 s.
const SECONDS: [f64; 16] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    10.0,
];

/// Buckets of all other histograms.
const COUNTS: [f64; 8] = [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6, 1e7];

/// Installs the log subscriber; lines go to standard error, above the bar if there is one. `filter` is in the syntax of
/// `RUST_LOG`.
pub(crate) fn logs(format: LogFormat, filter: &str, bar: Option<ProgressBar>) -> Result<()> {
    let filter =
        EnvFilter::try_new(filter).with_context(|| format!("cannot read the log filter {filter:?}"))?;
    let writer = match bar {
        Some(bar) => BoxMakeWriter::new(move || Above(bar.clone())),
        None => BoxMakeWriter::new(std::io::stderr),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let installed = match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    installed.map_err(|error| anyhow::anyhow!("cannot install the log subscriber: {error}"))
}

/// Standard error, where a bar is drawn: it makes room for each line.
struct Above(ProgressBar);

impl Write for Above {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.suspend(|| std::io::stderr().write(line))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().flush()
    }
}

/// Installs the metrics recorder and describes every metric of every crate.
pub(crate) fn metrics() -> Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets(&COUNTS)?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
        .install_recorder()
        .context("cannot install the metrics recorder")?;
    describe();
    let commit = option_env!("SKYWEIR_COMMIT").unwrap_or("unknown");
    gauge!(BUILD_INFO, "version" => env!("CARGO_PKG_VERSION"), "commit" => commit).set(1.0);
    Ok(handle)
}

/// Describes every metric to the recorder.
fn describe() {
    skyweir_indexer::metrics::describe();
    skyweir_embedded::metrics::describe();
    skyweir_scylla::describe_metrics();
    skyweir_graph::metrics::describe();
    skyweir_writer::metrics::describe();
    skyweir_api::metrics::describe();
    machine::describe();
    crate::elsewhere::describe();
    describe_gauge!(BUILD_INFO, Unit::Count, "Always 1; its labels tell version and commit");
}

#[cfg(test)]
mod docs;
