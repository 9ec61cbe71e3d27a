//! Two writers, of which the one that has a fan-out is killed half way: the other one finishes it, and the sums
//! balance.

#[path = "../benches/bars/cql/bed.rs"]
#[allow(dead_code, reason = "the benchmark uses the rest")]
mod bed;
mod common;
#[path = "../benches/bars/cql/fan_out.rs"]
mod fan_out;

use bed::Bed;
use common::cql::Cql;
use fan_out::{CLAIM, Shape};

const FOLLOWERS: u32 = 6_000;

#[tokio::test(flavor = "multi_thread")]
async fn another_writer_finishes_what_a_killed_one_had() {
    // which says so if there are none
    let Some(_) = Cql::find("fan_out").await else { return };
    let (nodes, redis) = bed::servers().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let bed = Bed::new(nodes, redis, "skyweir_binary_fan_out", FOLLOWERS).await.unwrap();
    let shape = Shape { rounds: 1, page: 100, cpu_of: |_| Ok(0.0) };
    let found = fan_out::run(&bed, dir.path(), &shape).await.unwrap();
    let (killed, end) = (&found.at_kill, &found.in_the_end);
    assert!(killed.pages < end.pages && !killed.finished, "{killed:?}, then {end:?}");
    // since its last sign of life, which may be a fifth of that older
    let least = CLAIM.mul_f64(0.8).as_secs_f64();
    assert!(found.taken_over >= least, "nobody had to wait for it: {end:?}");
    assert!(end.finished && end.followers == u64::from(FOLLOWERS), "{end:?}");
    assert_eq!(end.written, end.followers, "{end:?}");
    assert_eq!((end.below_floor, end.sampled_out, end.hibernating, end.failed), (0, 0, 0, 0), "{end:?}");
    assert_eq!((found.lost, found.doubled), (0, 0));
}
