//! What was found: printed as it comes, then as a table, and as JSON.

use std::path::Path;

use anyhow::Result;
use serde_json::json;

use crate::machine;

/// What a bar asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

/// One figure of a bar.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    /// What was measured, in the design's words.
    pub(crate) what: &'static str,
    /// The figure.
    pub(crate) value: f64,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// What the bar asks for.
    pub(crate) limit: Limit,
    /// What it is compared with.
    pub(crate) compared: String,
}

impl Claim {
    fn is_met(&self) -> bool {
        match self.limit {
            Limit::AtMost(most) => self.value <= most,
            Limit::AtLeast(least) => self.value >= least,
        }
    }

    fn verdict(&self) -> &'static str {
        if self.is_met() { "met" } else { "MISSED" }
    }

    fn bar(&self) -> String {
        match self.limit {
            Limit::AtMost(most) => format!("≤ {}", number(most)),
            Limit::AtLeast(least) => format!("≥ {}", number(least)),
        }
    }
}

/// Bars of the design that this benchmark doesn't measure.
const ABSENT: [(&str, &str); 5] = [
    (
        "a tenth of the network, enrolled by reads: 4 M actors, 240 M follows, 10,000 readers",
        "needs a backfill (240 M follows one event at a time take hours) and the load harness: issues of their own",
    ),
    ("CQL: references per writer CPU-second, batched against single inserts", "needs the ScyllaDB store"),
    ("CQL: writer CPU a reference, against the driver's bare loop", "needs the ScyllaDB store"),
    ("CQL: one of three nodes paused or killed under load", "needs the ScyllaDB store"),
    (
        "the official Postgres data plane in the same run",
        "needs Postgres and Node beside this process: `cargo xtask oracle` runs it, for its answers, not its speed",
    ),
];

/// All figures of a run.
pub(crate) struct Report {
    scale: f64,
    machine: String,
    claims: Vec<Claim>,
    notes: Vec<String>,
}

impl Report {
    pub(crate) fn new(scale: f64) -> Self {
        Self { scale, machine: String::new(), claims: Vec::new(), notes: Vec::new() }
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
        self.note(conditions);
    }

    /// Says something of the bar at hand.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        println!("   {text}");
        self.notes.push(text);
    }

    /// A figure, judged.
    pub(crate) fn claim(&mut self, claim: Claim) {
        println!(
            "   {}: {} {} (bar: {}): {}; compared with {}",
            claim.what,
            number(claim.value),
            claim.unit,
            claim.bar(),
            claim.verdict(),
            claim.compared
        );
        self.claims.push(claim);
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
        println!("\n| what | bar | here | | compared with |\n| --- | --- | --- | --- | --- |");
        for claim in &self.claims {
            let (bar, value) = (claim.bar(), number(claim.value));
            let Claim { what, unit, compared, .. } = claim;
            println!("| {what} | {bar} {unit} | {value} | {} | {compared} |", claim.verdict());
        }
        let missed = self.claims.iter().filter(|claim| !claim.is_met()).count();
        println!("\n{} figures, {missed} missed (scale {}; {})", self.claims.len(), self.scale, self.machine);
    }

    /// Writes everything to a file.
    pub(crate) fn write_json(&self, file: &Path) -> Result<()> {
        let claims: Vec<_> = self
            .claims
            .iter()
            .map(|claim| {
                json!({ "what": claim.what, "value": claim.value, "unit": claim.unit, "bar": claim.bar(),
                    "met": claim.is_met(), "compared": claim.compared })
            })
            .collect();
        let absent: Vec<_> = ABSENT.iter().map(|(bar, why)| json!({ "what": bar, "why": why })).collect();
        let all = json!({ "machine": self.machine, "scale": self.scale, "figures": claims, "notes": self.notes,
            "not_measured": absent });
        Ok(std::fs::write(file, serde_json::to_vec_pretty(&all)?)?)
    }
}

/// A number with three digits that count.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        at if at >= 10_000.0 => {
            let digits = format!("{value:.0}");
            let mut text = String::new();
            for (place, digit) in digits.chars().enumerate() {
                if place > 0 && (digits.len() - place) % 3 == 0 && !text.ends_with('-') {
                    text.push(',');
                }
                text.push(digit);
            }
            text
        }
        at if at >= 100.0 => format!("{value:.0}"),
        at if at >= 10.0 => format!("{value:.1}"),
        at if at >= 1.0 || at == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
