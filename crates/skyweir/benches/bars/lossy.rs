//! Hot shards and the lossy limit, in the manner of the before and after that Bluesky published.
//!
//! jazco.dev, 2025-02-19: a write to a shard took 0.6 ms in the mean and 15 ms at the 99th percentile, accounts that
//! follow hundreds of thousands made shards hot, pages of 10,000 waited for their slowest write, and P99 of a
//! large fan-out fell from 5–10 minutes to below 10 seconds (−96 %) once such accounts got a sample.
//! The model made of that, put before each write to the real rings: a shard does one call at a time, a call takes
//! 0.6 ms, and 15 ms more for each reference that a mass follower's timeline keeps. Mass followers follow all
//! authors; so a shard's writes take what its mass followers draw.

mod barrier;
mod shards;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use skyweir_store::{Deliveries as _, HookedTimelines, Timelines};
use skyweir_types::{Clock, ItemId, rate_for};
use tokio::time::Instant;

use self::shards::{Model, SlowShards};
use crate::celebrity::apply;
use crate::crowd::{CELEBRITY, Shape};
use crate::load::{self, NEVER_MS};
use crate::machine::quantile;
use crate::report::{Plot, Report};
use crate::rng::Rng;
use crate::served::{Served, Setting};

/// How many accounts a mass follower is taken to follow.
const FOLLOWS: u32 = 100_000;
/// As by default: who follows more gets a sample.
const REASONABLE_LIMIT: u32 = 2_000;
/// How many mass followers there are: with 128 shards four in every eighth one.
const MASS_FOLLOWERS: u32 = 64;
/// How often a small author posts, in the mean, at random: four mass followers then keep their shard busy for 0.8 of
/// the time.
const POST_EVERY: Duration = Duration::from_millis(77);
/// How often the celebrity posts: 0.06 of the time of a hot shard.
const CELEBRITY_EVERY: Duration = Duration::from_secs(1);

/// What differs between the rows.
#[derive(Clone, Copy)]
struct Variant {
    crowd: &'static str,
    mass_followers: bool,
    lossy: bool,
    barrier: bool,
}

impl Variant {
    /// All of them, the worst last.
    fn all() -> impl Iterator<Item = Self> {
        let crowds = [
            ("no mass followers", false, false),
            ("mass followers, lossy on", true, true),
            ("mass followers, lossy off", true, false),
        ];
        crowds.into_iter().flat_map(|(crowd, mass_followers, lossy)| {
            [false, true].map(|barrier| Self { crowd, mass_followers, lossy, barrier })
        })
    }

    fn name(&self) -> String {
        format!("{}, {}", self.crowd, if self.barrier { "page barrier" } else { "no barrier" })
    }

    fn rate(&self) -> f32 {
        if self.lossy { rate_for(FOLLOWS, REASONABLE_LIMIT) } else { 1.0 }
    }
}

/// What one variant showed, milliseconds.
struct Seen {
    name: String,
    pages: Vec<f64>,
    fan_outs: Vec<f64>,
    writes: Vec<f64>,
}

/// Runs the variants one after the other on one crowd.
pub(crate) fn run(report: &mut Report, dir: &Path, scale: f64) -> Result<()> {
    let shape = Shape {
        viewers: ((200_000.0 * scale) as u32).max(20_000),
        authors: 500,
        readers: 200,
        sleepers: 1,
        cap: 100,
        graded: &[],
        mass_followers: MASS_FOLLOWERS,
    };
    let lasts = Duration::from_secs_f64((30.0 * scale).clamp(4.0, 30.0));
    report.bar(
        "hot shards: with and without accounts that follow 100,000, page barrier against none, lossy off and on",
        &format!(
            "a model with Bluesky's figures (jazco.dev, 2025-02-19): a shard writes one call after the other, a call \
             takes 0.6 ms, and 15 ms more for each reference that goes into a mass follower's timeline; \
             {MASS_FOLLOWERS} mass followers, who follow everyone, in 16 of 128 shards; {} s each of a small author's \
             post every {} ms in the mean and of a post to {} followers every {} s; a page of the latter is timed from \
             its first piece at a shard to its last one written, a fan-out from the event in hand; real rings, real \
             writer, but for the barrier, which the benchmark emulates: all pieces of a page are written before its \
             next page is read",
            lasts.as_secs(),
            POST_EVERY.as_millis(),
            shape.viewers,
            CELEBRITY_EVERY.as_secs()
        ),
    );
    let slow = Arc::new(SlowShards::default());
    let hook = Arc::clone(&slow);
    let between =
        move |rings| -> Arc<dyn Timelines> { Arc::new(HookedTimelines::new(Arc::new(rings), hook.clone())) };
    let mut served = Served::with(report, dir, shape, &Setting { between: &between, ..Setting::new()? })?;
    let mut all = Vec::new();
    for (step, variant) in Variant::all().enumerate() {
        println!("   step {} of 6: {}", step + 1, variant.name());
        all.push(measure(&mut served, &slow, variant, lasts)?);
    }
    slow.end();
    served.read_back(report)?;
    tell(report, &mut all);
    served.stop()
}

/// Posts for a while, waits for the rest, and gathers what it took.
fn measure(served: &mut Served, slow: &Arc<SlowShards>, variant: Variant, lasts: Duration) -> Result<Seen> {
    let mass: Vec<u32> = served.crowd.mass_followers().collect();
    served.io.block_on(async {
        for viewer in &mass {
            load::enrol_at(&served.rings, *viewer, &[], i64::MIN, variant.rate()).await?;
        }
        anyhow::Ok(())
    })?;
    let costly = if variant.mass_followers { &mass[..] } else { &[] };
    slow.begin(Model::of(&served.rings, costly, variant.rate(), served.crowd.viewers().start)?);
    let fan_outs = if variant.barrier { barrier::post(served, slow, lasts)? } else { post(served, lasts)? };
    let (pages, writes) = slow.seen();
    // they held only what came since, and a sample of that: with a floor above everything, reads merge what they follow
    served.io.block_on(async {
        for viewer in mass {
            load::enrol(&served.rings, viewer, &[], NEVER_MS).await?;
        }
        anyhow::Ok(())
    })?;
    ensure!(!pages.is_empty() && !fan_outs.is_empty(), "no page was written");
    Ok(Seen { name: variant.name(), pages, fan_outs, writes })
}

/// When the next post comes, and by whom: alike in all variants.
struct Schedule {
    rng: Rng,
    authors: std::ops::Range<u32>,
    small: Instant,
    celebrity: Instant,
    end: Instant,
}

impl Schedule {
    fn new(served: &Served, lasts: Duration) -> Self {
        let now = Instant::now();
        let authors = served.crowd.small_authors();
        Self { rng: Rng::new(61), authors, small: now, celebrity: now + POST_EVERY, end: now + lasts }
    }

    /// Waits for the next post; its author, `None` at the end.
    async fn next(&mut self) -> Option<u32> {
        let (at, author) = if self.small < self.celebrity {
            let at = self.small;
            // gaps of a Poisson process
            let share = (f64::from(self.rng.below(1 << 24)) + 1.0) / f64::from(1 << 24);
            self.small += POST_EVERY.mul_f64(-share.ln());
            (at, self.authors.start + self.rng.below(self.authors.end - self.authors.start))
        } else {
            let at = self.celebrity;
            self.celebrity += CELEBRITY_EVERY;
            (at, CELEBRITY)
        };
        tokio::time::sleep_until(at).await;
        (at < self.end).then_some(author)
    }
}

/// Lets the writer do it. Milliseconds of each of the celebrity's fan-outs.
fn post(served: &mut Served, lasts: Duration) -> Result<Vec<f64>> {
    let mut schedule = Schedule::new(served, lasts);
    let Served { io, crowd, feed, handle, store, .. } = served;
    let clock = Clock::system();
    let mut posted: Vec<(i64, ItemId)> = Vec::new();
    io.block_on(async {
        while let Some(author) = schedule.next().await {
            let event = crowd.post(author)?;
            let began = clock.now_micros();
            let item = apply(feed, store, author, event).await?;
            if author == CELEBRITY {
                posted.push((began, item));
            }
        }
        Served::caught_up(handle, store).await
    })?;
    let took = |(began, item)| {
        let report = handle.delivery(item).context("the accounting forgot an item")?;
        Ok((report.finished_us - began) as f64 / 1e3)
    };
    posted.into_iter().map(took).collect()
}

fn tell(report: &mut Report, all: &mut [Seen]) {
    let row = |seen: &mut Seen| {
        let mean = seen.writes.iter().sum::<f64>() / seen.writes.len().max(1) as f64;
        let of = |values: &mut Vec<f64>| [quantile(values, 0.5), quantile(values, 0.99)];
        let ([page50, page99], [all50, all99]) = (of(&mut seen.pages), of(&mut seen.fan_outs));
        let write99 = quantile(&mut seen.writes, 0.99);
        (seen.name.clone(), vec![mean, write99, page50, page99, all50, all99, seen.fan_outs.len() as f64])
    };
    let rows: Vec<_> = all.iter_mut().map(row).collect();
    let head = [
        "milliseconds",
        "a write, mean",
        "a write, P99",
        "a page, P50",
        "a page, P99",
        "a fan-out, P50",
        "a fan-out, P99",
        "fan-outs",
    ];
    report.rows(&head, &rows);
    for (name, title, of) in [
        ("lossy-pages", "Pages of a celebrity's fan-out, by the time that they take", 0),
        ("lossy-fan-outs", "A celebrity's fan-outs, by the time that they take", 1),
    ] {
        let lines = all.iter().map(|seen| {
            let sorted = if of == 0 { &seen.pages } else { &seen.fan_outs };
            (seen.name.clone(), shares(sorted))
        });
        report.plot(&Plot {
            name,
            title: title.into(),
            x: "milliseconds",
            y: "per cent done by then",
            log: (true, false),
            lines: lines.collect(),
            level: Some(("P99", 99.0)),
        });
    }
}

/// How many per cent of sorted values lie at or below each of 100 of them.
fn shares(sorted: &[f64]) -> Vec<(f64, f64)> {
    let n = sorted.len();
    let step = (n / 100).max(1);
    let at = (0..n).step_by(step).chain(n.checked_sub(1));
    at.map(|at| (sorted[at].max(0.1), (at + 1) as f64 * 100.0 / n as f64)).collect()
}
