//! The high-follow snapshot: the accounts whose timelines are sampled.

use std::collections::HashMap;

use skyweir_store::{Result, Store};
use skyweir_types::ActorId;

/// Accounts that follow more than the reasonable limit, as of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HighFollows {
    counts: HashMap<ActorId, u32>,
}

impl HighFollows {
    pub(crate) async fn take(store: &dyn Store, limit: u32, most: usize) -> Result<Self> {
        let view = store.view().await?;
        let counts = view.high_follows(limit, most).await?.into_iter().collect();
        Ok(Self { counts })
    }

    /// The accounts, each with how many it follows.
    pub fn iter(&self) -> impl Iterator<Item = (ActorId, u32)> + '_ {
        self.counts.iter().map(|(actor, follows)| (*actor, *follows))
    }

    /// How many an account follows, if that is more than the limit.
    #[must_use]
    pub fn get(&self, actor: ActorId) -> Option<u32> {
        self.counts.get(&actor).copied()
    }

    /// How many accounts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether no account is over the limit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }
}
