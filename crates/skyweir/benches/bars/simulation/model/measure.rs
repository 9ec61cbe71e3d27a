//! What is measured: posts of one author alone, and small authors' posts beside a large one.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::cluster::{Cluster, on_its_clock};
use super::network::Author;
use super::{Case, Times, pool};

/// Who writes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    /// As Bluesky's text tells it, with the page barrier or without.
    Pool { barrier: bool },
    /// Skyweir's writer, with room for so many references of one shard.
    Writer { queue: usize },
}

/// Posts of one author, each alone, seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Posts {
    /// Until the last reference.
    pub(crate) last: Vec<f64>,
    /// Until 95 of 100 references.
    pub(crate) most: Vec<f64>,
    /// Of all references.
    pub(crate) times: Times,
}

/// One post for each seed.
pub(crate) fn one_post(case: &Arc<Case>, followers: u32, way: Way, seeds: Range<u64>) -> Result<Posts> {
    let author = Author::new(&case.world, 0, followers);
    let mut posts = Posts::default();
    for seed in seeds {
        let times = match way {
            Way::Pool { barrier } => pool::one_post(case, author, barrier, seed),
            Way::Writer { queue } => on_its_clock(async {
                let mut cluster = Cluster::start(case, &[author], queue, default_batch(), seed);
                cluster.post(author).await?;
                let seen = cluster.end().await?.seen(author);
                let mut times = seen.calm;
                times.add(&seen.hot);
                Ok(times)
            })?,
        };
        posts.last.push(times.quantile(1.0));
        posts.most.push(times.quantile(0.95));
        posts.times.add(&times);
    }
    Ok(posts)
}

/// As the writer has it by default.
pub(crate) fn default_batch() -> usize {
    skyweir_writer::Config::default().shard_batch
}

/// A small author's posts, one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Small {
    pub(crate) followers: u32,
    /// How many, evenly spread over ...
    pub(crate) posts: u32,
    /// ... this time; none: that which the reading of the large author's pages takes.
    pub(crate) over: Option<Duration>,
    /// The author with so many followers posts once before the first of them.
    pub(crate) beside: u32,
    /// Whether that one does so.
    pub(crate) large: bool,
    /// The writer's.
    pub(crate) batch: usize,
}

/// What was seen of them, seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Beside {
    /// References of the small posts on calm and on hot shards.
    pub(crate) calm: Times,
    pub(crate) hot: Times,
    /// Until a small post's last reference.
    pub(crate) posts: Vec<f64>,
    /// Until the large one's last reference on a calm shard.
    pub(crate) large_calm: Vec<f64>,
}

/// Small posts and the large one; one run for each seed.
pub(crate) fn small_posts(case: &Arc<Case>, small: Small, seeds: Range<u64>) -> Result<Beside> {
    let authors = [small.beside, small.followers];
    let [large, author] = [0, 1].map(|n| Author::new(&case.world, n, authors[n as usize]));
    let queue = skyweir_writer::Config::default().shard_queue;
    let mut beside = Beside::default();
    for seed in seeds {
        let cluster = on_its_clock(async {
            let mut cluster = Cluster::start(case, &[large, author], queue, small.batch, seed);
            if small.large {
                cluster.post(large).await?;
            }
            let over = small.over.map_or_else(|| cluster.reading(large), |over| over.as_nanos() as u64);
            let every = over / u64::from(small.posts + 1);
            for n in 1..=u64::from(small.posts) {
                cluster.until(n * every).await;
                cluster.post(author).await?;
            }
            cluster.end().await
        })?;
        let (seen, of_large) = (cluster.seen(author), cluster.seen(large));
        beside.calm.add(&seen.calm);
        beside.hot.add(&seen.hot);
        beside.posts.extend(seen.last.iter().map(|ns| *ns as f64 / 1e9));
        if small.large {
            beside.large_calm.push(of_large.calm.quantile(1.0));
        }
    }
    Ok(beside)
}
