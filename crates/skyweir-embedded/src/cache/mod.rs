//! What reads ask for again and again, in memory, each kind within a budget of its own.

mod fenced;
mod follows;
mod names;

use ::metrics::{Counter, Gauge, counter, gauge};
use skyweir_types::{ActorId, Item, ItemId, ItemKind};

use self::fenced::{Fenced, Heap};
use self::follows::FollowSets;
use self::names::Names;
use crate::{Config, metrics};

pub(crate) use self::follows::{Best, holds, page};

const MIB: u64 = 1024 * 1024;
/// What an entry takes in about the mean, in bytes.
const ITEM_ENTRY: u64 = 256;
const FOLLOWS_ENTRY: u64 = 1_024;
/// An allocation's own share, and the counts of one that is shared.
const ALLOCATION: usize = 24;

impl Heap for ItemId {
    fn heap(&self) -> usize {
        0
    }
}

impl Heap for Item {
    fn heap(&self) -> usize {
        let of_repost = match &self.kind {
            ItemKind::Post { .. } => 0,
            ItemKind::Repost { uri, cid } => 2 * ALLOCATION + uri.capacity() + cid.capacity(),
        };
        ALLOCATION + self.rkey.as_str().len() + of_repost
    }
}

/// What one transaction changes of what is kept here.
#[derive(Default)]
pub(crate) struct Touched {
    /// Items that it adds or removes.
    pub(crate) items: Vec<ItemId>,
    /// Accounts that follow somebody new, or somebody no longer.
    pub(crate) followers: Vec<ActorId>,
}

/// How often something was looked for in a cache, and not found.
pub(crate) struct Tally {
    looked: Counter,
    missed: Counter,
    bytes: Gauge,
}

impl Tally {
    fn new(cache: &'static str) -> Self {
        Self {
            looked: counter!(metrics::CACHE_LOOKUPS, "cache" => cache),
            missed: counter!(metrics::CACHE_MISSES, "cache" => cache),
            bytes: gauge!(metrics::CACHE_BYTES, "cache" => cache),
        }
    }

    /// So many are looked for.
    pub(crate) fn look(&self, n: usize) {
        self.looked.increment(n as u64);
    }

    /// One of them isn't there.
    pub(crate) fn miss(&self) {
        self.missed.increment(1);
    }
}

/// All caches of one store.
pub(crate) struct Caches {
    pub(crate) items: Fenced<ItemId, Item>,
    pub(crate) follows: FollowSets,
    pub(crate) names: Names,
    pub(crate) of_items: Tally,
    pub(crate) of_follows: Tally,
    pub(crate) of_names: Tally,
}

impl Caches {
    /// Empty caches; so many accounts are stored already.
    pub(crate) fn new(config: &Config, known: u32) -> Self {
        let bytes = |mb: u64| mb.saturating_mul(MIB);
        let (of_items, of_follows, of_names) =
            (Tally::new("items"), Tally::new("follows"), Tally::new("names"));
        let follows = Fenced::new(bytes(config.follow_cache_mb), FOLLOWS_ENTRY, of_follows.bytes.clone());
        Self {
            items: Fenced::new(bytes(config.item_cache_mb), ITEM_ENTRY, of_items.bytes.clone()),
            follows: FollowSets::new(follows),
            names: Names::new(bytes(config.name_cache_mb), known, of_names.bytes.clone()),
            of_items,
            of_follows,
            of_names,
        }
    }

    /// The commit with this number is about to show.
    pub(crate) fn prepare(&self, touched: &Touched, commit: u64) {
        touched.items.iter().for_each(|item| self.items.touch(item, commit));
        touched.followers.iter().for_each(|follower| self.follows.touch(*follower, commit));
    }
}
