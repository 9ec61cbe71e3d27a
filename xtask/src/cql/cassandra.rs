//! Apache Cassandra's nodes: Java programs, each in a folder of its own.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::cluster::{Engine, Spec};
use super::{jars, settings};
use crate::run::{Daemon, State};

/// How long a node may take to end in order: it flushes its tables.
const ENDED: Duration = Duration::from_secs(60);

/// Runs a cluster's nodes.
pub(crate) struct Cassandra {
    home: PathBuf,
    run: PathBuf,
    spec: Spec,
    tied: bool,
}

impl Cassandra {
    pub(super) fn new(home: &Path, run: PathBuf, spec: Spec, tied: bool) -> Self {
        Self { home: home.to_path_buf(), run, spec, tied }
    }

    fn daemon(&self, node: u8) -> Daemon {
        Daemon::new(self.run.join(format!("n{node}")))
    }
}

impl Engine for Cassandra {
    fn prepare(&self) -> Result<()> {
        jars::java()?;
        jars::fetch(&self.home)
    }

    fn start(&self, node: u8) -> Result<()> {
        let daemon = self.daemon(node);
        let dir = daemon.dir();
        fs::create_dir_all(dir.join("tmp"))?;
        fs::write(dir.join("cassandra.yaml"), settings::yaml(&self.spec, node))?;
        fs::write(dir.join("logback.xml"), settings::LOGBACK)?;
        let mut command = Command::new(jars::java()?);
        command.args(settings::arguments(&self.spec, dir, &jars::folder(&self.home))).current_dir(dir);
        daemon.start(command, self.tied)
    }

    fn state(&self, node: u8) -> State {
        self.daemon(node).state()
    }

    fn kill(&self, node: u8) -> Result<()> {
        self.daemon(node).kill()
    }

    fn stop(&self, node: u8) -> Result<()> {
        self.daemon(node).stop(ENDED)
    }

    fn pause(&self, node: u8) -> Result<()> {
        self.daemon(node).pause()
    }

    fn resume(&self, node: u8) -> Result<()> {
        self.daemon(node).resume()
    }

    fn wipe(&self, _: u8) -> Result<()> {
        Ok(())
    }

    fn said(&self, node: u8) -> u64 {
        fs::metadata(self.daemon(node).log()).map_or(0, |log| log.len())
    }

    fn sees(&self, node: u8, other: u8, since: u64) -> bool {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut log = File::open(self.daemon(node).log())?;
            log.seek(SeekFrom::Start(since))?;
            let mut said = Vec::new();
            log.read_to_end(&mut said)?;
            Ok(said)
        };
        read().is_ok_and(|said| tells_up(&String::from_utf8_lossy(&said), other))
    }

    fn tail(&self, node: u8) -> String {
        self.daemon(node).tail()
    }

    fn about(&self, node: u8) -> String {
        self.daemon(node).about()
    }
}

/// Whether a log tells that a node is up.
fn tells_up(log: &str, node: u8) -> bool {
    let address = format!("/127.0.0.{node}:");
    log.lines().any(|line| line.contains(&address) && line.contains(" is now UP"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cql::cluster::EngineName;

    fn nodes(home: &Path) -> Cassandra {
        let spec = Spec { engine: EngineName::Cassandra, nodes: 3, port: 9142, bench: false };
        Cassandra::new(home, home.join("run"), spec, false)
    }

    #[test]
    fn a_node_is_seen_from_what_a_log_says_later() {
        let home = tempfile::tempdir().unwrap();
        let nodes = nodes(home.path());
        assert!(nodes.said(1) == 0 && !nodes.sees(1, 2, 0));
        let log = nodes.daemon(1).log();
        fs::create_dir_all(nodes.daemon(1).dir()).unwrap();
        fs::write(&log, "10:00 INFO Gossiper: InetAddress /127.0.0.2:10142 is now UP\n").unwrap();
        let said = nodes.said(1);
        assert!(nodes.sees(1, 2, 0) && !nodes.sees(1, 3, 0) && !nodes.sees(1, 2, said));
        fs::write(&log, format!("{}InetAddress /127.0.0.2:10142 is now DOWN\n", " ".repeat(said as usize)))
            .unwrap();
        assert!(!nodes.sees(1, 2, said));
    }
}
