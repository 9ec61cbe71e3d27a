//! A Space-Saving sketch: the heaviest of a stream, in a fixed number of counters.

use std::collections::HashMap;

use foldhash::fast::FixedState;
use skyweir_types::ActorId;

/// What the sketch knows of one timeline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Counter {
    pub(super) viewer: ActorId,
    /// At least its weight.
    pub(super) count: f64,
    /// The count is over its weight by no more than this.
    pub(super) error: f64,
}

/// Counters for the heaviest timelines. With `n` counters, every timeline whose weight is more than an `n`th of all
/// weight has one, and no error is greater than an `n`th of all weight.
pub(super) struct Sketch {
    /// A heap, the least count on top.
    counters: Vec<Counter>,
    /// Where each timeline's counter is.
    places: HashMap<ActorId, usize, FixedState>,
    most: usize,
}

impl Sketch {
    /// With so many counters.
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(1);
        Self {
            counters: Vec::with_capacity(most),
            places: HashMap::with_capacity_and_hasher(most, FixedState::default()),
            most,
        }
    }

    /// Adds to a timeline's weight. One without a counter takes the least one's, and its count as the error.
    pub(super) fn add(&mut self, viewer: ActorId, weight: f64) {
        let at = match self.places.get(&viewer) {
            Some(at) => *at,
            None if self.counters.len() < self.most => {
                self.counters.push(Counter { viewer, count: 0.0, error: 0.0 });
                // nothing weighs less: it belongs on top
                self.rise(self.counters.len() - 1)
            }
            None => {
                let least = &mut self.counters[0];
                self.places.remove(&least.viewer);
                (least.viewer, least.error) = (viewer, least.count);
                0
            }
        };
        self.counters[at].count += weight;
        self.sink(at);
    }

    fn rise(&mut self, mut at: usize) -> usize {
        while at > 0 && self.counters[at].count < self.counters[(at - 1) / 2].count {
            let parent = (at - 1) / 2;
            self.counters.swap(at, parent);
            self.places.insert(self.counters[at].viewer, at);
            at = parent;
        }
        at
    }

    fn sink(&mut self, mut at: usize) {
        loop {
            let children = at * 2 + 1..(at * 2 + 3).min(self.counters.len());
            let count = |child: &usize| self.counters[*child].count;
            let least = children.min_by(|one, other| count(one).total_cmp(&count(other)));
            match least {
                Some(child) if self.counters[child].count < self.counters[at].count => {
                    self.counters.swap(at, child);
                    self.places.insert(self.counters[at].viewer, at);
                    at = child;
                }
                _ => break,
            }
        }
        self.places.insert(self.counters[at].viewer, at);
    }

    /// Multiplies everything.
    pub(super) fn scale(&mut self, factor: f64) {
        for counter in &mut self.counters {
            counter.count *= factor;
            counter.error *= factor;
        }
    }

    /// The heaviest, heaviest first.
    pub(super) fn top(&self, n: usize) -> Vec<Counter> {
        let mut all = self.counters.clone();
        all.sort_unstable_by(|one, other| other.count.total_cmp(&one.count));
        all.truncate(n);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Whatever comes in whatever order: who weighs enough is found, and no count is off by more than it says.
    #[test]
    fn the_heavy_are_found_and_the_bounds_hold() {
        let mut state = 7u64;
        let mut below = |n: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        };
        let mut replaced = 0;
        for _ in 0..500 {
            let (most, viewers, steps) = (1 + below(20) as usize, 1 + below(200), below(2_000));
            let mut sketch = Sketch::new(most);
            let mut exact = BTreeMap::<ActorId, f64>::new();
            for step in 0..steps {
                // the smaller a number, the more often it comes
                let range = 1 + below(viewers);
                let viewer = ActorId(below(range) as u32);
                let weight = below(5) as f64;
                sketch.add(viewer, weight);
                *exact.entry(viewer).or_default() += weight;
                if step % 700 == 699 {
                    sketch.scale(0.25);
                    exact.values_mut().for_each(|known| *known *= 0.25);
                }
            }
            let total: f64 = exact.values().sum();
            let found = sketch.top(usize::MAX);
            assert!(found.len() <= most && found.is_sorted_by(|one, next| one.count >= next.count));
            for counter in &found {
                let weight = exact[&counter.viewer];
                assert!(counter.count >= weight - 1e-9 && counter.count - counter.error <= weight + 1e-9);
                assert!(counter.error <= total / most as f64 + 1e-9);
                replaced += u64::from(counter.error > 0.0);
            }
            for (viewer, weight) in exact {
                let known = found.iter().any(|counter| counter.viewer == viewer);
                assert!(known || weight <= total / most as f64, "{viewer} with {weight} of {total}");
            }
        }
        assert!(replaced > 1_000);
    }
}
