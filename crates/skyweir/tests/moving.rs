//! A data directory moved into another store: cut off anywhere, it leaves the same. `SKYWEIR_MOVE_SEEDS=100` tries
//! more; into a real cluster goes who has `SKYWEIR_TEST_CQL` and `SKYWEIR_TEST_REDIS`.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;
mod moved;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use common::cql::Cql;
use common::freezer::Freezer;
use common::{Serve, network, run, signal, soon, upstream};
use moved::{Contents, fill};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use skyweir_embedded::{Config as StoreConfig, EmbeddedStore};
use skyweir_scylla::{Cluster, Config, Lease, ScyllaStore};
use skyweir_store::{
    Error, Hook, HookedStore, MemoryStore, Move, MoveError, Operation, RecordBody, RecordRow, Result,
    SavedCursor, Store, is_move,
};
use skyweir_types::{Clock, Collection, Did, RecordKey, RecordRef, Tid};

/// A seed with which all that a store can hold is there.
const SCRIPT: u64 = 0;

fn seeds() -> u64 {
    std::env::var("SKYWEIR_MOVE_SEEDS").map_or(6, |seeds| seeds.parse().unwrap())
}

fn open(dir: &Path) -> Arc<dyn Store> {
    Arc::new(EmbeddedStore::open(StoreConfig { data_dir: dir.to_owned(), ..StoreConfig::default() }).unwrap())
}

/// Cuts off at the commit of this number, which is done or not.
struct Cut {
    left: AtomicU32,
    is_done: bool,
}

impl Cut {
    fn now(&self, operation: &Operation<'_>, is_done: bool) -> Result<()> {
        let is_it = matches!(operation, Operation::Commit) && self.is_done == is_done;
        if is_it && self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            return Err(Error::Unavailable("cut off".into()));
        }
        Ok(())
    }
}

#[async_trait]
impl Hook for Cut {
    async fn before(&self, operation: &Operation<'_>) -> Result<()> {
        self.now(operation, false)
    }

    async fn after(&self, operation: &Operation<'_>) -> Result<()> {
        self.now(operation, true)
    }
}

/// Moves with a batch of this size, cut off after some commits again and again. Returns how often that was.
async fn cut_off(source: &Arc<dyn Store>, target: &Arc<dyn Store>, batch: usize, rng: &mut SmallRng) -> u32 {
    let mut cuts = 0;
    loop {
        let left = AtomicU32::new(rng.random_range(1..6));
        let cut = Cut { left, is_done: rng.random() };
        let hooked = Arc::new(HookedStore::new(target.clone(), Arc::new(cut)));
        let mut moving = Move::begin(source.clone(), hooked, batch).await.unwrap();
        match moving.run(&|_| {}).await {
            Ok(_) => return cuts,
            Err(error) => assert!(error.to_string().contains("cut off"), "{error}"),
        }
        cuts += 1;
        // goes on by itself now and then
        if rng.random() && moving.run(&|_| {}).await.is_ok() {
            return cuts;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_anywhere_it_leaves_the_same() {
    let (mut cuts, mut kinds) = (0, BTreeMap::new());
    for seed in 0..seeds() {
        let dir = tempfile::tempdir().unwrap();
        let source = open(dir.path());
        fill(&*source, seed, 1_500).await;
        let mut rng = SmallRng::seed_from_u64(seed);
        let wanted = Contents::of(&*source).await;
        let target: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let batch = rng.random_range(1..60);
        cuts += cut_off(&source, &target, batch, &mut rng).await;
        let found = Contents::of(&*target).await;
        found.expect(&wanted, &format!("seed {seed}"));
        assert_eq!(*target.next_task().borrow(), skyweir_types::TaskId(1), "no task is left");
        for (kind, n) in found.kinds {
            *kinds.entry(kind).or_default() += n;
        }
    }
    assert!(cuts > 0, "it was never cut off");
    assert_holds_all(&kinds);
}

/// All that a store can hold was there.
fn assert_holds_all(kinds: &BTreeMap<&'static str, usize>) {
    for kind in [
        "post",
        "repost",
        "repost without an item",
        "follow",
        "tombstone",
        "edge",
        "edge of several records",
        "reposts",
        "item",
        "mark",
        "horizon",
    ] {
        assert!(kinds.get(kind).is_some_and(|n| *n > 0), "no {kind} among {kinds:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_of_many_records_goes_on_inside_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target): (_, Arc<dyn Store>) = (open(dir.path()), Arc::new(MemoryStore::new()));
    let mut txn = source.begin().await.unwrap();
    let did = |n: u32| Did::parse(&format!("did:web:a{n}.example")).unwrap();
    let actor = txn.intern(&did(0)).await.unwrap();
    for n in 1..=30 {
        let subject = txn.intern(&did(n)).await.unwrap();
        let key = RecordRef {
            actor,
            collection: Collection::Follow,
            rkey: RecordKey::parse(&n.to_string()).unwrap(),
        };
        let row = RecordRow { rev: Tid(n.into()), wiped: Tid::ZERO, body: RecordBody::Follow { subject } };
        txn.put_record(&key, row).await.unwrap();
        txn.add_follow(actor, subject, &key.rkey).await.unwrap();
    }
    txn.set_cursor(SavedCursor { source: "script".into(), position: 1, time_us: 1 }).await.unwrap();
    txn.commit().await.unwrap();
    let mut runs = 0;
    loop {
        // one transaction each time
        let cut = Cut { left: AtomicU32::new(2), is_done: false };
        let hooked: Arc<dyn Store> = Arc::new(HookedStore::new(target.clone(), Arc::new(cut)));
        let moved = Move::begin(source.clone(), hooked, 4).await.unwrap().run(&|_| {}).await;
        runs += 1;
        if moved.is_ok() {
            break;
        }
        assert!(runs < 30, "it comes no further: {:?}", saved(&*target).await);
    }
    Contents::of(&*target).await.expect(&Contents::of(&*source).await, "moved in steps");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_a_store_holds_moves_into_a_cluster() {
    let Some(cql) = Cql::find("moved_script").await else { return };
    let dir = tempfile::tempdir().unwrap();
    let source = open(dir.path());
    fill(&*source, SCRIPT, 1_500).await;
    let wanted = Contents::of(&*source).await;
    assert_holds_all(&wanted.kinds);
    let cluster = Cluster::connect(&cql.config()).await.unwrap();
    let target: Arc<dyn Store> = Arc::new(ScyllaStore::open(&cluster, Clock::system()).await.unwrap());
    let cuts = cut_off(&source, &target, 40, &mut SmallRng::seed_from_u64(SCRIPT)).await;
    assert!(cuts > 0, "it was never cut off");
    Contents::of(&*target).await.expect(&wanted, "through views and transactions");
}

/// The greatest place of a store that isn't through.
async fn saved(store: &dyn Store) -> Option<SavedCursor> {
    store.view().await.unwrap().cursor().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_same_goes_on_and_only_where_nothing_was() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (source, target): (_, Arc<dyn Store>) = (open(one.path()), Arc::new(MemoryStore::new()));
    let begin = |from: &Arc<dyn Store>, to: &Arc<dyn Store>| Move::begin(from.clone(), to.clone(), 10);
    assert!(matches!(begin(&source, &target).await, Err(MoveError::Nothing)));
    fill(&*source, 1, 200).await;
    let cut = Cut { left: AtomicU32::new(2), is_done: true };
    let hooked: Arc<dyn Store> = Arc::new(HookedStore::new(target.clone(), Arc::new(cut)));
    assert!(begin(&source, &hooked).await.unwrap().run(&|_| {}).await.is_err());
    let place = saved(&*target).await.unwrap();
    assert!(is_move(&place) && place.source.starts_with("a move of script at "), "{place:?}");
    // another one, and the same one later
    let second = open(other.path());
    fill(&*second, 2, 200).await;
    let Err(MoveError::AnotherMove(of)) = begin(&second, &target).await else { panic!("it went on") };
    assert_eq!(of, place.source);
    let mut txn = source.begin().await.unwrap();
    let cursor = saved(&*source).await.unwrap();
    txn.set_cursor(SavedCursor { position: cursor.position + 1, ..cursor.clone() }).await.unwrap();
    txn.commit().await.unwrap();
    assert!(matches!(begin(&source, &target).await, Err(MoveError::AnotherMove(_))));
    let mut txn = source.begin().await.unwrap();
    txn.set_cursor(cursor).await.unwrap();
    txn.commit().await.unwrap();
    begin(&source, &target).await.unwrap().run(&|_| {}).await.unwrap();
    // what is through stays through; another store isn't taken in
    let moved = begin(&source, &target).await.unwrap().run(&|_| {}).await.unwrap();
    assert_eq!((moved.accounts, moved.items, moved.records), (0, 0, 0));
    assert!(matches!(begin(&second, &target).await, Err(MoveError::NotEmpty)));
}

const QUIET: [&str; 6] = ["--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log", "off"];

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_moved_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("skyweir.toml");
    std::fs::write(&file, "grpc = \"127.0.0.1:0\"\n").unwrap();
    let none = dir.path().join("none");
    let args = ["move", "--config", file.to_str().unwrap(), "--data-dir", none.to_str().unwrap()];
    let (code, _, err) = run(&args).await;
    assert_eq!(code, 1);
    assert!(err.contains("has to say backend = \"scylla\""), "{err}");
    std::fs::write(&file, "backend = \"scylla\"\n[scylla]\nnodes = [\"127.0.0.1:1\"]\n").unwrap();
    let (code, _, err) = run(&args).await;
    assert_eq!(code, 1);
    assert!(err.contains("none is no data directory") && !none.exists(), "{err}");
}

/// Longer than the test: who isn't let in isn't, however slow the machine is.
const LEASE: &str = "lease_ms = 250000";

/// The lease of a move that was killed.
async fn give_back(cql: &Cql) {
    let config = Config { holder: "a move by skyweir".into(), ..cql.config() };
    let lease = Lease::take(&Cluster::connect(&config).await.unwrap(), Clock::system()).await.unwrap();
    lease.give_back().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_moves_into_a_cluster_whatever_is_killed() {
    let Some(cql) = Cql::find("moved").await else { return };
    let (dir, here) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let settings = here.path().join("skyweir.toml");
    cql.write_settings(&settings, LEASE);
    let (upstream, (network, mut events)) = (upstream().await, network(2_400));
    let rest = events.split_off(events.len() - 200);
    let [before, end] = [&events, &rest].map(|events| events.last().unwrap().time_us);
    upstream.push_many(events);
    let serve = Serve::start(dir.path(), &upstream.url_v2(), &["--cursor", "0"]).await;
    serve.applied(before).await;
    let (config, data_dir) = (settings.to_str().unwrap(), dir.path().to_str().unwrap());
    let args = ["move", "--config", config, "--data-dir", data_dir];
    let (code, _, err) = run(&args).await;
    assert_eq!(code, 1);
    assert!(err.contains("is in use by another process"), "{err}");
    serve.stop().await;

    // a service that has applied nothing yet keeps its lease
    let (idle, empty) = (tempfile::tempdir().unwrap(), common::upstream().await);
    let idle = Serve::start(idle.path(), &empty.url_v2(), &["--config", config, "--cursor", "live"]).await;
    let (code, _, err) = run(&args).await;
    assert_eq!(code, 1);
    assert!(err.contains("the indexer \"skyweir\" may write for another"), "{err}");
    idle.stop().await;

    // killed at ever later places
    let (through, mut kills, mut begun, mut bytes) = (here.path().join("through.toml"), 0, 0, 40_000);
    let again = ["move", "--config", through.to_str().unwrap(), "--data-dir", data_dir];
    loop {
        let mut freezer = Freezer::before(cql.node(), bytes).await;
        cql.through(&freezer.address).write_settings(&through, LEASE);
        let mut child = common::binary().args(again).stderr(Stdio::null()).spawn().unwrap();
        let ended = async {
            tokio::select! {
                ended = child.wait() => Some(ended.unwrap()),
                () = freezer.frozen() => None,
            }
        };
        if let Some(ended) = soon("the move's end, or the proxy's", ended).await {
            assert!(ended.success());
            break;
        }
        begun += u32::from(cql.committed().await > 0);
        if begun == 1 {
            // neither of the same name, nor once nobody has the lease
            let refused = |(code, _, err): (i32, String, String), why: &str| {
                assert_eq!(code, 1);
                assert!(err.contains(why), "{err}");
            };
            let serve = [&["serve", "--config", config][..], &QUIET].concat();
            refused(run(&serve).await, "the indexer \"a move by skyweir\" may write for another");
            child.kill().await.unwrap();
            give_back(&cql).await;
            refused(run(&serve).await, "another store was being moved into this one");
        }
        child.kill().await.unwrap();
        kills += 1;
        bytes *= 2;
    }
    assert!(kills >= 3 && begun >= 2, "killed {kills} times, {begun} of them under way");
    let (code, _, err) = run(&args).await;
    assert_eq!(code, 0, "what is through stays through: {err}");

    let source = open(dir.path());
    let wanted = Contents::of(&*source).await;
    let cluster = Cluster::connect(&cql.config()).await.unwrap();
    let target = ScyllaStore::open(&cluster, Clock::system()).await.unwrap();
    Contents::of(&target).await.expect(&wanted, "through views and transactions");
    drop((source, target, cluster));

    // both go on from the same place
    upstream.push_many(rest);
    let moved = Serve::start(here.path(), &upstream.url_v2(), &["--config", config]).await;
    moved.applied(end).await;
    // whoever is at work there isn't disturbed
    let (code, _, err) = run(&args).await;
    assert_eq!(code, 1);
    assert!(err.contains("the store to move to isn't empty"), "{err}");
    let stayed = Serve::start(dir.path(), &upstream.url_v2(), &[]).await;
    stayed.applied(end).await;
    let mut items = 0;
    for actor in 0..network.actors() {
        let did = network.did(actor);
        let (found, wanted) = (moved.timeline(&did).await, stayed.timeline(&did).await);
        assert_eq!(found, wanted, "timeline of actor {actor}");
        items += found.len();
    }
    assert!(items > 1_000, "only {items} items were compared");
    moved.stop().await;
    stayed.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_while_it_opens_a_move_gives_its_lease_back() {
    let Some(cql) = Cql::find("moved_stopped").await else { return };
    let (dir, here) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fill(&*open(dir.path()), 1, 200).await;
    let [stuck, free] = ["stuck.toml", "free.toml"].map(|name| here.path().join(name));
    // Redis is asked first by who has the lease
    let mut freezer = Freezer::before(cql.redis(), 0).await;
    cql.through_redis(&freezer.address).write_settings(&stuck, LEASE);
    let args = ["move", "--config", stuck.to_str().unwrap(), "--data-dir", dir.path().to_str().unwrap()];
    let mut child = common::binary().args(args).stderr(Stdio::null()).spawn().unwrap();
    soon("the lease", freezer.frozen()).await;
    signal(child.id().unwrap(), "TERM").await;
    assert_eq!(soon("the end", child.wait()).await.unwrap().code(), Some(1));
    cql.write_settings(&free, LEASE);
    let upstream = upstream().await;
    Serve::start(here.path(), &upstream.url_v2(), &["--config", free.to_str().unwrap()]).await.stop().await;
}
