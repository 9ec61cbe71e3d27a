//! What a load of a whole network leaves for single operations: posts and reposts, and what takes them away.

use skyweir_store::{Error, Result, SyncMark, Txn, View};
use skyweir_types::{AcrossAccounts, ActorId, Body, Event};

use super::{Applier, Horizons, Marks};

/// Something that is left, in the order of the events.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Left {
    /// The account.
    pub(crate) actor: ActorId,
    /// The stream's clock by then, microseconds since 1970: also what isn't left has moved it.
    pub(crate) stream_us: i64,
    /// What happened.
    pub(crate) what: What,
}

/// What of a load is left.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    /// An operation on a post or repost, which nothing about its account hinders.
    Operation {
        /// The operation.
        event: Event,
        /// Whether it is of the same commit as the account's operation before it.
        goes_on: bool,
    },
    /// The account was deleted.
    Wipe,
    /// A resync ended.
    Sweep(SyncMark),
}

impl Left {
    /// Whether it is the first of its commit.
    pub(crate) fn begins_a_commit(&self) -> bool {
        matches!(self.what, What::Operation { goes_on: false, .. })
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
        Ok(Self { syncs: Marks::default(), tasks: false, are_follows_loaded: true, ..loaded })
    }

    /// Applies something that is left.
    pub(crate) async fn take_left(&mut self, txn: &mut dyn Txn, left: &Left) -> Result<()> {
        self.reached(left.stream_us);
        match &left.what {
            What::Operation { event, goes_on } => {
                self.leaving.events += 1;
                if !goes_on {
                    self.commit = None;
                }
                let Body::Record(op) = &event.body else {
                    return Err(Error::Corrupt("an account's event among what a load has left".into()));
                };
                self.operate(txn, left.actor, event, op).await.map(drop)
            }
            What::Wipe => self.delete_records(txn, left.actor).await.map(drop),
            What::Sweep(mark) => self.sweep(txn, left.actor, *mark).await,
        }
    }
}
