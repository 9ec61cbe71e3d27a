//! One post to a celebrity's followers of whom few are enrolled, beside a post of an author whom only these follow.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, ensure};
use skyweir_embedded::{Config, EmbeddedStore, Rings, RingsConfig};
use skyweir_store::{CachedState, Store as _, TimelineReads as _, Timelines as _};
use skyweir_types::{ActorId, DrawKey};
use tokio::runtime::Builder;

use crate::events::{Feed, did, post};
use crate::load;
use crate::machine::Watch;
use crate::report::{Claim, Compared, Limit, Report, number};
use crate::rng::Rng;
use crate::served::{Served, Setting, compose, fan_out_runtime};

const CELEBRITY: u32 = 0;
const AUTHOR: u32 = 1;
/// The first follower.
const FIRST: u32 = 2;
/// Posts of the celebrity, and readings of its pages.
const ROUNDS: u32 = 50;
/// Posts of the author: each is short, and CPU time is counted in hundredths of a second.
const SMALL_ROUNDS: u32 = 300;
/// How many rows are one transaction.
const TOGETHER: usize = 20_000;
/// 2025-10-09, milliseconds.
const FIRST_MS: i64 = 1_760_000_000_000;

/// Loads, posts, compares.
pub(crate) fn run(report: &mut Report, dir: &Path, scale: f64) -> Result<()> {
    let enrolled = ((2_000.0 * scale) as u32).max(100);
    let followers = enrolled * 1_000;
    report.bar(
        "only timelines that are read are written: a post costs what its readers cost, and the reading of its pages",
        &format!(
            "{followers} followers of whom {enrolled} are enrolled, {ROUNDS} posts; {SMALL_ROUNDS} posts of an author \
             whom only these follow; CPU of all threads, from the event in hand to the writer's done, commits included"
        ),
    );
    let io = Builder::new_multi_thread().enable_all().build()?;
    let fan_out = fan_out_runtime(Setting::new()?.fan_out_threads)?;
    let store = EmbeddedStore::open(Config { data_dir: dir.to_owned(), ..Config::default() })?;
    let rings = Rings::open(&store, &RingsConfig::default(), DrawKey::default())?;
    let readers: Vec<u32> = (0..enrolled).map(|n| FIRST + n * 1_000 + 500).collect();
    io.block_on(load(&store, &rings, followers, &readers))?;
    let cap = RingsConfig::default().cap;
    let (graph, handle, mut tasks, stop, _) =
        io.block_on(compose(&store, Arc::new(rings.clone()), cap, &fan_out))?;
    let mut feed = io.block_on(Feed::new(store.clone()))?;

    let mut at_ms = FIRST_MS;
    let mut posts = |author: u32, rounds: u32| -> Result<f64> {
        let author = did(author)?;
        let watch = Watch::start()?;
        for _ in 0..rounds {
            at_ms += 1;
            let event = post(&author, at_ms)?;
            io.block_on(async {
                feed.group(&[event]).await?;
                Served::caught_up(&handle, &store).await
            })?;
        }
        Ok(watch.took()?.cpu / f64::from(rounds))
    };
    // once before, so that both find warm caches
    posts(CELEBRITY, 1)?;
    let (many, few) = (posts(CELEBRITY, ROUNDS)?, posts(AUTHOR, SMALL_ROUNDS)?);
    let watch = Watch::start()?;
    for _ in 0..ROUNDS {
        io.block_on(async {
            let mut pages = graph.followers(store.view().await?.into(), ActorId(CELEBRITY), None);
            while let Some(mut page) = pages.next().await? {
                rings.retain_enrolled(&mut page);
            }
            anyhow::Ok(())
        })?;
    }
    let pages = watch.took()?.cpu / f64::from(ROUNDS);
    for reader in &readers {
        let cached = io.block_on(rings.read(ActorId(*reader), i64::MIN, 0))?;
        let CachedState::In(info) = cached.state else { anyhow::bail!("account {reader} is not enrolled") };
        ensure!(info.len == (1 + ROUNDS + SMALL_ROUNDS) as usize, "{} references", info.len);
    }
    stop.cancel();
    io.block_on(async {
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        anyhow::Ok(())
    })?;
    fan_out.shutdown_background();
    report.note(format!(
        "CPU of a post: {} ms to {followers} followers, {} ms of them for reading the pages and meeting the enrolled; \
         {} ms to {enrolled} followers; {} times as much, for 1,000 times the followers",
        number(many * 1e3),
        number(pages * 1e3),
        number(few * 1e3),
        number(many / few)
    ));
    report.claim(Claim {
        what: "CPU of a post to 2,000,000 followers of whom 2,000 are enrolled",
        value: many * 1e3,
        unit: "ms",
        // a quarter for the turns of pages, and for noise: the parts are measured apart
        limit: Limit::AtMost((pages + few) * 1.25e3),
        compared: Compared::measured("its pages, and a post to the enrolled alone", (pages + few) * 1e3),
    });
    Ok(())
}

/// Everybody follows the celebrity, readers follow the author too, and only they are enrolled.
async fn load(store: &EmbeddedStore, rings: &Rings, followers: u32, readers: &[u32]) -> Result<()> {
    load::accounts(store, 0..FIRST + followers).await?;
    let mut rng = Rng::new(3);
    let edges = (FIRST..FIRST + followers).map(|follower| (follower, CELEBRITY));
    let edges: Vec<_> = edges.chain(readers.iter().map(|reader| (*reader, AUTHOR))).collect();
    for edges in edges.chunks(TOGETHER) {
        let mut txn = store.begin().await?;
        for (follower, author) in edges {
            load::follow(&mut *txn, &mut rng, ActorId(*follower), ActorId(*author)).await?;
        }
        txn.commit().await?;
    }
    for reader in readers {
        load::enrol(rings, *reader, &[], i64::MIN).await?;
    }
    Ok(())
}
