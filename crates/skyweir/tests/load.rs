//! A whole network loaded past the per-event path, cut off again and again, is what single events leave: compared table
//! by table, byte for byte where both write rows alike, else set for set. `SKYWEIR_ARCHIVE_SEEDS=100` tries more.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod crowded;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use crowded::{START, events};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use skyweir_embedded::{Bulk, Config as StoreConfig, EmbeddedStore, Written, check};
use skyweir_indexer::Config;
use skyweir_indexer::archive::{Backfill, Loader};
use skyweir_indexer::source::{SourceConfig, SourceStatus};
use skyweir_loadtest::{Upstream, UpstreamConfig};
use skyweir_store::{AccountRow, Error, Load, LoadStep, Result, Store, SyncMark};
use skyweir_types::{ActorId, Clock, Did, Tid};
use tokio_util::sync::CancellationToken;

fn config(tombstone_hours: u32) -> Config {
    let source = SourceConfig { backoff_least_ms: 1, backoff_most_ms: 5, ..SourceConfig::default() };
    // a commit for each block, as a load takes them
    Config { group_events: 1, tombstone_hours, source, ..Config::default() }
}

fn store_config(dir: &Path) -> StoreConfig {
    StoreConfig { data_dir: dir.to_owned(), load_mb: 1, ..StoreConfig::default() }
}

/// A load that is cut off after some calls, at which nothing more becomes durable; and is made durable now and then.
struct Cut {
    bulk: Bulk,
    left: u32,
    rng: SmallRng,
    syncs: f64,
}

impl Cut {
    fn count(&mut self) -> Result<()> {
        self.left = self.left.saturating_sub(1);
        if self.left > 0 { Ok(()) } else { Err(Error::Unavailable("cut off".into())) }
    }
}

impl Load for Cut {
    fn place(&self) -> &[u8] {
        self.bulk.place()
    }

    fn actor(&mut self, did: &Did) -> Result<ActorId> {
        self.bulk.actor(did)
    }

    fn account(&self, actor: ActorId) -> AccountRow {
        self.bulk.account(actor)
    }

    fn set_account(&mut self, actor: ActorId, row: AccountRow) -> Result<()> {
        self.bulk.set_account(actor, row)
    }

    fn sync_marks(&self) -> Vec<(ActorId, SyncMark)> {
        self.bulk.sync_marks()
    }

    fn greatest_rev(&self, actor: ActorId) -> Tid {
        self.bulk.greatest_rev(actor)
    }

    fn step(&mut self, actor: ActorId, step: LoadStep<'_>) -> Result<()> {
        self.count()?;
        self.bulk.step(actor, step)
    }

    fn note(&mut self, note: &[u8]) -> Result<()> {
        self.bulk.note(note)
    }

    fn reached(&mut self, place: &[u8]) -> Result<()> {
        self.bulk.reached(place)?;
        if self.rng.random_bool(self.syncs) { self.bulk.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<()> {
        self.bulk.sync()
    }
}

/// One archive read by both paths.
struct Case {
    upstream: Upstream,
    clock: Clock,
    config: Config,
    /// Notes of a commit.
    notes: usize,
    /// The share of frames behind which all is made durable.
    syncs: f64,
    items_since_us: i64,
}

impl Case {
    fn loader(&self) -> Loader {
        let (status, url) = (Arc::new(SourceStatus::default()), self.upstream.url_http());
        let config = Config { group_events: self.notes, ..self.config.clone() };
        Loader::new(config, &url, self.items_since_us, self.clock.clone(), status).unwrap()
    }

    /// Event by event: all of it, or what a load has left.
    async fn backfill(&self, store: &EmbeddedStore) -> Option<u64> {
        let (config, url) = (self.config.clone(), self.upstream.url_http());
        let (store, status) = (Arc::new(store.clone()), Arc::new(SourceStatus::default()));
        let clock = self.clock.clone();
        let begun = Backfill::begin(config, store, &url, self.items_since_us, clock, status);
        begun.await.unwrap().run(CancellationToken::new()).await.unwrap()
    }

    /// Reads into a load, which is cut off again and again. Returns how often it was.
    async fn read(&self, dir: &Path, rng: &mut SmallRng) -> (Bulk, u32) {
        let mut cuts = 0;
        loop {
            let bulk = Bulk::begin(store_config(dir)).unwrap();
            let left = if cuts < 12 { rng.random_range(1..60) } else { u32::MAX };
            let cut = Cut { bulk, left, rng: SmallRng::seed_from_u64(rng.random()), syncs: self.syncs };
            match self.loader().read(cut, CancellationToken::new()).await {
                Ok((cut, is_all)) => {
                    assert!(is_all);
                    return (cut.bulk, cuts);
                }
                Err(error) => assert!(error.to_string().contains("cut off"), "{error}"),
            }
            cuts += 1;
        }
    }

    /// Writes the tables: a first attempt ends within.
    async fn write(&self, dir: &Path, bulk: Bulk) -> (Written, Vec<u8>) {
        let (place, from_ms) = (bulk.place().to_vec(), self.loader().tombstones_from_ms(&bulk).unwrap());
        let cut = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(bulk.write(from_ms, &mut |_| panic!("the process ends here"))).map(drop)
        });
        assert!(cut.await.unwrap_err().is_panic());
        let refused = EmbeddedStore::open(store_config(dir)).map(drop).unwrap_err().to_string();
        assert!(refused.contains("was cut off; go on with it"), "{refused}");
        let bulk = Bulk::begin(store_config(dir)).unwrap();
        assert!(!bulk.is_written() && bulk.place() == place);
        (bulk.write(from_ms, &mut |_| {}).await.unwrap(), place)
    }

    /// Loads all. Returns the store, and how often reading was cut off.
    async fn load(&self, dir: &Path, rng: &mut SmallRng) -> (EmbeddedStore, u32) {
        let (bulk, cuts) = self.read(dir, rng).await;
        let (mut written, place) = self.write(dir, bulk).await;
        let mut rests = 1;
        loop {
            let (stop, store) = (CancellationToken::new(), Arc::new(written.store().clone()));
            let progress = |_: u64| {
                if rests < 4 {
                    stop.cancel()
                }
            };
            let notes = |from| written.notes(from);
            let loader = self.loader();
            let left = loader.apply_left(store, &place, notes, &progress, stop.clone());
            if left.await.unwrap() {
                return (written.finish().unwrap(), cuts);
            }
            rests += 1;
            drop(written);
            let bulk = Bulk::begin(store_config(dir)).unwrap();
            assert!(bulk.is_written());
            written = bulk.write(0, &mut |_| {}).await.unwrap();
        }
    }
}

/// What a store says of all accounts: what both paths may write as other rows. Apart from that up to which rev all is
/// settled.
async fn contents(store: &EmbeddedStore) -> BTreeMap<String, (Tid, Vec<String>)> {
    let view = store.view().await.unwrap();
    let mut txn = store.begin().await.unwrap();
    let actors: Vec<_> = (0..view.actor_count().await.unwrap()).map(ActorId).collect();
    let mut found = BTreeMap::new();
    for actor in &actors {
        let infos = view.accounts(&[*actor]).await.unwrap();
        let mut lines = vec![
            format!("{:?} {:?} {:?}", infos[0].status, infos[0].follows, infos[0].followers),
            format!("{:?}", view.followers(*actor, None, 1_000).await.unwrap()),
        ];
        let row = txn.account(*actor).await.unwrap();
        lines.push(format!("{:?} {} {:?}", row.status, row.status_us, row.sync));
        let follows = view.follows(*actor, None, 1_000).await.unwrap();
        let pairs: Vec<_> = follows.iter().map(|subject| (*actor, *subject)).collect();
        for (edge, (_, subject)) in view.edges(&pairs).await.unwrap().iter().zip(&pairs) {
            lines.push(format!("follows {subject} by {edge:?}"));
        }
        for (key, row) in txn.records_of(*actor, None, 1_000).await.unwrap() {
            lines.push(format!("{key:?} {row:?}"));
        }
        found.insert(view.dids(&[*actor]).await.unwrap()[0].to_string(), (row.gone, lines));
    }
    found
}

/// Tables whose rows are the same on both paths.
const ALIKE: [&str; 7] = ["dids", "actors", "syncs", "tombstones", "items", "feeds", "reposts"];

fn rows(dir: &Path, table: &str) -> BTreeSet<(Vec<u8>, Vec<u8>)> {
    let database = fjall::Database::builder(dir.join("db")).open().unwrap();
    let table = database.keyspace(table, fjall::KeyspaceCreateOptions::default).unwrap();
    let pair = |(key, value): (fjall::Slice, fjall::Slice)| (key.to_vec(), value.to_vec());
    table.iter().map(|row| pair(row.into_inner().unwrap())).collect()
}

/// What an archive has, and how it is read.
struct Plan {
    /// How many events, each this many microseconds after the one before; their revs come up to `late` of them late.
    count: u64,
    step: u64,
    late: u64,
    block_rows: usize,
    notes: usize,
    syncs: f64,
    /// For each half the share of all before which items aren't wanted.
    items_since: [f64; 2],
    config: Config,
}

impl Plan {
    /// Nothing is forgotten.
    fn short() -> Self {
        let (count, step, late, syncs) = (500, 1_000_000, 500, 0.3);
        Self {
            count,
            step,
            late,
            block_rows: 7,
            notes: 1,
            syncs,
            items_since: [0.0, 0.0],
            config: config(168),
        }
    }

    /// Hours go by: tombstones are forgotten, and resyncs end by themselves. What comes late is never older than
    /// what is forgotten.
    fn long() -> Self {
        Self { step: 400_000_000, late: 60, config: config(8), ..Self::short() }
    }
}

/// What was seen.
struct Seen {
    /// How often the load was cut off.
    cuts: u32,
    /// Bytes of the greatest run that the first half made.
    run: u64,
}

/// Half of it is sealed, and read by both paths, before the rest is.
async fn is_the_same(seed: u64, plan: &Plan) -> Seen {
    let mut rng = SmallRng::seed_from_u64(seed);
    let Plan { count, step, block_rows, notes, syncs, ref config, .. } = *plan;
    let upstream =
        Upstream::start(UpstreamConfig { block_rows, segment_blocks: 5, ..UpstreamConfig::default() });
    let upstream = upstream.await.unwrap();
    let mut first = events(&mut rng, count, step, plan.late);
    let rest = first.split_off(first.len() / 2);
    upstream.push_many(first);
    upstream.seal();
    let clock = Clock::manual((START + (count + 100) * step) as i64);
    let [since, later] = plan.items_since.map(|share| (START as f64 + (count * step) as f64 * share) as i64);
    let mut case = Case { upstream, clock, config: config.clone(), notes, syncs, items_since_us: since };
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let expected = EmbeddedStore::open(store_config(other.path())).unwrap();
    case.backfill(&expected).await.unwrap();
    drop(case.read(dir.path(), &mut rng).await);
    let files = std::fs::read_dir(dir.path().join("loading")).unwrap().map(|file| file.unwrap());
    let runs = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "run"));
    let run = runs.map(|file| file.metadata().unwrap().len()).max().unwrap_or_default();
    case.items_since_us = later;
    case.upstream.push_many(rest);
    case.upstream.seal();
    if rng.random() {
        case.upstream.compact();
    }
    let reached = case.backfill(&expected).await;
    let (loaded, cuts) = case.load(dir.path(), &mut rng).await;
    assert!(!dir.path().join("loading").exists());
    assert_eq!(case.backfill(&loaded).await, reached, "seed {seed}");

    let (found, wanted) = (contents(&loaded).await, contents(&expected).await);
    for (did, (gone, lines)) in &wanted {
        let (found_gone, found) = &found[did];
        assert_eq!(found, lines, "seed {seed}: {did}");
        // single events have forgotten revs that a load still knows when the account is deleted
        let is_as_known = if config.tombstone_hours < 100 { found_gone >= gone } else { found_gone == gone };
        assert!(is_as_known, "seed {seed}: {did} is settled up to {found_gone}, not {gone}");
    }
    assert_eq!(found.len(), wanted.len(), "seed {seed}");
    drop((loaded, expected));
    for table in ALIKE {
        let (found, wanted) = (rows(dir.path(), table), rows(other.path(), table));
        assert!(found == wanted, "seed {seed}: {table} has {found:?}, not {wanted:?}");
    }
    let place = |dir: &Path| {
        let is_place = |(key, _): &(Vec<u8>, Vec<u8>)| [&b"cursor"[..], b"whole"].contains(&&**key);
        rows(dir, "meta").into_iter().filter(is_place).collect::<Vec<_>>()
    };
    assert_eq!(place(dir.path()), place(other.path()), "seed {seed}");
    assert_eq!(place(dir.path()).len(), 2, "seed {seed}: it is whole");
    for dir in [&dir, &other] {
        let report = check(dir.path()).unwrap();
        assert!(report.is_sound(), "seed {seed}: {report}");
    }
    Seen { cuts, run }
}

fn seeds() -> u64 {
    std::env::var("SKYWEIR_ARCHIVE_SEEDS").map_or(4, |seeds| seeds.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_leaves_what_single_events_do() {
    let mut cuts = 0;
    for seed in 0..seeds() {
        cuts += is_the_same(seed, &Plan::short()).await.cuts;
    }
    assert!(cuts > 0, "it was never cut off");
}

/// Its rows fill runs, one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_of_more_than_memory_takes() {
    let plan = Plan { count: 50_000, block_rows: 500, notes: 500, syncs: 0.0, ..Plan::short() };
    let run = is_the_same(0, &plan).await.run;
    assert!(run > 11_000 * 8, "the greatest run has {run} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_is_forgotten_as_by_single_events() {
    for seed in 0..seeds() {
        is_the_same(seed, &Plan { items_since: [0.5, 0.5], ..Plan::long() }).await;
    }
}

/// `--items-since` counts back from when a run begins: a load that rests for long goes on with less.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_noted_is_deleted_though_it_is_too_old_by_then() {
    for seed in 0..seeds() {
        is_the_same(seed, &Plan { items_since: [0.0, 1.1], ..Plan::long() }).await;
    }
}
