//! The network that is read for the first time, and its service.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use skyweir_embedded::{Config, EmbeddedStore, Rings, RingsConfig};
use skyweir_store::{HookedTimelines, Store as _, Timelines as _};
use skyweir_types::{ActorId, DrawKey};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

use super::{Counting, Publications};
use crate::load;
use crate::machine::Watch;
use crate::report::Report;
use crate::rng::Rng;
use crate::served::{Setting, compose, fan_out_runtime};

/// 2025-10-09, milliseconds: the first item's `sortAt`. The others follow a millisecond apart.
const FIRST_MS: i64 = 1_760_000_000_000;
/// How many items each author has.
const ITEMS: u32 = 4;
/// How many authors the others follow.
const FOLLOWS: usize = 60;
/// How many rows are one transaction.
const TOGETHER: usize = 20_000;
const CAP: usize = 100;
/// Bytes of a timeline at its cap, and of what is there with a few of them in each slice already; about.
const A_TIMELINE: u64 = 1_500;
const FEW_TIMELINES: u64 = 1_000_000;

/// Sizes of the network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Accounts with items.
    pub(super) authors: u32,
    /// Accounts that follow all of these.
    mass_followers: u32,
    /// Accounts whose timelines are read often.
    regulars: u32,
    /// Accounts whose timelines a crawler reads once.
    crawled: u32,
    /// Accounts whose readers come back all at once.
    returning: u32,
}

impl Sizes {
    pub(super) fn of(scale: f64) -> Self {
        let scaled = |n: f64, least: u32| ((n * scale) as u32).max(least);
        Self {
            authors: scaled(100_000.0, 5_000),
            mass_followers: 3,
            regulars: 200,
            crawled: scaled(20_000.0, 1_000),
            returning: scaled(500.0, 50),
        }
    }

    /// A memory budget with room for all readers, and for a quarter of those that a crawler reads.
    fn budget(self) -> u64 {
        let readers = self.mass_followers + self.regulars + self.returning;
        FEW_TIMELINES + u64::from(readers + self.crawled / 4) * A_TIMELINE
    }
}

/// Authors first, then those who follow them.
pub(super) struct Network {
    pub(super) io: Runtime,
    pub(super) sizes: Sizes,
    address: std::net::SocketAddr,
    rings: Rings,
    counting: Arc<Counting>,
    /// Whom the others follow, by reader from the first of the regulars on.
    follows: Vec<Vec<u32>>,
    fan_out: Runtime,
    stop: CancellationToken,
    tasks: JoinSet<Result<()>>,
    _store: EmbeddedStore,
}

impl Network {
    pub(super) fn start(report: &mut Report, dir: &Path, sizes: Sizes) -> Result<Self> {
        let cores = std::thread::available_parallelism()?.get();
        let io = Builder::new_multi_thread().thread_name("io").worker_threads(cores).enable_all().build()?;
        let fan_out = fan_out_runtime(Setting::new()?.fan_out_threads)?;
        let watch = Watch::start()?;
        let small = Config {
            data_dir: dir.to_owned(),
            item_cache_mb: 8,
            follow_cache_mb: 2,
            name_cache_mb: 4,
            ..Config::default()
        };
        let store = EmbeddedStore::open(small)?;
        let follows = io.block_on(fill(&store, sizes))?;
        report.note(format!(
            "loaded in {:.0} s; a memory budget of {} KiB for the timelines",
            watch.took()?.wall,
            sizes.budget() >> 10
        ));
        let config = RingsConfig { cap: CAP, memory_bytes: sizes.budget(), ..RingsConfig::default() };
        let rings = Rings::open(&store, &config, DrawKey::default())?;
        let counting = Arc::new(Counting::default());
        let counted = Arc::new(HookedTimelines::new(Arc::new(rings.clone()), counting.clone()));
        let (_, _, tasks, stop, address) = io.block_on(compose(&store, counted, CAP, &fan_out))?;
        Ok(Self { io, sizes, address, rings, counting, follows, fan_out, stop, tasks, _store: store })
    }

    /// Whether memory was too short for some timelines that were read.
    pub(super) fn was_short(&self) -> bool {
        let Sizes { mass_followers, regulars, crawled, returning, .. } = self.sizes;
        self.rings.enrolled() < u64::from(mass_followers + regulars + crawled + returning)
    }

    /// The `sortAt` of each item that the first page of a reader has to show; `None` for a mass follower, who is shown
    /// a sample.
    pub(super) fn must_show(&self, viewer: u32, page: usize) -> Option<Vec<i64>> {
        let follows = &self.follows[viewer.checked_sub(self.regulars().start)? as usize];
        let at = |author: u32, round: u32| FIRST_MS + i64::from(author + round * self.sizes.authors);
        let mut all: Vec<i64> =
            follows.iter().flat_map(|author| (0..ITEMS).map(|round| at(*author, round))).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        all.truncate(page);
        Some(all)
    }

    /// A connection of its own.
    pub(super) async fn connect(&self) -> Result<Channel> {
        Ok(Endpoint::from_shared(format!("http://{}", self.address))?.connect().await?)
    }

    pub(super) fn mass_followers(&self) -> Range<u32> {
        after(0..self.sizes.authors, self.sizes.mass_followers)
    }

    pub(super) fn regulars(&self) -> Range<u32> {
        after(self.mass_followers(), self.sizes.regulars)
    }

    pub(super) fn crawled(&self) -> Range<u32> {
        after(self.regulars(), self.sizes.crawled)
    }

    pub(super) fn returning(&self) -> Range<u32> {
        after(self.crawled(), self.sizes.returning)
    }

    pub(super) fn publications(&self) -> Publications {
        self.counting.all()
    }

    /// Waits until all these timelines were published.
    pub(super) async fn enrolled(&self, viewers: Range<u32>) -> Result<()> {
        for _ in 0..6_000 {
            let published = self.publications();
            if viewers.clone().all(|viewer| published.contains_key(&viewer)) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("some timelines are not enrolled after a minute; {} are", self.rings.enrolled())
    }

    pub(super) fn stop(mut self) -> Result<()> {
        self.stop.cancel();
        let outcome = self.io.block_on(async {
            while let Some(ended) = self.tasks.join_next().await {
                ended.context("a part panicked")??;
            }
            Ok(())
        });
        self.fan_out.shutdown_background();
        outcome
    }
}

fn after(range: Range<u32>, n: u32) -> Range<u32> {
    range.end..range.end + n
}

/// Accounts, items and follows; whom each but the mass followers follows.
async fn fill(store: &EmbeddedStore, sizes: Sizes) -> Result<Vec<Vec<u32>>> {
    let Sizes { authors, mass_followers, regulars, crawled, returning } = sizes;
    let first = authors + mass_followers;
    let end = first + regulars + crawled + returning;
    load::accounts(store, 0..end).await?;
    let items: Vec<(u32, i64)> =
        (0..authors * ITEMS).map(|n| (n % authors, FIRST_MS + i64::from(n))).collect();
    for items in items.chunks(TOGETHER) {
        let mut txn = store.begin().await?;
        for (author, sort_at) in items {
            load::item(&mut *txn, *author, *sort_at).await?;
        }
        txn.commit().await?;
    }
    let mut rng = Rng::new(21);
    let mut records = Rng::new(22);
    let follows: Vec<Vec<u32>> = (first..end).map(|_| rng.distinct(FOLLOWS, authors)).collect();
    let all = (authors..first).flat_map(|follower| (0..authors).map(move |author| (follower, author)));
    let some = (first..)
        .zip(&follows)
        .flat_map(|(follower, follows)| follows.iter().map(move |author| (follower, *author)));
    let edges: Vec<_> = all.chain(some).collect();
    for edges in edges.chunks(TOGETHER) {
        let mut txn = store.begin().await?;
        for (follower, author) in edges {
            load::follow(&mut *txn, &mut records, ActorId(*follower), ActorId(*author)).await?;
        }
        txn.commit().await?;
    }
    Ok(follows)
}
