//! What the demo says, and the bar while it works: lines only where nobody watches.

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

/// Where the demo speaks.
pub(super) struct Stage {
    began: Instant,
    watched: bool,
}

impl Stage {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), watched: std::io::stderr().is_terminal() }
    }

    /// One line.
    pub(super) fn say(&self, line: impl Display) -> Result<()> {
        Ok(writeln!(std::io::stdout(), "{line}")?)
    }

    /// A headline, with the time since the start.
    pub(super) fn act(&self, title: &str) -> Result<()> {
        self.say(format_args!("\n== {title} ({:.1} s)", self.began.elapsed().as_secs_f64()))
    }

    /// A bar of so many steps; invisible where nobody watches.
    pub(super) fn bar(&self, steps: u64, what: &'static str) -> ProgressBar {
        if !self.watched {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} {msg}, {per_sec}");
        let bar = ProgressBar::new(steps).with_message(what);
        match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        }
    }
}

/// A duration as people say it.
pub(super) fn short(time: Duration) -> String {
    match time.as_micros() {
        us @ 0..1_000 => format!("{us} µs"),
        us @ 1_000..1_000_000 => format!("{:.1} ms", us as f64 / 1e3),
        us => format!("{:.1} s", us as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        let said = [3, 4_560, 7_890_000].map(|us| short(Duration::from_micros(us)));
        assert_eq!(said, ["3 µs", "4.6 ms", "7.9 s"]);
    }
}
