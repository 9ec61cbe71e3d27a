//! What one process writes to timelines another reads from their rows alone, at a real server:
//! `SKYWEIR_TEST_CQL=HOST:PORT`.
#![expect(clippy::unwrap_used, reason = "these are parts of tests")]

mod common;

use std::cell::{Cell, RefCell};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use common::Servers;
use futures::future::join;
use skyweir_scylla::{Cluster, Config, Rows, RowsConfig, RowsReader};
use skyweir_store::{Cached, CachedState, Delivery, Enrolment, RingInfo, TimelineReads as _, Timelines as _};
use skyweir_types::{ActorId, Clock, DidHash, DrawKey, Generation, ItemId, Reference, TaskId, UriHash};

const V: ActorId = ActorId(4);
const CAP: usize = 25;

/// Runs a test at the server, if there is one, with empty tables: on timelines, and on a reader of them.
fn at_server<F: Future<Output = ()>>(test: impl FnOnce(Cluster, Rows, RowsReader) -> F) {
    let Some(servers) = Servers::find("readers") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        servers.empty().await;
        // several requests for each answer
        let timelines = RowsConfig { cap: CAP, trim_over: 5, page_rows: 7, ..RowsConfig::default() };
        let cluster = Cluster::connect(&Config { timelines, ..servers.config.clone() }).await.unwrap();
        let rows =
            Rows::open(&cluster, DrawKey::default(), TaskId(1), TaskId(0), Clock::system()).await.unwrap();
        let reader = RowsReader::open(&cluster).await.unwrap();
        test(cluster, rows, reader).await;
    });
}

fn reference(n: i64) -> Reference {
    // some share a millisecond
    let sort_at = n - n % 3;
    Reference { item: ItemId(n.unsigned_abs()), sort_at, uri_hash: UriHash(0), author: ActorId(1) }
}

async fn begin(rows: &Rows) -> Generation {
    rows.begin(V, Enrolment { did_hash: DidHash(7), rate: 1.0, now_us: 1_000 }).await.unwrap()
}

async fn apply(rows: &Rows, n: i64) {
    let delivery = Delivery { reference: reference(n), viewers: [V].into_iter().collect() };
    rows.apply(rows.shard_of(V), &[delivery]).await.unwrap();
}

/// Compares what both say, from all places.
async fn alike(rows: &Rows, reader: &RowsReader) {
    for from_ms in (-2..70).chain([i64::MAX, i64::MIN]) {
        for n in [0, 1, 6, 7, 20, usize::MAX] {
            let [one, other] = [rows.read(V, from_ms, n).await, reader.read(V, from_ms, n).await];
            let plain = |cached: skyweir_store::Result<Cached>| {
                let mut cached = cached.unwrap();
                match &mut cached.state {
                    CachedState::In(info) if from_ms < i64::MAX || !cached.at_floor => info.len = 0,
                    CachedState::Filling(_) => cached.state = CachedState::Out,
                    _ => {}
                }
                cached.entries.sort_by_key(|entry| (entry.sort_at, entry.item));
                format!("{cached:?}")
            };
            assert_eq!(plain(other), plain(one), "{n} from {from_ms} on");
        }
    }
}

#[test]
fn what_was_written_is_read_the_same_by_whoever_has_not_written_it() {
    at_server(|cluster, rows, reader| async move {
        alike(&rows, &reader).await;
        assert!(!RowsReader::any_enrolled(&cluster).await.unwrap());
        let generation = begin(&rows).await;
        assert!(RowsReader::any_enrolled(&cluster).await.unwrap());
        for n in 20..40 {
            apply(&rows, n).await;
        }
        alike(&rows, &reader).await;
        assert_eq!(reader.read(V, i64::MAX, 9).await.unwrap().state, CachedState::Out, "it fills");
        let found: Vec<_> = (0..40).rev().map(reference).collect();
        assert!(rows.publish(V, generation, &found, -2, 77).await.unwrap());
        alike(&rows, &reader).await;
        let state = reader.read(V, i64::MAX, usize::MAX).await.unwrap().state;
        let CachedState::In(RingInfo { len, since_ms, floor, .. }) = state else { panic!("{state:?}") };
        assert!(len > 20 && floor > 0 && since_ms == 77, "{state:?}");
        for n in 40..66 {
            apply(&rows, n).await;
        }
        alike(&rows, &reader).await;
        rows.lower_rate(V, 0.5).await.unwrap();
        rows.fill(V, &[], 55).await.unwrap();
        alike(&rows, &reader).await;
        // nothing is left, and then nothing was ever there
        rows.fill(V, &[], 90).await.unwrap();
        alike(&rows, &reader).await;
        let generation = begin(&rows).await;
        alike(&rows, &reader).await;
        assert!(rows.publish(V, generation, &[], i64::MIN, 78).await.unwrap());
        alike(&rows, &reader).await;
        assert!(rows.leave(V, generation).await.unwrap());
        alike(&rows, &reader).await;
        assert!(!RowsReader::any_enrolled(&cluster).await.unwrap());
    });
}

/// One reads while the other trims, fills, leaves, begins and publishes: what is done is there, above the floor.
#[test]
fn nothing_is_missing_above_the_floor_while_it_changes() {
    at_server(|_, rows, reader| async move {
        let (mut answered, mut out, mut cut) = (0, 0, 0);
        for seed in 0..20_u64 {
            let begun = Cell::new(0);
            let done = RefCell::new(Vec::new());
            let ended = Cell::new(false);
            let random = |step: i64, of: u64| {
                let mut hasher = DefaultHasher::new();
                (seed, step, of).hash(&mut hasher);
                hasher.finish() % of
            };
            let write = async {
                for step in 1..=60 {
                    match random(step, 12) {
                        0 => {
                            let generation = begin(&rows).await;
                            // a merge that begins now finds all that was committed
                            let found: Vec<_> = (1..=begun.get()).rev().map(reference).collect();
                            apply(&rows, step).await;
                            let floor = random(step, 40) as i64 - 20;
                            assert!(rows.publish(V, generation, &found, floor, 9).await.unwrap());
                        }
                        1 => rows.fill(V, &[], step - 9).await.map(drop).unwrap(),
                        2 => {
                            let state = rows.read(V, i64::MIN, 0).await.unwrap().state;
                            if let CachedState::In(RingInfo { generation, .. }) = state {
                                rows.leave(V, generation).await.unwrap();
                            }
                        }
                        _ => {
                            begun.set(step);
                            apply(&rows, step).await;
                            done.borrow_mut().push(step);
                        }
                    }
                }
                ended.set(true);
            };
            let mut read = async || {
                for step in 0.. {
                    if ended.get() {
                        break;
                    }
                    let wanted = done.borrow().clone();
                    let from_ms = if random(step, 3) == 0 { random(step, 60) as i64 } else { i64::MAX };
                    let n = [1, 8, 60][random(step, 3) as usize];
                    let Cached { state, entries, at_floor } = reader.read(V, from_ms, n).await.unwrap();
                    let CachedState::In(info) = state else {
                        out += 1;
                        continue;
                    };
                    let last = entries.iter().map(|entry| entry.sort_at).min().filter(|_| !at_floor);
                    let wanted = wanted.into_iter().map(reference).filter(|wanted| {
                        wanted.sort_at > info.floor
                            && wanted.sort_at <= from_ms
                            && last.is_none_or(|last| wanted.sort_at >= last)
                    });
                    for wanted in wanted {
                        let is_there = entries.iter().any(|entry| entry.item == wanted.item);
                        assert!(
                            is_there,
                            "seed {seed}: {wanted:?} of {info:?} from {from_ms} on: {entries:?}"
                        );
                        answered += 1;
                    }
                    assert!(
                        entries.iter().all(|entry| entry.sort_at > info.floor && entry.sort_at <= from_ms)
                    );
                    assert!(at_floor || entries.len() >= n);
                    cut += u32::from(info.floor > 0);
                }
            };
            join(write, read()).await;
            // the next one begins with nothing
            let generation = begin(&rows).await;
            assert!(rows.leave(V, generation).await.unwrap());
        }
        assert!(answered > 1_000 && out > 20 && cut > 100, "{answered} found, {out} times out, {cut} cut");
    });
}
