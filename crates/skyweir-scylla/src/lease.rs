//! The right to write to a keyspace, from before its store is open until it is given back.

use std::sync::Arc;

use skyweir_store::Result;
use skyweir_types::Clock;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::hold::Hold;
use crate::table::lease::Row;

/// The lease of a keyspace in our hands. Cheap to clone. Whoever has taken it gives it back, also where nothing comes
/// of it: else an indexer of another name waits until it is over.
#[derive(Clone)]
pub struct Lease {
    pub(crate) cluster: Cluster,
    pub(crate) hold: Arc<Hold>,
    /// As it was found.
    pub(crate) row: Row,
    /// When nobody had written anything that isn't there for certain.
    pub(crate) known: Instant,
}

impl Lease {
    /// Takes the lease: a free one, one that is over, or one of the same name. Not to be dropped half way: then nobody
    /// could give back what may be taken by then. Nobody renews it before [`crate::ScyllaStore::with`].
    ///
    /// # Errors
    /// `Unavailable` when the server doesn't answer, or when another indexer has the lease.
    pub async fn take(cluster: &Cluster, clock: Clock) -> Result<Self> {
        let known = Instant::now();
        let (hold, row) = Hold::take(&cluster.db, &cluster.config, clock).await?;
        Ok(Self { cluster: cluster.clone(), hold: Arc::new(hold), row, known })
    }

    /// Waits until another indexer has it: from then on nothing that this one writes counts.
    pub async fn lost(&self) {
        self.hold.lost().await;
    }

    /// Whether another indexer has it.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.hold.is_lost()
    }

    /// Gives it back, so that another machine's indexer needn't wait until it is over. From then on nothing begins here
    /// any more. Again is no harm, nor is it where another indexer has it.
    ///
    /// # Errors
    /// `Unavailable` when no answer comes; then it ends by itself.
    pub async fn give_back(&self) -> Result<()> {
        self.hold.give_back(&self.cluster.db).await
    }
}
