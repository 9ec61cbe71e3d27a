//! The layout of the cluster as it is now: from the ring, or from ScyllaDB's tablets.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use scylla::cluster::Node;
use scylla::policies::load_balancing::{
    LoadBalancingPolicy, NodeIdentifier, SingleTargetLoadBalancingPolicy,
};
use scylla::value::CqlValue;
use skyweir_store::{Error, Result};
use tokio::time::{Instant, timeout};

use super::layout::{Cores, Layout, Owner, Place};
use crate::dialect::Dialect;
use crate::session::Db;

/// How long a layout is taken for true. One that is no longer true costs a hop between nodes and nothing else.
const TRUE_FOR: Duration = Duration::from_secs(10);
/// How long references wait for a new look: as long as for a node that doesn't answer. The last one does, too.
const LOOK: Duration = Duration::from_millis(500);

/// A layout, with the nodes that it is about.
pub(super) struct Map {
    pub(super) layout: Layout,
    nodes: Vec<Arc<Node>>,
}

/// Knows the layout, and looks again when it is old.
pub(super) struct Topology {
    map: RwLock<Arc<Map>>,
    /// When it was looked; held by who looks.
    looked: tokio::sync::Mutex<Instant>,
    parts: u32,
    datacenter: String,
}

impl Map {
    /// One whose nodes can't be reached.
    #[cfg(test)]
    pub(super) fn of(layout: Layout) -> Self {
        Self { layout, nodes: Vec::new() }
    }

    /// What tells the node of a place from all others.
    pub(super) fn host(&self, place: Place) -> Option<u128> {
        self.nodes.get(place.node as usize).map(|node| node.host_id.as_u128())
    }

    /// The node that takes what is written at a place, if it can be reached.
    pub(super) fn target(&self, place: Place) -> Option<Arc<dyn LoadBalancingPolicy>> {
        let node = self.nodes.get(place.node as usize).filter(|node| node.is_connected())?;
        Some(SingleTargetLoadBalancingPolicy::new(NodeIdentifier::Node(Arc::clone(node)), place.core))
    }
}

impl Topology {
    /// Looks for the first time; the number of shards stays what it is now.
    pub(super) async fn open(db: &Db, parts: u32, datacenter: &str) -> Result<Self> {
        let map = look(db, parts, datacenter, None).await?;
        Ok(Self {
            map: RwLock::new(Arc::new(map)),
            looked: tokio::sync::Mutex::new(Instant::now()),
            parts,
            datacenter: datacenter.to_owned(),
        })
    }

    /// The layout that was seen last.
    pub(super) fn map(&self) -> Arc<Map> {
        Arc::clone(&self.map.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks again, if it is time and nobody else does.
    pub(super) async fn refresh(&self, db: &Db) {
        let Ok(mut looked) = self.looked.try_lock() else { return };
        if looked.elapsed() < TRUE_FOR {
            return;
        }
        *looked = Instant::now();
        let shards = self.map().layout.shards();
        match in_time(look(db, self.parts, &self.datacenter, Some(shards))).await {
            Ok(map) => *self.map.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(map),
            Err(error) => {
                tracing::warn!(%error, "the layout of the cluster could not be read, the last one is used")
            }
        }
    }
}

/// An answer that doesn't keep references waiting.
async fn in_time<T>(answer: impl Future<Output = Result<T>>) -> Result<T> {
    let late = |_| Error::Unavailable(format!("no answer in {} ms", LOOK.as_millis()));
    timeout(LOOK, answer).await.map_err(late)?
}

async fn look(db: &Db, parts: u32, datacenter: &str, shards: Option<u32>) -> Result<Map> {
    let state = db.session().get_cluster_state();
    let mut nodes = state.get_nodes_info().to_vec();
    nodes.sort_by_key(|node| node.host_id);
    let cores = nodes.iter().map(|node| node.sharder().map_or(Cores::Parts(parts), Cores::Sharded)).collect();
    // connections are made as a process begins: then nobody counts as away
    let mut chosen =
        Chosen { nodes: &nodes, datacenter, first: shards.is_none(), taken: vec![0; nodes.len()] };
    let mut ranges = tablets(db, &mut chosen).await?;
    if ranges.is_empty() {
        for (token, _) in state.replica_locator().ring().iter() {
            let replicas = state.get_token_endpoints(db.keyspace(), "timeline", *token);
            let replicas = replicas.iter().filter_map(|(node, _)| {
                let index = nodes.iter().position(|known| known.host_id == node.host_id)?;
                Some(Owner { node: index as u32, core: None })
            });
            let replicas: Vec<_> = replicas.collect();
            ranges.extend(chosen.choose(&replicas).map(|owner| (token.value(), owner)));
        }
    }
    if ranges.is_empty() {
        return Err(Error::Unavailable(format!(
            "no node of the cluster says that it has keyspace {}; look at its replication, and at scylla.datacenter",
            db.keyspace()
        )));
    }
    Ok(Map { layout: Layout::new(ranges, cores, shards), nodes })
}

/// The ranges of the table's tablets; none where it has none.
async fn tablets(db: &Db, chosen: &mut Chosen<'_>) -> Result<Vec<(i64, Owner)>> {
    if db.dialect() == Dialect::Cassandra {
        return Ok(Vec::new());
    }
    let text = "SELECT id FROM system_schema.tables WHERE keyspace_name = ? AND table_name = 'timeline'";
    let ids = db.scan_once::<(CqlValue,)>("system_schema.tables", text, (db.keyspace(),)).await?;
    let Some(id) = ids.into_iter().next() else { return Ok(Vec::new()) };
    let text = "SELECT last_token, replicas FROM system.tablets WHERE table_id = ?";
    let tablets = db.scan_once::<(i64, Vec<(CqlValue, i32)>)>("system.tablets", text, id).await?;
    let range = |(last, replicas): (i64, Vec<(CqlValue, i32)>)| {
        let replicas = replicas.into_iter().filter_map(|(host, core)| {
            let CqlValue::Uuid(host) = host else { return None };
            let index = chosen.nodes.iter().position(|known| known.host_id == host)?;
            Some(Owner { node: index as u32, core: u32::try_from(core).ok() })
        });
        let replicas: Vec<_> = replicas.collect();
        chosen.choose(&replicas).map(|owner| (last, owner))
    };
    Ok(tablets.into_iter().filter_map(range).collect())
}

/// Which replica takes the writes of each range.
struct Chosen<'a> {
    nodes: &'a [Arc<Node>],
    datacenter: &'a str,
    first: bool,
    /// How many ranges each node has.
    taken: Vec<u32>,
}

impl Chosen<'_> {
    /// One that can be reached before others, one near before others, and then the one with the fewest ranges.
    fn choose(&mut self, replicas: &[Owner]) -> Option<Owner> {
        let rank = |owner: &Owner| {
            let node = &self.nodes[owner.node as usize];
            let far = !self.datacenter.is_empty() && node.datacenter.as_deref() != Some(self.datacenter);
            (!self.first && !node.is_connected(), far)
        };
        best(replicas, rank, &mut self.taken)
    }
}

/// One of those that rank lowest, the one with the fewest taken.
fn best<R: Ord>(replicas: &[Owner], rank: impl Fn(&Owner) -> R, taken: &mut [u32]) -> Option<Owner> {
    let owner = replicas.iter().min_by_key(|owner| (rank(owner), taken[owner.node as usize]))?;
    taken[owner.node as usize] += 1;
    Some(*owner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn references_wait_for_no_late_answer() {
        let began = Instant::now();
        let never = std::future::pending::<Result<()>>();
        assert!(matches!(in_time(never).await, Err(Error::Unavailable(_))));
        assert_eq!(began.elapsed(), LOOK);
        assert!(in_time(async { Ok(()) }).await.is_ok());
    }

    #[test]
    fn ranges_are_spread_over_the_replicas_that_rank_lowest() {
        let replicas: Vec<_> = (0..4).map(|node| Owner { node, core: None }).collect();
        let mut taken = [0; 4];
        for n in 0..9 {
            // whichever comes first in a range's list
            let mut replicas = replicas.clone();
            replicas.rotate_left(n % 4);
            assert_ne!(best(&replicas, |owner| owner.node == 2, &mut taken).unwrap().node, 2);
        }
        assert_eq!(taken, [3, 3, 0, 3]);
        assert_eq!(best(&[], |_| 0, &mut taken), None);
        // where only those are left that rank high
        assert_eq!(best(&replicas[2..3], |owner| owner.node == 2, &mut taken).unwrap().node, 2);
    }
}
