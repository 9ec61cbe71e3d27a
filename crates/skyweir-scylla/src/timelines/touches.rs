//! Reads of timelines, gathered: others learn of one a minute and timeline, many together.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use skyweir_store::Result;
use skyweir_types::ActorId;

use super::reads::{Read, Reads};
use crate::config::Config;
use crate::metrics;

/// How often reads are told, and heard.
pub(crate) const TELL: Duration = Duration::from_secs(1);
/// A timeline that was told to be read is told again only after this, milliseconds: a visit is as long.
const MINUTE_MS: i64 = 60_000;

#[derive(Default)]
struct Gathered {
    /// Read, and not told yet.
    waiting: Vec<Read>,
    /// Read within the minute that began then.
    known: HashSet<ActorId>,
    since_ms: i64,
}

/// Reads that others haven't been told of.
pub(crate) struct Touches {
    /// How many timelines are told in a minute.
    most: usize,
    gathered: Mutex<Gathered>,
}

impl Touches {
    pub(crate) fn new(config: &Config) -> Self {
        Self { most: config.timelines.reads_most, gathered: Mutex::default() }
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a read.
    pub(crate) fn note(&self, viewer: ActorId, now_ms: i64) {
        let mut gathered = self.gathered();
        if now_ms.saturating_sub(gathered.since_ms) >= MINUTE_MS {
            gathered.known.clear();
            gathered.since_ms = now_ms;
        }
        if gathered.known.contains(&viewer) {
            return;
        }
        if gathered.known.len() < self.most && gathered.waiting.len() < self.most {
            gathered.known.insert(viewer);
            gathered.waiting.push((viewer, now_ms));
        } else {
            metrics::touches_dropped(1);
        }
    }

    /// Tells what was read since. What Redis doesn't take is told again a minute later, if it is read again.
    pub(crate) async fn tell(&self, reads: &Reads) -> Result<()> {
        let waiting = self.take();
        let told = reads.add(&waiting).await;
        if told.is_err() {
            metrics::touches_dropped(waiting.len() as u64);
        }
        told
    }

    fn take(&self) -> Vec<Read> {
        std::mem::take(&mut self.gathered().waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touches(most: usize) -> Touches {
        Touches { most, gathered: Mutex::default() }
    }

    #[test]
    fn a_timeline_is_told_once_a_minute() {
        let touches = touches(9);
        for (viewer, now_ms) in [(1, 100_000), (2, 130_000), (1, 159_999), (1, 160_000), (1, 170_000)] {
            touches.note(ActorId(viewer), now_ms);
        }
        assert_eq!(touches.take(), [(ActorId(1), 100_000), (ActorId(2), 130_000), (ActorId(1), 160_000)]);
        assert_eq!(touches.take(), []);
    }

    #[test]
    fn so_many_are_told_in_a_minute_and_no_more() {
        let touches = touches(3);
        let note = |viewers: std::ops::Range<u32>, now_ms| {
            viewers.for_each(|viewer| touches.note(ActorId(viewer), now_ms));
        };
        note(0..9, 100_000);
        assert_eq!(touches.take().len(), 3);
        note(0..9, 110_000);
        assert_eq!(touches.take(), []);
        note(0..9, 160_000);
        // nobody takes them for a minute
        note(0..9, 220_000);
        assert_eq!(touches.take(), [0, 1, 2].map(|viewer| (ActorId(viewer), 160_000)));
    }
}
