//! All enrolled timelines, as this process knows them, in stripes: each has a lock for what is known, and a turn for what is done.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use skyweir_store::{Idle, IdleRule, LeastUseful, Usefulness};
use skyweir_types::{ActorId, DrawKey, Generation, Reference};

use super::line::{Lengths, Line, Took, Visits, seconds};
use super::news::News;

/// Who waits for a turn waits for those of a stripe: enough that it is seldom anybody else's.
const STRIPES: usize = 1_024;
/// What one timeline takes: its entry, in tables that are half full at the least.
const BYTES: u64 = 2 * size_of::<(ActorId, Line)>() as u64;
/// How many stripes are walked before others have the thread.
const STRIDE: usize = 64;

type Table = HashMap<ActorId, Line, RandomState>;

/// One part of all timelines.
#[derive(Default)]
struct Stripe {
    lines: Mutex<Table>,
    /// Held while floor, generation or rate of one of its timelines change, which asks the server.
    turn: tokio::sync::Mutex<()>,
}

/// All enrolled timelines.
pub(super) struct Lines {
    stripes: Box<[Stripe]>,
    count: AtomicU64,
    /// Where the next look for idle ones begins.
    idle_from: AtomicUsize,
}

/// What becomes of a reference before anything is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// Nothing is written.
    Not(Took),
    /// It is to be written to this generation, and counts already.
    To(Generation),
    /// The timeline may be full: it has to be counted first.
    Full,
}

impl Default for Lines {
    fn default() -> Self {
        let stripes = (0..STRIPES).map(|_| Stripe::default()).collect();
        Self { stripes, count: AtomicU64::new(0), idle_from: AtomicUsize::new(0) }
    }
}

impl Lines {
    fn stripe(&self, viewer: ActorId) -> &Stripe {
        &self.stripes[viewer.0 as usize % STRIPES]
    }

    fn table(stripe: &Stripe) -> MutexGuard<'_, Table> {
        stripe.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, viewer: ActorId) -> MutexGuard<'_, Table> {
        Self::table(self.stripe(viewer))
    }

    /// Waits until nobody else changes this timeline.
    pub(super) async fn turn(&self, viewer: ActorId) -> tokio::sync::MutexGuard<'_, ()> {
        self.stripe(viewer).turn.lock().await
    }

    pub(super) fn get(&self, viewer: ActorId) -> Option<Line> {
        self.of(viewer).get(&viewer).copied()
    }

    pub(super) fn has(&self, viewer: ActorId) -> bool {
        self.of(viewer).contains_key(&viewer)
    }

    fn put(&self, viewer: ActorId, line: Line) {
        if self.of(viewer).insert(viewer, line).is_none() {
            self.count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes a piece of news. One that is known already changes nothing, nor does one of before a later generation.
    pub(super) fn learn(&self, news: &News) {
        match *news {
            News::Filling { viewer, generation, rate, did_hash, at_ms } => {
                let visits = match self.get(viewer) {
                    Some(known) if known.generation >= generation => return,
                    // the row names the generation that they are of
                    Some(known) => Visits { saved: false, ..known.visits },
                    None => Visits::first(at_ms.saturating_mul(1_000)),
                };
                self.put(viewer, Line::filling(generation, did_hash, rate, visits));
            }
            News::Published { viewer, head, len } => self.update(viewer, head.generation, |line| {
                if line.is_filling() {
                    line.floor = line.floor.max(head.floor);
                    line.rate = line.rate.min(head.rate);
                    line.since_ms = Some(head.published_at);
                    // what this process has written meanwhile may be among them: rather too many than too few
                    line.len = line.len.saturating_add(len);
                }
            }),
            News::Left { viewer, generation } => self.remove(viewer, generation),
            News::Rate { viewer, generation, rate } => {
                self.update(viewer, generation, |line| line.rate = line.rate.min(rate));
            }
        }
    }

    /// Takes these for all that are enrolled. What this process knows of a generation besides stays known.
    pub(super) async fn load(&self, mut found: HashMap<ActorId, Line>) {
        for (at, stripe) in self.stripes.iter().enumerate() {
            Self::table(stripe).retain(|viewer, line| {
                let Some(now) = found.remove(viewer) else {
                    self.count.fetch_sub(1, Ordering::Relaxed);
                    return false;
                };
                let (floor, rate) = (line.floor.max(now.floor), line.rate.min(now.rate));
                *line = match now.generation == line.generation {
                    // counted or not, as it was
                    true if now.is_filling() == line.is_filling() => Line { floor, rate, ..*line },
                    true => Line { floor, rate, visits: line.visits, ..now },
                    false => now,
                };
                true
            });
            pause(at).await;
        }
        for (viewer, line) in found {
            self.put(viewer, line);
        }
    }

    /// The generations that fill.
    pub(super) async fn filling(&self) -> Vec<(ActorId, Generation)> {
        let mut filling = Vec::new();
        for (at, stripe) in self.stripes.iter().enumerate() {
            let of = |(viewer, line): (&ActorId, &Line)| (*viewer, line.generation);
            filling.extend(Self::table(stripe).iter().filter(|(_, line)| line.is_filling()).map(of));
            pause(at).await;
        }
        filling
    }

    /// Takes a timeline out, unless a later generation has begun.
    fn remove(&self, viewer: ActorId, generation: Generation) {
        let mut table = self.of(viewer);
        if table.get(&viewer).is_some_and(|line| line.generation <= generation) {
            table.remove(&viewer);
            if table.len() < table.capacity() / 4 {
                table.shrink_to_fit();
            }
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Changes what is known of a timeline, if this is still its generation.
    pub(super) fn update(&self, viewer: ActorId, generation: Generation, change: impl FnOnce(&mut Line)) {
        let mut table = self.of(viewer);
        if let Some(line) = table.get_mut(&viewer).filter(|line| line.generation == generation) {
            change(line);
        }
    }

    /// Notes that the rows of a timeline were counted: so many, when it was known as `before`. What was admitted
    /// since stays counted.
    pub(super) fn counted(&self, viewer: ActorId, before: &Line, rows: usize) {
        self.update(viewer, before.generation, |line| {
            let since = line.len.saturating_sub(before.len);
            line.len = u32::try_from(rows).unwrap_or(u32::MAX).saturating_add(since);
            line.counted = true;
        });
    }

    /// Decides about a reference, and counts it if it is to be written.
    #[inline]
    pub(super) fn admit(
        &self,
        viewer: ActorId,
        reference: &Reference,
        draw: &DrawKey,
        lengths: Lengths,
    ) -> Admitted {
        let mut table = self.of(viewer);
        let Some(line) = table.get_mut(&viewer) else { return Admitted::Not(Took::Hibernating) };
        match line.takes(viewer, reference, draw) {
            Took::Written if line.len as usize >= lengths.most(line.is_filling()) => Admitted::Full,
            Took::Written => {
                line.len += 1;
                Admitted::To(line.generation)
            }
            not => Admitted::Not(not),
        }
    }

    pub(super) fn touch(&self, viewer: ActorId, now_ms: i64) {
        if let Some(line) = self.of(viewer).get_mut(&viewer) {
            line.visits.note(now_ms);
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.count() * BYTES
    }

    /// Whose timelines are enrolled.
    pub(super) async fn viewers(&self) -> Vec<ActorId> {
        let mut all = Vec::with_capacity(self.count() as usize);
        for (at, stripe) in self.stripes.iter().enumerate() {
            all.extend(Self::table(stripe).keys());
            pause(at).await;
        }
        all
    }

    /// What no checkpoint knows of visits.
    pub(super) async fn unsaved(&self) -> Vec<(ActorId, Generation, Visits)> {
        let mut unsaved = Vec::new();
        for (at, stripe) in self.stripes.iter().enumerate() {
            let of = |(viewer, line): (&ActorId, &Line)| (*viewer, line.generation, line.visits);
            unsaved.extend(Self::table(stripe).iter().filter(|(_, line)| !line.visits.saved).map(of));
            pause(at).await;
        }
        unsaved
    }

    /// Notes that a checkpoint knows of these visits.
    pub(super) fn saved(&self, visits: &[(ActorId, Generation, Visits)]) {
        for (viewer, generation, known) in visits {
            self.update(*viewer, *generation, |line| line.visits.saved |= line.visits == *known);
        }
    }

    /// See [`skyweir_store::Timelines::idle`].
    pub(super) async fn idle(&self, rule: IdleRule, n: usize) -> Vec<Idle> {
        let (before, once_before) = (seconds(rule.read_before_ms), seconds(rule.once_before_ms));
        let is_idle = |visits: &Visits| {
            visits.last_read < before || visits.again == 0 && visits.last_read < once_before
        };
        let start = self.idle_from.load(Ordering::Relaxed);
        let mut found = Vec::new();
        for step in 0..STRIPES {
            let at = (start + step) % STRIPES;
            {
                let table = Self::table(&self.stripes[at]);
                let idle = table.iter().filter(|(_, line)| is_idle(&line.visits)).take(n - found.len());
                found
                    .extend(idle.map(|(viewer, line)| Idle { viewer: *viewer, generation: line.generation }));
            }
            if found.len() == n {
                // this stripe may hold more: the next look begins here
                self.idle_from.store(at, Ordering::Relaxed);
                break;
            }
            pause(step).await;
        }
        found
    }

    /// See [`skyweir_store::Timelines::least_useful`].
    pub(super) async fn least_useful(&self, recent_ms: i64, bytes: u64, n: usize) -> Vec<Idle> {
        let mut least = LeastUseful::new(bytes, n);
        for (at, stripe) in self.stripes.iter().enumerate() {
            for (viewer, line) in &*Self::table(stripe) {
                let Visits { last_read, again, .. } = line.visits;
                let last_read_ms = i64::from(last_read) * 1_000;
                let useful = Usefulness::of(line.is_filling(), again > 0, last_read_ms, recent_ms);
                least.offer(useful, BYTES, Idle { viewer: *viewer, generation: line.generation });
            }
            pause(at).await;
        }
        least.found()
    }
}

/// Lets others have the thread after each stretch.
async fn pause(at: usize) {
    if at % STRIDE == STRIDE - 1 {
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skyweir_types::{DidHash, ItemId, UriHash};

    const V: ActorId = ActorId(4);
    const LENGTHS: Lengths = Lengths { cap: 2, over: 1 };

    fn line(generation: u64) -> Line {
        let line = Line::filling(Generation(generation), DidHash(0), 1.0, Visits::first(0));
        Line { since_ms: Some(1), ..line }
    }

    fn admit(lines: &Lines, n: u64) -> Admitted {
        let reference =
            Reference { item: ItemId(n), sort_at: n as i64, uri_hash: UriHash(0), author: ActorId(1) };
        lines.admit(V, &reference, &DrawKey::default(), LENGTHS)
    }

    #[test]
    fn what_is_admitted_counts_until_it_may_be_full() {
        let lines = Lines::default();
        assert_eq!(admit(&lines, 1), Admitted::Not(Took::Hibernating));
        lines.put(V, line(7));
        for n in 1..=3 {
            assert_eq!(admit(&lines, n), Admitted::To(Generation(7)));
        }
        assert_eq!(admit(&lines, 4), Admitted::Full);
        // two of them were one; one more is admitted while they are counted
        let before = Line { len: 2, ..lines.get(V).unwrap() };
        lines.counted(V, &before, 1);
        assert_eq!(lines.get(V).unwrap().len, 2);
        assert_eq!(admit(&lines, 5), Admitted::To(Generation(7)));
        assert_eq!(admit(&lines, 6), Admitted::Full);
        lines.update(V, Generation(7), |line| line.floor = 9);
        assert_eq!(admit(&lines, 9), Admitted::Not(Took::Below));
    }

    #[test]
    fn what_is_said_of_another_generation_changes_nothing() {
        let lines = Lines::default();
        lines.put(V, line(7));
        lines.update(V, Generation(6), |line| line.floor = 9);
        lines.remove(V, Generation(6));
        assert_eq!((lines.get(V), lines.count()), (Some(line(7)), 1));
        lines.put(V, line(8));
        assert_eq!((lines.count(), lines.bytes()), (1, BYTES));
        lines.remove(V, Generation(8));
        assert_eq!((lines.has(V), lines.count()), (false, 0));
    }
}
