//! The marks of resyncs that are under way, in memory as in the store: by account, and by age.

use std::collections::{BTreeSet, HashMap};

use skyweir_store::SyncMark;
use skyweir_types::ActorId;

use super::SYNCS_MOST;

#[derive(Default)]
pub(super) struct Marks {
    of: HashMap<ActorId, SyncMark>,
    by_age: BTreeSet<(i64, ActorId)>,
}

impl Marks {
    /// Marks an account, instead of what mark it has.
    pub(super) fn insert(&mut self, actor: ActorId, mark: SyncMark) {
        self.remove(actor);
        self.of.insert(actor, mark);
        self.by_age.insert((mark.since_ms, actor));
    }

    pub(super) fn remove(&mut self, actor: ActorId) {
        if let Some(mark) = self.of.remove(&actor) {
            self.by_age.remove(&(mark.since_ms, actor));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.of.len()
    }

    /// The oldest mark, if it has to go before this account can have one.
    pub(super) fn in_the_way_of(&self, actor: ActorId) -> Option<(ActorId, SyncMark)> {
        let is_full = self.of.len() >= SYNCS_MOST && !self.of.contains_key(&actor);
        self.in_order().next().filter(|_| is_full)
    }

    /// All of them, the oldest first.
    pub(super) fn in_order(&self) -> impl Iterator<Item = (ActorId, SyncMark)> {
        self.by_age.iter().filter_map(|(_, actor)| Some((*actor, *self.of.get(actor)?)))
    }
}

impl FromIterator<(ActorId, SyncMark)> for Marks {
    fn from_iter<I: IntoIterator<Item = (ActorId, SyncMark)>>(marks: I) -> Self {
        let mut all = Self::default();
        marks.into_iter().for_each(|(actor, mark)| all.insert(actor, mark));
        all
    }
}
