//! How the cost of a reference grows: with followers, with timelines, with threads of the fan-out.

use std::path::Path;

use anyhow::Result;
use skyweir_store::Timelines as _;

use crate::crowd::{CELEBRITY, Shape};
use crate::machine::{Took, median};
use crate::report::{Plot, Report};
use crate::rng::Rng;
use crate::served::{Served, Setting};

/// Timelines at each step, at scale 1.
const TIMELINES: [f64; 6] = [1e3, 1e4, 1e5, 1e6, 2e6, 4e6];
/// Followers of the first small authors where followers and threads are what grows.
const GRADED: &[u32] = &[10_000, 30_000, 100_000, 300_000, 1_000_000];
/// Timelines where followers and threads are what grows, at scale 1.
const CROWD: f64 = 2e6;
/// No crowd is smaller.
const LEAST: u32 = 1_000;
/// Each figure is the median of so many rounds ...
const ROUNDS: usize = 5;
/// ... of so many references at least, so that the ticks of the CPU clock don't drown them.
const REFERENCES: u64 = 2_000_000;

/// Nanoseconds of a reference.
#[derive(Clone, Copy)]
struct Cost {
    wall: f64,
    cpu: f64,
}

/// Measures one crowd after the other, each with a service of its own.
pub(crate) fn run(report: &mut Report, dir: &Path, scale: f64) -> Result<()> {
    report.bar(
        "how the cost of a reference grows with followers, timelines and threads",
        &format!(
            "rings at a cap of 100; a figure is the median of {ROUNDS} rounds; CPU of all threads, records and commits \
             among it; timelines: some {REFERENCES} references a round, posts of small authors with 250 to 400 \
             followers in the mean; followers: half as many or one post a round, by one author among {} timelines",
            CROWD * scale
        ),
    );
    let mut by_timelines = Vec::new();
    let mut by_followers: Vec<(usize, f64, f64, Cost)> = Vec::new();
    let mut small = Vec::new();
    let mut sizes: Vec<u32> = TIMELINES.iter().map(|n| ((n * scale) as u32).max(LEAST)).collect();
    sizes.dedup();
    let crowd = ((CROWD * scale) as u32).max(LEAST);
    for (step, viewers) in sizes.iter().enumerate() {
        println!("   step {} of {}: {viewers} timelines", step + 1, sizes.len());
        for threads in [1, 2].into_iter().take(if *viewers == crowd { 2 } else { 1 }) {
            let folder = dir.join(format!("{viewers}-{threads}"));
            let setting = Setting { fan_out_threads: threads, ..Setting::new()? };
            let mut served = Served::with(report, &folder, shape(*viewers), &setting)?;
            let cost = of_small_authors(&mut served)?;
            let timelines = served.rings.enrolled() as f64;
            small.push((threads, timelines, cost));
            if threads == 1 {
                by_timelines.push((timelines, cost));
            }
            if *viewers == crowd {
                for author in (1..=GRADED.len() as u32).chain([CELEBRITY]) {
                    let (followers, seconds, cost) = of_one_author(&mut served, author)?;
                    by_followers.push((threads, followers, seconds, cost));
                }
                by_followers.dedup_by_key(|(threads, followers, ..)| (*threads, *followers as u64));
            }
            served.read_back(report)?;
            served.stop()?;
            std::fs::remove_dir_all(&folder)?;
        }
    }
    tables(report, &small, &by_followers);
    plots(report, &by_timelines, &by_followers);
    Ok(())
}

fn shape(viewers: u32) -> Shape {
    // authors have timelines, too: in a small crowd they are few
    let authors = (viewers / 4).clamp(100, 1_500);
    Shape { viewers, authors, readers: LEAST / 5, sleepers: 1, cap: 100, graded: GRADED, mass_followers: 0 }
}

fn cost(rounds: &mut [(Took, u64)]) -> Cost {
    let of = |part: fn(&Took) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(|(took, n)| part(took) * 1e9 / *n as f64).collect();
        median(&mut all)
    };
    Cost { wall: of(|took| took.wall), cpu: of(|took| took.cpu) }
}

fn of_small_authors(served: &mut Served) -> Result<Cost> {
    let mut rng = Rng::new(41);
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let (events, references) = served.small_posts(&mut rng, REFERENCES)?;
        rounds.push((served.deliver_all(&events)?, references));
    }
    Ok(cost(&mut rounds))
}

/// How many followers, how many seconds one post alone takes, and what a reference of it costs.
fn of_one_author(served: &mut Served, author: u32) -> Result<(f64, f64, Cost)> {
    let followers = u64::from(served.crowd.followers[author as usize]);
    let mut rounds = Vec::new();
    let mut walls = Vec::new();
    for _ in 0..ROUNDS {
        let mut sum = Took { wall: 0.0, cpu: 0.0, others: 0.0 };
        let mut posts = 0;
        while posts == 0 || posts * followers < REFERENCES / 2 {
            let event = served.crowd.post(author)?;
            // one after the other: what a post alone takes
            let took = served.deliver(event)?;
            walls.push(took.wall);
            sum = Took { wall: sum.wall + took.wall, cpu: sum.cpu + took.cpu, others: 0.0 };
            posts += 1;
        }
        rounds.push((sum, posts * followers));
    }
    Ok((followers as f64, median(&mut walls), cost(&mut rounds)))
}

fn tables(report: &mut Report, small: &[(usize, f64, Cost)], large: &[(usize, f64, f64, Cost)]) {
    let plural = |threads: usize| if threads == 1 { "1 thread" } else { "2 threads" };
    let rows: Vec<_> = small
        .iter()
        .map(|(threads, n, cost)| {
            (format!("{n:.0} timelines, {}", plural(*threads)), vec![cost.cpu, cost.wall, 1e3 / cost.wall])
        })
        .collect();
    report.rows(
        &["small authors' posts", "CPU ns a reference", "wall ns a reference", "M references/s"],
        &rows,
    );
    let rows: Vec<_> = large
        .iter()
        .map(|(threads, n, seconds, cost)| {
            (format!("{n:.0} followers, {}", plural(*threads)), vec![*seconds, cost.cpu, cost.wall])
        })
        .collect();
    report.rows(
        &["one post", "s until the last reference", "CPU ns a reference", "wall ns a reference"],
        &rows,
    );
}

fn plots(report: &mut Report, timelines: &[(f64, Cost)], large: &[(usize, f64, f64, Cost)]) {
    let line = |name: &str, of: fn(&Cost) -> f64| {
        (name.to_owned(), timelines.iter().map(|(n, cost)| (*n, of(cost))).collect())
    };
    report.plot(&Plot {
        name: "growth-timelines",
        title: "Small authors' posts: a reference's cost as timelines grow".into(),
        x: "enrolled timelines",
        y: "nanoseconds a reference",
        log: (true, false),
        lines: vec![line("CPU, all threads", |cost| cost.cpu), line("wall", |cost| cost.wall)],
        level: Some(("1 M references/s", 1_000.0)),
    });
    let by_threads = |of: fn(f64, &Cost) -> f64| -> Vec<(String, Vec<(f64, f64)>)> {
        [1, 2]
            .into_iter()
            .map(|wanted| {
                let of_these = large.iter().filter(|(threads, ..)| *threads == wanted);
                let points = of_these.map(|(_, n, seconds, cost)| (*n, of(*seconds, cost))).collect();
                (format!("{wanted} fan-out thread{}", if wanted == 1 { "" } else { "s" }), points)
            })
            .collect()
    };
    report.plot(&Plot {
        name: "growth-followers",
        title: "One post: CPU of a reference as followers grow".into(),
        x: "followers",
        y: "CPU nanoseconds a reference",
        log: (true, false),
        lines: by_threads(|_, cost| cost.cpu),
        level: None,
    });
    report.plot(&Plot {
        name: "growth-time",
        title: "One post: event in hand to the last reference readable".into(),
        x: "followers",
        y: "seconds",
        log: (true, true),
        lines: by_threads(|seconds, _| seconds),
        level: Some(("the bar for 2 M", 1.0)),
    });
}
