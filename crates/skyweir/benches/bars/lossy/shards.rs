//! Shards whose writes take time: the model, as a hook before the rings.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use skyweir_embedded::Rings;
use skyweir_store::{Delivery, Hook, Operation, Timelines as _};
use skyweir_types::{ActorId, DidHash, DrawKey, ItemId};
use tokio::time::Instant;

use crate::crowd::CELEBRITY;
use crate::events::did;

/// What a call takes: the mean of Bluesky's writes.
const CALL: Duration = Duration::from_micros(600);
/// What each reference that a mass follower keeps takes more: the P99 of Bluesky's writes.
const HOT: Duration = Duration::from_millis(15);

/// What writes take.
pub(super) struct Model {
    /// Mass followers whose writes take more, by shard.
    costly: Vec<Vec<(ActorId, DidHash)>>,
    rate: f32,
    /// When each shard is free again.
    free: Vec<Instant>,
    /// The celebrity's first follower; all that follow have the next numbers.
    first: u32,
    page: u32,
    /// When the first piece of a page came to a shard, and when the last one was written.
    pages: HashMap<(ItemId, u32), (Instant, Instant)>,
    /// Milliseconds of each call, its wait for the shard among them.
    writes: Vec<f64>,
}

impl Model {
    /// Nothing written yet.
    pub(super) fn of(rings: &Rings, costly: &[u32], rate: f32, first: u32) -> Result<Self> {
        let shards = rings.shards() as usize;
        let mut by_shard = vec![Vec::new(); shards];
        for viewer in costly {
            let hash = DidHash::of(did(*viewer)?.as_str());
            by_shard[rings.shard_of(ActorId(*viewer)) as usize].push((ActorId(*viewer), hash));
        }
        Ok(Self {
            costly: by_shard,
            rate,
            free: vec![Instant::now(); shards],
            first,
            page: skyweir_graph::Config::default().page as u32,
            pages: HashMap::new(),
            writes: Vec::new(),
        })
    }

    /// When a call that comes now is done.
    fn takes(&mut self, shard: usize, deliveries: &[Delivery], now: Instant) -> Instant {
        let draw = DrawKey::default();
        let kept = |delivery: &Delivery| {
            let hot = self.costly[shard].iter();
            hot.filter(|(viewer, hash)| {
                // pages rise, and so do their pieces
                delivery.viewers.binary_search(viewer).is_ok()
                    && draw.keeps(delivery.reference.uri_hash, *hash, self.rate)
            })
            .count()
        };
        let hot: usize = deliveries.iter().map(kept).sum();
        let done = self.free[shard].max(now) + CALL + HOT * hot as u32;
        self.free[shard] = done;
        self.writes.push((done - now).as_secs_f64() * 1e3);
        for delivery in deliveries.iter().filter(|delivery| delivery.reference.author.0 == CELEBRITY) {
            let Some(follower) = delivery.viewers.first().filter(|viewer| viewer.0 >= self.first) else {
                // the celebrity's own timeline
                continue;
            };
            let page = (follower.0 - self.first) / self.page;
            let times = self.pages.entry((delivery.reference.item, page)).or_insert((now, done));
            times.1 = times.1.max(done);
        }
        done
    }
}

/// Waits before each write for as long as the model says; without one, not at all.
#[derive(Default)]
pub(super) struct SlowShards {
    model: Mutex<Option<Model>>,
}

impl SlowShards {
    fn model(&self) -> MutexGuard<'_, Option<Model>> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on writes take time.
    pub(super) fn begin(&self, model: Model) {
        *self.model() = Some(model);
    }

    /// From now on they take none.
    pub(super) fn end(&self) {
        *self.model() = None;
    }

    /// Milliseconds of each page of the celebrity and of each write, since it began.
    pub(super) fn seen(&self) -> (Vec<f64>, Vec<f64>) {
        let mut model = self.model();
        let Some(model) = &mut *model else { return (Vec::new(), Vec::new()) };
        let pages = model.pages.drain().map(|(_, (from, to))| (to - from).as_secs_f64() * 1e3).collect();
        (pages, std::mem::take(&mut model.writes))
    }
}

#[async_trait]
impl Hook for SlowShards {
    async fn before(&self, operation: &Operation<'_>) -> skyweir_store::Result<()> {
        if let Operation::Apply { shard, deliveries } = operation {
            let now = Instant::now();
            let done = self.model().as_mut().map(|model| model.takes(*shard as usize, deliveries, now));
            if let Some(done) = done {
                tokio::time::sleep_until(done).await;
            }
        }
        Ok(())
    }

    async fn after(&self, _: &Operation<'_>) -> skyweir_store::Result<()> {
        Ok(())
    }
}
