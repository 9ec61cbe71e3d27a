//! What random steps of several writers may come to.

use std::collections::{BTreeMap, BTreeSet};

use skyweir_store::Taken;
use skyweir_types::TaskId;

/// Numbers from a seed.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// Who has which tasks, for certain: those that it has taken, and gave signs of life for.
#[derive(Default)]
pub(super) struct Model {
    pub(super) finished: BTreeSet<TaskId>,
    pub(super) held: BTreeMap<usize, BTreeSet<TaskId>>,
}

impl Model {
    pub(super) fn take(&mut self, who: usize, taken: &[Taken], why: &str) {
        for taken in taken {
            let other = self.held.iter().find(|(other, held)| **other != who && held.contains(&taken.id));
            assert!(other.is_none(), "{why}: {} is taken twice", taken.id);
            self.held.entry(who).or_default().insert(taken.id);
        }
    }

    pub(super) fn unfinished(&self, next: u64) -> TaskId {
        (1..next).map(TaskId).find(|task| !self.finished.contains(task)).unwrap_or(TaskId(next))
    }
}
