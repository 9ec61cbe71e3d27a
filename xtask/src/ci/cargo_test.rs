//! `cargo test`, passed through and summed up.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};

use super::command;

/// Sums of all `test result:` lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    passed: u64,
    failed: u64,
    ignored: u64,
    results: u64,
}

impl Sum {
    /// `N passed, M failed`, once tests have run.
    pub(crate) fn print(&self) {
        if self.results > 0 {
            println!("{} passed, {} failed", self.passed, self.failed);
        }
    }

    fn line(&mut self, line: &str) {
        let Some((_, counts)) = line.split_once("test result: ").and_then(|(_, rest)| rest.split_once(". "))
        else {
            return;
        };
        self.results += 1;
        for part in counts.split(';') {
            let mut words = part.split_whitespace();
            let count: u64 = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
            match words.next() {
                Some("passed") => self.passed += count,
                Some("failed") => self.failed += count,
                Some("ignored") => self.ignored += count,
                _ => {}
            }
        }
    }
}

/// Runs tests, also after a failure: of the workspace or a part of it, as cargo's arguments name them.
pub(crate) fn run(sum: &mut Sum, which: &[&str], env: &[(&str, String)]) -> Result<()> {
    let passed = sum.passed;
    let mut child = command(&[&["test", "--locked", "--no-fail-fast"], which].concat())
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start cargo test")?;
    let output = child.stdout.take().context("cargo test has no output")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        sum.line(&line);
    }
    let status = child.wait()?;
    ensure!(status.success() && sum.failed == 0, "tests failed");
    ensure!(sum.passed > passed, "no test has run");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_summed() {
        let mut sum = Sum::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 7 filtered out; finished in 0.00s",
        ] {
            sum.line(line);
        }
        assert_eq!(sum, Sum { passed: 5, failed: 1, ignored: 1, results: 2 });
    }
}
