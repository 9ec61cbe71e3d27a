//! Faults for the writer: operations that are refused, operations that are done but whose answer is lost, and a shard
//! whose writes take a while.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use skyweir_store::{Error, Hook, Operation, Result};
use skyweir_types::ActorId;

/// How long a write to the slow shard takes.
const SLOW: Duration = Duration::from_millis(50);

/// Hits this share of the operations, at random from a seed.
pub(crate) struct Flaky {
    share: f64,
    rng: Mutex<SmallRng>,
    fired: AtomicU64,
    over: AtomicBool,
    slow_shard: Option<u32>,
    /// Writes to the slow shard.
    slowed: AtomicU64,
    /// The last search for timelines that may leave was one for want of memory.
    short: AtomicBool,
    /// Timelines that left after such a search.
    evicted: AtomicU64,
    /// Those that left after one for idle ones.
    left: AtomicU64,
    /// Those that are being filled: these leave when that fails.
    filling: Mutex<HashSet<ActorId>>,
}

impl Flaky {
    pub(crate) fn new(share: f64, seed: u64, slow_shard: Option<u32>) -> Self {
        Self {
            share,
            rng: Mutex::new(SmallRng::seed_from_u64(seed)),
            fired: AtomicU64::new(0),
            over: AtomicBool::new(false),
            slow_shard,
            slowed: AtomicU64::new(0),
            short: AtomicBool::new(false),
            evicted: AtomicU64::new(0),
            left: AtomicU64::new(0),
            filling: Mutex::default(),
        }
    }

    /// How often it has hit.
    pub(crate) fn fired(&self) -> u64 {
        self.fired.load(Ordering::Relaxed)
    }

    /// How many writes were slow.
    pub(crate) fn slowed(&self) -> u64 {
        self.slowed.load(Ordering::Relaxed)
    }

    /// How many timelines left for want of memory.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// How many timelines hibernated as nobody read them.
    pub(crate) fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
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
    async fn before(&self, operation: &Operation<'_>) -> Result<()> {
        match operation {
            Operation::Apply { shard, .. } if self.slow_shard == Some(*shard) => {
                self.slowed.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(SLOW).await;
            }
            Operation::Idle => self.short.store(false, Ordering::Relaxed),
            Operation::LeastUseful => self.short.store(true, Ordering::Relaxed),
            _ => {}
        }
        self.hit()
    }

    async fn after(&self, operation: &Operation<'_>) -> Result<()> {
        let outcome = self.hit();
        let mut filling = self.filling.lock().unwrap();
        match operation {
            Operation::Enrol(viewer) => {
                filling.insert(*viewer);
            }
            Operation::Publish(viewer) if outcome.is_ok() => {
                filling.remove(viewer);
            }
            Operation::Leave(viewer) => {
                let failed = filling.remove(viewer);
                if self.short.load(Ordering::Relaxed) {
                    self.evicted.fetch_add(1, Ordering::Relaxed);
                } else if !failed {
                    self.left.fetch_add(1, Ordering::Relaxed);
                }
            }
            _ => {}
        }
        outcome
    }
}
