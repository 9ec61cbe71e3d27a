//! The layout of the cluster as it is now: from the ring, or from ScyllaDB's tablets.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use scylla::cluster::Node;
use scylla::policies::load_balancing::{
    LoadBalancingPolicy, NodeIdentifier, SingleTargetLoadBalancingPolicy,
};
use scylla::routing::Token;
use scylla::value::CqlValue;
use skyweir_store::{Error, Result};
use tokio::time::Instant;

use super::layout::{Cores, Layout, Owner, Place};
use crate::dialect::Dialect;
use crate::session::Db;

/// How long a layout is taken for true. One that is no longer true costs a hop between nodes and nothing else.
const TRUE_FOR: Duration = Duration::from_secs(10);

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
        match look(db, self.parts, &self.datacenter, Some(shards)).await {
            Ok(map) => *self.map.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(map),
            Err(error) => {
                tracing::warn!(%error, "the layout of the cluster could not be read, the last one is used")
            }
        }
    }
}

async fn look(db: &Db, parts: u32, datacenter: &str, shards: Option<u32>) -> Result<Map> {
    let state = db.session().get_cluster_state();
    let mut nodes = state.get_nodes_info().to_vec();
    nodes.sort_by_key(|node| node.host_id);
    let cores = nodes.iter().map(|node| node.sharder().map_or(Cores::Parts(parts), Cores::Sharded)).collect();
    let mut ranges = tablets(db, &nodes, datacenter).await?;
    if ranges.is_empty() {
        for (token, _) in state.replica_locator().ring().iter() {
            let replicas = state.get_token_endpoints(db.keyspace(), "timeline", *token);
            let replicas = replicas.iter().filter_map(|(node, _)| {
                let index = nodes.iter().position(|known| known.host_id == node.host_id)?;
                Some(Owner { node: index as u32, core: None })
            });
            ranges.extend(choose(replicas, &nodes, datacenter, *token).map(|owner| (token.value(), owner)));
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
async fn tablets(db: &Db, nodes: &[Arc<Node>], datacenter: &str) -> Result<Vec<(i64, Owner)>> {
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
            let index = nodes.iter().position(|known| known.host_id == host)?;
            Some(Owner { node: index as u32, core: u32::try_from(core).ok() })
        });
        choose(replicas, nodes, datacenter, Token::new(last)).map(|owner| (last, owner))
    };
    Ok(tablets.into_iter().filter_map(range).collect())
}

/// The replica that takes a range's writes: one that can be reached before others, one near before others, and else
/// always the same one of them, another for another range.
fn choose(
    replicas: impl Iterator<Item = Owner>,
    nodes: &[Arc<Node>],
    datacenter: &str,
    range: Token,
) -> Option<Owner> {
    let rank = |owner: &Owner| {
        let node = &nodes[owner.node as usize];
        let far = !datacenter.is_empty() && node.datacenter.as_deref() != Some(datacenter);
        (!node.is_connected(), far)
    };
    best(replicas.collect(), rank, range)
}

/// One of those that rank lowest.
fn best<R: Ord>(mut replicas: Vec<Owner>, rank: impl Fn(&Owner) -> R, range: Token) -> Option<Owner> {
    let least = replicas.iter().map(&rank).min()?;
    replicas.retain(|owner| rank(owner) == least);
    let spread = range.value().cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    replicas.get(spread as usize % replicas.len()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_spread_over_the_replicas_that_rank_lowest() {
        let replicas = || (0..4).map(|node| Owner { node, core: None }).collect::<Vec<_>>();
        let mut counts = [0; 4];
        for n in 0..3_000i64 {
            let range = Token::new(n.wrapping_mul(0x1234_5678_9abc_def1));
            let one = best(replicas(), |owner| owner.node == 2, range).unwrap();
            assert_eq!(best(replicas(), |owner| owner.node == 2, range), Some(one));
            counts[one.node as usize] += 1;
        }
        assert_eq!(counts[2], 0);
        assert!([0, 1, 3].iter().all(|node| (800..1_200).contains(&counts[*node])), "{counts:?}");
        assert_eq!(best(vec![], |_| 0, Token::new(1)), None);
    }
}
