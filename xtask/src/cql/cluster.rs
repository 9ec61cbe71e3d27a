//! One cluster: what it is, kept in a file of its home, and what can be done to its nodes.

use std::fmt;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::{Cassandra, Scylla, settings, wire};
use crate::run::{State, hold, is_free, read, wait_for};

/// How long a node may take to answer, and then to be seen by the others. Replaying a log under load takes a minute.
const PATIENCE: Duration = Duration::from_secs(180);
const PORT: u16 = 9042;

/// What runs the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EngineName {
    /// In containers; not tried yet.
    Scylla,
    /// Java programs.
    Cassandra,
}

/// What a cluster is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spec {
    pub(super) engine: EngineName,
    pub(super) nodes: u8,
    pub(super) port: u16,
    pub(super) bench: bool,
}

/// What is asked for; what is left open is as it was, else the default.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Wish {
    /// How many nodes: 1 (the default) or 3. Node N listens on 127.0.0.N.
    #[arg(long, value_parser = one_or_three)]
    pub(crate) nodes: Option<u8>,
    /// Their port, 9042 by default; Cassandra's nodes also talk to each other on the port 1000 above it.
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// What to run; by default ScyllaDB where a Docker engine answers, else Cassandra.
    #[arg(long, env = "SKYWEIR_CQL_ENGINE")]
    pub(crate) engine: Option<EngineName>,
    /// For benchmarks: more memory, and all of the JIT, with which Cassandra starts slower.
    #[arg(long)]
    pub(crate) bench: bool,
}

fn one_or_three(text: &str) -> std::result::Result<u8, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        _ => Err("1 or 3".to_owned()),
    }
}

impl Spec {
    /// What a wish makes of the cluster that is there, if one is; its kind never changes.
    fn of(wish: &Wish, kept: Option<Self>, engine: impl FnOnce() -> EngineName) -> Result<Self> {
        if let Some(kept) = kept {
            let same = wish.nodes.is_none_or(|nodes| nodes == kept.nodes)
                && wish.port.is_none_or(|port| port == kept.port)
                && wish.engine.is_none_or(|engine| engine == kept.engine)
                && (kept.bench || !wish.bench);
            ensure!(
                same,
                "there is another cluster ({kept}): remove it first with `cargo xtask cql down --wipe`"
            );
            return Ok(kept);
        }
        let port = wish.port.unwrap_or(PORT);
        ensure!(
            (1..=settings::LAST_PORT).contains(&port),
            "--port {port} can't be: it has to be from 1 to {}",
            settings::LAST_PORT
        );
        let engine = wish.engine.unwrap_or_else(engine);
        Ok(Self { engine, nodes: wish.nodes.unwrap_or(1), port, bench: wish.bench })
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bench = if self.bench { ", for benchmarks" } else { "" };
        write!(f, "{:?}, nodes: {}, port {}{bench}", self.engine, self.nodes, self.port)
    }
}

/// Where a node listens.
pub(super) fn addr(node: u8, port: u16) -> SocketAddr {
    ([127, 0, 0, node], port).into()
}

/// What differs between programs that run nodes.
pub(super) trait Engine {
    /// Fetches what isn't there yet.
    fn prepare(&self) -> Result<()>;
    /// Starts a node that is down, and returns at once.
    fn start(&self, node: u8) -> Result<()>;
    fn state(&self, node: u8) -> State;
    /// At once, as by SIGKILL; a node that is down stays down.
    fn kill(&self, node: u8) -> Result<()>;
    /// Lets it end in order.
    fn stop(&self, node: u8) -> Result<()>;
    fn pause(&self, node: u8) -> Result<()>;
    fn resume(&self, node: u8) -> Result<()>;
    /// Removes what a node that is down has left outside of the cluster's folder.
    fn wipe(&self, node: u8) -> Result<()>;
    /// How much a node has said so far.
    fn said(&self, node: u8) -> u64;
    /// Whether a node has said after that moment that another one is up.
    fn sees(&self, node: u8, other: u8, since: u64) -> bool;
    /// The end of what a node has said.
    fn tail(&self, node: u8) -> String;
    /// One line for a person.
    fn about(&self, node: u8) -> String;
}

/// A node that was started, and those that were up before: each with how much it had said.
struct Started {
    node: u8,
    others: Vec<(u8, u64)>,
}

/// A cluster; while it is held, no other command changes it.
pub(crate) struct Cluster {
    home: PathBuf,
    spec: Spec,
    engine: Box<dyn Engine>,
    _held: Option<File>,
}

impl Cluster {
    /// The cluster of this home as it is wished, with all nodes answering. Tied nodes end with this process.
    pub(crate) fn up(home: &Path, wish: &Wish, tied: bool) -> Result<Self> {
        let held = Some(hold(home)?);
        let spec = Spec::of(wish, kept(home)?, Scylla::or_cassandra)?;
        let cluster = Self::with(home, spec, held, tied);
        // before it is written down what the cluster is: that never changes
        cluster.nodes().try_for_each(|node| cluster.check_ports(node))?;
        cluster.engine.prepare()?;
        let file = file(home);
        fs::create_dir_all(run(home))?;
        fs::write(&file, serde_json::to_string(&cluster.spec)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        cluster.start_all()?;
        Ok(cluster)
    }

    /// The cluster of this home, if there is one.
    pub(crate) fn find(home: &Path) -> Result<Option<Self>> {
        if kept(home)?.is_none() {
            return Ok(None);
        }
        let held = Some(hold(home)?);
        // it may have gone while another command held it
        Ok(kept(home)?.map(|spec| Self::with(home, spec, held, false)))
    }

    /// The same for one who only looks, also while another command holds it.
    pub(crate) fn look(home: &Path) -> Result<Option<Self>> {
        Ok(kept(home)?.map(|spec| Self::with(home, spec, None, false)))
    }

    fn with(home: &Path, spec: Spec, held: Option<File>, tied: bool) -> Self {
        let engine: Box<dyn Engine> = match spec.engine {
            EngineName::Scylla => Box::new(Scylla::new(spec.clone())),
            EngineName::Cassandra => Box::new(Cassandra::new(home, run(home), spec.clone(), tied)),
        };
        Self { home: home.to_path_buf(), spec, engine, _held: held }
    }

    fn nodes(&self) -> std::ops::RangeInclusive<u8> {
        1..=self.spec.nodes
    }

    fn addr(&self, node: u8) -> SocketAddr {
        addr(node, self.spec.port)
    }

    /// From now on other commands may change it, too.
    pub(crate) fn let_go(&mut self) {
        self._held = None;
    }

    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// The nodes' addresses, as tests take them.
    pub(crate) fn addrs(&self) -> String {
        self.nodes().map(|node| self.addr(node).to_string()).collect::<Vec<_>>().join(",")
    }

    fn start_all(&self) -> Result<()> {
        let mut started = Vec::new();
        for node in self.nodes() {
            match self.engine.state(node) {
                State::Up => {}
                State::Paused => self.engine.resume(node)?,
                State::Down => {
                    started.push(self.launch(node)?);
                    // the first node makes the system's own keyspaces alone, and ScyllaDB's nodes join one by one
                    if node == 1 || self.spec.engine == EngineName::Scylla {
                        self.answering(node)?;
                    }
                }
            }
        }
        self.nodes().try_for_each(|node| self.answering(node))?;
        started.iter().try_for_each(|started| self.joined(started))
    }

    /// Nobody else may have the ports of a node that is down.
    fn check_ports(&self, node: u8) -> Result<()> {
        if self.engine.state(node) != State::Down {
            return Ok(());
        }
        for port in [self.spec.port, settings::storage_port(&self.spec)] {
            let addr = addr(node, port);
            ensure!(
                is_free(addr),
                "{addr} is taken by another program: end that one, or make a cluster elsewhere with `cargo xtask cql \
                 down --wipe` and `cargo xtask cql up --port P`, which takes P and {} above it",
                settings::STORAGE
            );
        }
        Ok(())
    }

    fn launch(&self, node: u8) -> Result<Started> {
        let addr = self.addr(node);
        self.check_ports(node)?;
        let mut others: Vec<(u8, u64)> = self.nodes().map(|other| (other, self.engine.said(other))).collect();
        others.retain(|(other, _)| *other != node && self.engine.state(*other) == State::Up);
        eprintln!("starting node {node} on {addr}");
        self.engine.start(node)?;
        Ok(Started { node, others })
    }

    fn answering(&self, node: u8) -> Result<()> {
        let addr = self.addr(node);
        let answered = wait_for(&format!("node {node} to answer on {addr}"), PATIENCE, || {
            ensure!(self.engine.state(node) != State::Down, "node {node} has ended");
            Ok(wire::answers(addr))
        });
        answered.with_context(|| format!("node {node} said last:\n{}", self.engine.tail(node)))
    }

    /// Waits until it sees the others, and they it: only then a quorum of nodes can be had through each of them.
    fn joined(&self, started: &Started) -> Result<()> {
        let node = started.node;
        for (other, said) in &started.others {
            wait_for(&format!("nodes {node} and {other} to see each other"), PATIENCE, || {
                Ok(self.engine.sees(node, *other, 0) && self.engine.sees(*other, node, *said))
            })?;
        }
        Ok(())
    }

    fn check(&self, node: u8) -> Result<()> {
        ensure!(self.nodes().contains(&node), "there is no node {node}: the cluster is {}", self.spec);
        Ok(())
    }

    fn check_runs(&self, node: u8) -> Result<()> {
        self.check(node)?;
        let down = self.engine.state(node) == State::Down;
        ensure!(!down, "node {node} is down: `cargo xtask cql start {node}` starts it");
        Ok(())
    }

    /// Starts a node that is down, on the data that it has.
    pub(crate) fn start(&self, node: u8) -> Result<()> {
        self.check(node)?;
        match self.engine.state(node) {
            State::Up => return self.answering(node),
            State::Paused => bail!("node {node} is paused: `cargo xtask cql resume {node}` lets it go on"),
            State::Down => {}
        }
        let started = self.launch(node)?;
        self.answering(node)?;
        self.joined(&started)
    }

    /// SIGKILL.
    pub(crate) fn kill(&self, node: u8) -> Result<()> {
        self.check(node)?;
        self.engine.kill(node)
    }

    /// SIGSTOP: it keeps its connections and answers nothing.
    pub(crate) fn pause(&self, node: u8) -> Result<()> {
        self.check_runs(node)?;
        self.engine.pause(node)
    }

    /// SIGCONT.
    pub(crate) fn resume(&self, node: u8) -> Result<()> {
        self.check_runs(node)?;
        self.engine.resume(node)
    }

    /// One line for each node.
    pub(crate) fn status(&self) -> Vec<String> {
        let line = |node| {
            let (addr, state) = (self.addr(node), self.engine.state(node));
            format!("{node} {addr} {state} {}", self.engine.about(node)).trim_end().to_owned()
        };
        self.nodes().map(line).collect()
    }

    /// Stops all nodes. A wipe also removes their data, and so doesn't wait for an end in order.
    pub(crate) fn down(&self, wipe: bool) -> Result<()> {
        for node in self.nodes() {
            if wipe {
                self.engine.kill(node)?;
                self.engine.wipe(node)?;
            } else {
                self.engine.stop(node)?;
            }
        }
        if wipe {
            let run = run(&self.home);
            fs::remove_dir_all(&run).with_context(|| format!("cannot remove {}", run.display()))?;
        }
        Ok(())
    }
}

fn run(home: &Path) -> PathBuf {
    home.join("run")
}

fn file(home: &Path) -> PathBuf {
    run(home).join("cluster.json")
}

/// The cluster that was made here.
fn kept(home: &Path) -> Result<Option<Spec>> {
    let file = file(home);
    let spec =
        |text: String| serde_json::from_str(&text).with_context(|| format!("{} is damaged", file.display()));
    read(&file)?.map(spec).transpose()
}

#[cfg(test)]
mod tests;
