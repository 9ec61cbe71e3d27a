//! The network and the cluster that are simulated: followers and follow counts are computed, not stored, and what a
//! write takes is drawn. Everything is a function of numbers and seeds, so that the same seed makes the same run.
//!
//! Accounts have the numbers from 0 on, authors those behind them. Times are nanoseconds from a run's begin.

mod cluster;
pub(crate) mod latency;
mod measure;
pub(crate) mod network;
mod pool;
mod shards;
pub(crate) mod times;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use skyweir_types::{ActorId, DidHash, rate_for};

use self::latency::{Mixture, Table};
pub(crate) use self::measure::{Posts, Small, Way, default_batch, one_post, small_posts};
use self::times::Times;
use crate::rng::Rng;

/// Bluesky's: who follows more gets a sample.
pub(crate) const REASONABLE_LIMIT: u32 = 2_000;
/// Follow counts have a Pareto distribution. Its exponent is fitted so that of 32 M accounts a few follow "hundreds of
/// thousands" ...
pub(crate) const FOLLOWS_EXPONENT: f64 = 1.8;
/// ... and its least so that the mean is 60, which was that of the network (arXiv 2505.11608).
pub(crate) const FOLLOWS_LEAST: f64 = 60.0 * (FOLLOWS_EXPONENT - 1.0) / FOLLOWS_EXPONENT;

/// How large everything is.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// Accounts, each with a timeline.
    pub(crate) accounts: u32,
    pub(crate) shards: u32,
    /// Followers of a page.
    pub(crate) page: usize,
    /// What the reading of a page takes.
    pub(crate) page_read: Duration,
    /// A shard is hot while one of its timelines keeps as many references as if it followed so many, or more.
    pub(crate) hot_follows: f64,
}

impl Shape {
    /// Bluesky's as of its text: 32 M accounts, "hundreds" of shards, pages of 10,000; 1 ms is the bar of a page.
    pub(crate) fn of(scale: f64) -> Self {
        Self {
            accounts: (32e6 * scale) as u32,
            shards: 300,
            page: 10_000,
            page_read: Duration::from_millis(1),
            // as many hot shards at every scale
            hot_follows: 200_000.0 * scale.powf(1.0 / FOLLOWS_EXPONENT),
        }
    }
}

/// An account, hashed: the low half decides where its timeline lives, the high half how many it follows.
#[derive(Clone, Copy)]
struct Hash(u64);

impl Hash {
    fn of(account: u32) -> Self {
        Self(Rng::new(account.into()).any())
    }

    fn shard(self, shards: u32) -> u32 {
        ((u64::from(self.0 as u32) * u64::from(shards)) >> 32) as u32
    }

    /// A number in (0, 1].
    fn share(self) -> f64 {
        ((self.0 >> 32) + 1) as f64 / (1u64 << 32) as f64
    }

    fn follows(self) -> u32 {
        (FOLLOWS_LEAST * self.share().powf(-1.0 / FOLLOWS_EXPONENT)) as u32
    }
}

/// The accounts, and what a write to a calm and to a hot shard takes.
pub(crate) struct World {
    pub(crate) shape: Shape,
    /// Those who follow more than the limit, with how many.
    over: Vec<(u32, u32)>,
    /// No account with a greater [`Hash::share`] is among them.
    over_share: f64,
    calm: Table,
    hot: Table,
}

impl World {
    /// Looks for the hot shards, and fits what their writes take.
    pub(crate) fn new(shape: Shape) -> Result<Arc<Self>> {
        let over_share = (f64::from(REASONABLE_LIMIT) / FOLLOWS_LEAST).powf(-FOLLOWS_EXPONENT);
        let is_over = |account: &u32| Hash::of(*account).share() <= over_share;
        let over = (0..shape.accounts).filter(is_over).map(|account| (account, Hash::of(account).follows()));
        let over: Vec<_> = over.collect();
        let hot = hot_shards(&shape, &over, u32::MAX).iter().filter(|hot| **hot).count();
        let share = hot as f64 / f64::from(shape.shards);
        ensure!(share > P999_SHARE, "too few shards are hot ({hot}): take more accounts");
        let (calm, hot) = (Mixture::calm().table(), Mixture::hot(share, P999_SHARE).table());
        Ok(Arc::new(Self { shape, over, over_share, calm, hot }))
    }

    /// One setting of it: lossy timelines on or off, and how many writes a shard does at the same time.
    pub(crate) fn case(self: &Arc<Self>, lossy: bool, lanes: usize) -> Arc<Case> {
        let limit = if lossy { REASONABLE_LIMIT } else { u32::MAX };
        let hot = hot_shards(&self.shape, &self.over, limit);
        Arc::new(Case { world: Arc::clone(self), limit, lanes, hot })
    }

    /// How many accounts follow more than the limit.
    pub(crate) fn over(&self) -> usize {
        self.over.len()
    }

    fn follows(&self, account: u32) -> u32 {
        Hash::of(account).follows()
    }
}

/// So many of all writes take a second or more while there are hot shards.
pub(crate) const P999_SHARE: f64 = 0.001;

/// Which shards hold a timeline that is written to too often at this limit.
fn hot_shards(shape: &Shape, over: &[(u32, u32)], limit: u32) -> Vec<bool> {
    let mut hot = vec![false; shape.shards as usize];
    for (account, follows) in over {
        let kept = f64::from(*follows) * f64::from(rate_for(*follows, limit));
        hot[Hash::of(*account).shard(shape.shards) as usize] |= kept >= shape.hot_follows;
    }
    hot
}

/// See [`World::case`].
pub(crate) struct Case {
    pub(crate) world: Arc<World>,
    limit: u32,
    /// How many writes a shard does at the same time, whoever asks.
    pub(crate) lanes: usize,
    hot: Vec<bool>,
}

impl Case {
    /// How many shards are hot.
    pub(crate) fn hot_shards(&self) -> usize {
        self.hot.iter().filter(|hot| **hot).count()
    }

    /// Where a timeline lives.
    fn shard_of(&self, viewer: ActorId) -> u32 {
        Hash::of(viewer.0).shard(self.world.shape.shards)
    }

    /// The share of references that a timeline keeps.
    fn rate(&self, viewer: ActorId) -> f32 {
        let hash = Hash::of(viewer.0);
        if hash.share() > self.world.over_share { 1.0 } else { rate_for(hash.follows(), self.limit) }
    }

    /// What stands for the hash of a viewer's DID.
    fn did_hash(viewer: ActorId) -> DidHash {
        DidHash(Hash::of(viewer.0).0)
    }

    /// What the write of a reference takes, the same whoever does it when; `key` is the item's.
    fn latency(&self, key: u64, viewer: ActorId) -> u64 {
        let hash = Hash::of(viewer.0);
        let hot = self.hot[hash.shard(self.world.shape.shards) as usize];
        let table = if hot { &self.world.hot } else { &self.world.calm };
        table.at(Rng::new(hash.0 ^ key).any())
    }
}

/// The key of a run's item for [`Case::latency`].
fn key(seed: u64, item: u64) -> u64 {
    Rng::new(seed << 32 | item).any()
}
