//! The cache beside a world of commits and snapshots, in every order that a seed draws: each answer is what the asking
//! view's own snapshot shows. Calls of the cache hold a lock each, so orders of whole calls are all that there are.

use std::collections::BTreeMap;

use super::{Fenced, Heap};

const KEYS: u64 = 6;

impl Heap for u64 {
    fn heap(&self) -> usize {
        0
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

type Snapshot = BTreeMap<u64, u64>;

/// A commit goes through these in order; views come in between.
struct Commit {
    number: u64,
    changes: Vec<(u64, Option<u64>)>,
    shows: bool,
}

struct View {
    complete: u64,
    snapshot: Snapshot,
    /// Read from the snapshot, and not yet handed to the cache.
    in_hand: Option<(u64, u64)>,
}

#[derive(Default)]
struct Met {
    hits: u32,
    misses: u32,
    refused: u32,
    failed: u32,
}

struct World {
    cache: Fenced<u64, u64>,
    complete: u64,
    shown: Snapshot,
    commit: Option<Commit>,
    views: Vec<View>,
    next_value: u64,
    met: Met,
}

impl World {
    fn new(budget: u64) -> Self {
        let cache = Fenced::new(budget, 64, metrics::Gauge::noop());
        let (views, met) = (Vec::new(), Met::default());
        Self { cache, complete: 0, shown: Snapshot::new(), commit: None, views, next_value: 0, met }
    }

    /// Touches some keys, or shows what was touched, or publishes or gives up.
    fn go_on_committing(&mut self, random: &mut Random) {
        let Some(mut commit) = self.commit.take() else {
            let mut changes = Vec::new();
            for _ in 0..1 + random.below(3) {
                self.next_value += 1;
                changes.push((random.below(KEYS), (random.below(3) > 0).then_some(self.next_value)));
            }
            let number = self.complete + 1;
            changes.iter().for_each(|(key, _)| self.cache.touch(key, number));
            self.commit = Some(Commit { number, changes, shows: false });
            return;
        };
        if commit.shows {
            self.complete = commit.number;
        } else if random.below(8) == 0 {
            self.met.failed += 1;
        } else {
            for (key, value) in &commit.changes {
                match value {
                    Some(value) => self.shown.insert(*key, *value),
                    None => self.shown.remove(key),
                };
            }
            commit.shows = true;
            self.commit = Some(commit);
        }
    }

    fn read(&mut self, random: &mut Random, seed: u64) {
        let Some(at) = random.below(8).checked_rem(self.views.len() as u64) else { return };
        let view = &mut self.views[at as usize];
        if let Some((key, value)) = view.in_hand.take() {
            self.cache.insert(key, value, view.complete);
            let kept = self.cache.get(&key, view.complete) == Some(value);
            self.met.refused += u32::from(!kept);
            return;
        }
        let key = random.below(KEYS);
        let shown = view.snapshot.get(&key).copied();
        match self.cache.get(&key, view.complete) {
            Some(value) => {
                self.met.hits += 1;
                assert_eq!(Some(value), shown, "seed {seed}: key {key} as of {}", view.complete);
            }
            None => {
                self.met.misses += 1;
                view.in_hand = shown.map(|value| (key, value));
            }
        }
    }
}

fn run(seed: u64, budget: u64) -> Met {
    let mut random = Random(seed);
    let mut world = World::new(budget);
    // what a view's beginning reads first
    let mut half_begun = None;
    for _ in 0..600 {
        match random.below(10) {
            0..2 => world.go_on_committing(&mut random),
            2 => half_begun = Some(world.complete),
            3 => {
                if let Some(complete) = half_begun.take() {
                    let view = View { complete, snapshot: world.shown.clone(), in_hand: None };
                    world.views.push(view);
                }
            }
            4 if world.views.len() > 4 => {
                let at = random.below(world.views.len() as u64) as usize;
                world.views.swap_remove(at);
            }
            _ => world.read(&mut random, seed),
        }
    }
    world.met
}

#[test]
fn views_old_and_new_are_answered_as_by_their_snapshots() {
    let mut all = Met::default();
    for seed in 0..2_000 {
        let met = run(seed, 1 << 20);
        all.hits += met.hits;
        all.misses += met.misses;
        all.refused += met.refused;
        all.failed += met.failed;
    }
    // else the test says nothing
    assert!(all.hits > 10_000 && all.misses > 10_000, "{} hits, {} misses", all.hits, all.misses);
    assert!(all.refused > 1_000 && all.failed > 1_000, "{} refused, {} failed", all.refused, all.failed);
}

#[test]
fn the_budget_holds_and_a_scan_leaves_what_is_used() {
    let cache = Fenced::<u64, u64>::new(1 << 20, 80, metrics::Gauge::noop());
    let bytes = || -> u64 { cache.shards.iter().map(|shard| shard.lock().unwrap().entries.weight()).sum() };
    let used = 0..2_000;
    for _ in 0..3 {
        for key in used.clone() {
            if cache.get(&key, 0).is_none() {
                cache.insert(key, key, 0);
            }
        }
    }
    for key in 10_000..200_000 {
        cache.insert(key, key, 0);
        assert!(key % 1_000 > 0 || bytes() <= 1 << 20, "{} bytes", bytes());
    }
    assert!(bytes() > 1 << 19, "the budget is used");
    let left = used.clone().filter(|key| cache.get(key, 0).is_some()).count();
    assert!(left * 10 >= used.count() * 9, "{left} of those in use are left");
}
