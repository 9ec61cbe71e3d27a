//! The figures: as a process tells them, and as they are kept in `docs/performance.json`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::figures::{self, Figure, RawFigure};
use super::read_or_empty;

/// Everything that is kept: by `bars` and the names of studies.
#[derive(Default, Deserialize, Serialize)]
pub(super) struct Data {
    pub(super) parts: BTreeMap<String, Part>,
}

/// What one command found for the bars or for a study.
#[derive(Clone, Default, Deserialize, Serialize)]
pub(super) struct Part {
    pub(super) command: String,
    pub(super) date: String,
    pub(super) commit: String,
    pub(super) rust: String,
    pub(super) machine: String,
    pub(super) scale: f64,
    pub(super) runs: u32,
    pub(super) figures: Vec<Figure>,
    /// Of the first run, as all that follows.
    pub(super) bars: Vec<Bar>,
    pub(super) tables: Vec<Rows>,
    pub(super) plots: Vec<Lines>,
    pub(super) not_measured: Vec<Absent>,
}

/// What one process found.
#[derive(Deserialize)]
pub(super) struct Found {
    machine: String,
    figures: Vec<RawFigure>,
    bars: Vec<Bar>,
    tables: Vec<Rows>,
    plots: Vec<Lines>,
    not_measured: Vec<Absent>,
}

/// A bar's words, its conditions and what else was said of it.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct Bar {
    pub(super) words: String,
    pub(super) notes: Vec<String>,
}

/// A table of figures that no bar judges.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct Rows {
    pub(super) bar: String,
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<(String, Vec<f64>)>,
}

/// A plot.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct Lines {
    pub(super) bar: String,
    /// Of its file, without `.svg`.
    pub(super) name: String,
    pub(super) title: String,
    pub(super) x: String,
    pub(super) y: String,
    /// Whether the x axis is logarithmic, whether the y axis is.
    pub(super) log: (bool, bool),
    pub(super) lines: Vec<(String, Vec<(f64, f64)>)>,
    pub(super) level: Option<(String, f64)>,
}

/// A bar that isn't measured, and why.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct Absent {
    pub(super) what: String,
    pub(super) why: String,
}

impl Part {
    /// Takes what one more run found.
    pub(super) fn take(&mut self, found: Found) {
        let Found { machine, figures, bars, tables, plots, not_measured } = found;
        self.runs += 1;
        figures::add(&mut self.figures, figures);
        if self.runs == 1 {
            self.machine = machine;
            (self.bars, self.tables, self.plots, self.not_measured) = (bars, tables, plots, not_measured);
        }
    }
}

impl Data {
    /// What a file keeps; nothing if it isn't there.
    pub(super) fn load(file: &Path) -> Result<Self> {
        let text = read_or_empty(file)?;
        if text.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(&text).with_context(|| file.display().to_string())
    }

    /// Keeps it in a file.
    pub(super) fn save(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        fs::write(file, text).with_context(|| file.display().to_string())
    }
}
