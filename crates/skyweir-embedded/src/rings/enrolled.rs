//! Which timelines are enrolled, one bit an account, read without a lock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use skyweir_types::ActorId;

/// Bits in one piece.
const CHUNK: usize = 65_536;

/// A set of accounts.
pub(super) struct Enrolled {
    chunks: Box<[OnceLock<Box<[AtomicU64]>>]>,
    count: AtomicU64,
}

impl Default for Enrolled {
    fn default() -> Self {
        let chunks = (0..(1usize << 32) / CHUNK).map(|_| OnceLock::new()).collect();
        Self { chunks, count: AtomicU64::new(0) }
    }
}

impl Enrolled {
    fn split(actor: ActorId) -> (usize, usize, u64) {
        let n = actor.0 as usize;
        (n / CHUNK, n % CHUNK / 64, 1 << (n % 64))
    }

    /// Whether an account is in the set.
    #[inline]
    pub(super) fn has(&self, actor: ActorId) -> bool {
        let (chunk, word, bit) = Self::split(actor);
        self.chunks[chunk].get().is_some_and(|words| words[word].load(Ordering::Acquire) & bit != 0)
    }

    /// Puts an account into the set.
    pub(super) fn add(&self, actor: ActorId) {
        let (chunk, word, bit) = Self::split(actor);
        let words = self.chunks[chunk].get_or_init(|| (0..CHUNK / 64).map(|_| AtomicU64::new(0)).collect());
        if words[word].fetch_or(bit, Ordering::AcqRel) & bit == 0 {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        // see `look`
        fence(Ordering::SeqCst);
    }

    /// Call before [`Enrolled::has`] for the followers of an item: who enrols puts itself into the set and then takes
    /// a view, who fans out has committed the item and then looks at the set. One of them sees the other.
    pub(super) fn look(&self) -> &Self {
        fence(Ordering::SeqCst);
        self
    }

    /// Takes an account out of the set.
    pub(super) fn remove(&self, actor: ActorId) {
        let (chunk, word, bit) = Self::split(actor);
        if let Some(words) = self.chunks[chunk].get()
            && words[word].fetch_and(!bit, Ordering::AcqRel) & bit != 0
        {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Bytes that the set takes.
    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.chunks) + self.chunks.iter().filter(|c| c.get().is_some()).count() * CHUNK / 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_set() {
        let set = Enrolled::default();
        for n in [0, 63, 64, 65_535, 65_536, u32::MAX] {
            assert!(!set.has(ActorId(n)));
            set.add(ActorId(n));
            set.add(ActorId(n));
            assert!(set.has(ActorId(n)));
        }
        set.remove(ActorId(63));
        set.remove(ActorId(63));
        assert!(!set.has(ActorId(63)) && set.has(ActorId(64)));
        assert_eq!(set.count(), 5);
    }
}
