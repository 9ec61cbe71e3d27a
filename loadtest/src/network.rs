//! A seeded network: its accounts, its follow graph and its traffic.

mod graph;
mod records;
mod traffic;

use crate::event::Event;
use data_encoding::BASE32_NOPAD;
use graph::Graph;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
pub use traffic::NetworkEvents;

/// What network to make. The same spec gives the same network, event by event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkSpec {
    /// Names the network; default 1.
    pub seed: u64,
    /// How many accounts, 2 to 100 million; default 1,000.
    pub actors: u32,
    /// The mean number of follows of an ordinary account, celebrities aside, above 0; default 60. The numbers are
    /// lognormal (σ 1.8) and capped at half of the network, so that in a small network the mean comes out lower.
    pub mean_follows: f64,
    /// How many accounts follow [`NetworkSpec::mass_follow_share`] of the network each, evenly over all accounts;
    /// default 1.
    pub mass_followers: u32,
    /// The share of the network that a mass follower follows, 0 to 1; default 0.5. Never more than 50,000 accounts.
    pub mass_follow_share: f64,
    /// How many celebrities; they are the actors from 0 on; default 1.
    pub celebrities: u32,
    /// The share of all accounts that follows each celebrity, 0 to 1; default 0.7.
    pub celebrity_share: f64,
    /// When the first event is witnessed, in microseconds since 1970; default 2026-01-01.
    pub start_us: u64,
    /// The pace of the follows that build the graph, in events a second of network time, 0.001 to 1 million; default
    /// 5,000.
    pub follows_per_second: f64,
    /// The mean pace of the traffic thereafter, in events a second of network time, 0.001 to 1 million; default 1,000.
    pub events_per_second: f64,
    /// How many events of traffic follow the graph; default 10,000.
    pub events: u64,
}

impl Default for NetworkSpec {
    fn default() -> Self {
        Self {
            seed: 1,
            actors: 1_000,
            mean_follows: 60.0,
            mass_followers: 1,
            mass_follow_share: 0.5,
            celebrities: 1,
            celebrity_share: 0.7,
            start_us: 1_767_225_600_000_000,
            follows_per_second: 5_000.0,
            events_per_second: 1_000.0,
            events: 10_000,
        }
    }
}

impl NetworkSpec {
    fn check(&self) -> anyhow::Result<()> {
        let share = 0.0..=1.0;
        let pace = 0.001..=1e6;
        anyhow::ensure!((2..=100_000_000).contains(&self.actors), "actors: 2 to 100 million");
        anyhow::ensure!(self.mean_follows > 0.0 && self.mean_follows <= 1e6, "mean_follows: above 0, to 1e6");
        anyhow::ensure!(share.contains(&self.mass_follow_share), "mass_follow_share: 0 to 1");
        anyhow::ensure!(share.contains(&self.celebrity_share), "celebrity_share: 0 to 1");
        anyhow::ensure!(pace.contains(&self.follows_per_second), "follows_per_second: 0.001 to 1e6");
        anyhow::ensure!(pace.contains(&self.events_per_second), "events_per_second: 0.001 to 1e6");
        let special = u64::from(self.celebrities) + u64::from(self.mass_followers);
        anyhow::ensure!(
            special < u64::from(self.actors),
            "celebrities and mass_followers: fewer than actors together"
        );
        // TIDs keep 53 bits of microseconds, dates four digits of the year
        anyhow::ensure!((1 << 40..1 << 52).contains(&self.start_us), "start_us: 2^40 to 2^52");
        Ok(())
    }
}

/// A network, computed from its spec; cheap to ask, nothing of the graph is kept but weights (16 bytes an actor).
#[derive(Debug)]
pub struct Network {
    spec: NetworkSpec,
    graph: Graph,
}

impl Network {
    /// The network of this spec.
    ///
    /// # Errors
    /// A value of the spec is out of its range.
    pub fn new(spec: NetworkSpec) -> anyhow::Result<Self> {
        spec.check()?;
        let graph = Graph::new(&spec);
        Ok(Self { spec, graph })
    }

    /// The spec that it is made of.
    pub fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    /// How many accounts there are; they are numbered from 0.
    pub fn actors(&self) -> u32 {
        self.spec.actors
    }

    /// The DID of an account: `did:plc:` and 24 characters made of seed and number.
    pub fn did(&self, actor: u32) -> String {
        let hash = Sha256::digest(format!("skyweir actor {} {actor}", self.spec.seed));
        format!("did:plc:{}", BASE32_NOPAD.encode(&hash[..15]).to_ascii_lowercase())
    }

    /// The handle of an account.
    pub fn handle(&self, actor: u32) -> String {
        format!("actor{actor}.example.com")
    }

    /// Whom an account follows when the graph is built, without repeats and never itself. Costs O(follows).
    pub fn followees(&self, actor: u32) -> Vec<u32> {
        self.graph.followees(actor)
    }

    /// All events in order: the follows of actor 0, of actor 1, …, then [`NetworkSpec::events`] of traffic.
    ///
    /// Times rise strictly. A follow of the graph and later traffic may name the same pair twice (that is legal: an
    /// edge is a multiset of records).
    pub fn events(&self) -> NetworkEvents<'_> {
        NetworkEvents::new(self)
    }

    /// The traffic alone, as if the graph had been built before; unfollows then find no follow of the graph.
    pub fn traffic(&self) -> impl Iterator<Item = Event> + '_ {
        NetworkEvents::traffic_only(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dids_are_well_formed_and_their_own() {
        let network = Network::new(NetworkSpec::default()).unwrap();
        let dids: std::collections::HashSet<_> = (0..1_000).map(|i| network.did(i)).collect();
        assert_eq!(dids.len(), 1_000);
        for did in &dids {
            let id = did.strip_prefix("did:plc:").unwrap();
            assert!(
                id.len() == 24 && id.bytes().all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b))
            );
        }
        let other = Network::new(NetworkSpec { seed: 2, ..NetworkSpec::default() }).unwrap();
        assert_ne!(network.did(0), other.did(0));
    }

    #[test]
    fn a_senseless_spec_is_refused() {
        for spec in [
            NetworkSpec { actors: 1, ..NetworkSpec::default() },
            NetworkSpec { celebrity_share: 1.5, ..NetworkSpec::default() },
            NetworkSpec { mean_follows: f64::NAN, ..NetworkSpec::default() },
            NetworkSpec { events_per_second: 0.0, ..NetworkSpec::default() },
            NetworkSpec { celebrities: 1_000, ..NetworkSpec::default() },
        ] {
            assert!(Network::new(spec.clone()).is_err(), "{spec:?}");
        }
    }
}
