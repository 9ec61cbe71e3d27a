//! A bounded cache of what views read, whose entries end before the commit that makes them untrue.
//!
//! A commit *touches* the keys that it changes after it got its number and before it shows. A view knows `complete`,
//! the last commit that was complete before its snapshot was taken: it shows all commits up to that one, and perhaps
//! later ones. For each key there is a *mark*, the last commit that touched it (or another key with the same mark).
//!
//! *Invariant*: an entry is what a snapshot shows that has all commits up to the entry's `since`, and no later commit
//! that has shown changes its key. Both halves hold under the shard's lock: an entry is only made by a view whose
//! `complete` has reached the mark, so its snapshot shows nothing of the key that came after the mark, and a touch
//! raises the mark and takes the entry away in one step. So an entry answers every view with `complete >= since`. Older
//! views, and those that a commit under way has overtaken, ask their snapshot and make no entry.

use std::hash::{BuildHasher, Hash};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::FixedState;
use metrics::Gauge;
use quick_cache::unsync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};

/// How many locks there are, a power of two. An entry has to fit into one's share of the budget.
const SHARDS: usize = 16;
/// How many marks each of them has, a power of two: few enough keys share one that a commit rarely stops others' entries.
const MARKS: usize = 4_096;
/// What an entry costs beside its own bytes: the slot of the table, of half as many ghosts, and its links.
const SLOT_BYTES: usize = 48;

/// The heap that a key or a value takes, in bytes. Must not change as long as it is in a cache.
pub(crate) trait Heap {
    /// Beside its own size.
    fn heap(&self) -> usize;
}

#[derive(Clone)]
struct Entry<V> {
    since: u64,
    value: V,
}

#[derive(Clone)]
struct Weigher;

impl<K: Heap, V: Heap> Weighter<K, Entry<V>> for Weigher {
    fn weight(&self, key: &K, entry: &Entry<V>) -> u64 {
        (size_of::<K>() + size_of::<Entry<V>>() + SLOT_BYTES + key.heap() + entry.value.heap()) as u64
    }
}

type Entries<K, V> = Cache<K, Entry<V>, Weigher, FixedState, DefaultLifecycle<K, Entry<V>>>;

struct Shard<K: Heap, V: Heap> {
    entries: Entries<K, V>,
    marks: Box<[u64]>,
}

/// The cache. Its memory is bounded but for the marks, which are half a MiB.
pub(crate) struct Fenced<K: Heap, V: Heap> {
    shards: Box<[Mutex<Shard<K, V>>]>,
    hasher: FixedState,
    share: u64,
    bytes: Gauge,
}

impl<K: Heap + Eq + Hash, V: Heap + Clone> Fenced<K, V> {
    /// An empty cache of so many bytes, of entries of about so many. `bytes` follows what is in it.
    pub(crate) fn new(budget: u64, entry: u64, bytes: Gauge) -> Self {
        let share = budget / SHARDS as u64;
        let options = OptionsBuilder::new()
            .weight_capacity(share)
            .estimated_items_capacity((share / entry).max(1) as usize)
            .build()
            .expect("both capacities are set");
        let shard = || Shard {
            entries: Cache::with_options(
                options.clone(),
                Weigher,
                FixedState::default(),
                DefaultLifecycle::default(),
            ),
            marks: vec![0; MARKS].into(),
        };
        let shards = (0..SHARDS).map(|_| Mutex::new(shard())).collect();
        Self { shards, hasher: FixedState::default(), share, bytes }
    }

    /// Whether a value that takes so many bytes outside of itself, under a key that takes none, is ever kept.
    pub(crate) fn has_room(&self, heap: u64) -> bool {
        // quick_cache takes what fits into its hot part, 97 of 100
        heap + (size_of::<K>() + size_of::<Entry<V>>() + SLOT_BYTES) as u64 <= self.share / 16 * 15
    }

    /// What is known of a key, if a view with this `complete` may believe it.
    pub(crate) fn get(&self, key: &K, complete: u64) -> Option<V> {
        let (shard, _) = self.shard(key);
        shard.entries.get(key).filter(|entry| entry.since <= complete).map(|entry| entry.value.clone())
    }

    /// Keeps what a view with this `complete` has read, unless it may be out of date.
    pub(crate) fn insert(&self, key: K, value: V, complete: u64) {
        let (mut shard, mark) = self.shard(&key);
        let since = shard.marks[mark];
        if since <= complete {
            self.change(&mut shard, |entries| entries.insert(key, Entry { since, value }));
        }
    }

    /// A commit with this number changes the key. To be called before it shows.
    pub(crate) fn touch(&self, key: &K, commit: u64) {
        let (mut shard, mark) = self.shard(key);
        shard.marks[mark] = shard.marks[mark].max(commit);
        self.change(&mut shard, |entries| drop(entries.remove(key)));
    }

    fn change(&self, shard: &mut Shard<K, V>, change: impl FnOnce(&mut Entries<K, V>)) {
        let before = shard.entries.weight() as f64;
        change(&mut shard.entries);
        let grown = shard.entries.weight() as f64 - before;
        if grown != 0.0 {
            self.bytes.increment(grown);
        }
    }

    /// Where a key is, and which mark it has there.
    fn shard(&self, key: &K) -> (MutexGuard<'_, Shard<K, V>>, usize) {
        // not the lowest and the highest bits, which the tables inside use
        let hash = (self.hasher.hash_one(key) >> 24) as usize;
        let shard = self.shards[hash % SHARDS].lock().unwrap_or_else(PoisonError::into_inner);
        (shard, hash / SHARDS % MARKS)
    }
}

#[cfg(test)]
mod tests;
