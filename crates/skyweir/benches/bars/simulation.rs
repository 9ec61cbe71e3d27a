//! One post over hundreds of shards, at full size: the writer's own scheduling over a virtual clock, with write
//! latencies of Bluesky's text (jazco.dev, 2025-02-19), beside that text's way and its figures.

mod model;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use self::model::latency::{LogNormal, Mixture};
use self::model::{Case, P999_SHARE, Posts, Shape, Small, Way, World, default_batch, one_post, small_posts};
use crate::machine::{Watch, median, quantile};
use crate::report::{Plot, Report, number};

/// Each scenario is posted so often, each time with other luck.
const SEEDS: Range<u64> = 0..20;
/// A page of 10,000 brings about so many references to each of 300 shards.
const LANES: usize = 32;
/// Over 300 shards about as many writes as Bluesky's 1,000 writers have under way.
const FEW_LANES: usize = 4;
/// The writer's default, and more than a shard gets of the largest post.
const QUEUES: [usize; 2] = [20_000, 100_000];
/// Followers of a small author, and how often it posts in each run.
const SMALL: (u32, u32) = (400, 40);

const BARRIER: Way = Way::Pool { barrier: true };
const NO_BARRIER: Way = Way::Pool { barrier: false };
const WRITER: Way = Way::Writer { queue: QUEUES[0] };

/// Simulates all of it.
pub(crate) fn run(report: &mut Report, scale: f64) -> Result<()> {
    let watch = Watch::start()?;
    let world = World::new(Shape::of(scale))?;
    let [mid, large] = [2e6, 10e6].map(|followers| (followers * scale) as u32);
    let (off, on) = (world.case(false, LANES), world.case(true, LANES));
    fits(report, &world, &off, &on);
    let (hot, calm) = ("hot shards (lossy off)", "calm (lossy on)");
    let three = [BARRIER, NO_BARRIER, WRITER];
    let wide = [rows(&off, hot, mid, &three)?, rows(&on, calm, mid, &three)?];
    published(report, &world, off.hot_shards(), &wide[0], &wide[1]);
    let roomy = Way::Writer { queue: QUEUES[1] };
    let larger = [rows(&off, hot, large, &[&three[..], &[roomy]].concat())?, rows(&on, calm, large, &three)?];
    table(report, LANES, &[wide.concat(), larger.concat()].concat());
    plot(report, &wide[0], &wide[1]);
    let (off4, on4) = (world.case(false, FEW_LANES), world.case(true, FEW_LANES));
    let narrow = [rows(&off4, hot, mid, &three)?, rows(&on4, calm, mid, &three)?];
    table(report, FEW_LANES, &narrow.concat());
    beside(report, [&on, &off], mid, Duration::from_secs(100).mul_f64(scale))?;
    println!("   simulated in {} CPU seconds", number(watch.took()?.cpu));
    Ok(())
}

/// How latencies are made, and what they are.
fn fits(report: &mut Report, world: &World, off: &Case, on: &Case) {
    let (calm, share) = (Mixture::calm(), off.hot_shards() as f64 / f64::from(world.shape.shards));
    let hot = Mixture::hot(share, P999_SHARE);
    let told = |mixture: &Mixture| {
        let part = |(share, of): &(f64, LogNormal)| {
            let LogNormal { median_ms, sigma } = of;
            format!("{} of a lognormal of median {} ms and sigma {sigma}", number(*share), number(*median_ms))
        };
        mixture.0.iter().map(part).collect::<Vec<_>>().join(" and ")
    };
    report.bar(
        "simulated: what a write takes",
        &format!(
            "a write is one reference, as in Bluesky's text (jazco.dev, 2025-02-19), which inserts a row for each \
             follower; calm, by its mean of 600 µs and its P99 of 15 ms: {}, as no lognormal alone has a P99 of 25 \
             times its mean",
            told(&calm)
        ),
    );
    report.note(format!(
        "hot: {}, so that of all writes 1 in 1,000 takes a second or more; the text has no P99.9, but fears 1.5 s \
         for a page of 10,000; the sigmas and the share of slow calm writes are chosen",
        told(&hot)
    ));
    report.note(format!(
        "{} accounts on {} shards; follow counts: Pareto from {:.1} with exponent {}, whose mean is the network's \
         60; {} accounts follow more than {}; a shard is hot while a timeline on it keeps what {:.0} follows bring: \
         {} shards, and {} with lossy on, as nobody keeps more than {} follows bring then",
        world.shape.accounts,
        world.shape.shards,
        model::FOLLOWS_LEAST,
        model::FOLLOWS_EXPONENT,
        world.over(),
        model::REASONABLE_LIMIT,
        world.shape.hot_follows,
        off.hot_shards(),
        on.hot_shards(),
        model::REASONABLE_LIMIT,
    ));
    let row = |name: &str, of: &Mixture| {
        let quantiles = [0.5, 0.9, 0.99, 0.999].map(|share| of.quantile(share));
        (name.to_owned(), [&[of.mean()][..], &quantiles].concat())
    };
    let all = Mixture::all(share, P999_SHARE);
    let rows =
        [row("all shards calm", &calm), row("a hot shard", &hot), row("all, while some are hot", &all)];
    report.rows(&["milliseconds", "mean", "P50", "P90", "P99", "P99.9"], &rows);
}

/// One row of a table.
#[derive(Clone)]
struct Row {
    name: String,
    posts: Posts,
}

fn rows(case: &Arc<Case>, regime: &str, followers: u32, ways: &[Way]) -> Result<Vec<Row>> {
    let row = |way: &Way| {
        let way_name = match way {
            Way::Pool { barrier: true } => "page barrier".to_owned(),
            Way::Pool { barrier: false } => "1,000 writers, no barrier".to_owned(),
            Way::Writer { queue } => format!("Skyweir, room for {queue} a shard"),
        };
        let name = format!("{followers} followers, {regime}: {way_name}");
        println!("   simulating {name}");
        Ok(Row { name, posts: one_post(case, followers, *way, SEEDS)? })
    };
    ways.iter().map(row).collect()
}

fn table(report: &mut Report, lanes: usize, rows: &[Row]) {
    report.bar(
        &format!("simulated: a post over 300 shards, each of which does {lanes} writes at a time"),
        &format!(
            "whoever asks for them; {} posts a row, each alone, P99 is the slowest; the same post has the same \
             latencies in all rows of a regime; reading a page of 10,000 takes 1 ms; Bluesky's way is a loop of its \
             own: 1,000 writers, and with the barrier a page is read when the one before is written; Skyweir is the \
             writer's own code, one call at a time a shard, on a clock that jumps: what it computes takes no time",
            SEEDS.end
        ),
    );
    let rows = rows.iter().map(|Row { name, posts }| {
        let (mut most, mut last) = (posts.most.clone(), posts.last.clone());
        (name.clone(), vec![median(&mut most), median(&mut last), quantile(&mut last, 0.99)])
    });
    let head = ["seconds", "95 of 100 references, P50", "the last one, P50", "the last one, P99"];
    report.rows(&head, &rows.collect::<Vec<_>>());
}

/// The text's figures beside what its way takes here.
fn published(report: &mut Report, world: &World, hot_shards: usize, hot: &[Row], calm: &[Row]) {
    report.bar(
        "simulated: a post to 2 M followers, beside Bluesky's figures",
        "its text has \"~1.2 seconds\", \"as long as 5 minutes\" (and jobs that \"used to take 5-10 minutes\"), \
         \"<10 seconds\" since, \"over 96%\" and \"over 90%\"; the rows are those of the next table",
    );
    let share = hot_shards as f64 / f64::from(world.shape.shards);
    let p99 = |row: &Row| quantile(&mut row.posts.last.clone(), 0.99);
    let lost = |before: f64, after: f64| 100.0 * (1.0 - after / before);
    let write = |mixture: &Mixture| mixture.quantile(0.99);
    let rows = [
        ("ideal: 1,000 writers without a barrier, calm; s", 1.2, median(&mut calm[1].posts.last.clone())),
        ("worst: page barrier, hot shards, P99; s", 300.0, p99(&hot[0])),
        ("lossy on: page barrier, calm, P99; s (published: less)", 10.0, p99(&calm[0])),
        ("what lossy takes off the P99 of a post; per cent", 96.0, lost(p99(&hot[0]), p99(&calm[0]))),
        (
            "what it takes off the P99 of a write; per cent",
            90.0,
            lost(write(&Mixture::all(share, P999_SHARE)), write(&Mixture::calm())),
        ),
        ("Skyweir, hot shards, P99; s", 300.0, p99(&hot[2])),
        ("Skyweir, calm, P99; s (published: less)", 10.0, p99(&calm[2])),
    ];
    let rows = rows.map(|(name, published, simulated)| (name.to_owned(), vec![published, simulated]));
    report.rows(&["", "published", "simulated"], &rows);
}

fn plot(report: &mut Report, hot: &[Row], calm: &[Row]) {
    let points = |posts: &Posts| {
        let shares = (1..50)
            .map(|half| f64::from(2 * half))
            .chain((1..=10).map(|fifth| 98.0 + f64::from(fifth) / 5.0));
        shares.map(|share| (posts.times.quantile(share / 100.0), share)).collect()
    };
    let named = |rows: &[Row], regime: &str| {
        let names = ["page barrier", "no barrier", "Skyweir"];
        let rows =
            names.iter().zip(rows).map(|(name, row)| (format!("{regime}: {name}"), points(&row.posts)));
        rows.collect::<Vec<_>>()
    };
    report.plot(&Plot {
        name: "simulation-post",
        title: "One post to 2 M followers, simulated: when its references are written".into(),
        x: "seconds",
        y: "per cent written by then",
        log: (true, false),
        lines: [named(hot, "hot"), named(calm, "calm")].concat(),
        level: Some(("95 of 100", 95.0)),
    });
}

/// A small author's posts beside a large one: while its pages are read, and while only hot shards still have to write.
fn beside(report: &mut Report, cases: [&Arc<Case>; 2], large_followers: u32, long: Duration) -> Result<()> {
    let (followers, posts) = SMALL;
    report.bar(
        "simulated: a small author's posts beside a post to 2 M",
        &format!(
            "the writer's own code, {LANES} writes at a time a shard; {followers} followers, {posts} posts in each \
             of {} runs, spread over the time in which the pages of the post to {large_followers} are read, or over \
             {long:?}; from when a post is due to the reference written; a call has at most so many references \
             (writer.shard_batch)",
            SEEDS.end
        ),
    );
    let mut rows = Vec::new();
    for (regime, case, over) in [
        ("calm", cases[0], None),
        ("hot shards", cases[1], None),
        ("hot shards, the longer time", cases[1], Some(long)),
    ] {
        for (large, batch) in [(false, default_batch()), (true, default_batch()), (true, 512), (true, 64)] {
            let small = Small { followers, posts, over, beside: large_followers, large, batch };
            let name = match large {
                false => format!("{regime}: alone"),
                true => format!("{regime}: beside the large one, {batch} a call"),
            };
            let mut seen = small_posts(case, small, SEEDS)?;
            let references = seen.calm.count() + seen.hot.count();
            println!("   simulated {name}: {} posts, {references} references", seen.posts.len());
            let [calm, hot] =
                [&seen.calm, &seen.hot].map(|times| [times.quantile(0.5), times.quantile(0.99)]);
            let last = [quantile(&mut seen.posts, 0.5), quantile(&mut seen.posts, 0.99)];
            let cells = [calm, hot, last].concat().into_iter().map(|seconds| seconds * 1e3);
            rows.push((name, cells.chain([median(&mut seen.large_calm) * 1e3]).collect()));
        }
    }
    let head = [
        "milliseconds",
        "on a calm shard, P50",
        "P99",
        "on a hot shard, P50",
        "P99",
        "its last reference, P50",
        "P99",
        "the large one's last on a calm shard, P50",
    ];
    report.rows(&head, &rows);
    Ok(())
}
