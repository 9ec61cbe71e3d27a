//! A table of small sorted maps, one an account, that is cheap to snapshot: a clone shares all, a write copies one map.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use skyweir_types::ActorId;

/// For each account a sorted map.
#[derive(Debug)]
pub(super) struct Nested<K, V>(Arc<BTreeMap<ActorId, Arc<BTreeMap<K, V>>>>);

impl<K, V> Clone for Nested<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, V> Default for Nested<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Ord + Clone, V: Clone> Nested<K, V> {
    pub(super) fn get(&self, actor: ActorId, key: &K) -> Option<&V> {
        self.0.get(&actor)?.get(key)
    }

    pub(super) fn insert(&mut self, actor: ActorId, key: K, value: V) -> Option<V> {
        let row = Arc::make_mut(&mut self.0).entry(actor).or_default();
        Arc::make_mut(row).insert(key, value)
    }

    pub(super) fn remove(&mut self, actor: ActorId, key: &K) -> Option<V> {
        self.get(actor, key)?;
        let row = Arc::make_mut(&mut self.0).get_mut(&actor)?;
        Arc::make_mut(row).remove(key)
    }

    /// One account's entries strictly after `after`, rising.
    pub(super) fn after<'a>(
        &'a self,
        actor: ActorId,
        after: Option<&'a K>,
    ) -> impl Iterator<Item = (&'a K, &'a V)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.0.get(&actor).into_iter().flat_map(move |row| row.range((from, Bound::Unbounded)))
    }
}
