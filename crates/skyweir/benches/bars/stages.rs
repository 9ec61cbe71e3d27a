//! Where the time of a fan-out goes: each stage alone, and their sum beside the whole.

use std::hint::black_box;
use std::path::Path;

use anyhow::{Result, ensure};
use skyweir_store::{Delivery, Store as _, Timelines as _};
use skyweir_types::{ActorId, DidHash, DrawKey, ItemId, Reference, UriHash};

use crate::crowd::{CELEBRITY, Shape};
use crate::events::did;
use crate::load::NEVER_MS;
use crate::machine::{Watch, median};
use crate::report::Report;
use crate::rng::Rng;
use crate::served::{Served, Setting};

/// Each figure is the median of so many rounds ...
const ROUNDS: usize = 5;
/// ... of so many CPU seconds at least, so that the ticks of the clock don't drown them.
const ROUND: f64 = 0.3;
/// How many small authors' posts are measured together.
const SMALL: usize = 3_000;

/// Followers in pages, as one fan-out meets them after the other.
type Pages = Vec<Vec<ActorId>>;
/// The same, enrolled and by shard.
type Pieces = Vec<(u32, Delivery)>;

/// Measures the stages on the pages of the celebrity and of small authors.
pub(crate) fn run(report: &mut Report, dir: &Path, scale: f64, under_callgrind: bool) -> Result<()> {
    let shape = match under_callgrind {
        false => Shape::of(scale),
        true => Shape {
            viewers: 20_000,
            authors: 100,
            readers: 0,
            sleepers: 0,
            cap: 100,
            graded: &[],
            mass_followers: 0,
        },
    };
    report.bar(
        "where the time of a fan-out goes",
        &format!(
            "{shape:?}; median of {ROUNDS} rounds; each stage alone on one thread, over all pages of the celebrity, \
             and over those of {SMALL} posts of small authors drawn alike; the whole is what the writer takes, all \
             threads counted, records and commits among it"
        ),
    );
    let mut served = Served::with(report, dir, shape, &Setting::new()?)?;
    let mut rng = Rng::new(51);
    let authors = served.crowd.small_authors();
    let posts = if under_callgrind { 100 } else { SMALL };
    let small: Vec<u32> =
        (0..posts).map(|_| authors.start + rng.below(authors.end - authors.start)).collect();
    let of_celebrity = [CELEBRITY];
    if under_callgrind {
        under_celebrity(report, &served)?;
        under_small(report, &served, &small)?;
        return served.stop();
    }
    let mut columns = Vec::new();
    for authors in [&of_celebrity[..], &small] {
        columns.push(before_floors(&mut served, authors)?);
    }
    for viewer in served.crowd.viewers() {
        served.io.block_on(served.rings.fill(ActorId(viewer), &[], NEVER_MS))?;
    }
    let mut sums = Vec::new();
    for (authors, known) in [&of_celebrity[..], &small].into_iter().zip(columns) {
        sums.push(with_floors(&mut served, authors, known)?);
    }
    let names = [
        "follower pages",
        "meeting the enrolled, split by shard",
        "queues, turns, accounting; records and commits (by difference: the writer without pushes)",
        "look-up of the ring",
        "push (by difference)",
        "sum of these",
        "the whole, as the writer does it",
        "the draw, for a timeline at a rate below 1 only",
    ];
    let rows: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(at, name)| ((*name).to_owned(), sums.iter().map(|column| column[at]).collect()))
        .collect();
    report.rows(&["CPU ns a reference", "celebrity", "small authors"], &rows);
    served.stop()
}

#[derive(Clone, Copy)]
struct Known {
    pages: f64,
    split: f64,
    write: f64,
    draw: f64,
    whole: f64,
}

/// What can be measured while timelines take references.
fn before_floors(served: &mut Served, authors: &[u32]) -> Result<Known> {
    let all = stage_pages(served, authors)?;
    let references = count(&all);
    let pages = per(references, || stage_pages(served, authors).map(drop))?;
    let split = per(references, || {
        black_box(stage_split(served, &all));
        Ok(())
    })?;
    let mut pieces = stage_split(served, &all);
    let write = per(references, || {
        // the newest of all, as posts are
        let sort_at = served.crowd.take_many_ms(pieces.len());
        stage_write(served, &mut pieces, sort_at)
    })?;
    let hashes = hashes(&all)?;
    let draw = per(references, || {
        black_box(stage_draw(&hashes));
        Ok(())
    })?;
    let whole = whole(served, authors, references)?;
    Ok(Known { pages, split, write, draw, whole })
}

/// What needs timelines that take nothing; then all together.
fn with_floors(served: &mut Served, authors: &[u32], known: Known) -> Result<[f64; 8]> {
    let all = stage_pages(served, authors)?;
    let references = count(&all);
    let mut pieces = stage_split(served, &all);
    let look_up = per(references, || stage_write(served, &mut pieces, 1))?;
    let without_push = whole(served, authors, references)?;
    let Known { pages, split, write, draw, whole } = known;
    let rest = (without_push - pages - split - look_up).max(0.0);
    let push = (write - look_up).max(0.0);
    Ok([pages, split, rest, look_up, push, pages + split + rest + look_up + push, whole, draw])
}

/// Nanoseconds of CPU a reference: the median of the rounds.
fn per(references: usize, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let watch = Watch::start()?;
        let mut times = 0;
        while times == 0 || watch.took()?.cpu < ROUND {
            work()?;
            times += 1;
        }
        rounds.push(watch.took()?.cpu * 1e9 / (times * references) as f64);
    }
    Ok(median(&mut rounds))
}

/// The writer's whole way, nanoseconds of CPU a reference.
fn whole(served: &mut Served, authors: &[u32], references: usize) -> Result<f64> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let (mut cpu, mut times) = (0.0, 0);
        while times == 0 || cpu < ROUND {
            let events: Result<Vec<_>> = authors.iter().map(|author| served.crowd.post(*author)).collect();
            cpu += served.deliver_all(&events?)?.cpu;
            times += 1;
        }
        rounds.push(cpu * 1e9 / (times * references) as f64);
    }
    Ok(median(&mut rounds))
}

/// Each stage once on the celebrity's pages, for callgrind, which tells what the functions of these names cost their
/// callers.
#[inline(never)]
fn under_celebrity(report: &mut Report, served: &Served) -> Result<()> {
    once(report, served, "celebrity", &[CELEBRITY])
}

/// The same on small authors' pages.
#[inline(never)]
fn under_small(report: &mut Report, served: &Served, authors: &[u32]) -> Result<()> {
    once(report, served, "small authors", authors)
}

#[inline(always)]
fn once(report: &mut Report, served: &Served, crowd: &str, authors: &[u32]) -> Result<()> {
    let all = stage_pages(served, authors)?;
    let mut pieces = stage_split(served, &all);
    stage_write(served, &mut pieces, NEVER_MS)?;
    black_box(stage_draw(&hashes(&all)?));
    report.note(format!("references of {crowd}: {}", count(&all)));
    Ok(())
}

fn count(pages: &Pages) -> usize {
    pages.iter().map(Vec::len).sum()
}

/// Reads all pages of these authors.
#[inline(never)]
fn stage_pages(served: &Served, authors: &[u32]) -> Result<Pages> {
    served.io.block_on(async {
        let view: std::sync::Arc<dyn skyweir_store::View> = served.store.view().await?.into();
        let mut all = Vec::new();
        for author in authors {
            let mut pages = served.graph.followers(view.clone(), ActorId(*author), None);
            while let Some(page) = pages.next().await? {
                all.push(page);
            }
        }
        Ok(all)
    })
}

/// Keeps the enrolled and splits them by shard.
#[inline(never)]
fn stage_split(served: &Served, pages: &Pages) -> Pieces {
    let reference =
        Reference { item: ItemId(0), sort_at: 0, uri_hash: UriHash(1), author: ActorId(CELEBRITY) };
    let split = pages.iter().flat_map(|page| served.rings.split(page.clone()));
    split.map(|(shard, viewers)| (shard, Delivery { reference, viewers })).collect()
}

/// Writes references from this time on, a millisecond apart: look-up and push, or look-up alone where a floor keeps it
/// out. Each piece has one of its own: of two equal ones a timeline takes the second for the first.
#[inline(never)]
fn stage_write(served: &Served, pieces: &mut Pieces, sort_at: i64) -> Result<()> {
    served.io.block_on(async {
        for (sort_at, (shard, delivery)) in (sort_at..).zip(pieces) {
            delivery.reference.sort_at = sort_at;
            delivery.reference.item = ItemId(sort_at as u64);
            let counts = served.rings.apply(*shard, std::slice::from_ref(delivery)).await?;
            ensure!(counts[0].hibernating == 0, "a timeline is not enrolled");
        }
        Ok(())
    })
}

fn hashes(pages: &Pages) -> Result<Vec<DidHash>> {
    let viewers = pages.iter().flatten();
    viewers.map(|viewer| Ok(DidHash::of(did(viewer.0)?.as_str()))).collect()
}

/// Draws once for each.
#[inline(never)]
fn stage_draw(viewers: &[DidHash]) -> usize {
    let key = DrawKey::default();
    viewers.iter().filter(|viewer| key.keeps(UriHash(7), **viewer, 0.5)).count()
}
