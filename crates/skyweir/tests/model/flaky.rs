//! Faults for the writer: operations that are refused, and operations that are done but whose answer is lost.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use skyweir_store::{Error, Hook, Operation, Result};

/// Hits this share of the operations, at random from a seed.
pub(crate) struct Flaky {
    share: f64,
    rng: Mutex<SmallRng>,
    fired: AtomicU64,
    over: AtomicBool,
}

impl Flaky {
    pub(crate) fn new(share: f64, seed: u64) -> Self {
        Self {
            share,
            rng: Mutex::new(SmallRng::seed_from_u64(seed)),
            fired: AtomicU64::new(0),
            over: AtomicBool::new(false),
        }
    }

    /// How often it has hit.
    pub(crate) fn fired(&self) -> u64 {
        self.fired.load(Ordering::Relaxed)
    }

    /// From now on nothing is hit.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    fn hit(&self) -> Result<()> {
        if self.over.load(Ordering::Relaxed) || !self.rng.lock().unwrap().random_bool(self.share) {
            return Ok(());
        }
        self.fired.fetch_add(1, Ordering::Relaxed);
        Err(Error::Unavailable("the script wants it so".into()))
    }
}

#[async_trait]
impl Hook for Flaky {
    async fn before(&self, _: &Operation<'_>) -> Result<()> {
        self.hit()
    }

    async fn after(&self, _: &Operation<'_>) -> Result<()> {
        self.hit()
    }
}
