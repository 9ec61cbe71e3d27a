//! The way to one keyspace: the session that its store and its timelines share.

use std::sync::Arc;

use skyweir_store::{Reach, Result};

use crate::config::Config;
use crate::schema;
use crate::session::Db;

/// A cluster, and a keyspace there that has our tables. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) db: Arc<Db>,
    pub(crate) config: Arc<Config>,
    cql: Arc<Reach>,
    redis: Arc<Reach>,
}

impl Cluster {
    /// Connects, and makes the tables if they aren't there and that is allowed.
    ///
    /// # Errors
    /// `Unavailable` when no node answers, or the keyspace has no tables or those of another version.
    pub async fn connect(config: &Config) -> Result<Self> {
        let db = Db::connect(config).await?;
        schema::prepare(&db, config.replication, config.create).await?;
        let (cql, redis) = <(Arc<Reach>, Arc<Reach>)>::default();
        Ok(Self { db: Arc::new(db), config: Arc::new(config.clone()), cql, redis })
    }

    /// Whether CQL answers, as the one finds who looks what shows, or renews the lease.
    #[must_use]
    pub fn cql(&self) -> Arc<Reach> {
        Arc::clone(&self.cql)
    }

    /// Whether Redis answers, as those find who look after the task log, take tasks, or bring and take wishes.
    #[must_use]
    pub fn redis(&self) -> Arc<Reach> {
        Arc::clone(&self.redis)
    }
}
