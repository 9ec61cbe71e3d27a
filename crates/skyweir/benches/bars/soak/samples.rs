//! What a soak saw, and whether it stayed flat.

use anyhow::{Result, ensure};

use crate::machine::median;
use crate::report::{Plot, Report, number};

/// How the service stood.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// Since the beginning.
    pub(super) seconds: f64,
    /// MiB.
    pub(super) resident: f64,
    pub(super) lag_tasks: f64,
    pub(super) lag_seconds: f64,
    /// Milliseconds from when a post was due to its last reference.
    pub(super) delivery_p99: f64,
    /// Milliseconds from when a GetTimeline was due to its answer.
    pub(super) read_p99: f64,
    /// References a second that were fed.
    pub(super) rate: f64,
}

/// Which way a figure must not go.
#[derive(Clone, Copy, PartialEq)]
enum Worse {
    Greater,
    Less,
}

/// A figure of all samples, and when it counts as flat.
struct Figure {
    name: &'static str,
    unit: &'static str,
    plot: &'static str,
    of: fn(&Sample) -> f64,
    worse: Worse,
    /// The last quarter may be worse than the first by this share ...
    share: f64,
    /// ... or by this much.
    much: f64,
}

impl Figure {
    fn is_flat(&self, first: f64, last: f64) -> bool {
        let (from, to) = if self.worse == Worse::Greater { (first, last) } else { (last, first) };
        to <= from * (1.0 + self.share) || to <= from + self.much
    }
}

const FIGURES: [Figure; 6] = [
    Figure {
        name: "resident memory",
        unit: "MiB",
        plot: "soak-memory",
        of: |s| s.resident,
        worse: Worse::Greater,
        share: 0.05,
        much: 64.0,
    },
    Figure {
        name: "lag, tasks",
        unit: "tasks",
        plot: "soak-lag-tasks",
        of: |s| s.lag_tasks,
        worse: Worse::Greater,
        share: 0.25,
        much: 256.0,
    },
    Figure {
        name: "lag, seconds",
        unit: "s",
        plot: "soak-lag",
        of: |s| s.lag_seconds,
        worse: Worse::Greater,
        share: 0.25,
        much: 0.1,
    },
    Figure {
        name: "delivery, P99",
        unit: "ms",
        plot: "soak-delivery",
        of: |s| s.delivery_p99,
        worse: Worse::Greater,
        share: 0.25,
        much: 5.0,
    },
    Figure {
        name: "GetTimeline, P99",
        unit: "ms",
        plot: "soak-reads",
        of: |s| s.read_p99,
        worse: Worse::Greater,
        share: 0.25,
        much: 1.0,
    },
    Figure {
        name: "fed",
        unit: "references/s",
        plot: "soak-rate",
        of: |s| s.rate,
        worse: Worse::Less,
        share: 0.05,
        much: 0.0,
    },
];

/// First against last quarter, and a plot of each figure.
pub(super) fn tell(report: &mut Report, samples: &[Sample], wanted: f64) -> Result<()> {
    ensure!(samples.len() >= 4, "{} samples are too few to compare quarters", samples.len());
    let quarter = samples.len() / 4;
    let mut rows = Vec::new();
    for figure in FIGURES {
        let Figure { name, unit, plot, of, .. } = figure;
        let middle = |part: &[Sample]| median(&mut part.iter().map(of).collect::<Vec<_>>());
        let (first, last) = (middle(&samples[..quarter]), middle(&samples[samples.len() - quarter..]));
        let worst = samples.iter().map(of).fold(0.0, f64::max);
        report.note(format!(
            "{name}: {} (median of the first quarter {}, of the last {} {unit}; the greatest {})",
            if figure.is_flat(first, last) { "flat" } else { "NOT FLAT" },
            number(first),
            number(last),
            number(worst)
        ));
        rows.push((format!("{name}, {unit}"), vec![first, last, worst]));
        report.plot(&Plot {
            name: plot,
            title: format!("Soak: {name}"),
            x: "seconds",
            y: unit,
            log: (false, false),
            lines: vec![(
                name.to_owned(),
                samples.iter().map(|sample| (sample.seconds, of(sample))).collect(),
            )],
            level: (plot == "soak-rate").then_some(("asked for", wanted)),
        });
    }
    report.rows(&["soak", "first quarter, median", "last quarter, median", "greatest"], &rows);
    Ok(())
}
