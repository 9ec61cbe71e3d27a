//! The crowd: one celebrity whom everyone follows, small authors with a heavy tail of followers, and those who read.

use anyhow::{Context as _, Result};
use skyweir_types::{ActorId, Event, Reference};

use crate::events;
use crate::rng::Rng;

/// 2025-10-09, milliseconds: the first item's `sortAt`. The others follow a millisecond apart.
const FIRST_MS: i64 = 1_760_000_000_000;
/// How many items each small author has before anything is measured.
const OLD_ITEMS: usize = 4;
/// How many followers a small author has in the mean, readers among them.
const MEAN_FOLLOWERS: usize = 400;
/// How many small authors a reader follows.
const READER_FOLLOWS: usize = 100;
/// How many accounts a hibernating timeline's owner follows.
const SLEEPER_FOLLOWS: usize = 1_000;

/// Sizes of a crowd.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Accounts whose timelines are enrolled and at their cap; all follow the celebrity.
    pub(crate) viewers: u32,
    /// Small authors.
    pub(crate) authors: u32,
    /// Viewers that follow many authors.
    pub(crate) readers: u32,
    /// Accounts with hibernating timelines.
    pub(crate) sleepers: u32,
    /// How many references a timeline keeps.
    pub(crate) cap: usize,
    /// The first small authors have just so many followers, spread evenly among the viewers; the others' are drawn.
    pub(crate) graded: &'static [u32],
    /// So many viewers, every eighth one from the first, follow all small authors.
    pub(crate) mass_followers: u32,
}

impl Shape {
    /// The design's sizes, scaled.
    pub(crate) fn of(scale: f64) -> Self {
        let scaled = |n: f64, least: u32| ((n * scale) as u32).max(least);
        Self {
            viewers: scaled(2_000_000.0, 2_000),
            authors: scaled(5_000.0, 1_500),
            readers: scaled(5_000.0, 200),
            sleepers: scaled(300.0, 60),
            cap: 100,
            graded: &[],
            mass_followers: 0,
        }
    }
}

/// The crowd, and all that its timelines have to hold.
pub(crate) struct Crowd {
    pub(crate) shape: Shape,
    /// (follower, author), rising.
    edges: Vec<(u32, u32)>,
    /// Items of each author, oldest first; the celebrity is author 0.
    pub(crate) items: Vec<Vec<Reference>>,
    /// How many enrolled followers each author has.
    pub(crate) followers: Vec<u32>,
    next_ms: i64,
}

/// The celebrity.
pub(crate) const CELEBRITY: u32 = 0;

impl Crowd {
    /// Draws who follows whom. Account 0 is the celebrity; authors, viewers (readers first) and sleepers follow.
    pub(crate) fn draw(shape: Shape, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let first = shape.authors + 1;
        let sleeper = first + shape.viewers;
        let mut edges: Vec<(u32, u32)> = (first..sleeper).map(|viewer| (viewer, CELEBRITY)).collect();
        // Zipf's law for the followers, so that they are MEAN_FOLLOWERS in the mean with the readers'
        let of_readers = shape.readers as usize * READER_FOLLOWS / shape.authors as usize;
        let wanted = shape.authors as usize * MEAN_FOLLOWERS.saturating_sub(of_readers);
        let weight = |author: u32| f64::from(author).powf(-0.8);
        let weights: f64 = (1..first).map(weight).sum();
        for (author, count) in (1..).zip(shape.graded) {
            let count = (*count).min(shape.viewers);
            let spread = |n: u32| (u64::from(n) * u64::from(shape.viewers) / u64::from(count)) as u32;
            edges.extend((0..count).map(|n| (first + spread(n), author)));
        }
        for author in 1 + shape.graded.len() as u32..first {
            let count = (wanted as f64 * weight(author) / weights).round() as usize;
            let count = count.min(shape.viewers as usize / 4);
            edges.extend(rng.distinct(count, shape.viewers).into_iter().map(|v| (first + v, author)));
        }
        let many = |n| move |rng: &mut Rng| rng.distinct(n, shape.authors);
        for (accounts, follows) in [
            (first..first + shape.readers, many(READER_FOLLOWS)),
            (sleeper..sleeper + shape.sleepers, many(SLEEPER_FOLLOWS)),
        ] {
            for account in accounts {
                edges.extend(follows(&mut rng).into_iter().map(|author| (account, author + 1)));
            }
        }
        for mass in (first..sleeper).step_by(8).take(shape.mass_followers as usize) {
            edges.extend((1..first).map(|author| (mass, author)));
        }
        edges.sort_unstable();
        edges.dedup();
        let mut followers = vec![0; first as usize];
        edges
            .iter()
            .filter(|(follower, _)| *follower < sleeper)
            .for_each(|(_, author)| followers[*author as usize] += 1);
        Self { shape, edges, items: vec![Vec::new(); first as usize], followers, next_ms: FIRST_MS }
    }

    /// Small authors whose followers are drawn.
    pub(crate) fn small_authors(&self) -> std::ops::Range<u32> {
        1 + self.shape.graded.len() as u32..self.shape.authors + 1
    }

    /// Forgets items that no first page can show any more.
    pub(crate) fn forget_old_items(&mut self, keep: usize) {
        for items in &mut self.items {
            let old = items.len().saturating_sub(keep);
            items.drain(..old);
        }
    }

    /// All accounts.
    pub(crate) fn accounts(&self) -> std::ops::Range<u32> {
        0..self.sleepers().end
    }

    /// Those with full timelines.
    pub(crate) fn viewers(&self) -> std::ops::Range<u32> {
        let first = self.shape.authors + 1;
        first..first + self.shape.viewers
    }

    /// Those of the viewers that follow all small authors. With shards by the number's remainder (128 of them) they
    /// lie in every eighth shard.
    pub(crate) fn mass_followers(&self) -> impl Iterator<Item = u32> + use<> {
        self.viewers().step_by(8).take(self.shape.mass_followers as usize)
    }

    /// Those of the viewers that follow many authors.
    pub(crate) fn readers(&self) -> std::ops::Range<u32> {
        let first = self.viewers().start;
        first..first + self.shape.readers
    }

    /// Those with hibernating timelines.
    pub(crate) fn sleepers(&self) -> std::ops::Range<u32> {
        let first = self.viewers().end;
        first..first + self.shape.sleepers
    }

    /// Who follows whom.
    pub(crate) fn edges(&self) -> &[(u32, u32)] {
        &self.edges
    }

    /// How many edges there are.
    pub(crate) fn edge_count(&self) -> usize {
        self.edges.len()
    }

    /// The items that there are before anything is measured, in the order of their time, with their authors: each
    /// small author's, among the celebrity's, which alone fill a timeline.
    pub(crate) fn old_items(&mut self) -> Vec<(u32, i64)> {
        let authors = self.shape.authors as usize;
        let mut all: Vec<u32> = (0..authors * OLD_ITEMS).map(|n| (n % authors) as u32 + 1).collect();
        let every = (all.len() / self.shape.cap).max(1);
        for n in 0..self.shape.cap {
            all.insert((n * (every + 1)).min(all.len()), CELEBRITY);
        }
        all.into_iter().map(|author| (author, self.take_ms())).collect()
    }

    /// The time of the next item.
    pub(crate) fn take_ms(&mut self) -> i64 {
        self.next_ms += 1;
        self.next_ms
    }

    /// The first of so many times in a row.
    pub(crate) fn take_many_ms(&mut self, n: usize) -> i64 {
        let first = self.next_ms + 1;
        self.next_ms += n as i64;
        first
    }

    /// A new post, noted as what has to be in the timelines.
    pub(crate) fn post(&mut self, author: u32) -> Result<Event> {
        let sort_at = self.take_ms();
        let reference = Reference {
            sort_at,
            author: ActorId(author),
            item: Default::default(),
            uri_hash: Default::default(),
        };
        self.items.get_mut(author as usize).context("no such author")?.push(reference);
        events::post(&events::did(author)?, sort_at)
    }

    /// The newest `n` references that a timeline has to show, newest first.
    pub(crate) fn timeline(&self, viewer: u32, n: usize) -> Vec<Reference> {
        let from = self.edges.partition_point(|(follower, _)| *follower < viewer);
        let follows = self.edges[from..].iter().take_while(|(follower, _)| *follower == viewer);
        let own = Some(viewer).filter(|viewer| (*viewer as usize) < self.items.len());
        let authors = follows.map(|(_, author)| *author).chain(own);
        let mut all: Vec<Reference> = authors
            .flat_map(|author| {
                let items = &self.items[author as usize];
                items[items.len().saturating_sub(n)..].iter().copied()
            })
            .collect();
        all.sort_unstable_by_key(|reference| std::cmp::Reverse(reference.sort_at));
        all.truncate(n);
        all
    }
}
