//! The sample is fair, keeps to its rate and forgets.

use skyweir_types::{ItemId, Reference, UriHash};

use super::*;

const AUTHOR: ActorId = ActorId(9_000_000);

fn hot() -> Hot {
    Hot::new(2, 2_000, watch::channel(Arc::default()).1)
}

fn delivery(viewers: Vec<ActorId>) -> (Delivery, Counts) {
    let reference = Reference { item: ItemId(1), sort_at: 1, uri_hash: UriHash(1), author: AUTHOR };
    let counts = Counts { written: viewers.len() as u64, ..Counts::default() };
    (Delivery { reference, viewers: viewers.into() }, counts)
}

fn wrote(hot: &Hot, shard: u32, viewers: Vec<ActorId>) {
    let (delivery, counts) = delivery(viewers);
    hot.wrote(shard, &[delivery], &[counts]);
}

fn share(hot: &Hot, viewer: u32) -> f64 {
    let state = hot.state();
    let found = state.timelines.top(usize::MAX).into_iter().find(|one| one.viewer == ActorId(viewer));
    found.map_or(0.0, |one| state.share(one.count - one.error))
}

/// A tenth of all to timeline 7 on shard 1, the rest to any of a million on shard 0.
async fn stream(hot: &Hot, calls: u32, pause: Duration) {
    let mut other = 100u32;
    for _ in 0..calls {
        let viewers = (0..180).map(|_| {
            other = other.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ActorId(1_000 + other % 1_000_000)
        });
        wrote(hot, 0, viewers.collect());
        wrote(hot, 1, vec![ActorId(7); 20]);
        tokio::time::advance(pause).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_hot_timeline_is_found_at_any_rate() {
    for micros in [10, 100, 10_000] {
        let hot = hot();
        let pause = Duration::from_micros(micros);
        stream(&hot, 5_000, pause).await;
        let (report, top, per_second) = hot.figures(2);
        assert_eq!((top[0].viewer, report.shards[0].shard), (ActorId(7), 0));
        let rate = 200.0 / pause.as_secs_f64();
        let seconds = 5_000.0 * pause.as_secs_f64();
        // before a second has gone by, rates are those of a second
        let wanted = rate * seconds.min(1.0);
        assert!((report.writes_per_second / wanted - 1.0).abs() < 0.05, "{report:?}, {wanted}");
        assert!((top[0].count * per_second / wanted - 0.1).abs() < 0.02, "{top:?} of {wanted}");
        assert!((report.shards[1].share - 0.1).abs() < 0.02, "{report:?}");
        let distribution = hot.distribution();
        assert!((distribution.shard_share - 0.9).abs() < 0.02 && distribution.shards.len() == 2);
        assert!((0.07..0.12).contains(&distribution.timelines_share), "{distribution:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn samples_are_few_however_much_is_written() {
    let hot = hot();
    // 20 M references a second
    stream(&hot, 20_000, Duration::from_micros(10)).await;
    let stride = hot.state().stride;
    assert!(20_000_000 / stride <= SAMPLES * 10 * 2, "one in {stride}");
    // and soon enough when little is
    stream(&hot, 2_000, Duration::from_secs(1)).await;
    assert_eq!(hot.state().stride, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_long_ago_is_forgotten() {
    let hot = hot();
    stream(&hot, 5_000, Duration::from_millis(10)).await;
    let before = share(&hot, 7);
    for minute in 1..200 {
        wrote(&hot, 0, (0..100).map(ActorId).map(|one| ActorId(one.0 + 50)).collect());
        tokio::time::advance(Duration::from_secs(60)).await;
        if minute == 20 {
            assert!(share(&hot, 7) < before / 10.0);
        }
    }
    assert!(share(&hot, 7) < 1e-9 && hot.state().total.is_finite());
    let report = hot.figures(1).0;
    // a half, a quarter, an eighth, ... of a hundred, over what a steady write a second comes to
    let wanted = 100.0 / (60.0 / std::f64::consts::LN_2);
    assert!((report.writes_per_second - wanted).abs() < 0.01, "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_below_the_floor_is_not_written() {
    let hot = hot();
    let (delivery, mut counts) = delivery(vec![ActorId(1), ActorId(2), ActorId(3), ActorId(4)]);
    counts = Counts { written: 2, below_floor: 2, ..counts };
    for _ in 0..50 {
        hot.wrote(0, std::slice::from_ref(&delivery), &[counts]);
    }
    assert_eq!(hot.state().total, 100.0);
}
