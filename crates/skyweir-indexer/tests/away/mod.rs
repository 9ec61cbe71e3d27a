//! Hosts that are down, or want to be left alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use async_trait::async_trait;
use skyweir_indexer::Config;
use skyweir_indexer::source::SourceConfig;
use skyweir_loadtest::Upstream;
use skyweir_store::{Hook, HookedStore, MemoryStore, Operation, Store};

use super::hosted::FOLLOW;
use super::{backfill, config, has, host, record};

fn few() -> Config {
    Config { source: SourceConfig { archive_attempts: 2, ..config().source }, ..config() }
}

/// Lets a host go down as soon as its accounts are listed.
struct Down {
    upstream: Arc<Upstream>,
    status: u16,
    is_done: AtomicBool,
}

#[async_trait]
impl Hook for Down {
    async fn before(&self, _: &Operation<'_>) -> skyweir_store::Result<()> {
        if self.upstream.repository_counts().lists > 0 && !self.is_done.swap(true, SeqCst) {
            self.upstream.refuse(Some(self.status));
        }
        Ok(())
    }

    async fn after(&self, _: &Operation<'_>) -> skyweir_store::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_starts_again_behind_its_proxy_is_waited_for() {
    for status in [502, 503, 504] {
        let upstream = Arc::new(host().await);
        upstream.push_many([record(1, FOLLOW, "k1", 1), record(2, FOLLOW, "k2", 2)]);
        let inner: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let down = Down { upstream: upstream.clone(), status, is_done: AtomicBool::new(false) };
        let store = Arc::new(HookedStore::new(inner.clone(), Arc::new(down)));
        let mut work = std::pin::pin!(backfill(&upstream, few(), store));
        tokio::select! {
            done = &mut work => panic!("after {status} it is passed over: {done:?}"),
            () = upstream.refused(20) => upstream.refuse(None),
        }
        work.await.unwrap().unwrap();
        assert_eq!(has(&inner).await.len(), 2, "{status}");
    }
}
