//! The way to the Redis server: one connection that comes back by itself.

use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use skyweir_store::Result;

use crate::config::Config;
use crate::error::redis as refused;

/// Connects to the server that the settings name; commands of all its clones go over one connection. An answer may take
/// `longer` than the settings say.
pub(crate) async fn connect(config: &Config, longer: Duration) -> Result<ConnectionManager> {
    let doing = "connecting";
    let timeout = Duration::from_millis(config.request_timeout_ms) + longer;
    let client = redis::Client::open(config.redis.as_str()).map_err(|e| refused(doing, &e))?;
    let settings = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(timeout))
        .set_response_timeout(Some(timeout))
        .set_max_delay(Duration::from_secs(1))
        .set_number_of_retries(2);
    ConnectionManager::new_with_config(client, settings).await.map_err(|e| refused(doing, &e))
}
