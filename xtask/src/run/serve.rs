//! `skyweir serve` as a child: started, its addresses read from its log, killed.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{Group, get, now, tail};

/// What a writer says of the name that it takes tasks under.
const JOINS: &str = "joins the group of writers";

/// How to start the service.
#[derive(Clone, Debug)]
pub(crate) struct ServeSpec {
    /// The program.
    pub(crate) binary: PathBuf,
    /// Its data.
    pub(crate) data_dir: PathBuf,
    /// `--source`.
    pub(crate) source: String,
    /// `--cursor`.
    pub(crate) cursor: String,
    /// `--enrol`.
    pub(crate) enrol: String,
    /// Of `--grpc`, on loopback; 0 for one that is free.
    pub(crate) grpc_port: u16,
    /// Further arguments.
    pub(crate) more: Vec<String>,
    /// Further environment.
    pub(crate) env: Vec<(String, String)>,
    /// Where its output goes; a start begins the file anew.
    pub(crate) log: PathBuf,
}

/// A running service.
pub(crate) struct Serve {
    group: Group,
    log: PathBuf,
    addrs: Option<(String, String)>,
}

impl Serve {
    /// Starts it and returns at once.
    pub(crate) fn start(spec: &ServeSpec) -> Result<Self> {
        let log = File::create(&spec.log).with_context(|| format!("cannot write {}", spec.log.display()))?;
        let mut command = Command::new(&spec.binary);
        command
            .args(["serve", "--log-format", "json", "--admin", "127.0.0.1:0"])
            .args(["--grpc", &format!("127.0.0.1:{}", spec.grpc_port)])
            .arg("--data-dir")
            .arg(&spec.data_dir)
            .args(["--source", &spec.source, "--cursor", &spec.cursor, "--enrol", &spec.enrol])
            .args(&spec.more)
            .envs(spec.env.iter().map(|(name, value)| (name, value)));
        let group = Group::spawn(&command, log.try_clone()?.into(), log.into())?;
        Ok(Self { group, log: spec.log.clone(), addrs: None })
    }

    /// Waits until it says where it serves: (gRPC, admin). An error when it ends or takes longer than `patience`.
    pub(crate) fn addrs(&mut self, patience: Duration) -> Result<(String, String)> {
        let began = now();
        loop {
            if let Some(addrs) = self.addrs_now() {
                return Ok(addrs);
            }
            if let Some(status) = self.group.ended()? {
                bail!("the service ended by itself ({status}):\n{}", tail(&self.log));
            }
            if began.elapsed() > patience {
                bail!("the service doesn't serve after {} s:\n{}", patience.as_secs(), tail(&self.log));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The addresses, if it has said them.
    pub(crate) fn addrs_now(&mut self) -> Option<(String, String)> {
        if self.addrs.is_none() {
            let text = fs::read_to_string(&self.log).unwrap_or_default();
            self.addrs = text.lines().find_map(serving);
        }
        self.addrs.clone()
    }

    /// The name under which it takes tasks of the log; only a writer on a cluster has one, and only once it is ready.
    pub(crate) fn consumer(&self) -> Result<String> {
        let text = fs::read_to_string(&self.log)?;
        let name = text
            .lines()
            .find_map(|line| said(line, JOINS)?.get("consumer.name")?.as_str().map(str::to_owned));
        name.with_context(|| format!("no line in {} says {JOINS:?}", self.log.display()))
    }

    /// Waits for `/readyz` to answer 200.
    pub(crate) fn ready(&mut self, patience: Duration) -> Result<()> {
        let (_, admin) = self.addrs(patience)?;
        let began = now();
        loop {
            if let Some(status) = self.group.ended()? {
                bail!("the service ended by itself ({status}):\n{}", tail(&self.log));
            }
            let answer = get(&admin, "/readyz");
            if matches!(answer, Ok((200, _))) {
                return Ok(());
            }
            if began.elapsed() > patience {
                bail!("not ready after {} s: {answer:?}\n{}", patience.as_secs(), tail(&self.log));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The exit status, if it has ended by itself.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.group.ended()
    }

    /// The last lines of its log.
    pub(crate) fn tail(&self) -> String {
        tail(&self.log)
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.group.kill();
    }
}

/// The fields of a log line that says this.
fn said(line: &str, message: &str) -> Option<Value> {
    let mut line: Value = serde_json::from_str(line).ok()?;
    let fields = line.get_mut("fields")?.take();
    (fields.get("message")?.as_str()? == message).then_some(fields)
}

/// Reads (gRPC, admin) from the log line that tells them; without the role api nothing answers over gRPC.
fn serving(line: &str) -> Option<(String, String)> {
    let fields = said(line, "serving")?;
    let text = |name: &str| Some(fields.get(name)?.as_str()?.to_owned());
    Some((text("grpc.addr").unwrap_or_default(), text("admin.addr")?))
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[test]
    fn addresses_are_read_from_the_log() {
        let line = r#"{"fields":{"message":"serving","grpc.addr":"127.0.0.1:1","admin.addr":"127.0.0.1:2"}}"#;
        assert_eq!(serving(line), Some(("127.0.0.1:1".into(), "127.0.0.1:2".into())));
        let line = r#"{"fields":{"message":"serving","admin.addr":"127.0.0.1:2"}}"#;
        assert_eq!(serving(line), Some((String::new(), "127.0.0.1:2".into())));
        assert_eq!(serving(r#"{"fields":{"message":"stopping"}}"#), None);
        assert_eq!(serving("plain text"), None);
    }

    #[test]
    fn a_writers_name_is_read_from_the_log() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let group = Group::spawn(&Command::new("true"), Stdio::null(), Stdio::null()).unwrap();
        let serve = Serve { group, log: log.path().to_path_buf(), addrs: None };
        assert!(serve.consumer().unwrap_err().to_string().contains(JOINS));
        let lines = "plain text\n{\"fields\":{\"message\":\"joins the group of writers\",\"consumer.name\":\"a-1\"}}\n";
        fs::write(log.path(), lines).unwrap();
        assert_eq!(serve.consumer().unwrap(), "a-1");
    }
}
