//! What a run says: lines, and a bar while it works where somebody watches.

use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};

/// Where it speaks.
#[derive(Debug)]
pub(super) struct Screen {
    watched: bool,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self { watched: std::io::stderr().is_terminal() }
    }

    /// One line on standard output.
    pub(super) fn say(&self, line: impl Display) -> anyhow::Result<()> {
        let mut out = std::io::stdout();
        writeln!(out, "{line}")?;
        Ok(out.flush()?)
    }

    /// A bar of so many steps; invisible where nobody watches.
    pub(super) fn bar(&self, steps: u64, what: &'static str) -> ProgressBar {
        if !self.watched {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(steps).with_message(what);
        match ProgressStyle::with_template(
            "{bar:40} {human_pos} of {human_len} {msg}, {per_sec}, {eta} to go",
        ) {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        }
    }

    /// A bar of seconds with a line beside it.
    pub(super) fn clock(&self, seconds: u64) -> ProgressBar {
        if !self.watched {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(seconds);
        match ProgressStyle::with_template("{bar:30} {pos} of {len} s  {msg}") {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        }
    }
}

/// Rows under a headline, the first column to the left and the others to the right.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&head).chain(rows).collect();
    let width = |at: usize| {
        all.iter().map(|row| row.get(at).map_or(0, |cell| cell.chars().count())).max().unwrap_or(0)
    };
    let line = |row: &&Vec<String>| {
        let cells = row.iter().enumerate().map(|(at, cell)| {
            if at == 0 { format!("{cell:<w$}", w = width(at)) } else { format!("{cell:>w$}", w = width(at)) }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned() {
        let rows = [vec!["µs".to_owned(), "1".to_owned()], vec!["long".to_owned(), "22".to_owned()]];
        assert_eq!(table(&["a", "b"], &rows), "a      b\nµs     1\nlong  22");
    }
}
