//! The parts of the service, put together in one process, and driven by hand.

use std::sync::Arc;

use skyweir_api::{Config as ApiConfig, Page, Query, TimelineReader};
use skyweir_indexer::{Applier, Horizons};
use skyweir_store::{Result, SavedCursor, Store, View};
use skyweir_testkit::Settings;
use skyweir_types::{Clock, DrawKey, Event};

use crate::backend::Backend;
use crate::judge::Verdict;
use crate::worker::Worker;

/// The running parts.
pub(crate) struct Service {
    store: Arc<dyn Store>,
    applier: Applier,
    reader: TimelineReader,
    pub(crate) worker: Worker,
    messages: u64,
}

impl Service {
    /// Begins where the stores stand.
    pub(crate) async fn start(backend: &mut Backend, settings: &Settings, clock: &Clock) -> Result<Self> {
        let (store, timelines) = backend.open().await?;
        let view = store.view().await?;
        let horizons = Horizons {
            tombstones_ms: settings.horizons.tombstones_ms,
            sync_grace_ms: settings.horizons.sync_grace_ms,
            keep_ms: settings.horizons.keep_ms,
            ..Horizons::default()
        };
        let applier = Applier::load(view.as_ref(), settings.across, horizons).await?;
        let messages = view.cursor().await?.map_or(0, |cursor| cursor.position);
        let worker = Worker::start(&store, &timelines, settings, clock, backend.serves_graph());
        let config = ApiConfig {
            reasonable_limit: settings.reasonable_limit,
            cap: settings.cap,
            scan_limit: settings.scan_limit,
            ..ApiConfig::default()
        };
        let (enrol, draw) = (worker.enrol(), DrawKey::default());
        let reader = TimelineReader::new(Arc::clone(&store), timelines, enrol, draw, &config);
        Ok(Self { store, applier, reader, worker, messages })
    }

    /// Applies messages as one group, as the indexer does. Returns how many items were removed that had left.
    pub(crate) async fn commit(&mut self, messages: &[Vec<Event>]) -> Result<u64> {
        let mut txn = self.store.begin().await?;
        let mut outcomes = Vec::new();
        for message in messages {
            self.applier.frame(txn.as_mut(), message, &mut outcomes).await?;
        }
        self.applier.end_group(txn.as_mut()).await?;
        self.messages += messages.len() as u64;
        let time_us = self.applier.stream_us();
        txn.set_cursor(SavedCursor { source: "script".into(), position: self.messages, time_us }).await?;
        txn.commit().await?;
        Ok(self.applier.left().map_or(0, |(_, swept)| swept.items))
    }

    pub(crate) async fn page(&self, query: Query<'_>) -> std::result::Result<Page, skyweir_api::Error> {
        self.reader.page(query).await
    }

    pub(crate) async fn view(&self) -> Result<Box<dyn View>> {
        self.store.view().await
    }

    /// Ends in order: what the writer has begun is finished and the timelines are saved.
    pub(crate) async fn stop(self) -> Verdict {
        self.worker.stop().await
    }

    /// Ends as in a crash.
    pub(crate) async fn kill(self) {
        self.worker.kill().await;
    }
}
