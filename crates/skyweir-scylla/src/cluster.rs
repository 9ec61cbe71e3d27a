//! The way to one keyspace: the session that its store and its timelines share.

use std::sync::Arc;

use skyweir_store::Result;

use crate::config::Config;
use crate::schema;
use crate::session::Db;

/// A cluster, and a keyspace there that has our tables. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) db: Arc<Db>,
    pub(crate) config: Arc<Config>,
}

impl Cluster {
    /// Connects, and makes the tables if they aren't there and that is allowed.
    ///
    /// # Errors
    /// `Unavailable` when no node answers, or the keyspace has no tables or those of another version.
    pub async fn connect(config: &Config) -> Result<Self> {
        let db = Db::connect(config).await?;
        schema::prepare(&db, config.replication, config.create).await?;
        Ok(Self { db: Arc::new(db), config: Arc::new(config.clone()) })
    }
}
