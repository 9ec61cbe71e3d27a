//! Writing references of many timelines: together by (node, core), in batches that go straight there, as many at a time
//! as the place bears.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use scylla::policies::load_balancing::LoadBalancingPolicy;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use skyweir_store::Result;

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

/// References by the (node, core) that takes them.
pub(super) struct Outgoing {
    map: Arc<Map>,
    places: Vec<(Place, Vec<NewRow>)>,
    /// Where the last one went: the next one mostly goes there, too.
    last: usize,
    /// How many there are in all, about: mostly for one place.
    all: usize,
}

impl Outgoing {
    pub(super) fn new(map: Arc<Map>, all: usize) -> Self {
        Self { map, places: Vec::new(), last: 0, all }
    }

    pub(super) fn push(&mut self, row: NewRow) {
        let place = self.map.layout.place(token(viewer(row.0)));
        let is_it = |(known, _): &(Place, _)| (known.node, known.core) == (place.node, place.core);
        if !self.places.get(self.last).is_some_and(is_it) {
            self.last = self.places.iter().position(is_it).unwrap_or_else(|| {
                let room = if self.places.is_empty() { self.all } else { 0 };
                self.places.push((place, Vec::with_capacity(room)));
                self.places.len() - 1
            });
        }
        self.places[self.last].1.push(row);
    }
}

/// Rows of one batch.
struct Part {
    /// Their node and core, if they can be reached.
    target: Option<Arc<dyn LoadBalancingPolicy>>,
    window: Arc<Window>,
    rows: Arc<Vec<NewRow>>,
    range: Range<usize>,
}

/// Writes references, with a window for each (node, core).
pub(super) struct Sender {
    db: Arc<Db>,
    insert: PreparedStatement,
    windows: Mutex<HashMap<Key, Arc<Window>>>,
    /// Batches that nobody sends now: to make one takes longer than to fill it, as each row has a statement of its own.
    spare: Mutex<Vec<Batch>>,
    batch_rows: usize,
    most: u32,
    resend: Duration,
    single_inserts: bool,
}

impl Sender {
    pub(super) fn new(
        db: &Arc<Db>,
        insert: &PreparedStatement,
        config: &RowsConfig,
        timeout: Duration,
    ) -> Self {
        Self {
            db: Arc::clone(db),
            insert: insert.clone(),
            windows: Mutex::default(),
            spare: Mutex::default(),
            batch_rows: config.batch_rows.max(1),
            most: config.batches_in_flight.max(1),
            resend: Duration::from_millis(config.resend_ms.max(1)).min(timeout),
            single_inserts: config.single_inserts,
        }
    }

    fn window(&self, key: Key) -> Arc<Window> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(windows.entry(key).or_insert_with(|| Arc::new(Window::new(self.most))))
    }

    /// Writes them; when it returns, all are written.
    pub(super) async fn write(&self, outgoing: Outgoing) -> Result<()> {
        let Outgoing { map, places, .. } = outgoing;
        let mut parts = Vec::new();
        for (place, rows) in places {
            let (target, window) = (map.target(place), self.window((map.host(place), place.core)));
            let (all, rows) = (rows.len(), Arc::new(rows));
            for from in (0..all).step_by(self.batch_rows) {
                let range = from..all.min(from + self.batch_rows);
                let (target, window, rows) = (target.clone(), Arc::clone(&window), Arc::clone(&rows));
                parts.push(Part { target, window, rows, range });
            }
        }
        // made when it is their turn: what sends a batch takes some kilobytes
        stream::iter(parts).map(|part| self.send(part)).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn send(&self, part: Part) -> Result<()> {
        let Part { target, window, rows, range } = part;
        let (place, rows) = (window.place().await, &rows[range]);
        if self.single_inserts {
            // apart, so that a batch needn't have room for it
            return Box::pin(self.singles(place, rows)).await;
        }
        let mut batch = self.spare_batch(rows.len());
        let sent = self.batch(&mut batch, place, target, rows).await;
        // a node that goes isn't kept
        batch.set_load_balancing_policy(None);
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < AT_ONCE {
            spare.push(batch);
        }
        sent
    }

    /// A batch for so many rows; of former ones as many are kept as one call has under way.
    fn spare_batch(&self, rows: usize) -> Batch {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut batch = spare.unwrap_or_else(|| {
            let mut batch = Batch::new(BatchType::Unlogged);
            batch.set_is_idempotent(true);
            batch
        });
        batch.statements.resize_with(rows, || self.insert.clone().into());
        batch
    }

    /// One batch: first straight to its place, and if that doesn't answer in time, to whom the driver chooses, and soon
    /// to a second, as the first may be the same again. Times are those of the generations, so writing twice is
    /// writing once.
    async fn batch(
        &self,
        batch: &mut Batch,
        mut place: WindowPlace,
        target: Option<Arc<dyn LoadBalancingPolicy>>,
        rows: &[NewRow],
    ) -> Result<()> {
        let session = self.db.session();
        if target.is_some() {
            batch.set_load_balancing_policy(target);
            batch.set_request_timeout(Some(self.resend));
            batch.set_execution_profile_handle(None);
            match session.batch(batch, rows).await {
                Ok(_) => {
                    place.succeeded();
                    return Ok(());
                }
                Err(failed) if !is_load(&failed) => {
                    tracing::debug!(error = %failed, "a batch failed where it belongs, it is sent elsewhere");
                }
                Err(_) => place.suffered(),
            }
            metrics::resent();
        }
        // others may try the place again meanwhile
        drop(place);
        batch.set_load_balancing_policy(None);
        batch.set_request_timeout(None);
        batch.set_execution_profile_handle(Some(self.db.speculating().clone()));
        // apart, so that a batch that is taken at once needn't have room for it
        let done = Box::pin(session.batch(batch, rows)).await;
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
    use crate::timelines::layout::{Cores, Layout, Owner};
    use skyweir_types::ActorId;

    #[test]
    fn rows_come_together_by_node_whatever_part_of_it_they_are_of() {
        let owner = |node| Owner { node, core: None };
        let layout = Layout::new(vec![(0, owner(0)), (i64::MAX, owner(1))], vec![Cores::Parts(16); 2], None);
        let mut outgoing = Outgoing::new(Arc::new(Map::of(layout)), 1_000);
        (0..1_000).for_each(|n| outgoing.push(NewRow(n, 0, 0, 0, 0, 0)));
        let Outgoing { mut places, .. } = outgoing;
        places.sort_by_key(|(place, _)| place.node);
        let keys: Vec<Vec<i32>> =
            places.iter().map(|(_, rows)| rows.iter().map(|row| row.0).collect()).collect();
        let wanted = [0, 1].map(|node| {
            let is_there = |n: &i32| (token(ActorId(*n as u32)) > 0) == (node == 1);
            (0..1_000).filter(is_there).collect::<Vec<i32>>()
        });
        assert_eq!(keys, wanted);
    }

    #[test]
    fn timeouts_and_overload_are_load_and_a_wrong_statement_is_not() {
        let of = |db| ExecutionError::LastAttemptError(RequestAttemptError::DbError(db, String::new()));
        assert!(is_load(&ExecutionError::RequestTimeout(Duration::from_secs(5))));
        assert!(is_load(&of(DbError::Overloaded)));
        assert!(!is_load(&of(DbError::Invalid)) && !is_load(&ExecutionError::EmptyPlan));
    }
}
