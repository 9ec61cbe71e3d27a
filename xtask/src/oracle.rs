//! `cargo xtask oracle`: Bluesky's own software, unmodified, judges the release binary.
//!
//! Looks for the oracle's folder in `--dir`, then `SKYWEIR_ORACLE`, then copies `oracle` of the shared folder
//! (`SKYWEIR_SHARED`, else `../shared` beside the workspace) to `target/oracle` and runs its `setup.sh`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::run::{Group, Serve, ServeSpec, Table, binary, get, metric, now, root, skip};

/// How long the network, a start of the service or a judgement may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// Where the oracle is.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// The oracle's folder, installed or not.
    #[arg(long, env = "SKYWEIR_ORACLE")]
    pub(crate) dir: Option<PathBuf>,
    /// Only bring the network up and down.
    #[arg(long)]
    pub(crate) network_only: bool,
}

struct Row {
    what: String,
    status: String,
    seconds: f64,
    said: String,
    good: bool,
}

/// Runs it; an error when the judges find a fault.
pub(crate) fn run(options: &Options) -> Result<()> {
    let Some(dir) = folder(options)? else {
        return skip("no oracle: neither SKYWEIR_ORACLE nor an oracle folder in SKYWEIR_SHARED or ../shared");
    };
    let temp = tempfile::Builder::new().prefix("skyweir-oracle-").tempdir()?;
    if options.network_only {
        let network = Network::start(&dir, temp.path())?;
        println!("network is up: {}", network.firehose);
        return Ok(());
    }
    let binary = binary()?;
    let mut rows = Vec::new();
    let mut done = Ok(());
    for mode in ["reads", "all"] {
        done = judge(&dir, &binary, temp.path(), mode, &mut rows);
        if done.is_err() {
            break;
        }
    }
    println!("oracle:");
    let mut table = Table::new(&["judged", "exit", "seconds", "said"]);
    for row in &rows {
        table.row([row.what.clone(), row.status.clone(), format!("{:.1}", row.seconds), row.said.clone()]);
    }
    table.print();
    let bad = rows.iter().filter(|row| !row.good).count();
    if bad > 0 || done.is_err() {
        println!("logs are kept in {}", temp.keep().display());
    }
    done?;
    ensure!(bad == 0, "{bad} of {} judgements found faults", rows.len());
    Ok(())
}

/// All judgements with one way of enrolment, on a network of its own: a judge changes it.
fn judge(dir: &Path, binary: &Path, temp: &Path, mode: &str, rows: &mut Vec<Row>) -> Result<()> {
    println!("enrol {mode}: starting the network");
    let work = temp.join(mode);
    fs::create_dir_all(&work)?;
    let network = Network::start(dir, &work)?;
    let mut spec = ServeSpec {
        binary: binary.to_path_buf(),
        data_dir: work.join("data"),
        source: network.firehose.clone(),
        cursor: "0".into(),
        enrol: mode.into(),
        more: Vec::new(),
        env: Vec::new(),
        log: work.join("serve-1.log"),
    };
    for (start, what) in [(1, "from the beginning"), (2, "after kill -9"), (3, "from an empty folder")] {
        match start {
            2 => spec.cursor = "auto".into(),
            3 => (spec.cursor, spec.data_dir) = ("0".into(), work.join("data-again")),
            _ => {}
        }
        spec.log = work.join(format!("serve-{start}.log"));
        let (mut serve, target) = serving(&spec)?;
        let compare = ["compare.mjs", "--target", &target, "--settle", "30"];
        rows.push(network.script(&compare, &work, &format!("{mode}: compare {what}"))?);
        if start == 3 {
            rows.push(network.script(
                &["appview.mjs", "--target", &target],
                &work,
                &format!("{mode}: appview"),
            )?);
        }
        still_serving(&mut serve)?;
        serve.kill();
    }
    spec.cursor = "auto".into();
    spec.more = ["--upstream", &network.dataplane, "--upstream-http", "1.1"].map(String::from).to_vec();
    spec.log = work.join("serve-alone.log");
    let (mut serve, target) = serving(&spec)?;
    let alone = ["appview.mjs", "--alone", "--target", &target];
    rows.push(network.script(&alone, &work, &format!("{mode}: appview, us alone"))?);
    still_serving(&mut serve)?;
    let (_, admin) = serve.addrs(PATIENCE)?;
    passed(&get(&admin, "/metrics")?.1)?;
    serve.kill();
    // by now an account was deleted, and what it did before has left the firehose. Of a quiet network that tells again
    // what it has kept: so once it is not asked for that, and the repositories have to suffice
    spec.more = Vec::new();
    for (cursor, what) in [("auto", "a backfill"), ("live", "a backfill alone")] {
        (spec.cursor, spec.data_dir) = (cursor.into(), work.join(format!("data-backfilled-{cursor}")));
        spec.log = work.join(format!("serve-backfilled-{cursor}.log"));
        backfill(&spec, &work.join(format!("backfill-{cursor}.log")))?;
        let (mut serve, target) = serving(&spec)?;
        let compare = ["compare.mjs", "--target", &target, "--settle", "30"];
        rows.push(network.script(&compare, &work, &format!("{mode}: compare after {what}"))?);
        still_serving(&mut serve)?;
        serve.kill();
    }
    Ok(())
}

/// A service that has caught up, and the URL of its gRPC port.
fn serving(spec: &ServeSpec) -> Result<(Serve, String)> {
    let mut serve = Serve::start(spec)?;
    serve.ready(PATIENCE)?;
    let (grpc, _) = serve.addrs(PATIENCE)?;
    Ok((serve, format!("http://{grpc}")))
}

fn still_serving(serve: &mut Serve) -> Result<()> {
    if let Some(status) = serve.ended()? {
        bail!("the service ended by itself ({status}):\n{}", serve.tail());
    }
    Ok(())
}

/// What a service alone has to have done, by its metrics: answered timelines itself, passed on the rest, lost none.
fn passed(metrics: &str) -> Result<()> {
    let own = "skyweir_api_request_seconds_count{method=\"bsky.Service/GetTimeline\",code=\"ok\"}";
    let ended = |outcome| {
        metric(metrics, &format!("skyweir_api_passed_request_seconds_count{{outcome={outcome:?}}}"))
    };
    let (own, passed) = (metric(metrics, own).unwrap_or(0.0), ended("ok").unwrap_or(0.0));
    println!("answered {own} timelines, passed on {passed} calls");
    ensure!(
        own > 0.0 && passed > 0.0,
        "nothing was judged: {own} timelines of ours, {passed} calls passed on"
    );
    for outcome in ["unreachable", "broken", "timeout", "overload", "too_large"] {
        let lost = ended(outcome).unwrap_or(0.0);
        ensure!(lost == 0.0, "{lost} calls that were passed on ended as {outcome}");
    }
    Ok(())
}

/// Fills the service's data directory from the repositories of its source's host.
fn backfill(spec: &ServeSpec, log: &Path) -> Result<()> {
    let host = spec.source.split("/xrpc/").next().unwrap_or(&spec.source).replacen("ws", "http", 1);
    let mut command = Command::new(&spec.binary);
    command.args(["backfill", "--from", &host, "--items-since", "all", "--data-dir"]).arg(&spec.data_dir);
    let file = File::create(log)?;
    let status = Group::spawn(&command, file.try_clone()?.into(), file.into())?.wait(PATIENCE)?;
    ensure!(status.success(), "the backfill failed ({status}):\n{}", fs::read_to_string(log)?);
    Ok(())
}

/// The running network of the oracle.
pub(crate) struct Network {
    group: Group,
    dir: PathBuf,
    file: PathBuf,
    firehose: String,
    dataplane: String,
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
    fn script(&self, args: &[&str], work: &Path, what: &str) -> Result<Row> {
        println!("{what}");
        let out = work.join(format!("{}.out", what.replace([' ', ':'], "-")));
        let mut command = Command::new(self.dir.join("run.sh"));
        command.args(args).arg("--network").arg(&self.file);
        let began = now();
        let mut group = Group::spawn(&command, File::create(&out)?.into(), Stdio::inherit())?;
        let status = group.wait(PATIENCE).with_context(|| what.to_owned())?;
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

/// The oracle's folder, installed.
pub(crate) fn folder(options: &Options) -> Result<Option<PathBuf>> {
    if let Some(dir) = &options.dir {
        let dir = dir.canonicalize().with_context(|| format!("no oracle in {}", dir.display()))?;
        if !dir.join("node_modules/.oracle-setup").is_file() {
            setup(&dir)?;
        }
        return Ok(Some(dir));
    }
    let shared = std::env::var_os("SKYWEIR_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    let from = shared.join("oracle");
    if !from.join("network.mjs").is_file() {
        return Ok(None);
    }
    let to = root().join("target/oracle");
    copy(&from, &to).with_context(|| format!("cannot copy the oracle to {}", to.display()))?;
    setup(&to)?;
    Ok(Some(to))
}

fn setup(dir: &Path) -> Result<()> {
    println!("oracle: setting up {}", dir.display());
    let status = Command::new(dir.join("setup.sh")).status().context("cannot start the oracle's setup.sh")?;
    ensure!(status.success(), "the oracle's setup.sh failed ({status})");
    Ok(())
}

/// Copies a folder, but for what is installed or left by a run.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, target) = (entry.file_name(), to.join(entry.file_name()));
        if name == "node_modules" || name == ".run" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            // the original may be read-only, and so was its last copy
            let _ = fs::remove_file(&target);
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
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

    #[test]
    fn a_copy_leaves_out_what_is_installed() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        fs::create_dir_all(from.join("node_modules")).unwrap();
        fs::create_dir_all(from.join("lib")).unwrap();
        fs::write(from.join("lib/x.mjs"), "x").unwrap();
        for _ in 0..2 {
            copy(&from, &to).unwrap();
        }
        assert!(to.join("lib/x.mjs").is_file() && !to.join("node_modules").exists());
    }
}
