//! What a check found.

use std::fmt;

/// So many violations of an invariant are told; all are counted.
const SHOWN: usize = 5;

/// One invariant and what became of it.
#[derive(Clone, Debug, Default)]
pub struct Finding {
    /// What has to hold, in a few words.
    pub invariant: &'static str,
    /// How many things were looked at.
    pub checked: u64,
    /// How many of them are wrong.
    pub broken: u64,
    /// The first few of these, described.
    pub violations: Vec<String>,
}

impl Finding {
    pub(super) fn new(invariant: &'static str) -> Self {
        Self { invariant, ..Self::default() }
    }

    /// Counts one look; describes it when it went wrong.
    pub(super) fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        self.checked += 1;
        if !holds {
            self.broken += 1;
            if self.violations.len() < SHOWN {
                self.violations.push(what());
            }
        }
    }
}

/// What a data directory holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Interned accounts.
    pub actors: u64,
    /// Records and tombstones.
    pub records: u64,
    /// Current items.
    pub items: u64,
    /// Follow edges.
    pub edges: u64,
    /// Tasks in the log.
    pub tasks: u64,
    /// Rings in the last checkpoint.
    pub rings: u64,
    /// Bytes on disk: records, journals and checkpoint files.
    pub bytes: u64,
}

/// What a check found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// One for each invariant.
    pub findings: Vec<Finding>,
    /// What there is.
    pub holdings: Holdings,
}

impl Report {
    /// Whether every invariant holds.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings.iter().all(|finding| finding.broken == 0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Holdings { actors, records, items, edges, tasks, rings, bytes } = self.holdings;
        writeln!(f, "{actors} accounts, {records} records, {items} items, {edges} edges, {tasks} tasks,")?;
        writeln!(f, "{rings} rings in the last checkpoint, {bytes} bytes on disk")?;
        for finding in &self.findings {
            let verdict = if finding.broken == 0 { "ok" } else { "BROKEN" };
            write!(f, "{verdict:>6}  {}: {} checked", finding.invariant, finding.checked)?;
            if finding.broken > 0 {
                write!(f, ", {} wrong", finding.broken)?;
            }
            writeln!(f)?;
            for violation in &finding.violations {
                writeln!(f, "          {violation}")?;
            }
        }
        write!(f, "{}", if self.is_sound() { "sound" } else { "not sound" })
    }
}
