//! The whole path against the model: random operations from seeds, every read compared.
//!
//! A failure names its seed. `SKYWEIR_MODEL_SEED=N` runs that one alone, `SKYWEIR_MODEL_SEEDS=N` so many of them:
//! `SKYWEIR_MODEL_SEED=17 cargo test -p skyweir --test model -- in_memory`.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail as tests do, and say what they came past"
)]

mod backend;
mod coverage;
mod elsewhere;
mod flaky;
mod judge;
mod run;
#[path = "../../../skyweir-scylla/tests/common/mod.rs"]
mod servers;
mod service;
mod worker;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use self::backend::Kind;
use self::coverage::Coverage;
use self::servers::Servers;

/// At servers a seed doesn't decide everything, so nothing can be known to be met within the seeds of a test. One more
/// after the other is run then, at most so many.
const MORE_AT_SERVERS: u64 = 40;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// Runs these seeds on two threads, or on one where they share servers; stops at the first difference. All of them
/// together have to come past everything at least `often` times; what they came past is printed.
fn seeds(kind: Kind, range: Range<u64>, operations: usize, often: u64) {
    let servers = if kind == Kind::Cql { Servers::find("model") } else { None };
    if kind == Kind::Cql && servers.is_none() {
        return;
    }
    let whole = range.clone();
    let range = match (number("SKYWEIR_MODEL_SEED"), number("SKYWEIR_MODEL_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(n)) => range.start..range.start + n,
        (None, None) => range,
    };
    let more = if kind == Kind::Cql && range == whole { MORE_AT_SERVERS } else { 0 };
    let coverage = Coverage::default();
    let (next, last) = (AtomicU64::new(range.start), range.end + more);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= last || seed >= range.end && coverage.reaches(often) {
                return;
            }
            let verdict = catch_unwind(AssertUnwindSafe(|| {
                run::seed((kind, servers.as_ref()), seed, operations, &coverage)
            }));
            let verdict = verdict.unwrap_or_else(|_| Err("panicked, see above".into()));
            if let Err(what) = verdict {
                next.store(last, Ordering::SeqCst);
                panic!("seed {seed} of {kind:?}: SKYWEIR_MODEL_SEED={seed} runs it alone\n{what}");
            }
        }
    };
    std::thread::scope(|scope| {
        let other = servers.is_none().then(|| scope.spawn(work));
        work();
        if let Some(other) = other {
            other.join().expect("the other thread has found a difference, see above");
        }
    });
    println!("{kind:?}, seeds from {} on: {coverage:?}", range.start);
    assert!(range != whole || coverage.reaches(often), "the scripts miss what they are for: {coverage:?}");
}

#[test]
fn in_memory() {
    seeds(Kind::Memory, 0..1_000, 300, 200);
}

#[test]
fn embedded() {
    seeds(Kind::Embedded, 0..100, 2_000, 200);
}

/// A few seeds, for a quick look and for the mutants.
#[test]
fn few_in_memory() {
    seeds(Kind::Memory, 5_000..5_150, 300, 20);
}

/// The same on the embedded store.
#[test]
fn few_embedded() {
    seeds(Kind::Embedded, 5_000..5_010, 600, 1);
}

/// A few in memory, with the follower graph over a socket.
#[test]
fn few_over_a_served_graph() {
    seeds(Kind::Served, 5_000..5_050, 300, 5);
}

/// A few on the servers that `SKYWEIR_TEST_CQL` and `SKYWEIR_TEST_REDIS` name.
#[test]
fn few_on_cql() {
    seeds(Kind::Cql, 5_000..5_004, 200, 1);
}
