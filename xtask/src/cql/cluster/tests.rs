//! A cluster's nodes as a list of states that hears what is done to them.

use std::cell::RefCell;
use std::net::TcpListener;
use std::rc::Rc;

use super::*;
use crate::run::free_port;

fn three() -> Spec {
    Spec { engine: EngineName::Cassandra, nodes: 3, port: 9142, bench: false }
}

#[test]
fn a_wish_makes_a_cluster_or_takes_the_one_that_is_there() {
    let cassandra = || EngineName::Cassandra;
    let spec = Spec::of(&Wish::default(), None, cassandra).unwrap();
    assert_eq!(spec, Spec { engine: EngineName::Cassandra, nodes: 1, port: PORT, bench: false });
    let kept = three();
    assert_eq!(Spec::of(&Wish::default(), Some(kept.clone()), cassandra).unwrap(), kept);
    for wish in [
        Wish { nodes: Some(1), ..Wish::default() },
        Wish { port: Some(9042), ..Wish::default() },
        Wish { engine: Some(EngineName::Scylla), ..Wish::default() },
        Wish { bench: true, ..Wish::default() },
    ] {
        let error = Spec::of(&wish, Some(kept.clone()), cassandra).unwrap_err().to_string();
        assert!(error.contains("Cassandra, nodes: 3, port 9142") && error.contains("down --wipe"), "{error}");
    }
    // the last one whose nodes' own port exists
    let at = |port| Spec::of(&Wish { port: Some(port), ..Wish::default() }, None, cassandra);
    assert!(at(64_535).is_ok() && at(64_536).is_err() && at(0).is_err());
}

#[test]
fn nodes_are_one_or_three() {
    assert_eq!((one_or_three("1"), one_or_three("3")), (Ok(1), Ok(3)));
    assert!(one_or_three("2").is_err());
}

#[test]
fn a_cluster_is_found_again_by_its_file() {
    let home = tempfile::tempdir().unwrap();
    assert!(Cluster::find(home.path()).unwrap().is_none());
    fs::create_dir(run(home.path())).unwrap();
    fs::write(file(home.path()), serde_json::to_string(&three()).unwrap()).unwrap();
    let found = Cluster::find(home.path()).unwrap().unwrap();
    assert_eq!(found.spec, three());
    assert_eq!(found.addrs(), "127.0.0.1:9142,127.0.0.2:9142,127.0.0.3:9142");
    assert_eq!(found.status()[1], "2 127.0.0.2:9142 down");
    let error = found.kill(4).unwrap_err().to_string();
    assert!(error.contains("there is no node 4"), "{error}");
    found.down(true).unwrap();
    assert!(!run(home.path()).exists());
    drop(found);
    fs::create_dir(run(home.path())).unwrap();
    fs::write(file(home.path()), "{").unwrap();
    assert!(Cluster::find(home.path()).is_err(), "a damaged file isn't no cluster");
}

/// Nodes that answer as soon as they are started, on a listener of their own, and write down what happens to them.
#[derive(Clone, Default)]
struct Nodes {
    port: u16,
    up: Rc<RefCell<Vec<(u8, State)>>>,
    heard: Rc<RefCell<Vec<String>>>,
}

impl Nodes {
    fn set(&self, node: u8, state: State) {
        self.up.borrow_mut().retain(|(other, _)| *other != node);
        self.up.borrow_mut().push((node, state));
    }

    fn hear(&self, what: &str, node: u8) {
        self.heard.borrow_mut().push(format!("{what} {node}"));
    }
}

impl Engine for Nodes {
    fn prepare(&self) -> Result<()> {
        Ok(())
    }

    fn start(&self, node: u8) -> Result<()> {
        self.hear("start", node);
        self.set(node, State::Up);
        let listener = TcpListener::bind(addr(node, self.port))?;
        std::thread::spawn(move || {
            use std::io::{Read as _, Write as _};
            // one question for its start is all that comes
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 9]).unwrap();
            stream.write_all(&[0x84, 0, 0, 0, 6]).unwrap();
        });
        Ok(())
    }

    fn state(&self, node: u8) -> State {
        self.up.borrow().iter().find(|(other, _)| *other == node).map_or(State::Down, |(_, state)| *state)
    }

    fn kill(&self, node: u8) -> Result<()> {
        self.set(node, State::Down);
        Ok(())
    }

    fn stop(&self, node: u8) -> Result<()> {
        self.hear("stop", node);
        self.kill(node)
    }

    fn pause(&self, node: u8) -> Result<()> {
        self.set(node, State::Paused);
        Ok(())
    }

    fn resume(&self, node: u8) -> Result<()> {
        self.set(node, State::Up);
        Ok(())
    }

    fn wipe(&self, node: u8) -> Result<()> {
        self.hear("wipe", node);
        Ok(())
    }

    fn said(&self, node: u8) -> u64 {
        u64::from(node) * 10
    }

    fn sees(&self, node: u8, other: u8, since: u64) -> bool {
        self.heard.borrow_mut().push(format!("{node} sees {other} since {since}"));
        true
    }

    fn tail(&self, _: u8) -> String {
        "its last words".to_owned()
    }

    fn about(&self, _: u8) -> String {
        String::new()
    }
}

/// A cluster of three that is down, and what its nodes hear.
fn cluster(home: &Path) -> (Cluster, Nodes) {
    let free = free_port(&[0, settings::STORAGE]).unwrap();
    let nodes = Nodes { port: free, ..Nodes::default() };
    let spec = Spec { port: free, ..three() };
    let held = hold(home).unwrap();
    let cluster =
        Cluster { home: home.to_path_buf(), spec, engine: Box::new(nodes.clone()), _held: Some(held) };
    (cluster, nodes)
}

#[test]
fn a_started_node_and_those_that_were_up_have_to_see_each_other() {
    let home = tempfile::tempdir().unwrap();
    let (cluster, nodes) = cluster(home.path());
    nodes.set(1, State::Up);
    nodes.set(2, State::Paused);
    cluster.start(3).unwrap();
    assert_eq!(*nodes.heard.borrow(), ["start 3", "3 sees 1 since 0", "1 sees 3 since 10"]);
    let error = cluster.start(2).unwrap_err().to_string();
    assert!(error.contains("resume 2"), "{error}");
}

#[test]
fn only_what_runs_is_paused() {
    let home = tempfile::tempdir().unwrap();
    let (cluster, nodes) = cluster(home.path());
    let error = cluster.pause(1).unwrap_err().to_string();
    assert!(error.contains("start 1"), "{error}");
    nodes.set(1, State::Up);
    cluster.pause(1).unwrap();
    assert_eq!(nodes.state(1), State::Paused);
    cluster.resume(1).unwrap();
    assert_eq!(nodes.state(1), State::Up);
}

#[test]
fn a_port_that_is_taken_is_told() {
    let home = tempfile::tempdir().unwrap();
    let (cluster, nodes) = cluster(home.path());
    let _other = TcpListener::bind(cluster.addr(1)).unwrap();
    let error = cluster.start(1).unwrap_err().to_string();
    assert!(error.contains("taken") && error.contains("--port"), "{error}");
    assert!(nodes.heard.borrow().is_empty());
}

#[test]
fn a_port_that_is_taken_makes_no_cluster() {
    let home = tempfile::tempdir().unwrap();
    let other = TcpListener::bind(("127.0.0.1", free_port(&[0]).unwrap())).unwrap();
    let mut wish = Wish { engine: Some(EngineName::Cassandra), ..Wish::default() };
    // the second is that on which the nodes would talk to each other
    for below in [0, settings::STORAGE] {
        wish.port = Some(other.local_addr().unwrap().port() - below);
        let error = Cluster::up(home.path(), &wish, true).err().unwrap().to_string();
        assert!(error.contains("taken") && error.contains("up --port"), "{error}");
        assert!(Cluster::find(home.path()).unwrap().is_none());
    }
}

#[test]
fn a_node_that_ends_is_told_with_its_last_words() {
    let home = tempfile::tempdir().unwrap();
    let (cluster, _) = cluster(home.path());
    let error = format!("{:#}", cluster.answering(1).unwrap_err());
    assert!(error.contains("its last words") && error.contains("has ended"), "{error}");
}

#[test]
fn down_stops_and_a_wipe_removes() {
    let home = tempfile::tempdir().unwrap();
    let (cluster, nodes) = cluster(home.path());
    fs::create_dir(run(home.path())).unwrap();
    nodes.set(1, State::Up);
    cluster.down(false).unwrap();
    assert_eq!(*nodes.heard.borrow(), ["stop 1", "stop 2", "stop 3"]);
    assert!(nodes.state(1) == State::Down && run(home.path()).exists());
    nodes.set(1, State::Up);
    cluster.down(true).unwrap();
    assert_eq!(nodes.heard.borrow()[3..], ["wipe 1", "wipe 2", "wipe 3"]);
    assert!(nodes.state(1) == State::Down && !run(home.path()).exists());
}
