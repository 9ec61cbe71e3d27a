//! References on their way to three nodes while one of them is killed and comes back, and another one stands still and
//! goes on: how long the shards of the other nodes wait, and what is there in the end.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use skyweir_scylla::Rows;
use skyweir_store::{Hook, MemoryStore, Operation, Timelines as _};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::bed::{self, AUTHOR, Bed, PATIENCE, Posts};

/// How many timelines the references go to.
pub(crate) const VIEWERS: u32 = 600;
/// The node that is killed, and the one that stands still.
const KILLED: u8 = 2;
const PAUSED: u8 = 3;
/// So many posts are on their way to the nodes that are there; what comes for the other one waits in the writer.
const ON_THEIR_WAY: usize = 4;

/// References a second. At more than half of what three nodes of Cassandra take that share two cores, calls wait for
/// seconds with all nodes there, and nothing would be seen of the one that is away.
pub(crate) const PACE: u32 = 5_000;

/// The phase in which a node stands still.
pub(crate) const STANDS_STILL: &str = "one stands still";
/// How many phases share the references.
const PHASES: u64 = 6;
/// `cargo xtask cql`, which has the nodes: the variable names the program, `SKYWEIR_CQL_HOME` the cluster's folder.
pub(crate) const VARIABLE: &str = "SKYWEIR_TEST_NODES";

/// What was seen while nodes were in one state.
pub(crate) struct Phase {
    pub(crate) name: &'static str,
    pub(crate) references: u64,
    pub(crate) seconds: f64,
    /// The slowest call of the writer for a shard of each node.
    pub(crate) slowest: [Duration; 3],
    /// The node that is away, if one is.
    pub(crate) away: Option<u8>,
    /// Calls that failed, and were made again by the writer.
    pub(crate) refused: u64,
    /// Batches that their node didn't take in time, or refused, and that went to another one.
    pub(crate) resent: u64,
}

/// What came of it.
pub(crate) struct Found {
    pub(crate) phases: Vec<Phase>,
    /// References that the writer says it has written, all of them.
    pub(crate) acknowledged: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
}

/// Times each call of the writer, from its first attempt until it succeeds.
struct Observer {
    /// Of each shard, the node that takes its references.
    nodes: Vec<u8>,
    seen: Mutex<Seen>,
    /// References written at the nodes that stay.
    of_others: watch::Sender<usize>,
}

#[derive(Default)]
struct Seen {
    /// Calls under way, by shard: a shard has one at a time.
    begun: HashMap<u32, Instant>,
    slowest: [Duration; 3],
    refused: u64,
}

#[async_trait]
impl Hook for Observer {
    async fn before(&self, operation: &Operation<'_>) -> skyweir_store::Result<()> {
        if let Operation::Apply { shard, .. } = operation {
            let mut seen = self.seen();
            let again = seen.begun.contains_key(shard);
            seen.refused += u64::from(again);
            seen.begun.entry(*shard).or_insert_with(Instant::now);
        }
        Ok(())
    }

    async fn after(&self, operation: &Operation<'_>) -> skyweir_store::Result<()> {
        if let Operation::Apply { shard, deliveries } = operation {
            let mut seen = self.seen();
            let took = seen.begun.remove(shard).map_or(Duration::ZERO, |begun| begun.elapsed());
            let slowest = &mut seen.slowest[usize::from(self.nodes[*shard as usize]) - 1];
            *slowest = took.max(*slowest);
            drop(seen);
            if ![KILLED, PAUSED].contains(&self.nodes[*shard as usize]) {
                let written: usize = deliveries.iter().map(|delivery| delivery.viewers.len()).sum();
                self.of_others.send_modify(|n| *n += written);
            }
        }
        Ok(())
    }
}

impl Observer {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which node takes the references of each shard: each has as many of them, in the order of the nodes' numbers.
fn nodes_of_shards(bed: &Bed, rows: &Rows) -> Result<Vec<u8>> {
    let state = bed.session.get_cluster_state();
    let mut nodes = state.get_nodes_info().to_vec();
    nodes.sort_by_key(|node| node.host_id);
    ensure!(nodes.len() == 3, "{} nodes answer, three are needed", nodes.len());
    let last = |address: std::net::IpAddr| match address {
        std::net::IpAddr::V4(address) => Ok(address.octets()[3]),
        std::net::IpAddr::V6(_) => anyhow::bail!("{address} is no node of cargo xtask cql"),
    };
    let of_node = rows.shards() as usize / nodes.len();
    let nodes = nodes.iter().map(|node| last(node.address.ip())).collect::<Result<Vec<_>>>()?;
    Ok(nodes.into_iter().flat_map(|node| vec![node; of_node]).collect())
}

/// One load, in phases.
struct Load<'a> {
    posts: Posts,
    observer: Arc<Observer>,
    resent: &'a dyn Fn() -> u64,
    /// References of one post for the node that stays.
    of_others: usize,
    posts_a_phase: usize,
}

impl Phase {
    /// The slowest call for a node that isn't away.
    pub(crate) fn slowest_of_others(&self) -> Duration {
        let others = (1..).zip(self.slowest).filter(|(node, _)| Some(*node) != self.away);
        others.map(|(_, slowest)| slowest).max().unwrap_or_default()
    }
}

impl Load<'_> {
    /// Posts while a node is away, until all of their references are acknowledged.
    async fn phase(&mut self, name: &'static str, away: Option<u8>) -> Result<Phase> {
        let (began, resent) = (Instant::now(), (self.resent)());
        *self.observer.seen() = Seen::default();
        let mut written = self.observer.of_others.subscribe();
        let mut pace = tokio::time::interval(Duration::from_secs(1) * VIEWERS / PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for _ in 0..self.posts_a_phase {
            pace.tick().await;
            self.posts.posts(1).await?;
            let least = self.posts.items.len().saturating_sub(ON_THEIR_WAY) * self.of_others;
            let room = tokio::time::timeout(PATIENCE, written.wait_for(|written| *written >= least)).await;
            room.with_context(|| format!("{name}: the node that stays is given nothing"))??;
        }
        self.posts.delivered().await.context(name)?;
        let seen = std::mem::take(&mut *self.observer.seen());
        Ok(Phase {
            name,
            away,
            references: (self.posts_a_phase * VIEWERS as usize) as u64,
            seconds: began.elapsed().as_secs_f64(),
            slowest: seen.slowest,
            refused: seen.refused,
            resent: (self.resent)() - resent,
        })
    }
}

/// Tells `cargo xtask cql` to do something to a node.
async fn order(what: &str, node: u8) -> Result<()> {
    let program = std::env::var_os(VARIABLE).context("no program for the nodes")?;
    let node = node.to_string();
    let done =
        Command::new(program).args(["cql", what, &node]).stdout(Stdio::null()).kill_on_drop(true).status();
    let done = done.await.with_context(|| format!("{VARIABLE} names no program"))?;
    ensure!(done.success(), "cargo xtask cql {what} {node} failed");
    Ok(())
}

/// Writes about this many references; `resent` tells how many batches were sent again so far.
pub(crate) async fn run(bed: &Bed, references: u64, resent: &dyn Fn() -> u64) -> Result<Found> {
    let rows = bed.rows(&bed.config).await?;
    let nodes = nodes_of_shards(bed, &rows)?;
    let stays = |viewer| ![KILLED, PAUSED].contains(&nodes[rows.shard_of(viewer) as usize]);
    let of_others = bed.viewers.iter().filter(|viewer| stays(**viewer)).count();
    let observer =
        Arc::new(Observer { nodes: nodes.clone(), seen: Mutex::default(), of_others: watch::Sender::new(0) });
    let store = Arc::new(MemoryStore::new());
    bed::follow(&*store, AUTHOR, &bed.viewers).await?;
    let posts = Posts::new(store, AUTHOR, &rows, Arc::clone(&observer) as _).await?;
    let posts_a_phase = (references / PHASES / u64::from(VIEWERS)).max(1) as usize;
    let mut load = Load { posts, observer, resent, of_others, posts_a_phase };
    let mut phases = vec![load.phase("all nodes there", None).await?];
    order("pause", PAUSED).await?;
    let phase = load.phase(STANDS_STILL, Some(PAUSED)).await;
    // also after a failure: a paused node would be in the way of whatever comes next
    order("resume", PAUSED).await?;
    phases.push(phase?);
    phases.push(load.phase("it goes on", Some(PAUSED)).await?);
    order("kill", KILLED).await?;
    phases.push(load.phase("another one is killed", Some(KILLED)).await?);
    let (phase, started) = tokio::join!(load.phase("it starts again", Some(KILLED)), order("start", KILLED));
    started?;
    phases.push(phase?);
    phases.push(load.phase("it is back", Some(KILLED)).await?);
    let (acknowledged, items) = (load.posts.written(), std::mem::take(&mut load.posts.items));
    load.posts.stop().await?;
    drop(rows);
    let (lost, doubled) = bed.count(&bed.viewers, &items).await?;
    Ok(Found { phases, acknowledged, lost, doubled })
}
