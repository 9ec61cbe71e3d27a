//! Writing references of many timelines: together by (node, core), in batches that go straight there, as many at a time
//! as the place bears.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use scylla::policies::load_balancing::LoadBalancingPolicy;
use scylla::statement::batch::{Batch, BatchStatement, BatchType};
use scylla::statement::prepared::PreparedStatement;
use skyweir_store::Result;
use tokio::time::timeout;

use super::config::RowsConfig;
use super::layout::{Place, token};

use super::topology::Map;
use super::window::{Place as WindowPlace, Window};
use crate::session::Db;
use crate::table::timeline::{NewRow, viewer};
use crate::{error, metrics};

/// How many batches of one call wait or are under way at a time.
const AT_ONCE: usize = 256;

/// What a window is for: a node, and a core if it has such.
type Key = (Option<u128>, Option<u32>);

/// Writes references, with a window for each (node, core).
pub(super) struct Sender {
    db: Arc<Db>,
    insert: PreparedStatement,
    windows: Mutex<HashMap<Key, Arc<Window>>>,
    batch_rows: usize,
    most: u32,
    resend: Duration,
    single_inserts: bool,
}

impl Sender {
    pub(super) fn new(db: &Arc<Db>, insert: &PreparedStatement, config: &RowsConfig) -> Self {
        Self {
            db: Arc::clone(db),
            insert: insert.clone(),
            windows: Mutex::default(),
            batch_rows: config.batch_rows.max(1),
            most: config.batches_in_flight.max(1),
            resend: Duration::from_millis(config.resend_ms.max(1)),
            single_inserts: config.single_inserts,
        }
    }

    fn window(&self, key: Key) -> Arc<Window> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(windows.entry(key).or_insert_with(|| Arc::new(Window::new(self.most))))
    }

    /// Writes rows; when it returns, all are written.
    pub(super) async fn write(&self, map: &Map, rows: Vec<NewRow>) -> Result<()> {
        let mut places = HashMap::<(u32, Option<u32>), (Place, Vec<NewRow>)>::new();
        for row in rows {
            let place = map.layout.place(token(viewer(row.0)));
            places.entry((place.node, place.core)).or_insert_with(|| (place, Vec::new())).1.push(row);
        }
        let mut batches = Vec::new();
        for (place, rows) in places.into_values() {
            let (target, window) = (map.target(place), self.window((map.host(place), place.core)));
            let cut = |rows: &[NewRow]| self.send(target.clone(), Arc::clone(&window), rows.to_vec());
            batches.extend(rows.chunks(self.batch_rows).map(cut));
        }
        stream::iter(batches).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn send(
        &self,
        target: Option<Arc<dyn LoadBalancingPolicy>>,
        window: Arc<Window>,
        rows: Vec<NewRow>,
    ) -> Result<()> {
        let place = window.place().await;
        if self.single_inserts {
            self.singles(place, &rows).await
        } else {
            self.batch(place, target, &rows).await
        }
    }

    /// One batch: first straight to its place, and if that doesn't answer in time, to whom the driver chooses, and soon
    /// to a second, as the first may be the same again. Times are those of the generations, so writing twice is
    /// writing once.
    async fn batch(
        &self,
        mut place: WindowPlace,
        target: Option<Arc<dyn LoadBalancingPolicy>>,
        rows: &[NewRow],
    ) -> Result<()> {
        let statements = vec![BatchStatement::from(self.insert.clone()); rows.len()];
        let mut batch = Batch::new_with_statements(BatchType::Unlogged, statements);
        batch.set_is_idempotent(true);
        let session = self.db.session();
        if target.is_some() {
            batch.set_load_balancing_policy(target);
            match timeout(self.resend, session.batch(&batch, rows)).await {
                Ok(Ok(_)) => {
                    place.succeeded();
                    return Ok(());
                }
                Ok(Err(failed)) if !is_load(&failed) => {
                    tracing::debug!(error = %failed, "a batch failed where it belongs, it is sent elsewhere");
                }
                _ => place.suffered(),
            }
            metrics::resent();
            batch.set_load_balancing_policy(None);
        }
        // others may try the place again meanwhile
        drop(place);
        batch.set_execution_profile_handle(Some(self.db.speculating().clone()));
        let done = session.batch(&batch, rows).await;
        done.map(|_| ()).map_err(|failed| error::execution("timeline", &failed))
    }

    /// The same rows one by one, side by side.
    async fn singles(&self, mut place: WindowPlace, rows: &[NewRow]) -> Result<()> {
        let write = |row: &NewRow| self.db.session().execute_unpaged(&self.insert, *row);
        let done: std::result::Result<Vec<_>, _> =
            stream::iter(rows.iter().map(write)).buffer_unordered(rows.len()).try_collect().await;
        match done {
            Ok(_) => {
                place.succeeded();
                Ok(())
            }
            Err(failed) => {
                if is_load(&failed) {
                    place.suffered();
                }
                Err(error::execution("timeline", &failed))
            }
        }
    }
}

/// Whether a failure says that there is too much to do.
fn is_load(error: &ExecutionError) -> bool {
    use ExecutionError::{LastAttemptError, RequestTimeout};
    match error {
        RequestTimeout(_) => true,
        LastAttemptError(RequestAttemptError::DbError(db, _)) => matches!(
            db,
            DbError::Overloaded | DbError::RateLimitReached { .. } | DbError::WriteTimeout { .. }
        ),
        LastAttemptError(RequestAttemptError::UnableToAllocStreamId) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_and_overload_are_load_and_a_wrong_statement_is_not() {
        let of = |db| ExecutionError::LastAttemptError(RequestAttemptError::DbError(db, String::new()));
        assert!(is_load(&ExecutionError::RequestTimeout(Duration::from_secs(5))));
        assert!(is_load(&of(DbError::Overloaded)));
        assert!(!is_load(&of(DbError::Invalid)) && !is_load(&ExecutionError::EmptyPlan));
    }
}
