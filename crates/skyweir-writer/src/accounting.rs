//! The accounting of recent items (contract, rule 26).

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::fast::FixedState;
use skyweir_store::{DeliveryReport, Sums};
use skyweir_types::ItemId;

use crate::tally::Tally;

#[derive(Default)]
struct State {
    tallies: HashMap<ItemId, Arc<Tally>, FixedState>,
    /// Oldest first.
    order: VecDeque<ItemId>,
}

/// The tallies of the newest items, at most so many.
pub(crate) struct Accounting {
    state: Mutex<State>,
    most: usize,
}

impl Accounting {
    pub(crate) fn new(most: usize) -> Self {
        Self { state: Mutex::default(), most: most.max(1) }
    }

    /// Begins an item's accounting, in place of any former one, where somebody got to before.
    pub(crate) fn begin(&self, item: ItemId, now_us: i64, before: Sums) -> Arc<Tally> {
        let tally = Arc::new(Tally::new(now_us, before));
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.tallies.insert(item, Arc::clone(&tally)).is_none() {
            state.order.push_back(item);
        }
        if state.order.len() > self.most
            && let Some(oldest) = state.order.pop_front()
        {
            state.tallies.remove(&oldest);
        }
        tally
    }

    /// What became of an item; `None` if that is not kept.
    pub(crate) fn report(&self, item: ItemId) -> Option<DeliveryReport> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.tallies.get(&item).map(|tally| tally.report())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_overwrites_and_the_oldest_leaves() {
        let accounting = Accounting::new(2);
        for n in 1..=2 {
            accounting.begin(ItemId(n), 5, Sums::default()).page(10);
        }
        accounting.begin(ItemId(1), 6, Sums::default()).page(3);
        assert_eq!(
            accounting.report(ItemId(1)).map(|report| (report.followers, report.started_us)),
            Some((3, 6))
        );
        accounting.begin(ItemId(3), 7, Sums::default());
        assert_eq!(accounting.report(ItemId(1)), None);
        assert_eq!(accounting.report(ItemId(2)).map(|report| report.followers), Some(10));
    }
}
