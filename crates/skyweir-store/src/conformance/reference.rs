//! The in-memory store as a [`Subject`].

use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::{Opened, Subject};
use crate::{MemoryStore, MemoryTimelines, Shape};

/// The in-memory store over restarts: records survive, timelines as of their checkpoint.
#[derive(Default)]
pub struct Memory {
    store: MemoryStore,
    last: Mutex<Option<MemoryTimelines>>,
}

#[async_trait]
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
