//! What the parts of a run share: the truth, the figures, the faults.

use super::check::Fault;
use super::measure::{Latencies, Sample, Seen};
use super::scrape::Metrics;
use super::world::{States, World};
use crate::event::Event;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// So many faults are kept to be printed; all are counted.
const FAULTS: usize = 20;

/// What went wrong.
#[derive(Clone, Debug, Default)]
pub(super) struct Faults {
    /// Pages that were compared.
    pub(super) checked: u64,
    /// Pages with a fault.
    pub(super) wrong: u64,
    /// The first of them, in words.
    pub(super) told: Vec<String>,
}

#[derive(Debug)]
pub(super) struct Shared {
    world: Mutex<World>,
    /// The newest state that is surely applied and delivered.
    settled: AtomicU64,
    /// Events sent in all.
    pub(super) sent: AtomicU64,
    pub(super) latencies: Mutex<Latencies>,
    pub(super) seen: Mutex<Vec<Seen>>,
    pub(super) series: Mutex<Vec<Sample>>,
    /// What is being done: `graph`, `history`, `live`.
    pub(super) phase: Mutex<String>,
    faults: Mutex<Faults>,
    /// The newest look at the admin port.
    pub(super) metrics: watch::Sender<Metrics>,
}

impl Shared {
    pub(super) fn new(world: World) -> Self {
        Self {
            world: Mutex::new(world),
            settled: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            latencies: Mutex::default(),
            seen: Mutex::default(),
            series: Mutex::default(),
            phase: Mutex::default(),
            faults: Mutex::default(),
            metrics: watch::Sender::default(),
        }
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    /// Notes an event that is about to be sent.
    pub(super) fn note(&self, event: &Event) {
        self.world().note(event);
    }

    pub(super) fn settle(&self, state: u64) {
        self.settled.fetch_max(state, Ordering::SeqCst);
    }

    pub(super) fn settled(&self) -> u64 {
        self.settled.load(Ordering::SeqCst)
    }

    /// The states that a read from `first` until now may have seen.
    pub(super) fn states_since(&self, first: u64, world: &World) -> States {
        States { first, last: world.newest() }
    }

    /// Counts a page that was compared; `who` says whose it was.
    pub(super) fn judged(&self, who: &str, found: &[Fault]) {
        let mut faults = lock(&self.faults);
        faults.checked += 1;
        faults.wrong += u64::from(!found.is_empty());
        let room = FAULTS - faults.told.len();
        faults.told.extend(found.iter().take(room).map(|fault| format!("{who}: {fault}")));
    }

    pub(super) fn faults(&self) -> Faults {
        lock(&self.faults).clone()
    }
}

/// A lock whose holder can't leave half a change behind.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
