//! What was found: printed as it comes, then as a table, and as JSON for `cargo xtask bench`.

use std::path::Path;

use anyhow::Result;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};

pub(crate) use crate::claim::{Claim, Compared, Limit, number};
use crate::machine;

/// Bars of the design that aren't among the bars: studies measure them, which take servers.
const ABSENT: [(&str, &str); 3] = [
    ("CQL: references per writer CPU-second, batched against single inserts", "see the study cql"),
    ("CQL: writer CPU a reference, against the driver's bare loop", "see the study cql"),
    ("CQL: one of three nodes paused or killed under load", "see the study cql_nodes"),
];

/// A plot: lines over one x axis.
#[derive(Clone, Debug)]
pub(crate) struct Plot {
    /// Name of its file, without `.svg`; no other plot has the same.
    pub(crate) name: &'static str,
    /// What it shows.
    pub(crate) title: String,
    /// The x axis, with its unit.
    pub(crate) x: &'static str,
    /// The y axis, with its unit.
    pub(crate) y: &'static str,
    /// Whether the x axis is logarithmic, whether the y axis is.
    pub(crate) log: (bool, bool),
    /// Lines: name, points.
    pub(crate) lines: Vec<(String, Vec<(f64, f64)>)>,
    /// A level that is asked for or published, drawn dashed: name, y.
    pub(crate) level: Option<(&'static str, f64)>,
}

/// All figures of a run.
pub(crate) struct Report {
    scale: f64,
    machine: String,
    bars: Vec<(String, Vec<String>)>,
    claims: Vec<(String, Claim)>,
    tables: Vec<Value>,
    plots: Vec<Value>,
    metrics: PrometheusHandle,
}

impl Report {
    pub(crate) fn new(scale: f64, metrics: PrometheusHandle) -> Self {
        let (bars, claims, tables, plots) = Default::default();
        Self { scale, machine: String::new(), bars, claims, tables, plots, metrics }
    }

    /// What a counter of this process stands at.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let text = self.metrics.render();
        let of = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
        text.lines().find_map(of).unwrap_or(0)
    }

    /// Prints where this runs.
    pub(crate) fn machine(&mut self) -> Result<()> {
        self.machine = machine::describe()?;
        println!("machine: {}; scale {}", self.machine, self.scale);
        Ok(())
    }

    /// Begins a bar: its words, then the conditions.
    pub(crate) fn bar(&mut self, words: &str, conditions: &str) {
        println!("\n== {words}");
        self.bars.push((words.to_owned(), Vec::new()));
        self.note(conditions);
    }

    /// Says something of the bar at hand.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        println!("   {text}");
        if let Some((_, notes)) = self.bars.last_mut() {
            notes.push(text);
        }
    }

    /// A figure, judged.
    pub(crate) fn claim(&mut self, claim: Claim) {
        println!("   {}", claim.line());
        self.claims.push((self.at_hand(), claim));
    }

    /// Rows of figures that no bar judges: the first cell of each names it.
    pub(crate) fn rows(&mut self, head: &[&str], rows: &[(String, Vec<f64>)]) {
        println!("   {}", head.join(" | "));
        for (name, cells) in rows {
            let cells: Vec<String> = cells.iter().map(|cell| number(*cell)).collect();
            println!("   {name} | {}", cells.join(" | "));
        }
        self.tables.push(json!({ "bar": self.at_hand(), "head": head, "rows": rows }));
    }

    /// A plot, which `cargo xtask bench --write` draws.
    pub(crate) fn plot(&mut self, plot: &Plot) {
        let Plot { name, title, x, y, log, lines, level } = plot;
        self.plots
            .push(json!({ "bar": self.at_hand(), "name": name, "title": title, "x": x, "y": y, "log": log,
            "lines": lines, "level": level }));
    }

    fn at_hand(&self) -> String {
        self.bars.last().map(|(words, _)| words.clone()).unwrap_or_default()
    }

    /// Names what isn't measured.
    pub(crate) fn absent(&self) {
        println!("\n== not measured here");
        for (bar, why) in ABSENT {
            println!("   {bar}: {why}");
        }
    }

    /// All figures once more.
    pub(crate) fn table(&self) {
        println!();
        for (_, claim) in &self.claims {
            println!("{}", claim.line());
        }
        let missed = self.claims.iter().filter(|(_, claim)| !claim.is_met()).count();
        println!("\n{} figures, {missed} missed (scale {}; {})", self.claims.len(), self.scale, self.machine);
    }

    /// Writes everything to a file.
    pub(crate) fn write_json(&self, file: &Path) -> Result<()> {
        let claims: Vec<_> = self.claims.iter().map(|(bar, claim)| claim.json(bar)).collect();
        let absent: Vec<_> = ABSENT.iter().map(|(bar, why)| json!({ "what": bar, "why": why })).collect();
        let bars: Vec<_> =
            self.bars.iter().map(|(words, notes)| json!({ "words": words, "notes": notes })).collect();
        let all = json!({ "machine": self.machine, "scale": self.scale, "bars": bars, "figures": claims,
            "tables": self.tables, "plots": self.plots, "not_measured": absent });
        Ok(std::fs::write(file, serde_json::to_vec_pretty(&all)?)?)
    }
}
