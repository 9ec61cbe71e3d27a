//! The embedded store and its rings pass the suite of all stores, over a real directory.
#![expect(clippy::unwrap_used, reason = "these are parts of tests")]

use std::sync::Arc;

use skyweir_embedded::{Config, EmbeddedStore, Rings, RingsConfig};
use skyweir_store::Shape;
use skyweir_store::conformance::{Opened, Subject, compare};
use tempfile::TempDir;
use tokio::task::JoinSet;

struct Embedded(TempDir);

impl Embedded {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

#[async_trait::async_trait]
impl Subject for Embedded {
    async fn open(&self, shape: Shape) -> Opened {
        let config = Config {
            data_dir: self.0.path().to_owned(),
            cache_mb: 4,
            item_cache_mb: 1,
            follow_cache_mb: 1,
            name_cache_mb: 1,
            journal_mb: 64,
            memtable_mb: 1,
            remembered_accounts: 4,
            ..Config::default()
        };
        let store = EmbeddedStore::open(config).unwrap();
        let rings = RingsConfig { slices: shape.shards, cap: shape.cap, ..RingsConfig::default() };
        let rings = Rings::open(&store, &rings, shape.draw).unwrap();
        Opened { store: Arc::new(store), timelines: Arc::new(rings) }
    }
}

skyweir_store::conformance_tests!(Embedded::new());

#[tokio::test]
async fn random_operations_are_answered_as_by_the_reference() {
    let mut running = JoinSet::new();
    for seed in 0..24 {
        // they mostly wait for the disk
        if running.len() == 8 {
            running.join_next().await.unwrap().unwrap();
        }
        running.spawn(async move { compare(seed, 300, &Embedded::new()).await });
    }
    running.join_all().await;
}
