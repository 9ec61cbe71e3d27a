//! The accounting of one item's fan-out, and the wait for its last reference.

use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use skyweir_store::{Counts, DeliveryReport};
use tokio::sync::Notify;

/// What became of the followers of all pages that were read.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    pages: u32,
    followers: u64,
    counts: Counts,
}

/// One fan-out's accounting. A replay makes a new one in its place, so that nothing is added twice.
#[derive(Debug)]
pub(crate) struct Tally {
    sums: Mutex<Sums>,
    own: AtomicUsize,
    failed: AtomicU64,
    /// Pieces on their way, and one more while pages are still read.
    pending: AtomicUsize,
    empty: Notify,
    started_us: i64,
    finished_us: AtomicI64,
}

/// Which sums a piece belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Range {
    /// The author's own timeline: in none of them.
    Own,
    /// Followers.
    Followers,
}

impl Tally {
    pub(crate) fn new(started_us: i64) -> Self {
        Self {
            sums: Mutex::default(),
            own: AtomicUsize::new(0),
            failed: AtomicU64::new(0),
            pending: AtomicUsize::new(1),
            empty: Notify::new(),
            started_us,
            finished_us: AtomicI64::new(0),
        }
    }

    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a page of so many followers.
    pub(crate) fn page(&self, followers: usize) {
        let mut sums = self.sums();
        sums.pages += 1;
        sums.followers += followers as u64;
    }

    /// Notes followers who are not enrolled.
    pub(crate) fn hibernating(&self, followers: usize) {
        self.sums().counts.hibernating += followers as u64;
    }

    /// One piece more is on its way.
    pub(crate) fn sent(&self) {
        self.pending.fetch_add(1, Ordering::AcqRel);
    }

    /// A piece was written.
    pub(crate) fn applied(&self, range: Range, counts: Counts) {
        match range {
            Range::Own => self.own.store(1, Ordering::Release),
            Range::Followers => self.sums().counts += counts,
        }
        self.release();
    }

    /// All pages are read and sent: waits until the last piece is written.
    pub(crate) async fn settled(&self) {
        self.release();
        loop {
            let notified = self.empty.notified();
            if self.pending.load(Ordering::Acquire) == 0 {
                return;
            }
            notified.await;
        }
    }

    fn release(&self) {
        if self.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.empty.notify_waiters();
        }
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
        let counts = self.sums().counts;
        counts.written + counts.below_floor + counts.sampled_out + counts.hibernating
    }

    pub(crate) fn report(&self) -> DeliveryReport {
        let finished_us = self.finished_us.load(Ordering::Acquire);
        let Sums { pages, followers, counts } = *self.sums();
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
        let tally = Tally::new(7);
        tally.page(10);
        tally.hibernating(4);
        tally.page(5);
        tally.hibernating(5);
        for _ in 0..3 {
            tally.sent();
        }
        tally.failed(3);
        assert_eq!(tally.report().failed, 3);
        tally.recovered(3);
        tally.applied(Range::Followers, Counts { written: 3, ..Counts::default() });
        tally.applied(Range::Own, Counts { written: 1, ..Counts::default() });
        {
            let settled = tally.settled();
            tokio::pin!(settled);
            tokio::select! {
                biased;
                () = &mut settled => panic!("a piece is missing"),
                () = std::future::ready(()) => {}
            }
            tally.applied(Range::Followers, Counts { below_floor: 1, sampled_out: 2, ..Counts::default() });
            settled.await;
        }
        tally.finish(0);
        let report = tally.report();
        assert!(report.own && report.finished);
        assert_eq!((report.pages, report.followers, report.failed), (2, 15, 0));
        let sum = report.written + report.below_floor + report.sampled_out + report.hibernating;
        assert_eq!((report.written, sum), (3, report.followers));
    }
}
