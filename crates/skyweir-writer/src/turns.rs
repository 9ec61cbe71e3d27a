//! Turns to read and split a page: who has had the fewest pages comes first, and nobody waits for ever.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Every so-many-th turn goes to whoever has waited longest, however many pages it has had.
const OLDEST_EVERY: u64 = 4;

/// Hands out turns.
///
/// A job asks with the number of pages that it has had, and the least number is served first; equals in the order of
/// asking. So in front of a job's first page there are only first pages of others that asked before it, and for every
/// three of them one of a job that has waited longer, however many large jobs there are. A job that has had more pages
/// than all others still gets every fourth turn at last.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    free: usize,
    asked: u64,
    given: u64,
    /// By pages had, then by the order of asking.
    waiting: BTreeMap<(u32, u64), oneshot::Sender<Turn>>,
    /// The same by the order of asking only: pages had.
    oldest: BTreeMap<u64, u32>,
}

impl State {
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let (mut pages, mut ticket) = *self.waiting.first_key_value()?.0;
        self.given += 1;
        if self.given.is_multiple_of(OLDEST_EVERY) {
            (ticket, pages) = self.oldest.first_key_value().map(|(ticket, pages)| (*ticket, *pages))?;
        }
        self.oldest.remove(&ticket);
        self.waiting.remove(&(pages, ticket))
    }
}

/// A turn; dropped, it goes to the next who waits.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Option<Arc<Turns>>,
}

impl Turns {
    /// None are handed out before [`Turns::open`].
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// So many turns at the same time, from now on. Call once.
    pub(crate) fn open(self: &Arc<Self>, at_once: usize) {
        for _ in 0..at_once {
            self.give();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn of a job that has had so many pages.
    pub(crate) async fn take(self: &Arc<Self>, pages: u32) -> Turn {
        let granted = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                return Turn { turns: Some(Arc::clone(self)) };
            }
            let ticket = state.asked;
            state.asked += 1;
            let (grant, granted) = oneshot::channel();
            state.waiting.insert((pages, ticket), grant);
            state.oldest.insert(ticket, pages);
            granted
        };
        granted.await.expect("who waits is forgotten only with a turn")
    }

    /// Gives a turn on. What a job left behind that was cut off gets none.
    fn give(self: &Arc<Self>) {
        loop {
            let next = {
                let mut state = self.state();
                let Some(next) = state.next() else {
                    state.free += 1;
                    return;
                };
                next
            };
            match next.send(Turn { turns: Some(Arc::clone(self)) }) {
                Ok(()) => return,
                Err(mut unwanted) => unwanted.turns = None,
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.turns.take() {
            turns.give();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::JoinSet;

    fn open(at_once: usize) -> Arc<Turns> {
        let turns = Turns::new();
        turns.open(at_once);
        turns
    }

    /// Lets the tasks go on until they wait.
    async fn settle() {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
    }

    /// How many turns of others a job's first page waits for, beside so many jobs that always want another page.
    async fn in_front_of_a_small_one(large: u32) -> usize {
        let turns = open(1);
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut jobs = JoinSet::new();
        let held = turns.take(0).await;
        for job in 0..large {
            let (turns, order) = (Arc::clone(&turns), Arc::clone(&order));
            jobs.spawn(async move {
                for page in 1..40 {
                    let _turn = turns.take(page).await;
                    order.lock().unwrap().push(job);
                    tokio::task::yield_now().await;
                }
            });
        }
        settle().await;
        let (asking, asked) = (Arc::clone(&turns), Arc::clone(&order));
        jobs.spawn(async move {
            let _turn = asking.take(0).await;
            asked.lock().unwrap().push(u32::MAX);
        });
        settle().await;
        drop(held);
        jobs.join_all().await;
        let order = order.lock().unwrap();
        assert_eq!(order.len() as u32, large * 39 + 1);
        order.iter().position(|job| *job == u32::MAX).unwrap()
    }

    #[tokio::test]
    async fn a_small_job_waits_for_as_many_turns_beside_fifty_large_ones_as_beside_one() {
        for large in [1, 5, 50] {
            let in_front = in_front_of_a_small_one(large).await;
            assert!(in_front <= 1, "{in_front} turns beside {large} large jobs");
        }
    }

    #[tokio::test]
    async fn small_jobs_without_end_do_not_starve_a_large_one() {
        let turns = open(1);
        let mut held = Some(turns.take(0).await);
        let mut large = Box::pin(turns.take(1_000));
        assert!(futures_ready(large.as_mut()).await.is_none());
        let mut small: std::collections::VecDeque<_> = (0..3).map(|_| Box::pin(turns.take(0))).collect();
        for one in &mut small {
            assert!(futures_ready(one.as_mut()).await.is_none());
        }
        for turn in 1..=OLDEST_EVERY {
            held.take();
            if let Some(turn_of_large) = futures_ready(large.as_mut()).await {
                assert_eq!(turn, OLDEST_EVERY);
                drop(turn_of_large);
                return;
            }
            held = Some(small.pop_front().unwrap().await);
            small.push_back(Box::pin(turns.take(0)));
            assert!(futures_ready(small.back_mut().unwrap().as_mut()).await.is_none());
        }
        panic!("the large one got no turn");
    }

    #[tokio::test]
    async fn who_was_cut_off_while_waiting_keeps_no_turn() {
        let turns = open(1);
        let held = turns.take(0).await;
        let mut granted = Box::pin(turns.take(0));
        let mut gone = Box::pin(turns.take(0));
        assert!(futures_ready(granted.as_mut()).await.is_none());
        assert!(futures_ready(gone.as_mut()).await.is_none());
        drop(gone);
        drop(held);
        // this one has a turn that it never took
        drop(granted);
        assert!(futures_ready(Box::pin(turns.take(9)).as_mut()).await.is_some());
    }

    /// Polls once.
    async fn futures_ready<F: Future + Unpin>(future: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            done = future => Some(done),
            () = std::future::ready(()) => None,
        }
    }
}
