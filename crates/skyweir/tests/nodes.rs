//! A node of three is killed and comes back, another one stands still and goes on, while the service's writer brings
//! references to them: those of `cargo xtask cql`, which `SKYWEIR_TEST_NODES` and `SKYWEIR_CQL_HOME` name.

#[path = "../benches/bars/cql/away.rs"]
#[allow(dead_code, reason = "the benchmark uses the rest")]
mod away;
#[path = "../benches/bars/cql/bed.rs"]
#[allow(dead_code, reason = "the benchmark uses the rest")]
mod bed;

use metrics_exporter_prometheus::PrometheusBuilder;

const REFERENCES: u64 = 48_000;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes nodes away: a step of cargo xtask ci"]
async fn nothing_is_lost_or_doubled_while_nodes_come_and_go() {
    let (nodes, redis) = bed::servers().expect("SKYWEIR_TEST_CQL and SKYWEIR_TEST_REDIS name servers");
    let metrics = PrometheusBuilder::new().install_recorder().unwrap();
    let resent = || {
        let text = metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix("skyweir_scylla_batches_resent_total "));
        line.map_or(0, |n| n.parse().unwrap())
    };
    let bed = bed::Bed::new(nodes, redis, "skyweir_nodes", away::VIEWERS).await.unwrap();
    let found = away::run(&bed, REFERENCES, &resent).await.unwrap();
    for phase in &found.phases {
        println!(
            "{}: {} references in {:.1} s; the slowest calls for each node took {:.3?}; {} refused, {} batches sent again",
            phase.name, phase.references, phase.seconds, phase.slowest, phase.refused, phase.resent
        );
    }
    let paused = found.phases.iter().find(|phase| phase.name == away::STANDS_STILL).unwrap();
    assert!(paused.resent > 0, "nothing was sent again: no node stood still");
    assert_eq!(found.acknowledged, found.phases.iter().map(|phase| phase.references).sum::<u64>());
    assert_eq!((found.lost, found.doubled), (0, 0));
}
