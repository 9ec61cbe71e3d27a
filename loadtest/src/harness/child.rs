//! `skyweir serve` as a child, with settings and a data directory of its own.

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// It has to serve by then, also from a large data directory on a busy machine.
const START: Duration = Duration::from_secs(120);
/// It has to end by then once it was told to: longer than its own grace time.
const STOP: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(10);

/// What it is started with.
#[derive(Clone, Debug)]
pub(super) struct ServeSpec {
    pub(super) program: PathBuf,
    pub(super) source: String,
    pub(super) data_dir: Option<PathBuf>,
    /// Its data directory, if it has one already.
    pub(super) loaded: Option<PathBuf>,
    pub(super) enrol: String,
    pub(super) reasonable_limit: u32,
    pub(super) cap: u32,
    pub(super) more: Vec<String>,
}

/// A running service; killed when dropped.
#[derive(Debug)]
pub(super) struct Serve {
    child: Child,
    dir: TempDir,
    pub(super) grpc: String,
    pub(super) admin: String,
}

impl Serve {
    /// Starts it and waits until it says where it serves.
    pub(super) async fn start(spec: &ServeSpec) -> anyhow::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("skyweir-loadtest-");
        let dir = match &spec.data_dir {
            Some(parent) => builder.tempdir_in(parent),
            None => builder.tempdir(),
        };
        let dir = dir.context("making a data directory")?;
        let config = dir.path().join("skyweir.toml");
        std::fs::write(&config, settings(spec, dir.path())).context("writing the settings")?;
        let log = std::fs::File::create(log(&dir)).context("making the log")?;
        let mut command = Command::new(&spec.program);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("SKYWEIR_")) {
                command.env_remove(name);
            }
        }
        command.args(["serve", "--config"]).arg(&config).args(&spec.more);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("starting {}", spec.program.display()))?;
        let mut serve = Self { child, dir, grpc: String::new(), admin: String::new() };
        serve.addresses().await?;
        Ok(serve)
    }

    async fn addresses(&mut self) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let text = std::fs::read_to_string(log(&self.dir)).unwrap_or_default();
            if let Some((grpc, admin)) = text.lines().find_map(serving) {
                (self.grpc, self.admin) = (grpc, admin);
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the service ended by itself ({status}):\n{}", self.tail());
            }
            if began.elapsed() > START {
                bail!("the service doesn't serve after {} s:\n{}", START.as_secs(), self.tail());
            }
            sleep(LOOK).await;
        }
    }

    /// Its process id, while it runs.
    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Returns when it has ended by itself, which is always an error.
    pub(super) async fn ended(&mut self) -> anyhow::Error {
        match self.child.wait().await {
            Ok(status) => anyhow::anyhow!("the service ended by itself ({status}):\n{}", self.tail()),
            Err(error) => anyhow::Error::from(error).context("waiting for the service"),
        }
    }

    /// Tells it to stop and waits for that.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        let id = self.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let Some(id) = id else { bail!("the service has ended already:\n{}", self.tail()) };
        kill_process(id, Signal::TERM).context("telling the service to stop")?;
        let ended = timeout(STOP, self.child.wait()).await.context("the service doesn't stop")??;
        if !ended.success() {
            bail!("the service stopped with {ended}:\n{}", self.tail());
        }
        Ok(())
    }

    /// The last lines of its log.
    fn tail(&self) -> String {
        let text = std::fs::read_to_string(log(&self.dir)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

fn log(dir: &TempDir) -> PathBuf {
    dir.path().join("serve.log")
}

fn settings(spec: &ServeSpec, dir: &Path) -> String {
    // JSON strings are TOML strings too
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let data = spec.loaded.clone().unwrap_or_else(|| dir.join("data"));
    format!(
        "data_dir = {}\nsource = {}\ncursor = 0\ngrpc = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
         log_format = \"json\"\n[timeline]\nreasonable_limit = {}\ncap = {}\n[writer]\nenrol = {}\n",
        text(&data.display().to_string()),
        text(&spec.source),
        spec.reasonable_limit,
        spec.cap,
        text(&spec.enrol),
    )
}

/// Reads (gRPC, admin) from the log line that tells them.
fn serving(line: &str) -> Option<(String, String)> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let fields = line.get("fields")?;
    if fields.get("message")?.as_str()? != "serving" {
        return None;
    }
    let text = |name: &str| Some(fields.get(name)?.as_str()?.to_owned());
    Some((text("grpc.addr")?, text("admin.addr")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_the_log() {
        let line = r#"{"fields":{"message":"serving","grpc.addr":"127.0.0.1:1","admin.addr":"127.0.0.1:2"}}"#;
        assert_eq!(serving(line), Some(("127.0.0.1:1".into(), "127.0.0.1:2".into())));
        assert_eq!(serving(r#"{"fields":{"message":"stopping"}}"#), None);
        assert_eq!(serving("plain text"), None);
    }
}
