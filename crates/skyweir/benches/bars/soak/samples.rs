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
    /// Milliseconds from a post in hand to its last reference.
    pub(super) delivery_p99: f64,
    /// Milliseconds of a GetTimeline.
    pub(super) read_p99: f64,
    /// References a second that were fed.
    pub(super) rate: f64,
}

/// A figure of all samples, and when it counts as flat.
struct Figure {
    name: &'static str,
    unit: &'static str,
    plot: &'static str,
    of: fn(&Sample) -> f64,
    /// The last quarter may be greater than the first by this share ...
    share: f64,
    /// ... or by this much.
    much: f64,
}

const FIGURES: [Figure; 6] = [
    Figure {
        name: "resident memory",
        unit: "MiB",
        plot: "soak-memory",
        of: |s| s.resident,
        share: 0.05,
        much: 64.0,
    },
    Figure {
        name: "lag, tasks",
        unit: "tasks",
        plot: "soak-lag-tasks",
        of: |s| s.lag_tasks,
        share: 0.25,
        much: 256.0,
    },
    Figure {
        name: "lag, seconds",
        unit: "s",
        plot: "soak-lag",
        of: |s| s.lag_seconds,
        share: 0.25,
        much: 0.1,
    },
    Figure {
        name: "delivery, P99",
        unit: "ms",
        plot: "soak-delivery",
        of: |s| s.delivery_p99,
        share: 0.25,
        much: 5.0,
    },
    Figure {
        name: "GetTimeline, P99",
        unit: "ms",
        plot: "soak-reads",
        of: |s| s.read_p99,
        share: 0.25,
        much: 1.0,
    },
    Figure { name: "fed", unit: "references/s", plot: "soak-rate", of: |s| s.rate, share: 0.05, much: 0.0 },
];

/// First against last quarter, and a plot of each figure.
pub(super) fn tell(report: &mut Report, samples: &[Sample], wanted: f64) -> Result<()> {
    ensure!(samples.len() >= 4, "{} samples are too few to compare quarters", samples.len());
    let quarter = samples.len() / 4;
    let mut rows = Vec::new();
    for Figure { name, unit, plot, of, share, much } in FIGURES {
        let middle = |part: &[Sample]| median(&mut part.iter().map(of).collect::<Vec<_>>());
        let (first, last) = (middle(&samples[..quarter]), middle(&samples[samples.len() - quarter..]));
        let worst = samples.iter().map(of).fold(0.0, f64::max);
        let flat = last <= first * (1.0 + share) || last <= first + much;
        report.note(format!(
            "{name}: {} (median of the first quarter {}, of the last {} {unit}; the greatest {})",
            if flat { "flat" } else { "NOT FLAT" },
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
