//! A kill at a step of the store: it happens, or doesn't, and then nothing happens any more.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use async_trait::async_trait;
use skyweir_store::{Hook, HookedStore, Operation, Store};
use tokio::sync::Notify;

/// Lets so many steps pass, and kills before or after the next.
pub(crate) struct Killer {
    left: AtomicU32,
    before: bool,
    killed: Arc<Notify>,
}

impl Killer {
    /// The killer, and what comes when it has killed.
    pub(crate) fn after(steps: u32, before: bool) -> (Arc<Self>, impl Future<Output = ()>) {
        let killed = Arc::new(Notify::new());
        let killer = Arc::new(Self { left: AtomicU32::new(steps), before, killed: killed.clone() });
        (killer, async move { killed.notified().await })
    }

    pub(crate) fn wrap(self: &Arc<Self>, store: impl Store + 'static) -> Arc<dyn Store> {
        Arc::new(HookedStore::new(Arc::new(store), Arc::clone(self) as Arc<dyn Hook>))
    }

    async fn step(&self) {
        if self.left.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_err() {
            self.killed.notify_one();
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait]
impl Hook for Killer {
    async fn before(&self, _: &Operation<'_>) -> skyweir_store::Result<()> {
        if self.before {
            self.step().await;
        }
        Ok(())
    }

    async fn after(&self, _: &Operation<'_>) -> skyweir_store::Result<()> {
        if !self.before {
            self.step().await;
        }
        Ok(())
    }
}
