//! What reads wish for: a bounded queue without doubles.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use skyweir_store::EnrolReason;
use skyweir_types::ActorId;
use tokio::sync::Notify;

use crate::metrics;

/// What is wished for a timeline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wish {
    /// A new generation.
    Enrol(EnrolReason),
    /// A lower rate.
    Lower(f32),
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(ActorId, Wish)>,
    /// Waiting or being granted.
    known: HashSet<ActorId>,
}

/// Wishes that wait to be granted, one a timeline.
pub(crate) struct Wishes {
    state: Mutex<State>,
    most: usize,
    ready: Notify,
    room: Notify,
}

impl Wishes {
    pub(crate) fn new(most: usize) -> Self {
        Self { state: Mutex::default(), most: most.max(1), ready: Notify::new(), room: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a wish; false when there is no room for it. A timeline that has one already needs no second.
    pub(crate) fn push(&self, viewer: ActorId, wish: Wish) -> bool {
        let mut state = self.state();
        if state.known.contains(&viewer) {
            return true;
        }
        if state.known.len() >= self.most {
            return false;
        }
        state.known.insert(viewer);
        state.waiting.push_back((viewer, wish));
        drop(state);
        self.ready.notify_one();
        true
    }

    /// As [`Wishes::push`]; drops and counts what there is no room for.
    pub(crate) fn offer(&self, viewer: ActorId, wish: Wish) {
        if !self.push(viewer, wish) {
            metrics::wish_dropped();
        }
    }

    /// As [`Wishes::push`]; waits for room.
    pub(crate) async fn push_wait(&self, viewer: ActorId, wish: Wish) {
        loop {
            let room = self.room.notified();
            if self.push(viewer, wish) {
                return;
            }
            room.await;
        }
    }

    /// Takes up to `n` wishes; waits until there is one. Each has to be [`Wishes::granted`].
    pub(crate) async fn take(&self, n: usize) -> Vec<(ActorId, Wish)> {
        loop {
            {
                let mut state = self.state();
                let n = n.min(state.waiting.len());
                if n > 0 {
                    let taken = state.waiting.drain(..n).collect();
                    if !state.waiting.is_empty() {
                        self.ready.notify_one();
                    }
                    return taken;
                }
            }
            self.ready.notified().await;
        }
    }

    /// These timelines may wish again.
    pub(crate) fn granted(&self, viewers: &[ActorId]) {
        let mut state = self.state();
        for viewer in viewers {
            state.known.remove(viewer);
        }
        drop(state);
        self.room.notify_waiters();
    }

    /// How many more there is room for.
    pub(crate) fn room(&self) -> usize {
        self.most.saturating_sub(self.len())
    }

    /// How many wait or are being granted.
    pub(crate) fn len(&self) -> usize {
        self.state().known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Wish = Wish::Enrol(EnrolReason::Read);

    #[tokio::test]
    async fn one_wish_a_timeline_and_a_limit() {
        let wishes = Wishes::new(2);
        assert!(wishes.push(ActorId(1), READ));
        assert!(wishes.push(ActorId(1), Wish::Lower(0.5)), "known already");
        assert!(wishes.push(ActorId(2), READ));
        assert!(!wishes.push(ActorId(3), READ));
        assert_eq!(wishes.take(1).await, [(ActorId(1), READ)]);
        assert!(wishes.push(ActorId(1), READ), "being granted");
        assert!(!wishes.push(ActorId(3), READ));
        wishes.granted(&[ActorId(1)]);
        wishes.push_wait(ActorId(3), READ).await;
        assert_eq!(wishes.take(9).await, [(ActorId(2), READ), (ActorId(3), READ)]);
        assert_eq!((wishes.len(), wishes.room()), (2, 0));
    }
}
