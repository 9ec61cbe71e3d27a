//! The official network, and the judges that run on it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::PATIENCE;
use crate::run::{Group, now};

/// What came of one judgement.
pub(super) struct Row {
    pub(super) what: String,
    pub(super) status: String,
    pub(super) seconds: f64,
    pub(super) said: String,
    pub(super) good: bool,
}

/// The running network of the oracle.
pub(crate) struct Network {
    group: Group,
    dir: PathBuf,
    file: PathBuf,
    pub(super) firehose: String,
    pub(super) dataplane: String,
}

impl Network {
    /// Starts it and waits until it is up; what it says of itself is in `network.json` of `work` then.
    pub(crate) fn start(dir: &Path, work: &Path) -> Result<Self> {
        let (file, out, err) =
            (work.join("network.json"), work.join("network.out"), work.join("network.log"));
        let mut command = Command::new(dir.join("run.sh"));
        command.args(["network.mjs", "--out"]).arg(&file);
        let group = Group::spawn(&command, File::create(&out)?.into(), File::create(&err)?.into())?;
        let dir = dir.to_path_buf();
        let mut network = Self { group, dir, file, firehose: String::new(), dataplane: String::new() };
        let began = now();
        loop {
            let text = fs::read_to_string(&out)?;
            if let Some(line) = text.lines().next().filter(|_| text.ends_with('\n')) {
                let line: Value = serde_json::from_str(line).context("the network's line is not JSON")?;
                let url =
                    |name: &str| line[name].as_str().with_context(|| format!("the network names no {name}"));
                network.firehose = firehose(url("firehose")?);
                network.dataplane = url("dataplane")?.to_owned();
                return Ok(network);
            }
            if let Some(status) = network.group.ended()? {
                bail!("the network ended ({status}):\n{}", fs::read_to_string(&err)?);
            }
            ensure!(began.elapsed() < PATIENCE, "the network is not up after {} s", PATIENCE.as_secs());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Runs a judge to its end; its output goes on to ours when it finds faults.
    pub(super) fn judge(&self, args: &[&str], work: &Path, what: &str) -> Result<Row> {
        self.judge_while(args, work, what, |_| Ok(()))
    }

    /// The same. Meanwhile `watch` is called again and again, with all that the judge has said so far.
    pub(super) fn judge_while(
        &self,
        args: &[&str],
        work: &Path,
        what: &str,
        mut watch: impl FnMut(&str) -> Result<()>,
    ) -> Result<Row> {
        println!("{what}");
        let out = work.join(format!("{}.out", what.replace([' ', ':', ','], "-")));
        let mut command = Command::new(self.dir.join("run.sh"));
        command.args(args).arg("--network").arg(&self.file);
        let began = now();
        let mut group = Group::spawn(&command, File::create(&out)?.into(), Stdio::inherit())?;
        let status = loop {
            if let Some(status) = group.ended()? {
                break status;
            }
            ensure!(began.elapsed() < PATIENCE, "{what}: no end after {} s", PATIENCE.as_secs());
            watch(&fs::read_to_string(&out)?).with_context(|| what.to_owned())?;
            std::thread::sleep(Duration::from_millis(20));
        };
        let text = fs::read_to_string(&out)?;
        let last = text.lines().next_back().filter(|line| line.starts_with('{')).unwrap_or("no summary");
        if !status.success() {
            // the whole is kept in its file
            let lines: Vec<&str> = text.lines().collect();
            println!("{}", lines[..lines.len().min(60)].join("\n"));
        }
        let code = status.code().map_or_else(|| "killed".to_owned(), |code| code.to_string());
        let seconds = began.elapsed().as_secs_f64();
        Ok(Row { what: what.to_owned(), status: code, seconds, said: short(last), good: status.success() })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // it ends its databases itself when it is asked to
        self.group.terminate(Duration::from_secs(60));
    }
}

/// The URL of the event stream; completed where only a host is given.
fn firehose(url: &str) -> String {
    if url.contains("/xrpc/") {
        url.to_owned()
    } else {
        format!(
            "{}/xrpc/com.atproto.sync.subscribeRepos",
            url.trim_end_matches('/').replacen("http", "ws", 1)
        )
    }
}

/// A judge's summary, without what is empty.
fn short(line: &str) -> String {
    let Ok(Value::Object(fields)) = serde_json::from_str(line) else { return line.to_owned() };
    let dull = |value: &Value| value.as_object().is_some_and(serde_json::Map::is_empty) || *value == 0;
    let told = |value: &Value| match value {
        Value::Object(inner) => {
            let inner: Vec<String> =
                inner.iter().filter(|(_, v)| **v != 0).map(|(name, v)| format!("{name} {v}")).collect();
            format!("({})", inner.join(", "))
        }
        value => value.to_string(),
    };
    let parts: Vec<String> =
        fields.iter().filter(|(_, v)| !dull(v)).map(|(name, v)| format!("{name} {}", told(v))).collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_firehose_url_is_completed() {
        let full = "ws://127.0.0.1:1/xrpc/com.atproto.sync.subscribeRepos";
        assert_eq!((firehose(full), firehose("http://127.0.0.1:1")), (full.to_owned(), full.to_owned()));
    }

    #[test]
    fn a_summary_is_shortened() {
        let line = r#"{"agree":true,"walksThatDiffer":0,"verdicts":{"identical":3,"FAULT":0},"faults":{}}"#;
        assert_eq!(short(line), "agree true, verdicts (identical 3)");
    }
}
