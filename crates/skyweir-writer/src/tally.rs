//! The accounting of one item's fan-out, and the wait for its last reference.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use skyweir_store::{Counts, DeliveryReport, Reached, Sums};
use skyweir_types::ActorId;
use tokio::sync::Notify;

/// One fan-out's accounting. A replay makes a new one in its place, so that nothing is added twice.
#[derive(Debug)]
pub(crate) struct Tally {
    state: Mutex<State>,
    own: AtomicUsize,
    failed: AtomicU64,
    /// Pieces on their way, and one more while pages are still read.
    pending: AtomicUsize,
    empty: Notify,
    started_us: i64,
    finished_us: AtomicI64,
}

#[derive(Debug)]
struct State {
    /// Of all pages that were read.
    sums: Sums,
    /// Pages whose references aren't all written, oldest first. The last may still be open.
    stretches: VecDeque<Stretch>,
    /// The number of the first of them.
    first: u32,
    /// Of all pages before them.
    written: Sums,
    /// Where those end, if that is news.
    reached: Option<ActorId>,
}

/// Pages whose references are sent together.
#[derive(Debug, Default)]
struct Stretch {
    sums: Sums,
    /// Pieces that were sent less those that are written; the former are added when it ends.
    unwritten: i64,
    /// The last follower, once all pieces are sent.
    end: Option<ActorId>,
}

impl State {
    /// The stretch that is open.
    fn open(&mut self) -> Option<&mut Stretch> {
        self.stretches.back_mut().filter(|stretch| stretch.end.is_none())
    }

    /// Goes past the stretches that are written; whether there were some.
    fn advance(&mut self) -> bool {
        let before = self.first;
        while let Some(Stretch { sums, unwritten: 0, end: Some(end) }) = self.stretches.front() {
            self.written += *sums;
            self.reached = Some(*end);
            self.stretches.pop_front();
            self.first += 1;
        }
        self.first != before
    }
}

/// Which sums a piece belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Range {
    /// The author's own timeline: in none of them.
    Own,
    /// Followers of this stretch.
    Followers(u32),
}

impl Tally {
    /// Begins where somebody got to before.
    pub(crate) fn new(started_us: i64, before: Sums) -> Self {
        let stretches = VecDeque::new();
        let state = State { sums: before, stretches, first: 0, written: before, reached: None };
        Self {
            state: Mutex::new(state),
            own: AtomicUsize::new(0),
            failed: AtomicU64::new(0),
            pending: AtomicUsize::new(1),
            empty: Notify::new(),
            started_us,
            finished_us: AtomicI64::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a page of so many followers: the number of its stretch.
    pub(crate) fn page(&self, followers: usize) -> u32 {
        let mut state = self.state();
        if state.open().is_none() {
            state.stretches.push_back(Stretch::default());
        }
        let page = Sums { pages: 1, followers: followers as u64, ..Sums::default() };
        state.sums += page;
        if let Some(stretch) = state.open() {
            stretch.sums += page;
        }
        state.first + (state.stretches.len() - 1) as u32
    }

    /// Notes followers of the open stretch who are not enrolled.
    pub(crate) fn hibernating(&self, followers: usize) {
        let mut state = self.state();
        state.sums.counts.hibernating += followers as u64;
        if let Some(stretch) = state.open() {
            stretch.sums.counts.hibernating += followers as u64;
        }
    }

    /// All pieces of the open stretch, so many, are sent; `end` is its last follower. Nothing if none is open.
    pub(crate) fn close(&self, end: ActorId, pieces: usize) {
        let mut state = self.state();
        if let Some(stretch) = state.open() {
            stretch.unwritten += pieces as i64;
            stretch.end = Some(end);
            state.advance();
        }
    }

    /// How far all is written, if that has changed since it was asked.
    pub(crate) fn reached(&self) -> Option<Reached> {
        let mut state = self.state();
        let after = state.reached.take()?;
        Some(Reached { after, sums: state.written })
    }

    /// One piece more is on its way.
    pub(crate) fn sent(&self) {
        self.pending.fetch_add(1, Ordering::AcqRel);
    }

    /// A piece was written.
    pub(crate) fn applied(&self, range: Range, counts: Counts) {
        let advanced = match range {
            Range::Own => {
                self.own.store(1, Ordering::Release);
                false
            }
            Range::Followers(stretch) => {
                let mut state = self.state();
                state.sums.counts += counts;
                let at = stretch.wrapping_sub(state.first) as usize;
                if let Some(stretch) = state.stretches.get_mut(at) {
                    stretch.sums.counts += counts;
                    stretch.unwritten -= 1;
                }
                state.advance()
            }
        };
        if self.release() || advanced {
            self.empty.notify_waiters();
        }
    }

    /// All pages are read and sent: waits until the last piece is written, and tells how far all is meanwhile.
    pub(crate) async fn settled(&self, tell: impl Fn(Reached)) {
        self.release();
        loop {
            let notified = self.empty.notified();
            if self.pending.load(Ordering::Acquire) == 0 {
                return;
            }
            if let Some(reached) = self.reached() {
                tell(reached);
            }
            notified.await;
        }
    }

    /// Whether it was the last one.
    fn release(&self) -> bool {
        self.pending.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// References whose write failed; taken back once it has succeeded.
    pub(crate) fn failed(&self, references: usize) {
        self.failed.fetch_add(references as u64, Ordering::AcqRel);
    }

    /// See [`Tally::failed`].
    pub(crate) fn recovered(&self, references: usize) {
        self.failed.fetch_sub(references as u64, Ordering::AcqRel);
    }

    /// Every reference is readable or accounted for.
    pub(crate) fn finish(&self, now_us: i64) {
        // zero means "not yet"
        self.finished_us.store(now_us.max(1), Ordering::Release);
    }

    /// Followers whose references are written, or need not be.
    pub(crate) fn accounted(&self) -> u64 {
        let counts = self.state().sums.counts;
        counts.written + counts.below_floor + counts.sampled_out + counts.hibernating
    }

    pub(crate) fn report(&self) -> DeliveryReport {
        let finished_us = self.finished_us.load(Ordering::Acquire);
        let Sums { pages, followers, counts } = self.state().sums;
        DeliveryReport {
            followers,
            written: counts.written,
            below_floor: counts.below_floor,
            sampled_out: counts.sampled_out,
            hibernating: counts.hibernating,
            failed: self.failed.load(Ordering::Acquire),
            own: self.own.load(Ordering::Acquire) == 1,
            finished: finished_us != 0,
            pages,
            started_us: self.started_us,
            finished_us,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_settles_with_the_last_piece_and_its_sums_balance() {
        let tally = Tally::new(7, Sums::default());
        let stretch = tally.page(10);
        tally.hibernating(4);
        assert_eq!(tally.page(5), stretch, "nothing was sent yet");
        tally.hibernating(5);
        for _ in 0..3 {
            tally.sent();
        }
        tally.failed(3);
        assert_eq!(tally.report().failed, 3);
        tally.recovered(3);
        tally.applied(Range::Followers(stretch), Counts { written: 3, ..Counts::default() });
        tally.applied(Range::Own, Counts { written: 1, ..Counts::default() });
        {
            let settled = tally.settled(|_| {});
            tokio::pin!(settled);
            tokio::select! {
                biased;
                () = &mut settled => panic!("a piece is missing"),
                () = std::future::ready(()) => {}
            }
            tally.applied(
                Range::Followers(stretch),
                Counts { below_floor: 1, sampled_out: 2, ..Counts::default() },
            );
            settled.await;
        }
        tally.finish(0);
        let report = tally.report();
        assert!(report.own && report.finished);
        assert_eq!((report.pages, report.followers, report.failed), (2, 15, 0));
        let sum = report.written + report.below_floor + report.sampled_out + report.hibernating;
        assert_eq!((report.written, sum), (3, report.followers));
    }
    /// Page by page as they are written, in order: what is written of later ones waits for the earlier ones.
    #[test]
    fn it_reaches_what_is_written_with_all_before() {
        let before = Sums { pages: 2, followers: 30, counts: Counts { written: 30, ..Counts::default() } };
        let tally = Tally::new(7, before);
        let written = |written| Counts { written, ..Counts::default() };
        let (first, second) = {
            let first = tally.page(10);
            tally.hibernating(7);
            // faster than it is closed
            tally.applied(Range::Followers(first), written(1));
            tally.close(ActorId(99), 2);
            let second = tally.page(4);
            tally.close(ActorId(120), 1);
            (first, second)
        };
        // behind them one of which nobody is enrolled, and one that is still open
        tally.page(5);
        tally.hibernating(5);
        tally.close(ActorId(130), 0);
        tally.page(1);
        tally.applied(Range::Followers(second), written(4));
        assert_eq!(tally.reached(), None);
        tally.applied(Range::Followers(first), written(2));
        let Some(Reached { after, sums }) = tally.reached() else { panic!("three pages are written") };
        let counts = Counts { written: 37, hibernating: 12, ..Counts::default() };
        assert_eq!((after, sums), (ActorId(130), Sums { pages: 5, followers: 49, counts }));
        assert_eq!(tally.reached(), None, "no news");
        assert_eq!(tally.report().followers, 50);
        // nothing is open: nothing is closed
        tally.close(ActorId(140), 0);
        assert_eq!(tally.reached().map(|reached| reached.after), Some(ActorId(140)));
        tally.close(ActorId(150), 9);
        assert_eq!(tally.reached(), None);
    }
}
