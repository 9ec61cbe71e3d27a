//! The check of each reference that makes "too much in the cache" harmless: current version, edge, draw, account.

use std::collections::{HashMap, HashSet};

use foldhash::fast::FixedState;
use skyweir_store::{FeedEntry, Sampling, View};
use skyweir_types::{AccountStatus, ActorId, Item, ItemId};

/// What is known of accounts; their numbers are ours, so nobody can choose them to collide.
type Memo = HashMap<ActorId, bool, FixedState>;

/// Checks references against one view. What it learns of authors it keeps for the request.
pub(crate) struct Check<'v> {
    view: &'v dyn View,
    viewer: ActorId,
    follows: Memo,
    active: Memo,
}

impl<'v> Check<'v> {
    pub(crate) fn new(view: &'v dyn View, viewer: ActorId) -> Self {
        Self { view, viewer, follows: Memo::from_iter([(viewer, true)]), active: Memo::default() }
    }

    /// The items of those cached references that belong to the timeline now, in no order.
    pub(crate) async fn cached(
        &mut self,
        ids: &[ItemId],
        sampling: &Sampling,
    ) -> skyweir_store::Result<Vec<Item>> {
        let mut items: Vec<Item> = self.view.items(ids).await?.into_iter().flatten().collect();
        items.retain(|item| {
            item.author == self.viewer || sampling.key.keeps(item.uri_hash, sampling.viewer, sampling.rate)
        });
        self.learn_edges(&items).await?;
        items.retain(|item| self.follows[&item.author]);
        self.learn_accounts(items.iter().map(|item| item.author)).await?;
        items.retain(|item| self.active[&item.author]);
        Ok(items)
    }

    /// The items of merged entries whose author is active, in the order of the entries. The merge saw the edge and
    /// the draw in this same view.
    pub(crate) async fn merged(
        &mut self,
        entries: &[(ActorId, FeedEntry)],
    ) -> skyweir_store::Result<Vec<Item>> {
        self.learn_accounts(entries.iter().map(|(author, _)| *author)).await?;
        let shown: Vec<ItemId> =
            entries.iter().filter(|(author, _)| self.active[author]).map(|(_, entry)| entry.item).collect();
        Ok(self.view.items(&shown).await?.into_iter().flatten().collect())
    }

    async fn learn_edges(&mut self, items: &[Item]) -> skyweir_store::Result<()> {
        let authors = unknown(items.iter().map(|item| item.author), &self.follows);
        if !authors.is_empty() {
            let pairs: Vec<_> = authors.iter().map(|author| (self.viewer, *author)).collect();
            let edges = self.view.has_edges(&pairs).await?;
            self.follows.extend(authors.into_iter().zip(edges));
        }
        Ok(())
    }

    async fn learn_accounts(&mut self, authors: impl Iterator<Item = ActorId>) -> skyweir_store::Result<()> {
        let authors = unknown(authors, &self.active);
        if !authors.is_empty() {
            let infos = self.view.accounts(&authors).await?;
            let active = infos.iter().map(|info| info.status == AccountStatus::Active);
            self.active.extend(authors.into_iter().zip(active));
        }
        Ok(())
    }
}

/// Those not in the memo yet, each once.
fn unknown(actors: impl Iterator<Item = ActorId>, memo: &Memo) -> Vec<ActorId> {
    let mut seen = HashSet::with_hasher(FixedState::default());
    actors.filter(|actor| !memo.contains_key(actor) && seen.insert(*actor)).collect()
}
