//! The in-memory reference passes the suite that other stores are judged by.
#![expect(clippy::unwrap_used, reason = "these are parts of tests")]

use std::sync::{Arc, Mutex};

use skyweir_store::conformance::{Opened, Subject};
use skyweir_store::{MemoryStore, MemoryTimelines, Shape};

/// The store survives by its clone, the timelines as of their checkpoint.
#[derive(Default)]
struct Memory {
    store: MemoryStore,
    last: Mutex<Option<MemoryTimelines>>,
}

#[async_trait::async_trait]
impl Subject for Memory {
    async fn open(&self, shape: Shape) -> Opened {
        let mut last = self.last.lock().unwrap();
        let timelines = match last.take() {
            Some(former) => former.reopen(shape),
            None => MemoryTimelines::new(&self.store, shape),
        };
        *last = Some(timelines.clone());
        Opened { store: Arc::new(self.store.clone()), timelines: Arc::new(timelines) }
    }
}

skyweir_store::conformance_tests!(Memory::default());
