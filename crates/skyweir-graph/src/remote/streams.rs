//! Streams of pages that nobody reads from at the moment: some are kept, who waits the longest is closed first.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skyweir_proto::skyweir::graph::v1::FollowersPage;
use tonic::Streaming;

use super::servers::Server;

/// A stream, and who sends it.
pub(crate) struct Open {
    pub(crate) server: Arc<Server>,
    pub(crate) pages: Streaming<FollowersPage>,
}

/// The streams that wait. A fan-out that waits for a slow shard must not take a stream from one that doesn't, however
/// many there are: it loses its own, and opens another one at its page.
pub(crate) struct Streams<T = Open> {
    most: usize,
    state: Mutex<State<T>>,
}

struct State<T> {
    /// Rises with the order of coming.
    next: u64,
    waiting: BTreeMap<u64, T>,
}

/// What a stream is found by, as long as it is kept.
#[derive(Clone, Copy)]
pub(crate) struct Ticket(u64);

impl<T> Streams<T> {
    /// Keeps at most so many.
    pub(crate) fn new(most: usize) -> Self {
        Self { most: most.max(1), state: Mutex::new(State { next: 0, waiting: BTreeMap::new() }) }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a stream until it is taken, or closed to make room.
    pub(crate) fn keep(&self, stream: T) -> Ticket {
        let (closed, ticket) = {
            let mut state = self.state();
            let closed = if state.waiting.len() < self.most { None } else { state.waiting.pop_first() };
            let ticket = state.next;
            state.next += 1;
            state.waiting.insert(ticket, stream);
            (closed, ticket)
        };
        drop(closed);
        Ticket(ticket)
    }

    /// Takes a stream back; `None` if it was closed.
    pub(crate) fn take(&self, ticket: Ticket) -> Option<T> {
        let Ticket(ticket) = ticket;
        self.state().waiting.remove(&ticket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_that_waits_the_longest_makes_room() {
        let streams = Streams::new(2);
        let [first, second] = ["first", "second"].map(|stream| streams.keep(stream));
        assert_eq!(streams.take(first), Some("first"));
        // it comes back, and is the newest
        let [first, third] = ["first", "third"].map(|stream| streams.keep(stream));
        assert_eq!(
            (streams.take(second), streams.take(first), streams.take(third)),
            (None, Some("first"), Some("third"))
        );
    }
}
