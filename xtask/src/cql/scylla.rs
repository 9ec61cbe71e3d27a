//! ScyllaDB's nodes: containers of a Docker engine on Linux, on the host's own network. Not tried yet.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::cluster::{Engine, EngineName, Spec, addr};
use crate::run::{State, output, wait_for};

const IMAGE: &str = "scylladb/scylla:6.2";
/// For an engine to answer.
const ANSWERED: Duration = Duration::from_secs(15);
/// For a container to start or to end.
const DONE: Duration = Duration::from_secs(90);
/// For the image, of some 400 MB.
const FETCHED: Duration = Duration::from_secs(300);

/// Runs a cluster's nodes.
pub(crate) struct Scylla {
    spec: Spec,
}

impl Scylla {
    pub(super) fn new(spec: Spec) -> Self {
        Self { spec }
    }

    /// ScyllaDB where an engine answers and has the image or fetches it, else Cassandra.
    pub(super) fn or_cassandra() -> EngineName {
        if docker(&["version", "--format", "{{.Server.Version}}"], ANSWERED).is_err() {
            return EngineName::Cassandra;
        }
        match image() {
            Ok(()) => EngineName::Scylla,
            Err(error) => {
                eprintln!("taking Cassandra: {error:#}");
                EngineName::Cassandra
            }
        }
    }

    fn container(&self, node: u8) -> String {
        format!("skyweir-cql-{}-{node}", self.spec.port)
    }

    fn told(&self, command: &str, node: u8) -> Result<()> {
        docker(&[command, &self.container(node)], DONE).map(drop)
    }

    fn inspect(&self, what: &str, node: u8) -> Option<String> {
        docker(&["inspect", "--format", what, &self.container(node)], ANSWERED).ok()
    }
}

impl Engine for Scylla {
    fn prepare(&self) -> Result<()> {
        image()
    }

    fn start(&self, node: u8) -> Result<()> {
        if self.inspect("{{.Id}}", node).is_some() {
            return self.told("start", node);
        }
        let arguments = arguments(&self.spec, &self.container(node), node);
        docker(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), DONE).map(drop)
    }

    fn state(&self, node: u8) -> State {
        state(&self.inspect("{{.State.Status}}", node).unwrap_or_default())
    }

    fn kill(&self, node: u8) -> Result<()> {
        // a frozen process doesn't die
        self.resume(node)?;
        if self.state(node) != State::Down {
            self.told("kill", node)?;
        }
        wait_for("the container to end", DONE, || Ok(self.state(node) == State::Down))
    }

    fn stop(&self, node: u8) -> Result<()> {
        self.resume(node)?;
        if self.state(node) == State::Down { Ok(()) } else { self.told("stop", node) }
    }

    fn pause(&self, node: u8) -> Result<()> {
        if self.state(node) == State::Up { self.told("pause", node) } else { Ok(()) }
    }

    fn resume(&self, node: u8) -> Result<()> {
        if self.state(node) == State::Paused { self.told("unpause", node) } else { Ok(()) }
    }

    fn wipe(&self, node: u8) -> Result<()> {
        if self.inspect("{{.Id}}", node).is_none() {
            return Ok(());
        }
        docker(&["rm", "--force", "--volumes", &self.container(node)], DONE).map(drop)
    }

    fn said(&self, _: u8) -> u64 {
        0
    }

    /// A node joins before it answers, so nothing more is waited for.
    fn sees(&self, _: u8, _: u8, _: u64) -> bool {
        true
    }

    fn tail(&self, node: u8) -> String {
        let logs = docker(&["logs", "--tail", "15", &self.container(node)], ANSWERED);
        logs.unwrap_or_else(|error| format!("{error:#}"))
    }

    fn about(&self, node: u8) -> String {
        format!("container {}", self.container(node))
    }
}

/// Makes sure that the engine has the image.
fn image() -> Result<()> {
    if docker(&["image", "inspect", "--format", "{{.Id}}", IMAGE], ANSWERED).is_ok() {
        return Ok(());
    }
    eprintln!("fetching the image {IMAGE}, once");
    docker(&["pull", "--quiet", IMAGE], FETCHED).map(drop)
}

/// What `docker` printed; an error if it failed.
fn docker(arguments: &[&str], patience: Duration) -> Result<String> {
    let mut command = Command::new("docker");
    command.args(arguments);
    let what = || format!("docker {}", arguments.join(" "));
    let (status, said) = output(&command, patience).with_context(what)?;
    if !status.success() {
        bail!("{} failed ({status}); --engine cassandra goes without: {}", what(), said.trim());
    }
    Ok(said.trim().to_owned())
}

/// What an engine's word for a container's state means.
fn state(word: &str) -> State {
    match word {
        "running" | "restarting" => State::Up,
        "paused" => State::Paused,
        _ => State::Down,
    }
}

/// `docker run` of a node. Ports that differ by cluster or addresses by node, so that several go beside each other.
fn arguments(spec: &Spec, container: &str, node: u8) -> Vec<String> {
    let (ip, port) = (addr(node, spec.port).ip(), spec.port);
    let memory = if spec.bench { "1G" } else { "512M" };
    let line = format!(
        "run --detach --network host --name {container} {IMAGE} --developer-mode 1 --smp 1 --memory {memory} \
         --overprovisioned 1 --seeds 127.0.0.1 --listen-address {ip} --rpc-address {ip} --api-address {ip} \
         --native-transport-port {port} --native-shard-aware-transport-port {} --storage-port {} --prometheus-port 0 \
         --skip-wait-for-gossip-to-settle 0 --ring-delay-ms 0",
        port + 500,
        super::settings::storage_port(spec)
    );
    line.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_gets_its_address_and_the_clusters_port() {
        let spec = Spec { engine: EngineName::Scylla, nodes: 3, port: 9142, bench: false };
        let line = arguments(&spec, &Scylla::new(spec.clone()).container(2), 2).join(" ");
        for part in [
            "run --detach --network host --name skyweir-cql-9142-2 scylladb/scylla:6.2 --developer-mode 1 ",
            " --smp 1 --memory 512M --overprovisioned 1 --seeds 127.0.0.1 --listen-address 127.0.0.2 ",
            " --native-transport-port 9142 --native-shard-aware-transport-port 9642 --storage-port 10142 ",
        ] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
    }

    #[test]
    fn states_of_containers() {
        assert_eq!(
            ["running", "paused", "exited", ""].map(state),
            [State::Up, State::Paused, State::Down, State::Down]
        );
    }
}
