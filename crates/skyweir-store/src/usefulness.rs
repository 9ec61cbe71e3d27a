//! Which timelines are missed least: how stores order them when memory runs short.

use std::collections::BinaryHeap;

use skyweir_types::{ActorId, Generation};

use crate::Idle;

/// Reads closer together than this many seconds are one visit: who pages down a timeline reads it once.
const VISIT_SECONDS: i64 = 60;

/// Whether a read begins a new visit; both times in seconds since 1970.
#[must_use]
pub fn is_visit(last_read: i64, now: i64) -> bool {
    now - last_read >= VISIT_SECONDS
}

/// How useful a timeline is, the least useful first: those that were never visited again after they were enrolled; the
/// others; those read lately; those that still fill. Among equals the one that was read longest ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Usefulness {
    rank: u8,
    last_read_ms: i64,
}

impl Usefulness {
    /// Of one that is filling or not, was visited again or not, and was last read at this time; what was read at or
    /// after `recent_ms` was read lately.
    #[must_use]
    pub fn of(filling: bool, again: bool, last_read_ms: i64, recent_ms: i64) -> Self {
        let rank = match (filling, last_read_ms >= recent_ms, again) {
            (true, ..) => 3,
            (_, true, _) => 2,
            (.., true) => 1,
            _ => 0,
        };
        Self { rank, last_read_ms }
    }
}

/// Picks the least useful of all timelines offered, as many as hold so many bytes together and no more than so many.
#[derive(Debug)]
pub struct LeastUseful {
    bytes: u64,
    most: usize,
    /// The most useful of them on top.
    picked: BinaryHeap<Picked>,
    sum: u64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Picked {
    useful: Usefulness,
    viewer: ActorId,
    generation: Generation,
    bytes: u64,
}

impl LeastUseful {
    /// Nothing is picked yet.
    #[must_use]
    pub fn new(bytes: u64, most: usize) -> Self {
        Self { bytes, most, picked: BinaryHeap::new(), sum: 0 }
    }

    /// Takes a timeline into account that holds so many bytes.
    pub fn offer(&mut self, useful: Usefulness, bytes: u64, idle: Idle) {
        let enough = self.sum >= self.bytes || self.picked.len() >= self.most;
        if enough && self.picked.peek().is_none_or(|top| top.useful <= useful) {
            return;
        }
        self.sum += bytes;
        self.picked.push(Picked { useful, viewer: idle.viewer, generation: idle.generation, bytes });
        while let Some(top) = self.picked.peek()
            && (self.sum - top.bytes >= self.bytes || self.picked.len() > self.most)
        {
            self.sum -= top.bytes;
            self.picked.pop();
        }
    }

    /// What was picked, the least useful first.
    #[must_use]
    pub fn found(self) -> Vec<Idle> {
        let idle = |one: Picked| Idle { viewer: one.viewer, generation: one.generation };
        self.picked.into_sorted_vec().into_iter().map(idle).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_read_ones_go_first_and_filling_ones_last() {
        let of = |filling, again, last_read_ms| Usefulness::of(filling, again, last_read_ms, 100);
        let rising = [
            of(false, false, 10),
            of(false, false, 99),
            of(false, true, 5),
            of(false, true, 99),
            of(false, true, 100),
            of(false, false, 101),
            of(true, true, 1),
        ];
        assert!(rising.is_sorted_by(|one, next| one < next), "{rising:?}");
    }

    #[test]
    fn it_picks_the_least_useful_and_no_more_than_it_takes() {
        let mut state = 1u64;
        let mut below = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        for _ in 0..2_000 {
            let (bytes, most) = (below(200), below(60) as usize);
            let mut least = LeastUseful::new(bytes, most);
            let mut sorted = Vec::new();
            for n in 0..below(80) as u32 {
                // no two are equally useful
                let useful = Usefulness::of(false, true, below(50) as i64 * 100 + i64::from(n), i64::MAX);
                let held = below(9);
                least.offer(useful, held, Idle { viewer: ActorId(n), generation: Generation(1) });
                sorted.push((useful, held, ActorId(n)));
            }
            sorted.sort_unstable();
            let mut sum = 0;
            let wanted = sorted.iter().take(most).take_while(|(_, held, _)| {
                let before = sum;
                sum += held;
                before < bytes
            });
            let wanted: Vec<_> = wanted.map(|(.., viewer)| *viewer).collect();
            let found: Vec<_> = least.found().iter().map(|idle| idle.viewer).collect();
            assert_eq!(found, wanted, "{bytes} bytes, {most} at most");
        }
    }
}
