//! How many requests one shard gets at a time: more while it answers, half as many when it doesn't.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

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

/// The window of one shard. Who came first gets the next place.
pub(super) struct Window {
    places: Arc<Semaphore>,
    state: Mutex<State>,
}

struct State {
    aimd: Aimd,
    /// How many places there are, taken ones too.
    there: usize,
}

/// A place in a [`Window`], given back when it is dropped.
pub(super) struct Place {
    window: Arc<Window>,
    permit: Option<OwnedSemaphorePermit>,
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
        let aimd = Aimd::new(most);
        let there = aimd.limit() as usize;
        Self { places: Arc::new(Semaphore::new(there)), state: Mutex::new(State { aimd, there }) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place.
    pub(super) async fn place(self: &Arc<Self>) -> Place {
        let permit = Arc::clone(&self.places).acquire_owned().await.ok();
        Place { window: Arc::clone(self), permit, outcome: Outcome::Unknown }
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
        let places = &self.window.places;
        let mut state = self.window.state();
        match self.outcome {
            Outcome::Unknown => {}
            Outcome::Succeeded => state.aimd.succeeded(),
            Outcome::Suffered => state.aimd.suffered(),
        }
        let wanted = state.aimd.limit() as usize;
        // those that are taken go when they are given back, before who waits gets them
        match self.permit.take() {
            Some(permit) if state.there > wanted => {
                permit.forget();
                state.there -= 1;
            }
            permit => drop(permit),
        }
        state.there -= places.forget_permits(state.there.saturating_sub(wanted));
        if state.there < wanted {
            places.add_permits(wanted - state.there);
            state.there = wanted;
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
