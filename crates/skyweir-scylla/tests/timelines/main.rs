//! Timelines as rows pass the suite of all stores, at a real server: `SKYWEIR_TEST_CQL=HOST:PORT`.
#![expect(clippy::unwrap_used, reason = "these are parts of tests")]

#[path = "../common/mod.rs"]
mod common;
mod proxy;
mod stalled;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{OF_TIMELINES, Servers};
use futures::future::try_join_all;
use skyweir_scylla::{Cluster, Config, Rows, RowsConfig};
use skyweir_store::conformance::{Home, Opened, Subject, compare};
use skyweir_store::{
    CachedState, Counts, Delivery, Enrolment, MemoryStore, RingInfo, Shape, Store as _, TimelineReads as _,
    Timelines,
};
use skyweir_types::{ActorId, Clock, DidHash, DrawKey, Generation, ItemId, Reference, TaskId, UriHash};

/// Records in memory, timelines at the server.
struct AtServer {
    records: MemoryStore,
    servers: Option<Servers>,
    is_empty: AtomicBool,
}

impl AtServer {
    fn new() -> Self {
        let servers = Servers::find("timelines");
        Self { records: MemoryStore::new(), servers, is_empty: AtomicBool::new(false) }
    }
}

/// Small requests, so that the cases take several; trims at once, as the suite has it.
fn rows_config(shape: Shape) -> RowsConfig {
    RowsConfig {
        cap: shape.cap,
        memory_bytes: shape.memory_bytes,
        trim_over: 0,
        shards_per_node: shape.shards,
        batch_rows: 8,
        page_rows: 7,
        // generations of tests are of 1970: nobody is to give them up while they fill
        filling_ms: 3_600_000,
        ..RowsConfig::default()
    }
}

#[async_trait::async_trait]
impl Subject for AtServer {
    async fn open(&self, shape: Shape) -> Opened {
        let servers = self.servers.as_ref().expect("it is asked before whether one is missing");
        if !self.is_empty.swap(true, Ordering::Relaxed) {
            servers.empty_those(|table| OF_TIMELINES.contains(&table)).await;
        }
        let next_task = *self.records.next_task().borrow();
        let cluster = cluster(servers, &rows_config(shape)).await;
        let rows = Rows::open(&cluster, shape.draw, next_task, TaskId(0), Clock::system()).await.unwrap();
        Opened { store: Arc::new(self.records.clone()), timelines: Arc::new(rows) }
    }

    fn home(&self) -> Home {
        Home::Rows
    }

    fn is_missing(&self) -> bool {
        self.servers.is_none()
    }
}

skyweir_store::conformance_timeline_tests!(AtServer::new());

/// Runs a test at the server, if there is one, with empty tables.
fn at_server<F: Future<Output = ()>>(test: impl FnOnce(Servers) -> F) {
    let Some(servers) = Servers::find("timelines") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        servers.empty_those(|table| OF_TIMELINES.contains(&table)).await;
        test(servers).await;
    });
}

async fn cluster(servers: &Servers, rows: &RowsConfig) -> Cluster {
    let config = Config { timelines: rows.clone(), ..servers.config.clone() };
    Cluster::connect(&config).await.unwrap()
}

async fn connect(servers: &Servers, rows: &RowsConfig) -> Rows {
    let cluster = cluster(servers, rows).await;
    Rows::open(&cluster, DrawKey::default(), TaskId(1), TaskId(0), Clock::system()).await.unwrap()
}

const V: ActorId = ActorId(4);

fn reference(n: i64) -> Reference {
    Reference { item: ItemId(n.unsigned_abs()), sort_at: n, uri_hash: UriHash(0), author: ActorId(1) }
}

async fn begin(rows: &Rows, viewer: ActorId) -> Generation {
    rows.begin(viewer, Enrolment { did_hash: DidHash(7), rate: 1.0, now_us: 1_000 }).await.unwrap()
}

async fn enrol(rows: &Rows, viewer: ActorId, floor: i64) -> Generation {
    let generation = begin(rows, viewer).await;
    assert!(rows.publish(viewer, generation, &[], floor, 9).await.unwrap());
    generation
}

async fn apply(rows: &Rows, viewers: &[ActorId], reference: Reference) -> Counts {
    let delivery = Delivery { reference, viewers: viewers.iter().copied().collect() };
    rows.apply(rows.shard_of(viewers[0]), &[delivery]).await.unwrap()[0]
}

/// What a timeline says of itself, and its times.
async fn held(rows: &Rows, viewer: ActorId) -> (RingInfo, Vec<i64>) {
    let cached = rows.read(viewer, i64::MAX, usize::MAX).await.unwrap();
    let CachedState::In(info) = cached.state else { panic!("{viewer} is {:?}", cached.state) };
    (info, cached.entries.iter().map(|entry| entry.sort_at).collect())
}

#[test]
fn random_operations_are_answered_as_by_the_reference() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for seed in 0..3 {
        let subject = AtServer::new();
        if subject.servers.as_ref().is_some_and(|servers| seed < servers.seeds(3)) {
            runtime.block_on(compare(seed, 200, &subject));
        }
    }
}

#[test]
fn who_writes_to_an_ended_generation_changes_nothing() {
    at_server(|servers| async move {
        let config = rows_config(Shape::default());
        let one = connect(&servers, &config).await;
        enrol(&one, V, -5).await;
        // two more processes know that generation, and not what comes after it, until they tell something or find it ended
        let deaf = RowsConfig { news_ms: 3_600_000, ..config.clone() };
        let (late, lowers) = (connect(&servers, &deaf).await, connect(&servers, &deaf).await);
        let generation = begin(&one, V).await;
        assert_eq!(apply(&late, &[V], reference(3)).await.written, 1);
        late.fill(V, &[reference(8), reference(4)], 2).await.unwrap();
        assert_eq!(apply(&one, &[V], reference(7)).await.written, 1);
        assert!(one.publish(V, generation, &[reference(6)], -9, 11).await.unwrap());
        apply(&late, &[V], reference(2)).await;
        late.drop_before(7).await.unwrap();
        let (info, times) = held(&one, V).await;
        assert_eq!((info.generation, info.floor, info.rate, info.since_ms), (generation, -9, 1.0, 11));
        assert_eq!(times, [7, 6]);
        // and what is read there is of none
        assert_eq!(late.read(V, i64::MAX, 9).await.unwrap().state, CachedState::Out);
        lowers.lower_rate(V, 0.5).await.unwrap();
        assert_eq!(held(&one, V).await, (info, times));
        assert!(one.leave(V, generation).await.unwrap());
        assert_eq!(apply(&late, &[V], reference(9)).await.written, 1);
        let generation = begin(&one, V).await;
        assert!(one.publish(V, generation, &[], i64::MIN, 12).await.unwrap());
        assert!(held(&one, V).await.1.is_empty());
    });
}

#[test]
fn what_was_not_finished_leaves_at_the_start() {
    at_server(|servers| async move {
        let config = rows_config(Shape::default());
        let rows = connect(&servers, &config).await;
        let mut generations = Vec::new();
        for viewer in (0..5).map(ActorId) {
            generations.push(enrol(&rows, viewer, 1).await);
            apply(&rows, &[viewer], reference(3)).await;
        }
        rows.checkpoint(TaskId(1)).await.unwrap();
        drop(rows);
        // as processes leave them that end within a leaving, within a beginning, before and after the wipe
        for text in [
            "UPDATE {ks}.enrolled SET state = 2 WHERE viewer = 0 IF EXISTS",
            "UPDATE {ks}.enrolled SET state = 0, generation = 2000 WHERE viewer = 1 IF EXISTS",
            "DELETE FROM {ks}.timeline USING TIMESTAMP 1000 WHERE viewer = 2",
        ] {
            let text = text.replace("{ks}", &servers.config.keyspace);
            servers.session().await.query_unpaged(text, ()).await.unwrap();
        }
        let rows = connect(&servers, &config).await;
        assert_eq!((rows.enrolled(), rows.restored()), (2, TaskId(1)));
        let mut page = (0..5).map(ActorId).collect();
        rows.retain_enrolled(&mut page);
        assert_eq!(page, [ActorId(3), ActorId(4)]);
        for viewer in (0..3).map(ActorId) {
            // late for what they were, and nothing of it is there when they begin again
            assert_eq!(apply(&rows, &[viewer], reference(4)).await.hibernating, 1);
            let generation = begin(&rows, viewer).await;
            assert!(generation > generations[viewer.0 as usize]);
            assert!(rows.publish(viewer, generation, &[], i64::MIN, 7).await.unwrap());
            assert!(held(&rows, viewer).await.1.is_empty());
        }
        assert_eq!(held(&rows, ActorId(3)).await.1, [3]);
    });
}

#[test]
fn timelines_that_need_lost_tasks_leave() {
    at_server(|servers| async move {
        let config = rows_config(Shape::default());
        let cluster = cluster(&servers, &config).await;
        let again = async |next_task, lost_below| {
            Rows::open(&cluster, DrawKey::default(), TaskId(next_task), TaskId(lost_below), Clock::system())
                .await
                .unwrap()
        };
        let rows = again(1, 0).await;
        enrol(&rows, V, 1).await;
        rows.checkpoint(TaskId(7)).await.unwrap();
        // up to the checkpoint all were done
        let rows = again(20, 7).await;
        assert_eq!((rows.enrolled(), rows.restored()), (1, TaskId(7)));
        let rows = again(20, 8).await;
        assert_eq!((rows.enrolled(), rows.restored()), (0, TaskId(20)));
        assert_eq!(rows.read(V, i64::MAX, 9).await.unwrap().state, CachedState::Out);
        assert_eq!(again(30, 8).await.restored(), TaskId(20));
    });
}

/// A process that drains while another has taken over notes what it knows, late.
#[test]
fn kept_never_falls_whoever_notes_it_last() {
    at_server(|servers| async move {
        let config = rows_config(Shape::default());
        let one = connect(&servers, &config).await;
        let other = connect(&servers, &config).await;
        for (rows, kept, then) in [(&one, 7, 7), (&other, 9, 9), (&one, 8, 9), (&other, 2, 9)] {
            rows.checkpoint(TaskId(kept)).await.unwrap();
            assert_eq!(connect(&servers, &config).await.restored(), TaskId(then));
        }
        // nor by one whose key of the draw is of before
        let cluster = cluster(&servers, &config).await;
        let again = async |next| {
            let draw = DrawKey::new(5);
            Rows::open(&cluster, draw, TaskId(next), TaskId(0), Clock::system()).await.unwrap().restored()
        };
        assert_eq!(again(9).await, TaskId(9));
        one.checkpoint(TaskId(9)).await.unwrap();
        assert_eq!(again(12).await, TaskId(9), "what another key had noted came back");
    });
}

#[test]
fn a_floor_only_rises_and_a_rate_only_falls() {
    at_server(|servers| async move {
        let config = rows_config(Shape::default());
        let one = connect(&servers, &config).await;
        enrol(&one, V, -5).await;
        let other = connect(&servers, &config).await;
        // each takes the floor and the rate for what they were when it began
        for (rows, floor, rate) in [(&one, 4, 0.25), (&other, -3, 0.75), (&other, 2, 0.5)] {
            rows.fill(V, &[], floor).await.unwrap();
            rows.lower_rate(V, rate).await.unwrap();
        }
        let (info, _) = held(&other, V).await;
        assert_eq!((info.floor, info.rate), (4, 0.25));
        drop((one, other));
        let (info, _) = held(&connect(&servers, &config).await, V).await;
        assert_eq!((info.floor, info.rate), (4, 0.25));
    });
}

#[test]
fn trims_come_seldom_and_singles_write_the_same() {
    at_server(|servers| async move {
        for single_inserts in [false, true] {
            let shape = Shape { cap: 3, shards: 5, ..Shape::default() };
            let config = RowsConfig { trim_over: 2, single_inserts, ..rows_config(shape) };
            let rows = connect(&servers, &config).await;
            let viewers: Vec<_> = (0..40).map(ActorId).collect();
            for viewer in &viewers {
                enrol(&rows, *viewer, i64::MIN).await;
            }
            for (n, len, floor) in [(1, 1, i64::MIN), (2, 2, i64::MIN), (3, 3, i64::MIN)].into_iter().chain([
                (4, 4, i64::MIN),
                (5, 5, i64::MIN),
                (6, 3, 3),
                (7, 4, 3),
            ]) {
                assert_eq!(apply(&rows, &viewers, reference(n)).await.written, 40);
                for viewer in &viewers {
                    let (info, times) = held(&rows, *viewer).await;
                    assert_eq!((info.len, times.len(), info.floor), (len, len, floor), "{n}");
                }
            }
        }
    });
}

/// Whatever runs at the same time, above its floor a timeline misses nothing.
#[test]
fn nothing_is_missing_above_the_floor_whatever_runs_beside() {
    at_server(|servers| async move {
        let shape = Shape { cap: 40, shards: 3, ..Shape::default() };
        let config = RowsConfig { trim_over: 10, page_rows: 100, ..rows_config(shape) };
        let rows = connect(&servers, &config).await;
        let viewers: Vec<_> = (0..6).map(ActorId).collect();
        for viewer in &viewers {
            enrol(&rows, *viewer, i64::MIN).await;
        }
        // one begins anew while all of it comes
        let again = begin(&rows, viewers[0]).await;
        let fan_out = (1..=300).map(|n| {
            let (rows, viewers) = (rows.clone(), viewers.clone());
            async move {
                apply(&rows, &viewers, reference(n * 7 % 300)).await;
                if n % 50 == 0 {
                    rows.fill(viewers[1], &[reference(n % 300 + 1_000)], n / 3).await?;
                }
                if n == 150 {
                    assert!(rows.publish(viewers[0], again, &[], i64::MIN, 7).await?);
                }
                Ok::<_, skyweir_store::Error>(())
            }
        });
        try_join_all(fan_out).await.unwrap();
        // the last look is that of a process that finds it all
        for rows in [rows.clone(), connect(&servers, &config).await] {
            for viewer in &viewers {
                let (info, mut times) = held(&rows, *viewer).await;
                times.retain(|time| *time < 1_000);
                let wanted: Vec<_> = (info.floor.max(-1) + 1..300).rev().collect();
                assert_eq!(times, wanted, "{viewer}, above {}", info.floor);
                assert!(info.floor > 0, "{viewer} was trimmed");
            }
        }
    });
}
