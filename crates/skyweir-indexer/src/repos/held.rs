//! How many downloads each host of accounts has, so that a slow one doesn't get all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Clone, Debug, Default)]
pub(super) struct Held(Arc<Mutex<HashMap<String, usize>>>);

/// A download at a host, until it is dropped.
pub(super) struct Hold {
    held: Held,
    authority: String,
}

impl Held {
    /// One more at this host, unless it has as many as it may.
    pub(super) fn take(&self, authority: &str, most: usize) -> Option<Hold> {
        let mut counts = self.counts();
        let count = counts.get(authority).copied().unwrap_or_default();
        if count >= most {
            return None;
        }
        counts.insert(authority.to_owned(), count + 1);
        Some(Hold { held: self.clone(), authority: authority.to_owned() })
    }

    /// Whether it may have another one.
    pub(super) fn has_room(&self, authority: &str, most: usize) -> bool {
        self.counts().get(authority).is_none_or(|count| *count < most)
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut counts = self.held.counts();
        if let Some(count) = counts.get_mut(&self.authority) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.authority);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_no_more_than_it_may() {
        let held = Held::default();
        let (first, second) = (held.take("a", 2), held.take("a", 2));
        assert!(first.is_some() && second.is_some() && held.take("a", 2).is_none());
        assert!(!held.has_room("a", 2) && held.take("b", 2).is_some());
        drop(first);
        assert!(held.has_room("a", 2) && held.take("a", 2).is_some());
        drop(second);
        assert!(held.counts().is_empty());
    }
}
