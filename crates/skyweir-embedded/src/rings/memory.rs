//! What the timelines take, counted as it is allocated, and the budget that they keep to.

use std::sync::atomic::{AtomicUsize, Ordering};

use metrics::Counter;

/// The account of all timelines' memory. Everything here is a count: no order is needed between threads.
pub(super) struct Memory {
    bytes: AtomicUsize,
    budget: usize,
    refused: Counter,
}

impl Default for Memory {
    /// Without a limit.
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl Memory {
    pub(super) fn new(budget: usize) -> Self {
        let refused = metrics::counter!(crate::metrics::RINGS_REFUSED);
        Self { bytes: AtomicUsize::new(0), budget, refused }
    }

    /// Counts what has to be, over the budget too: its caller is bounded by something else.
    pub(super) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts what was given back.
    pub(super) fn sub(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Something changed its size.
    pub(super) fn resized(&self, before: usize, after: usize) {
        match after.checked_sub(before) {
            Some(more) => self.add(more),
            None => self.sub(before - after),
        }
    }

    /// Counts so many bytes if they fit into the budget.
    pub(super) fn grow(&self, bytes: usize) -> bool {
        let fits = |known: usize| known.checked_add(bytes).filter(|next| *next <= self.budget);
        let grown = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        if !grown {
            self.refused.increment(1);
        }
        grown
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn budget(&self) -> usize {
        self.budget
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_up_to_the_budget() {
        let memory = Memory::new(10);
        assert!(memory.grow(6) && !memory.grow(5) && memory.grow(4) && !memory.grow(1));
        memory.add(5);
        memory.resized(9, 2);
        memory.resized(2, 3);
        assert_eq!((memory.bytes(), memory.budget()), (9, 10));
        assert!(memory.grow(1) && !memory.grow(usize::MAX));
    }
}
