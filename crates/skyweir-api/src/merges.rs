//! Pages that only the merge can give: a few at once, and those who want the same one share it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skyweir_types::{ActorId, Position};
use tokio::sync::{Mutex as AsyncMutex, Semaphore};

use crate::page::{Filters, Page};
use crate::{Error, metrics};

/// Which page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Wanted {
    pub(crate) viewer: ActorId,
    pub(crate) from: Position,
    pub(crate) limit: usize,
    pub(crate) filters: Filters,
}

/// The last merge of a page, and its place in the order of arrivals and beginnings.
#[derive(Default)]
struct Last {
    begun: u64,
    page: Option<Page>,
}

type Slot = Arc<AsyncMutex<Last>>;

/// All merges under way. There is no more to keep than there are requests.
pub(crate) struct Merges {
    at_once: Semaphore,
    /// One for each request that has or wants a merge.
    asking: Semaphore,
    most_asking: usize,
    order: AtomicU64,
    slots: Mutex<HashMap<Wanted, Slot>>,
}

impl Merges {
    /// So many merges at once. Of all requests that may run a quarter is left to those that need none: else whoever
    /// waits for a merge would stand before reads that take no time.
    pub(crate) fn new(at_once: usize, max_requests: usize) -> Self {
        let at_once = Semaphore::new(at_once.clamp(1, Semaphore::MAX_PERMITS));
        let most_asking = (max_requests - max_requests / 4).clamp(1, Semaphore::MAX_PERMITS);
        let asking = Semaphore::new(most_asking);
        Self { at_once, asking, most_asking, order: AtomicU64::new(1), slots: Mutex::default() }
    }

    /// The page, from a merge that begins after this call: one's own, or that of somebody else who came before. So a
    /// page is never older than the question, however many ask.
    ///
    /// # Errors
    /// [`Error::Overloaded`] when too many ask; those of the merge.
    pub(crate) async fn page<F, R>(&self, wanted: Wanted, merge: F) -> Result<Page, Error>
    where
        F: FnOnce() -> R,
        R: Future<Output = Result<Page, Error>>,
    {
        let Ok(_asking) = self.asking.try_acquire() else {
            metrics::refused("overload");
            return Err(Error::Overloaded(self.most_asking));
        };
        let arrived = self.next();
        let ask = Asked::new(self, wanted);
        let mut last = ask.slot.lock().await;
        if let Some(page) = last.page.as_ref().filter(|_| last.begun > arrived) {
            metrics::merge_shared();
            metrics::page("merge", 0, page.from_merge, 0);
            return Ok(page.clone());
        }
        let _permit = self.at_once.acquire().await.expect("never closed");
        let begun = self.next();
        let page = merge().await?;
        *last = Last { begun, page: Some(page.clone()) };
        Ok(page)
    }

    fn next(&self) -> u64 {
        self.order.fetch_add(1, Ordering::Relaxed)
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Wanted, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request's interest in a page. The last one to lose it takes the slot away.
struct Asked<'m> {
    merges: &'m Merges,
    wanted: Wanted,
    slot: Slot,
}

impl<'m> Asked<'m> {
    fn new(merges: &'m Merges, wanted: Wanted) -> Self {
        let slot = Arc::clone(merges.slots().entry(wanted).or_default());
        Self { merges, wanted, slot }
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut slots = self.merges.slots();
        // the map's and this one: nobody else can come by it while the map is locked
        if Arc::strong_count(&self.slot) == 2 {
            slots.remove(&self.wanted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use tokio::sync::Notify;
    use tokio::task::{LocalSet, yield_now};

    fn wanted(viewer: u32) -> Wanted {
        Wanted { viewer: ActorId(viewer), from: Position::TOP, limit: 50, filters: Filters::default() }
    }

    fn named(cursor: &str) -> Page {
        Page { cursor: cursor.into(), ..Page::default() }
    }

    /// Lets everything run that can.
    async fn settle() {
        for _ in 0..50 {
            yield_now().await;
        }
    }

    #[derive(Default)]
    struct Counted {
        begun: Cell<usize>,
        running: Cell<usize>,
        most: Cell<usize>,
        go: Notify,
    }

    impl Counted {
        async fn merge(&self) -> Result<Page, Error> {
            self.begun.set(self.begun.get() + 1);
            self.running.set(self.running.get() + 1);
            self.most.set(self.most.get().max(self.running.get()));
            let name = self.begun.get().to_string();
            self.go.notified().await;
            self.running.set(self.running.get() - 1);
            Ok(named(&name))
        }
    }

    #[tokio::test]
    async fn those_who_wait_share_a_merge_that_began_after_they_came() {
        let (merges, counted) = (std::rc::Rc::new(Merges::new(4, 100)), std::rc::Rc::new(Counted::default()));
        LocalSet::new()
            .run_until(async {
                let ask = || {
                    let (merges, counted) = (merges.clone(), counted.clone());
                    tokio::task::spawn_local(async move {
                        merges.page(wanted(1), || counted.merge()).await.unwrap().cursor
                    })
                };
                let first = ask();
                settle().await;
                let others = [ask(), ask(), ask()];
                settle().await;
                assert_eq!(counted.begun.get(), 1, "the others wait for their turn");
                counted.go.notify_one();
                settle().await;
                assert_eq!(counted.begun.get(), 2, "what the first one saw may be too old for the others");
                let late = ask();
                settle().await;
                counted.go.notify_one();
                settle().await;
                counted.go.notify_one();
                assert_eq!(first.await.unwrap(), "1");
                for other in others {
                    assert_eq!(other.await.unwrap(), "2");
                }
                assert_eq!(late.await.unwrap(), "3");
                assert!(merges.slots().is_empty(), "nothing is kept for nobody");
            })
            .await;
    }

    #[tokio::test]
    async fn a_limit_on_merges_and_none_left_behind_by_those_who_leave() {
        let (merges, counted) = (std::rc::Rc::new(Merges::new(2, 100)), std::rc::Rc::new(Counted::default()));
        LocalSet::new()
            .run_until(async {
                let ask = |viewer| {
                    let (merges, counted) = (merges.clone(), counted.clone());
                    tokio::task::spawn_local(async move {
                        merges.page(wanted(viewer), || counted.merge()).await.map(|page| page.cursor)
                    })
                };
                let all: Vec<_> = (0..6).map(ask).collect();
                settle().await;
                assert_eq!((counted.begun.get(), merges.slots().len()), (2, 6));
                // one that runs and one that waits
                all[0].abort();
                all[5].abort();
                settle().await;
                assert_eq!((counted.begun.get(), merges.slots().len()), (3, 4));
                while counted.running.get() > 1 || counted.begun.get() < 5 {
                    counted.go.notify_one();
                    settle().await;
                }
                counted.go.notify_waiters();
                settle().await;
                assert!(merges.slots().is_empty());
                assert_eq!(counted.most.get(), 3, "two, and the one that was dropped");
            })
            .await;
    }

    #[tokio::test]
    async fn a_quarter_of_all_requests_is_left_to_others() {
        let (merges, counted) = (std::rc::Rc::new(Merges::new(1, 8)), std::rc::Rc::new(Counted::default()));
        LocalSet::new()
            .run_until(async {
                let ask = |viewer| {
                    let (merges, counted) = (merges.clone(), counted.clone());
                    tokio::task::spawn_local(
                        async move { merges.page(wanted(viewer), || counted.merge()).await },
                    )
                };
                // two of them wait for the same page
                let mut asking: Vec<_> = [0, 0, 1, 2, 3, 4].into_iter().map(ask).collect();
                settle().await;
                for refused in [ask(0), ask(9)] {
                    settle().await;
                    assert!(refused.is_finished(), "it is told at once");
                    assert!(matches!(refused.await.unwrap(), Err(Error::Overloaded(6))));
                }
                asking.remove(0).abort();
                settle().await;
                asking.push(ask(9));
                while !asking.iter().all(tokio::task::JoinHandle::is_finished) {
                    counted.go.notify_one();
                    settle().await;
                }
                for one in asking {
                    assert!(one.await.unwrap().is_ok());
                }
                assert!(merges.slots().is_empty());
            })
            .await;
    }

    #[tokio::test]
    async fn an_error_is_nobody_elses() {
        let merges = Merges::new(1, 1);
        let failed = merges.page(wanted(1), async || Err(Error::Limit)).await;
        assert!(failed.is_err());
        assert_eq!(merges.page(wanted(1), async || Ok(named("x"))).await.unwrap().cursor, "x");
    }
}
