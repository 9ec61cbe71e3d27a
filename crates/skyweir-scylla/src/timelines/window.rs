//! How many requests one shard gets at a time: more while it answers, half as many when it doesn't.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Additive increase, multiplicative decrease: a pure count.
#[derive(Clone, Copy, Debug)]
struct Aimd {
    limit: f32,
    most: f32,
    /// Outcomes that still belong to what was sent before the last decrease: they shrink it no further.
    old: u32,
}

impl Aimd {
    fn new(most: u32) -> Self {
        let most = most.max(1) as f32;
        Self { limit: most, most, old: 0 }
    }

    fn limit(&self) -> u32 {
        self.limit as u32
    }

    fn succeeded(&mut self) {
        self.old = self.old.saturating_sub(1);
        self.limit = (self.limit + 1.0 / self.limit).min(self.most);
    }

    fn suffered(&mut self) {
        if self.old == 0 {
            self.old = self.limit();
            self.limit = (self.limit / 2.0).max(1.0);
        }
        self.old -= 1;
    }
}

/// The window of one shard.
pub(super) struct Window {
    state: Mutex<State>,
    freed: Notify,
}

struct State {
    aimd: Aimd,
    busy: u32,
}

/// A place in a [`Window`], given back when it is dropped.
pub(super) struct Place {
    window: Arc<Window>,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Neither good nor bad: cancelled, or it failed for a reason that has nothing to do with load.
    Unknown,
    Succeeded,
    Suffered,
}

impl Window {
    /// One that never gets wider than this.
    pub(super) fn new(most: u32) -> Self {
        Self { state: Mutex::new(State { aimd: Aimd::new(most), busy: 0 }), freed: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place.
    pub(super) async fn place(self: &Arc<Self>) -> Place {
        loop {
            {
                let mut state = self.state();
                if state.busy < state.aimd.limit() {
                    state.busy += 1;
                    return Place { window: Arc::clone(self), outcome: Outcome::Unknown };
                }
            }
            self.freed.notified().await;
        }
    }
}

impl Place {
    /// The shard has answered in time.
    pub(super) fn succeeded(mut self) {
        self.outcome = Outcome::Succeeded;
    }

    /// The shard was too slow, or said that it has too much to do.
    pub(super) fn suffered(&mut self) {
        self.outcome = Outcome::Suffered;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.window.state();
        state.busy -= 1;
        match self.outcome {
            Outcome::Unknown => {}
            Outcome::Succeeded => state.aimd.succeeded(),
            Outcome::Suffered => state.aimd.suffered(),
        }
        let free = state.aimd.limit().saturating_sub(state.busy);
        drop(state);
        // one for this place, one for the place by which the window may have grown
        for _ in 0..free.min(2) {
            self.window.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    #[test]
    fn it_halves_once_for_what_was_under_way_and_grows_by_one_a_round() {
        let mut aimd = Aimd::new(8);
        assert_eq!(aimd.limit(), 8);
        for _ in 0..8 {
            aimd.suffered();
            assert_eq!(aimd.limit(), 4);
        }
        aimd.suffered();
        assert_eq!(aimd.limit(), 2);
        // the other one of the four that were under way
        for _ in 0..3 {
            aimd.suffered();
        }
        for _ in 0..20 {
            aimd.suffered();
        }
        assert_eq!(aimd.limit(), 1, "never less than one");
        let mut rounds = 0;
        while aimd.limit() < 8 {
            for _ in 0..aimd.limit() + 1 {
                aimd.succeeded();
            }
            rounds += 1;
            assert!(rounds < 20);
        }
        assert!(rounds >= 7, "{rounds}");
        (0..100).for_each(|_| aimd.succeeded());
        assert_eq!(aimd.limit(), 8);
    }

    fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test]
    async fn who_finds_it_full_waits_for_a_place() {
        let window = Arc::new(Window::new(2));
        let mut first = window.place().await;
        let second = window.place().await;
        let mut third = pin!(window.place());
        let mut fourth = pin!(window.place());
        assert!(poll(third.as_mut()).is_pending() && poll(fourth.as_mut()).is_pending());
        // halved: one place left, which is taken
        first.suffered();
        drop(first);
        assert!(poll(third.as_mut()).is_pending());
        second.succeeded();
        // and two again, as one was answered
        let Poll::Ready(third) = poll(third.as_mut()) else { panic!("there is a place") };
        let Poll::Ready(_fourth) = poll(fourth.as_mut()) else { panic!("there is another") };
        let mut fifth = pin!(window.place());
        assert!(poll(fifth.as_mut()).is_pending());
        // what is cancelled gives its place back and says nothing
        drop(third);
        assert!(poll(fifth.as_mut()).is_ready());
    }
}
