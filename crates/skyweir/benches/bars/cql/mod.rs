//! The bars of the store on CQL, at the servers that the environment names: `cargo xtask bench` brings them up.

mod away;
mod bed;
mod pace;

use anyhow::{Context as _, Result};

use self::away::VIEWERS;
use self::bed::Bed;
use crate::report::{Claim, Compared, Limit, Report, number};

/// How many references go to nodes that come and go.
const REFERENCES: f64 = 1e6;
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
             writer, four posts at a time on their way to the nodes that stay; a call is what the writer waits for, \
             from its first attempt until it succeeds",
            number(REFERENCES * scale)
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
