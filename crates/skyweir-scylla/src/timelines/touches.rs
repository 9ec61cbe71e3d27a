//! Reads of timelines, gathered: others learn of one a minute and timeline, many in one piece of news.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use skyweir_store::Result;
use skyweir_types::ActorId;

use super::news::{News, Stream};
use crate::metrics;

/// A timeline that was told to be read is told again only after this, milliseconds: a visit is as long.
const MINUTE_MS: i64 = 60_000;
/// How many timelines are told in a minute; reads of more are known where they were made only.
const MOST: usize = 1_000_000;
/// How many reads one piece of news tells.
const TOGETHER: usize = 32;

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
            metrics::touches_dropped(1);
        }
    }

    /// Tells what was read since. What Redis doesn't take is told again a minute later, if it is read again.
    pub(crate) async fn tell(&self, stream: &Stream) -> Result<()> {
        let waiting = self.take();
        let told = stream.add(&news(&waiting)).await;
        if told.is_err() {
            metrics::touches_dropped(waiting.len() as u64);
        }
        told
    }

    fn take(&self) -> Vec<(ActorId, i64)> {
        std::mem::take(&mut self.gathered().waiting)
    }
}

fn news(reads: &[(ActorId, i64)]) -> Vec<News> {
    reads.chunks(TOGETHER).map(|reads| News::Read(reads.to_vec())).collect()
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
        assert_eq!(news(&touches.take()), [News::Read(told.into())]);
        assert_eq!(touches.take(), []);
        for viewer in 0..1_500 {
            touches.note(ActorId(viewer), 400_000);
        }
        let told: Vec<_> = news(&touches.take()).iter().map(|news| news.text().split(' ').count()).collect();
        assert_eq!((told.len(), told[0], told[46]), (47, 65, 57));
    }
}
