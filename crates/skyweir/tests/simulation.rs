//! The simulation of `cargo xtask bench simulation`, at a small size: the writer's own code over a virtual clock.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

#[path = "../benches/bars/simulation/model/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the benchmark uses the rest")]
mod model;
#[path = "../benches/bars/rng.rs"]
#[allow(dead_code, reason = "the benchmark uses the rest")]
mod rng;

use std::sync::Arc;
use std::time::Duration;

use model::latency::{LogNormal, MEAN_MS, Mixture, P99_MS, P999_MS};
use model::network::Author;
use model::times::Times;
use model::{P999_SHARE, Shape, Small, Way, World, one_post, small_posts};
use skyweir_types::ActorId;

const FOLLOWERS: u32 = 20_000;
const QUEUE: usize = 20_000;
const WRITER: Way = Way::Writer { queue: QUEUE };
const BARRIER: Way = Way::Pool { barrier: true };

fn world() -> Arc<World> {
    let shape = Shape {
        accounts: 200_000,
        shards: 100,
        page: 1_000,
        page_read: Duration::from_millis(1),
        hot_follows: 10_000.0,
    };
    World::new(shape).unwrap()
}

#[test]
fn the_same_seed_makes_the_same_run_and_another_one_another() {
    let world = world();
    for lossy in [false, true] {
        let case = world.case(lossy, 8);
        for way in [WRITER, BARRIER, Way::Pool { barrier: false }] {
            let once = one_post(&case, FOLLOWERS, way, 0..3).unwrap();
            assert_eq!(one_post(&case, FOLLOWERS, way, 0..3).unwrap(), once, "{way:?}");
            assert_ne!(one_post(&case, FOLLOWERS, way, 3..6).unwrap(), once, "{way:?}");
        }
        let small = Small { followers: 100, posts: 9, over: None, beside: FOLLOWERS, large: true, batch: 64 };
        let once = small_posts(&case, small, 0..3).unwrap();
        assert_eq!(small_posts(&case, small, 0..3).unwrap(), once);
        assert_eq!(once.posts.len(), 3 * 9);
        if !lossy {
            assert_eq!(once.calm.count() + once.hot.count(), 3 * 9 * 100);
        }
    }
}

#[test]
fn hot_shards_hold_up_a_page_barrier_and_only_themselves_without() {
    let world = world();
    let (off, on) = (world.case(false, 8), world.case(true, 8));
    assert!(off.hot_shards() > 0 && off.hot_shards() < 5 && on.hot_shards() == 0);
    let of = |case, way| {
        let posts = one_post(case, FOLLOWERS, way, 0..3).unwrap();
        (posts.times.count(), posts.times.quantile(0.9), posts.times.quantile(1.0))
    };
    let (all, barrier, _) = of(&off, BARRIER);
    let (ours, most, last) = of(&off, WRITER);
    assert_eq!((all, ours), (3 * 20_000, 3 * 20_000));
    assert!(most < barrier / 10.0 && last > most * 10.0, "{most} s, {last} s; {barrier} s with the barrier");
    // lossy timelines: some references are lost, and no shard is hot
    let (kept, _, healed) = of(&on, WRITER);
    assert!((3 * 19_900..3 * 20_000).contains(&kept), "{kept}");
    assert!(healed < last / 10.0, "{healed} s");
}

#[test]
fn the_page_barrier_costs_what_the_slowest_writes_of_all_pages_cost() {
    let case = world().case(true, 1_000);
    let of = |barrier| one_post(&case, FOLLOWERS, Way::Pool { barrier }, 0..3).unwrap().times.quantile(1.0);
    let (with, without) = (of(true), of(false));
    // 20 pages, whose slowest write takes some 40 ms; without it one of all: 70 ms after 20 ms of reading
    assert!((0.5..1.2).contains(&with) && without < 0.15, "{with} s with it, {without} s without");
}

fn near(is: f64, wanted: f64) {
    assert!((is / wanted - 1.0).abs() < 0.01, "{is}, not {wanted}");
}

#[test]
fn a_calm_write_has_the_mean_and_the_p99_of_the_text() {
    let calm = Mixture::calm();
    near(calm.mean(), MEAN_MS);
    near(calm.quantile(0.99), P99_MS);
    let table = calm.table();
    let cells: Vec<f64> = (0..1 << 16).map(|cell| table.at(cell << 48) as f64 / 1e6).collect();
    near(cells.iter().sum::<f64>() / cells.len() as f64, MEAN_MS);
    near(cells[cells.len() * 99 / 100], P99_MS);
}

#[test]
fn no_lognormal_alone_has_them() {
    let ratio = |sigma: u32| {
        let one = Mixture(vec![(1.0, LogNormal { median_ms: 1.0, sigma: f64::from(sigma) / 20.0 })]);
        one.quantile(0.99) / one.mean()
    };
    let most = (1..100).map(ratio).fold(0.0, f64::max);
    assert!(most < 15.0 && P99_MS / MEAN_MS > 24.9, "{most}");
}

#[test]
fn hot_shards_bring_the_p999_of_all_writes_to_a_second() {
    for share in [0.005, 0.01, 0.1] {
        near(Mixture::all(share, P999_SHARE).quantile(0.999), P999_MS);
    }
}

#[test]
fn followers_are_as_many_as_asked_for_and_pages_miss_none() {
    let world = world();
    let accounts = world.shape.accounts;
    for followers in [accounts, accounts - 1, 66_667, 3_001, 1] {
        let author = Author::new(&world, 0, followers);
        let all = author.followers_after(None, usize::MAX);
        assert_eq!(all.len(), followers as usize);
        assert!(all.is_sorted_by(|a, b| a < b) && all.iter().all(|one| one.0 < accounts));
        for after in (0..accounts).step_by(7).chain([accounts - 1]) {
            let first = all.partition_point(|one| one.0 <= after);
            let wanted = &all[first..all.len().min(first + 3)];
            assert_eq!(author.followers_after(Some(ActorId(after)), 3), wanted, "after {after}");
        }
    }
}

#[test]
fn times_are_told_to_a_hundredth() {
    let mut before = 0.0;
    for ns in (0..2_000).chain((11..60).flat_map(|bit| [(1 << bit) - 1, 1 << bit])) {
        let mut times = Times::default();
        times.note(ns);
        let (told, ns) = (times.quantile(0.5), ns as f64 / 1e9);
        assert!(told >= before && (ns * 0.999_999..=ns * 1.008).contains(&told), "{ns} s, told {told} s");
        before = told;
    }
    let mut times = Times::default();
    assert_eq!(times.quantile(0.5), 0.0);
    (1..=100).for_each(|ns| times.note(ns));
    let mut other = Times::default();
    other.note(1_000_000_000);
    times.add(&other);
    assert_eq!((times.count(), times.quantile(0.5)), (101, 51.0 / 1e9));
}
