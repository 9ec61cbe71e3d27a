//! Which node, and which of its cores, a timeline's rows are written at: a pure map from tokens.

use scylla::routing::{Sharder, Token};
use skyweir_types::ActorId;

use crate::table::timeline;

/// How a node is divided.
#[derive(Clone, Debug)]
pub(super) enum Cores {
    /// By its cores: ScyllaDB.
    Sharded(Sharder),
    /// Not at all, so its share is cut in so many parts, for queues that stay many: Cassandra.
    Parts(u32),
}

impl Cores {
    fn count(&self) -> u32 {
        match self {
            Self::Sharded(sharder) => sharder.nr_shards.get().into(),
            Self::Parts(parts) => (*parts).max(1),
        }
    }
}

/// Who takes the writes of a range of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    /// Index of the node.
    pub(super) node: u32,
    /// The core that has the whole range: of a tablet.
    pub(super) core: Option<u32>,
}

/// Where a timeline lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    /// Index of the node.
    pub(super) node: u32,
    /// The core, if the node has such.
    pub(super) core: Option<u32>,
    /// The shard: a core, or a part of a node.
    pub(super) shard: u32,
}

/// The map from tokens to places.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// The last token of each range, rising. What comes after the last one belongs to the first.
    ranges: Vec<(i64, Owner)>,
    /// How each node is divided, and the number of its first shard.
    nodes: Vec<(Cores, u32)>,
    shards: u32,
}

/// The token of a timeline's partition: what the driver's partitioner says of its key, in a few instructions, as each
/// reference needs it twice.
#[inline]
pub(super) fn token(viewer: ActorId) -> i64 {
    // MurmurHash3, x64, 128 bits, of four bytes: an unfinished block, of which the servers extend the sign of each byte
    let bytes = (0..).zip(timeline::key(viewer).to_be_bytes());
    let block = bytes.fold(0, |block, (n, byte)| block ^ i64::from(byte.cast_signed()) << (8 * n));
    let block = block.wrapping_mul(0x87c3_7b91_1142_53d5_u64.cast_signed()).rotate_left(31);
    let first = block.wrapping_mul(0x4cf5_ad43_2745_937f) ^ 4;
    let (first, second) = (first.wrapping_add(4), first.wrapping_add(8));
    match mix(first).wrapping_add(mix(second)) {
        i64::MIN => i64::MAX,
        token => token,
    }
}

/// The end of MurmurHash3.
#[inline]
fn mix(bits: i64) -> i64 {
    let mut bits = bits.cast_unsigned();
    bits = (bits ^ bits >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits = (bits ^ bits >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (bits ^ bits >> 33).cast_signed()
}

impl Layout {
    /// Of ranges in any order, at least one, and all nodes that they name. `shards`: how many there are to be, `None`
    /// for as many as the nodes have. That stays as it was at the beginning while nodes come and go: then some share
    /// a number.
    pub(super) fn new(mut ranges: Vec<(i64, Owner)>, nodes: Vec<Cores>, shards: Option<u32>) -> Self {
        assert!(!ranges.is_empty() && ranges.iter().all(|(_, owner)| (owner.node as usize) < nodes.len()));
        ranges.sort_by_key(|(last, _)| *last);
        let mut all = 0;
        let place = |cores: Cores| {
            let first = all;
            all += cores.count();
            (cores, first)
        };
        let nodes = nodes.into_iter().map(place).collect();
        Self { ranges, nodes, shards: shards.unwrap_or(all) }
    }

    pub(super) fn shards(&self) -> u32 {
        self.shards
    }

    /// Where a token's rows are written.
    #[inline]
    pub(super) fn place(&self, token: i64) -> Place {
        let at = self.ranges.partition_point(|(last, _)| *last < token);
        let (_, owner) = self.ranges.get(at).unwrap_or(&self.ranges[0]);
        let (cores, first) = &self.nodes[owner.node as usize];
        let (core, within) = match (owner.core, cores) {
            (Some(core), Cores::Sharded(_)) => (Some(core), core),
            (None, Cores::Sharded(sharder)) => {
                let core = sharder.shard_of(Token::new(token));
                (Some(core), core)
            }
            // the low half of a token is even within any range of them
            (_, Cores::Parts(_)) => {
                let low = u64::from(token.cast_unsigned() as u32);
                (None, ((low * u64::from(cores.count())) >> 32) as u32)
            }
        };
        Place { node: owner.node, core, shard: (first + within) % self.shards }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use scylla::routing::partitioner::{Murmur3Partitioner, Partitioner as _, PartitionerHasher as _};
    use std::num::NonZeroU16;

    fn at(node: u32) -> Owner {
        Owner { node, core: None }
    }

    fn sharded(cores: u16) -> Cores {
        Cores::Sharded(Sharder::new(NonZeroU16::new(cores).unwrap(), 12))
    }

    proptest! {
        #[test]
        fn tokens_are_those_of_the_driver(viewer: u32) {
            let mut hasher = Murmur3Partitioner.build_hasher();
            hasher.write(&timeline::key(ActorId(viewer)).to_be_bytes());
            prop_assert_eq!(token(ActorId(viewer)), hasher.finish().value());
        }
    }

    #[test]
    fn a_ring_goes_round() {
        let layout = Layout::new(vec![(100, at(1)), (-100, at(0))], vec![Cores::Parts(1); 2], None);
        let nodes = [i64::MIN, -100, -99, 100, 101, i64::MAX].map(|token| layout.place(token).node);
        assert_eq!(nodes, [0, 0, 1, 1, 0, 0]);
        assert_eq!(layout.shards(), 2);
        assert_eq!(layout.place(0), Place { node: 1, core: None, shard: 1 });
    }

    #[test]
    fn a_tablet_names_its_core_and_a_token_finds_its_own() {
        let tablet = Owner { node: 1, core: Some(2) };
        let layout = Layout::new(vec![(0, at(0)), (i64::MAX, tablet)], vec![sharded(4), sharded(3)], None);
        assert_eq!(layout.shards(), 7);
        assert_eq!(layout.place(1), Place { node: 1, core: Some(2), shard: 6 });
        let core = Sharder::new(NonZeroU16::new(4).unwrap(), 12).shard_of(Token::new(-77_777));
        assert_eq!(layout.place(-77_777), Place { node: 0, core: Some(core), shard: core });
    }

    #[test]
    fn parts_of_a_node_are_even() {
        let layout = Layout::new(vec![(i64::MAX, at(0))], vec![Cores::Parts(16)], None);
        let mut counts = [0; 16];
        for n in 0..16_000 {
            counts[layout.place(token(ActorId(n))).shard as usize] += 1;
        }
        assert!(counts.iter().all(|count| (850..1_150).contains(count)), "{counts:?}");
    }

    #[test]
    fn the_number_of_shards_outlives_nodes() {
        let nodes = vec![Cores::Parts(3); 3];
        let ranges = vec![(-(1 << 62), at(0)), (1 << 62, at(1)), (i64::MAX, at(2))];
        let layout = Layout::new(ranges, nodes, Some(6));
        assert_eq!(layout.shards(), 6);
        let mut seen: Vec<_> = (0..1_000).map(|n| layout.place(token(ActorId(n))).shard).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn tokens_are_those_of_the_server() {
        // what a server says of `token(viewer)` for these
        let known = [(0, -3_485_513_579_396_041_028), (1, -4_069_959_284_402_364_209)];
        for (viewer, wanted) in known {
            assert_eq!(token(ActorId(viewer)), wanted);
        }
    }
}
