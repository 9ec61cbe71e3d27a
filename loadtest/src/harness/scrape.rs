//! What the service says of itself at its admin port, and what the kernel says of a process.

use anyhow::{Context, ensure};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);
/// `/metrics` has some tens of kilobytes.
const BODY_LIMIT: u64 = 4 << 20;
/// In which `/proc` counts processor time, on every Linux that we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// The figures of one look at the admin port.
#[derive(Clone, Debug, Default)]
pub(super) struct Metrics {
    /// The time of the newest applied event, in microseconds since 1970; 0 before the first.
    pub(super) stream_us: f64,
    /// Tasks that are not done.
    pub(super) lag_tasks: f64,
    /// Age of the oldest of them, in seconds, if it says so.
    pub(super) lag_seconds: Option<f64>,
    /// References written so far.
    pub(super) deliveries: f64,
    /// Timelines that fan-out writes to.
    pub(super) enrolled: f64,
    /// Timelines that are being enrolled.
    pub(super) enrolling: f64,
    /// Resident memory in bytes, if it says so.
    pub(super) resident: Option<f64>,
    /// Processor seconds, if it says so.
    pub(super) cpu_seconds: Option<f64>,
}

/// Reads `/metrics` of an admin address.
pub(super) async fn metrics(admin: &str) -> anyhow::Result<Metrics> {
    let text = timeout(PATIENCE, get(admin, "/metrics")).await;
    let text = text.with_context(|| format!("no metrics from {admin} within {} s", PATIENCE.as_secs()))??;
    Ok(parse(&text))
}

fn parse(text: &str) -> Metrics {
    let value = |name: &str| sum(text, name, "");
    Metrics {
        stream_us: value("skyweir_indexer_stream_time_seconds").unwrap_or(0.0) * 1e6,
        lag_tasks: value("skyweir_writer_lag_tasks").unwrap_or(0.0),
        lag_seconds: value("skyweir_writer_lag_seconds"),
        deliveries: sum(text, "skyweir_writer_references_total", "\"written\"").unwrap_or(0.0),
        enrolled: value("skyweir_writer_enrolled_timelines").unwrap_or(0.0),
        enrolling: value("skyweir_writer_enrol_queue_timelines").unwrap_or(0.0),
        resident: value("process_resident_memory_bytes"),
        cpu_seconds: value("process_cpu_seconds_total"),
    }
}

/// The sum over all label sets in which `label` occurs.
fn sum(text: &str, name: &str, label: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = rest.rsplit_once(' ')?;
        let ours = (labels.is_empty() || labels.starts_with('{')) && labels.contains(label);
        if ours { value.parse::<f64>().ok() } else { None }
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

async fn get(address: &str, path: &str) -> anyhow::Result<String> {
    let stream = TcpStream::connect(address).await;
    let mut stream = stream.with_context(|| format!("nobody answers at the admin address {address}"))?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.take(BODY_LIMIT).read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP at the admin address")?;
    ensure!(
        head.split(' ').nth(1) == Some("200"),
        "{address}{path} answers {}",
        head.lines().next().unwrap_or("")
    );
    Ok(body.to_owned())
}

/// What a process takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    /// Resident memory in bytes.
    pub(super) resident: f64,
    /// Processor time since its start, in seconds.
    pub(super) cpu_seconds: f64,
}

/// What a process takes now (`self` for this one); nothing where there is no `/proc`.
pub(super) fn usage(process: &str) -> Option<Usage> {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{process}/{file}")).ok();
    parse_usage(&read("stat")?, &read("status")?)
}

fn parse_usage(stat: &str, status: &str) -> Option<Usage> {
    // the name before it may hold anything, parentheses too
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: f64 = resident.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Usage { resident: kilobytes * 1_024.0, cpu_seconds: (ticks(11)? + ticks(12)?) / TICKS_PER_SECOND })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_over_their_labels() {
        let text = "# HELP a_total x\na_total{k=\"written\"} 3\na_total{k=\"written\",l=\"1\"} 4\n\
                    a_total{k=\"other\"} 100\na_total_b 7\nb 1.5\n";
        assert_eq!(sum(text, "a_total", "\"written\""), Some(7.0));
        assert_eq!(sum(text, "a_total", ""), Some(107.0));
        assert_eq!(sum(text, "b", ""), Some(1.5));
        assert_eq!(sum(text, "c", ""), None);
    }

    #[test]
    fn what_is_not_said_is_not_known() {
        let metrics = parse("skyweir_indexer_stream_time_seconds 2.5\n");
        assert_eq!((metrics.stream_us, metrics.lag_seconds), (2_500_000.0, None));
        assert_eq!(parse("skyweir_writer_lag_seconds 0\n").lag_seconds, Some(0.0));
    }

    #[test]
    fn usage_is_read() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 1 1 1";
        let status = "Name:\ta\nVmRSS:\t    2048 kB\n";
        assert_eq!(parse_usage(stat, status), Some(Usage { resident: 2_097_152.0, cpu_seconds: 2.0 }));
        assert_eq!(parse_usage("", status), None);
    }
}
