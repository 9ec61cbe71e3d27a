//! Reads of timelines, gathered: others learn of one a minute and timeline, many in one piece of news.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use skyweir_types::ActorId;

use super::news::News;
use crate::metrics;

/// A timeline that was told to be read is told again only after this, milliseconds: a visit is as long.
const MINUTE_MS: i64 = 60_000;
/// How many timelines are told in a minute; reads of more are known where they were made only.
const MOST: usize = 1_000_000;
/// How many reads one piece of news tells.
const TOGETHER: usize = 1_000;

#[derive(Default)]
struct Gathered {
    /// Read, and not told yet.
    waiting: Vec<(ActorId, i64)>,
    /// Read within the minute that began then.
    known: HashSet<ActorId>,
    since_ms: i64,
}

/// Reads that others haven't been told of.
#[derive(Default)]
pub(crate) struct Touches {
    gathered: Mutex<Gathered>,
}

impl Touches {
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
        if gathered.known.len() < MOST && gathered.waiting.len() < MOST {
            gathered.known.insert(viewer);
            gathered.waiting.push((viewer, now_ms));
        } else {
            metrics::touch_dropped();
        }
    }

    /// Takes what is to be told. What is lost on the way is told again a minute later, if it is read again.
    pub(crate) fn take(&self) -> Vec<News> {
        let waiting = std::mem::take(&mut self.gathered().waiting);
        waiting.chunks(TOGETHER).map(|reads| News::Read(reads.to_vec())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeline_is_told_once_a_minute() {
        let touches = Touches::default();
        for (viewer, now_ms) in [(1, 100_000), (2, 130_000), (1, 159_999), (1, 160_000), (1, 170_000)] {
            touches.note(ActorId(viewer), now_ms);
        }
        let told = [(ActorId(1), 100_000), (ActorId(2), 130_000), (ActorId(1), 160_000)];
        assert_eq!(touches.take(), [News::Read(told.into())]);
        assert_eq!(touches.take(), []);
        for viewer in 0..1_500 {
            touches.note(ActorId(viewer), 400_000);
        }
        let told: Vec<_> = touches.take().iter().map(|news| news.text().split(' ').count()).collect();
        assert_eq!(told, [2_001, 1_001]);
    }
}
