//! What the machine says of itself, and what this process has used of it. Linux only.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::Instant;

/// Linux counts CPU time for processes in hundredths of a second, whatever its timer does.
const TICKS: f64 = 100.0;

/// Cores, their model, memory.
pub(crate) fn describe() -> Result<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let cores = std::thread::available_parallelism()?;
    let memory = field("/proc/meminfo", "MemTotal:")? / (1 << 20);
    let model = model.trim_start_matches([' ', '\t', ':']);
    Ok(format!("{cores} cores of {model}, {memory} GiB of memory"))
}

/// Bytes of memory that this process holds.
pub(crate) fn resident() -> Result<usize> {
    Ok(field("/proc/self/status", "VmRSS:")? << 10)
}

/// A field of a file in /proc, KiB.
fn field(file: &str, name: &str) -> Result<usize> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number =
        line.and_then(|rest| rest.split_whitespace().next()).context("a field of /proc is missing")?;
    Ok(number.parse()?)
}

/// Sums fields of a line of numbers.
fn ticks(line: &str, fields: std::ops::Range<usize>) -> f64 {
    let numbers = line.split_whitespace().skip(fields.start).take(fields.len());
    numbers.filter_map(|number| number.parse::<f64>().ok()).sum()
}

/// The most bytes of memory that another process has held.
pub(crate) fn peak_of(pid: u32) -> Result<usize> {
    Ok(field(&format!("/proc/{pid}/status"), "VmHWM:")? << 10)
}

/// CPU seconds of all threads of another process.
pub(crate) fn cpu_of(pid: u32) -> Result<f64> {
    cpu(&format!("/proc/{pid}/stat"))
}

/// CPU seconds of all threads of this process, exact where hundredths of a second would be too coarse.
fn own_cpu() -> f64 {
    let rustix::time::Timespec { tv_sec, tv_nsec } =
        rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    tv_sec as f64 + tv_nsec as f64 / 1e9
}

fn cpu(file: &str) -> Result<f64> {
    let text = fs::read_to_string(file)?;
    // the name before it may hold anything
    let (_, rest) = text.rsplit_once(')').context("a process's stat in /proc")?;
    Ok(ticks(rest, 11..13) / TICKS)
}

/// CPU seconds that the whole machine was busy.
fn all_cpu() -> Result<f64> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().context("/proc/stat")?;
    // user, nice, system; irq, softirq
    Ok((ticks(line, 1..4) + ticks(line, 6..8)) / TICKS)
}

/// A stretch of time at work.
pub(crate) struct Watch {
    began: Instant,
    own: f64,
    all: f64,
}

/// What a stretch took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    /// Seconds on the wall.
    pub(crate) wall: f64,
    /// CPU seconds of all threads of this process.
    pub(crate) cpu: f64,
    /// Cores that other processes kept busy meanwhile.
    pub(crate) others: f64,
}

impl Watch {
    /// Begins now.
    pub(crate) fn start() -> Result<Self> {
        Ok(Self { own: own_cpu(), all: all_cpu()?, began: Instant::now() })
    }

    /// What it took up to now.
    pub(crate) fn took(&self) -> Result<Took> {
        let wall = self.began.elapsed().max(Duration::from_nanos(1)).as_secs_f64();
        let (own, all) = (own_cpu() - self.own, all_cpu()? - self.all);
        Ok(Took { wall, cpu: own, others: ((all - own) / wall).max(0.0) })
    }
}

/// The value below which a share of them lies; 0 of none.
pub(crate) fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let at = (values.len() as f64 * share).ceil() as usize;
    values.get(at.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// The middle one.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    quantile(values, 0.5)
}
