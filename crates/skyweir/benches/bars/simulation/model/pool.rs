//! Bluesky's way, as its text tells it: so many writers take one write after the other, and with the page barrier a
//! page is read when all of the one before are written.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use skyweir_types::ActorId;

use super::network::Author;
use super::{Case, Times, key};
use crate::rng::Rng;

/// Writers of one fan-out.
pub(super) const WRITERS: usize = 1_000;

/// What does one thing at a time, several of it: when each is free again.
pub(super) struct Lanes(BinaryHeap<Reverse<u64>>);

impl Lanes {
    pub(super) fn new(lanes: usize, free: u64) -> Self {
        Self((0..lanes.max(1)).map(|_| Reverse(free)).collect())
    }

    /// When the first of them is free.
    pub(super) fn free(&self) -> u64 {
        self.0.peek().map_or(0, |first| first.0)
    }

    /// The one that is free first is busy until then.
    pub(super) fn busy_until(&mut self, then: u64) {
        if let Some(mut first) = self.0.peek_mut() {
            *first = Reverse(then);
        }
    }
}

/// When each reference of one post was written. A shard does the writes in the order in which they come.
pub(super) fn one_post(case: &Case, author: Author, barrier: bool, seed: u64) -> Times {
    let shape = &case.world.shape;
    let page_read = shape.page_read.as_nanos() as u64;
    let key = key(seed, 1);
    let mut draws = Rng::new(!key);
    let mut writers = Lanes::new(WRITERS, 0);
    let mut shards: Vec<_> = (0..shape.shards).map(|_| Lanes::new(case.lanes, 0)).collect();
    let mut times = Times::default();
    let (mut read, mut written, mut after) = (0, 0, None::<ActorId>);
    loop {
        let page = author.followers_after(after, shape.page);
        read = if barrier { written.max(read) } else { read } + page_read;
        // one draw for all of a page, as in the text
        let drawn = draws.below(1 << 24) as f32 / (1 << 24) as f32;
        for viewer in page.iter().filter(|viewer| case.rate(**viewer) > drawn) {
            let shard = &mut shards[case.shard_of(*viewer) as usize];
            let done = writers.free().max(shard.free()).max(read) + case.latency(key, *viewer);
            writers.busy_until(done);
            shard.busy_until(done);
            written = written.max(done);
            times.note(done);
        }
        if page.len() < shape.page {
            return times;
        }
        after = page.last().copied();
    }
}
