//! What transactions ask for with nearly every event, kept in memory: accounts' numbers and heads.
//!
//! One of the store's look-ups costs as much as a write. Only committed values are remembered, and only transactions,
//! one at a time, change what is: a number never, a head by the commit that tells it here.

use std::collections::HashMap;
use std::hash::Hash;
use std::mem;

use foldhash::fast::RandomState;
use skyweir_types::{ActorId, Did};

use crate::table::heads::Head;

/// What is known of accounts.
#[derive(Debug)]
pub(crate) struct Remembered {
    pub(crate) numbers: Recent<Did, ActorId>,
    pub(crate) heads: Recent<ActorId, Head>,
}

impl Remembered {
    /// Room for so many accounts in each of the two.
    pub(crate) fn new(accounts: usize) -> Self {
        Self { numbers: Recent::new(accounts), heads: Recent::new(accounts) }
    }
}

/// A bounded map that forgets what was not asked for in a while: when its younger half is full, the older one goes.
#[derive(Debug)]
pub(crate) struct Recent<K, V> {
    young: HashMap<K, V, RandomState>,
    old: HashMap<K, V, RandomState>,
    half: usize,
}

impl<K: Eq + Hash + Clone, V: Copy> Recent<K, V> {
    /// Keeps at most so many entries.
    pub(crate) fn new(most: usize) -> Self {
        Self { young: HashMap::default(), old: HashMap::default(), half: most / 2 }
    }

    /// The value, if it is still known.
    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        if let Some(value) = self.young.get(key) {
            return Some(*value);
        }
        let value = self.old.remove(key)?;
        self.put(key.clone(), value);
        Some(value)
    }

    /// Remembers a value in place of any former one.
    pub(crate) fn put(&mut self, key: K, value: V) {
        self.old.remove(&key);
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        if self.half > 0 {
            self.young.insert(key, value);
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays() {
        let mut recent = Recent::new(8);
        for n in 0..100 {
            recent.put(n, n);
            assert_eq!(recent.get(&0), Some(0));
            assert!(recent.young.len() + recent.old.len() <= 8);
        }
        assert_eq!((recent.get(&99), recent.get(&50)), (Some(99), None));
        recent.clear();
        assert_eq!(recent.get(&99), None);
    }

    #[test]
    fn the_last_value_counts() {
        let mut recent = Recent::new(4);
        for n in 0..3 {
            recent.put(n, 1);
        }
        recent.put(0, 2); // an old one
        recent.put(2, 3); // a young one
        assert_eq!((recent.get(&0), recent.get(&1), recent.get(&2)), (Some(2), Some(1), Some(3)));
    }

    #[test]
    fn without_room_nothing_is_kept() {
        let mut recent = Recent::new(0);
        recent.put(1, 1);
        assert_eq!(recent.get(&1), None);
    }
}
