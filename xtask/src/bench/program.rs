//! The benchmark's program: built once, then run as often as asked, each time as a process of its own.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::Options;
use super::data::Found;
use crate::ci;
use crate::run::root;

/// The program, and what it can do.
pub(super) struct Program {
    /// Where it is.
    pub(super) file: PathBuf,
    /// Names of bars, in their order; each once.
    pub(super) bars: Vec<String>,
    /// Names of studies.
    pub(super) studies: Vec<String>,
}

impl Program {
    /// Builds it and asks for its names.
    pub(super) fn build() -> Result<Self> {
        let args = ["bench", "--locked", "-p", "skyweir", "--bench", "bars", "--no-run"];
        let mut command = ci::command(&args);
        let output =
            command.arg("--message-format=json-render-diagnostics").stderr(std::process::Stdio::inherit());
        let output = output.output().context("cannot start cargo")?;
        ensure!(output.status.success(), "the benchmark can't be built ({})", output.status);
        let text = String::from_utf8(output.stdout)?;
        let file = text.lines().filter_map(executable).next_back().context("cargo names no executable")?;
        let list = Command::new(&file).arg("--list").output().context("cannot start the benchmark")?;
        ensure!(list.status.success(), "the benchmark doesn't list its names ({})", list.status);
        let (bars, studies) = names(&String::from_utf8(list.stdout)?);
        Ok(Self { file, bars, studies })
    }

    /// Runs these benchmarks in a process of their own, which is told where servers are; what they found.
    pub(super) fn run(
        &self,
        options: &Options,
        names: &[String],
        servers: &[(&str, String)],
    ) -> Result<Found> {
        let temp = tempfile::Builder::new().prefix("skyweir-bench-").tempdir()?;
        let json = temp.path().join("figures.json");
        let mut command = Command::new(&self.file);
        command.current_dir(root()).args(names).arg("--json").arg(&json);
        command.envs(servers.iter().map(|(name, value)| (name, value)));
        for (flag, value) in
            [("--scale", options.scale), ("--minutes", options.minutes), ("--share", options.share)]
        {
            command.arg(flag).arg(value.to_string());
        }
        if let Some(dir) = &options.dir {
            command.arg("--dir").arg(std::path::absolute(dir)?);
        }
        let status = command.status().context("cannot start the benchmark")?;
        ensure!(status.success(), "the benchmark failed ({status})");
        serde_json::from_slice(&std::fs::read(json)?).context("the benchmark's figures")
    }
}

/// The benchmark's executable, if a line of cargo's tells it.
fn executable(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    let is_ours = message["target"]["name"] == "bars" && message["target"]["kind"][0] == "bench";
    message["executable"].as_str().filter(|_| is_ours).map(PathBuf::from)
}

/// Bars and studies of a list; a name may come twice.
fn names(list: &str) -> (Vec<String>, Vec<String>) {
    let of = |kind: &str| {
        let mut names: Vec<String> = Vec::new();
        for name in list.lines().filter_map(|line| line.strip_prefix(kind)?.strip_prefix(' ')) {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        names
    };
    (of("bar"), of("study"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_of_the_benchmark_is_found() {
        let line = r#"{"reason":"compiler-artifact","target":{"name":"bars","kind":["bench"]},"executable":"/x/bars-1"}"#;
        assert_eq!(executable(line), Some(PathBuf::from("/x/bars-1")));
        assert_eq!(executable(&line.replace("bench", "lib")), None);
        assert_eq!(executable("no JSON"), None);
    }

    #[test]
    fn a_name_counts_once() {
        let (bars, studies) = names("bar pages\nbar post\nbar pages\nstudy growth\n");
        assert_eq!((bars, studies), (vec!["pages".to_owned(), "post".into()], vec!["growth".to_owned()]));
    }
}
