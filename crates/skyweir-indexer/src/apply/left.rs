//! What a load of a whole network leaves for single operations: posts and reposts, and what takes them away.

use std::collections::HashMap;

use skyweir_store::{Error, Result, SyncMark, Txn, View};
use skyweir_types::{AcrossAccounts, ActorId, Body, Event};

use super::{Applier, Horizons};

/// Something that is left, in the order of the events.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Left {
    /// An operation on a post or repost, which nothing about its account hinders.
    Operation {
        /// The account.
        actor: ActorId,
        /// The operation.
        event: Event,
        /// Whether it is of the same commit as the account's operation before it.
        goes_on: bool,
    },
    /// The account was deleted.
    Wipe {
        /// The account.
        actor: ActorId,
    },
    /// A resync ended.
    Sweep {
        /// The account.
        actor: ActorId,
        /// The resync.
        mark: SyncMark,
    },
}

impl Left {
    /// Whether it is the first of its commit.
    pub(crate) fn begins_a_commit(&self) -> bool {
        matches!(self, Self::Operation { goes_on: false, .. })
    }
}

impl Applier {
    /// For what is left of a load: follows and accounts are as they have to be at its end, and nobody keeps a timeline.
    ///
    /// # Errors
    /// Whatever the view answers.
    pub(crate) async fn behind_a_load(
        view: &dyn View,
        across: AcrossAccounts,
        horizons: Horizons,
    ) -> Result<Self> {
        let loaded = Self::load(view, across, horizons).await?;
        Ok(Self { syncs: HashMap::new(), tasks: false, are_follows_loaded: true, ..loaded })
    }

    /// Applies something that is left.
    pub(crate) async fn take_left(&mut self, txn: &mut dyn Txn, left: &Left) -> Result<()> {
        match left {
            Left::Operation { actor, event, goes_on } => {
                self.reached(event.time_us);
                self.leaving.events += 1;
                if !goes_on {
                    self.commit = None;
                }
                let Body::Record(op) = &event.body else {
                    return Err(Error::Corrupt("an account's event among what a load has left".into()));
                };
                self.operate(txn, *actor, event, op).await.map(drop)
            }
            Left::Wipe { actor } => self.delete_records(txn, *actor).await.map(drop),
            Left::Sweep { actor, mark } => self.sweep(txn, *actor, *mark).await,
        }
    }
}
