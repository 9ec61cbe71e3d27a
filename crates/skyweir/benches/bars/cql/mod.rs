//! The bars of the store on CQL, at the servers that the environment names: `cargo xtask bench` brings them up.

mod away;
mod bed;
#[path = "../../../tests/common/mod.rs"]
mod common;
mod fan_out;
mod pace;

use std::path::Path;

use anyhow::{Context as _, Result};

use self::away::{PACE, VIEWERS};
use self::bed::Bed;
use self::fan_out::{CLAIM, Shape};
use crate::machine::{cpu_of, median, quantile};
use crate::report::{Claim, Compared, Limit, Report, number};

/// How many references go to nodes that come and go.
const REFERENCES: f64 = 1e6;
/// How many followers a post goes to, end to end, and how often.
const FOLLOWERS: f64 = 2e5;
const ROUNDS: usize = 5;
const RESENT: &str = "skyweir_scylla_batches_resent_total";

fn servers() -> Result<(Vec<String>, String)> {
    bed::servers().context(
        "SKYWEIR_TEST_CQL and SKYWEIR_TEST_REDIS name no servers: `cargo xtask bench` brings them up",
    )
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?)
}

/// On one node: what a reference costs the writer.
pub(crate) fn run(report: &mut Report, scale: f64) -> Result<()> {
    let (runtime, (nodes, redis)) = (runtime()?, servers()?);
    runtime.block_on(async {
        let viewers = ((pace::VIEWERS as f64 * scale) as u32).max(2_048);
        let bed = Bed::new(nodes, redis, "skyweir_bench", viewers).await?;
        pace::run(report, &bed).await
    })
}

/// On three nodes: one of them is killed, another one stands still.
pub(crate) fn nodes(report: &mut Report, scale: f64) -> Result<()> {
    let (runtime, (nodes, redis)) = (runtime()?, servers()?);
    report.bar(
        "CQL: one of three nodes paused or killed under load",
        &format!(
            "three nodes, three copies, quorum both ways; about {} references to {VIEWERS} timelines by the service's \
             writer, at {} a second, and at most four posts at a time on their way to the nodes that stay; a call is what \
             the writer waits for, from its first attempt until it succeeds",
            number(REFERENCES * scale),
            number(PACE.into())
        ),
    );
    let found = runtime.block_on(async {
        let bed = Bed::new(nodes, redis, "skyweir_bench_nodes", VIEWERS).await?;
        away::run(&bed, (REFERENCES * scale) as u64, &|| report.counter(RESENT)).await
    })?;
    let rows = found.phases.iter().map(|phase| {
        let cells = vec![
            phase.references as f64,
            phase.references as f64 / phase.seconds,
            phase.slowest[0].as_secs_f64() * 1e3,
            phase.slowest[1].as_secs_f64() * 1e3,
            phase.slowest[2].as_secs_f64() * 1e3,
            phase.refused as f64,
            phase.resent as f64,
        ];
        (phase.name.to_owned(), cells)
    });
    let head = [
        "nodes",
        "references",
        "references/s",
        "slowest call for node 1, ms",
        "node 2",
        "node 3",
        "calls refused",
        "batches sent again",
    ];
    report.rows(&head, &rows.collect::<Vec<_>>());
    report.note(format!(
        "acknowledged: {}; missing when all nodes were asked afterwards: {}; there twice, or of nothing: {}",
        number(found.acknowledged as f64),
        found.lost,
        found.doubled
    ));
    let disturbed = found.phases.iter().filter(|phase| phase.away.is_some());
    let slowest = disturbed.map(|phase| phase.slowest_of_others().as_secs_f64()).fold(0.0, f64::max);
    report.claim(Claim {
        what: "CQL: one of three nodes paused or killed, slowest call for shards of the others",
        value: slowest,
        unit: "s",
        limit: Limit::AtMost(1.0),
        compared: Compared::published(
            "a paused node with the driver's defaults, measured on Cassandra before",
            29.0,
        ),
    });
    report.claim(Claim {
        what: "CQL: one of three nodes paused or killed, acknowledged references lost or doubled",
        value: (found.lost + found.doubled) as f64,
        unit: "references",
        limit: Limit::AtMost(0.0),
        compared: "none may be".into(),
    });
    Ok(())
}

/// On one node, all roles in processes: one post to many, reads beside it, and its writer killed.
pub(crate) fn fan_out(report: &mut Report, dir: &Path, scale: f64) -> Result<()> {
    let (runtime, (nodes, redis)) = (runtime()?, servers()?);
    let followers = ((FOLLOWERS * scale) as u32).max(2_000);
    report.bar(
        "CQL: one post to 200,000 followers, end to end",
        &format!(
            "{followers} followers, all enrolled; one node of Cassandra and Redis on the same cores; indexer, graph and \
             two of writer and api, each a process; {ROUNDS} posts without and with reads, in turn; from the event \
             upstream until the last reference is acknowledged: journal, rows, task in Redis, follower pages, references"
        ),
    );
    std::fs::create_dir_all(dir)?;
    let shape = Shape { rounds: ROUNDS, page: 10_000, cpu_of };
    let mut found = runtime.block_on(async {
        let bed = Bed::new(nodes, redis, "skyweir_bench_fan_out", followers).await?;
        fan_out::run(&bed, dir, &shape).await
    })?;
    let followers = f64::from(followers);
    let row = |name: &str, took: &mut [f64], cpu: &mut [f64]| {
        (name.to_owned(), vec![median(took), followers / median(took), median(cpu)])
    };
    let head = ["a post", "seconds, median", "references/s", "CPU-s of all roles"];
    let rows = [
        row("alone", &mut found.alone, &mut found.cpu),
        row("with reads beside it", &mut found.with_reads, &mut found.cpu_with_reads),
    ];
    report.rows(&head, &rows);
    let [nothing, beside] = &mut found.pages;
    let row = |name: &str, ms: &mut [f64]| {
        (name.to_owned(), vec![ms.len() as f64, quantile(ms, 0.5), quantile(ms, 0.9), quantile(ms, 0.99)])
    };
    let head = ["pages of 50, milliseconds", "pages", "p50", "p90", "p99"];
    report.rows(&head, &[row("nothing else", nothing), row("while a post is on its way", beside)]);
    report.note(format!("{} follows a second were added before", number(found.follows_per_second)));
    let (killed, end) = (&found.at_kill, &found.in_the_end);
    report.note(format!(
        "its writer killed (-9) after {} pages, {} references: {} s later the other one has finished it, which takes it \
         after {} s; its account: {} followers, {} pages, {} written, {} below the floor, {} sampled out, {} not enrolled",
        killed.pages,
        number(killed.written as f64),
        number(found.taken_over),
        CLAIM.as_secs(),
        number(end.followers as f64),
        end.pages,
        number(end.written as f64),
        end.below_floor,
        end.sampled_out,
        end.hibernating,
    ));
    report.claim(Claim {
        what: "CQL: a writer killed within a fan-out, references lost or doubled",
        value: (found.lost + found.doubled) as f64,
        unit: "references",
        limit: Limit::AtMost(0.0),
        compared: "none may be".into(),
    });
    Ok(())
}
