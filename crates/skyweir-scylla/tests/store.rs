//! The store on CQL passes the suite of all stores, as far as records go, on the servers that `SKYWEIR_TEST_CQL` and
//! `SKYWEIR_TEST_REDIS` name.
#![expect(clippy::unwrap_used, reason = "these are parts of tests")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{OF_TIMELINES, Servers};
use skyweir_scylla::{Cluster, ScyllaStore};
use skyweir_store::conformance::{Opened, Subject, compare_records};
use skyweir_store::{MemoryStore, MemoryTimelines, Shape};
use skyweir_types::Clock;

/// Records on CQL. Its timelines are none of them: nobody asks them here.
struct Cql {
    servers: Option<Servers>,
    is_empty: AtomicBool,
}

impl Cql {
    fn new() -> Self {
        Self { servers: Servers::find("store"), is_empty: AtomicBool::new(false) }
    }
}

#[async_trait::async_trait]
impl Subject for Cql {
    async fn open(&self, shape: Shape) -> Opened {
        let servers = self.servers.as_ref().unwrap();
        if !self.is_empty.swap(true, Ordering::SeqCst) {
            servers.empty_those(|table| !OF_TIMELINES.contains(&table)).await;
        }
        let cluster = Cluster::connect(&servers.config).await.unwrap();
        let store = ScyllaStore::open(&cluster, Clock::system()).await.unwrap();
        let timelines = MemoryTimelines::new(&MemoryStore::new(), shape);
        Opened { store: Arc::new(store), timelines: Arc::new(timelines) }
    }

    fn is_missing(&self) -> bool {
        self.servers.is_none()
    }
}

skyweir_store::conformance_record_tests!(Cql::new());

#[test]
fn random_operations_are_answered_as_by_the_reference() {
    for seed in 0..4 {
        let subject = Cql::new();
        if subject.servers.as_ref().is_none_or(|servers| seed >= servers.seeds(4)) {
            return;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(compare_records(seed, 300, &subject));
    }
}
