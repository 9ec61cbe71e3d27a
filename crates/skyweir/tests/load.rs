//! A whole network loaded past the per-event path, cut off again and again, is what single events leave: compared table
//! by table, byte for byte where both write rows alike, else set for set. `SKYWEIR_ARCHIVE_SEEDS=100` tries more.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use skyweir_embedded::{Bulk, Config as StoreConfig, EmbeddedStore, Written, check};
use skyweir_indexer::Config;
use skyweir_indexer::archive::{Backfill, Loader};
use skyweir_indexer::source::{SourceConfig, SourceStatus};
use skyweir_loadtest::{Event, Upstream, UpstreamConfig};
use skyweir_store::{AccountRow, Error, Load, LoadStep, Result, Store, SyncMark};
use skyweir_types::{ActorId, Clock, Did, Tid};
use tokio_util::sync::CancellationToken;

/// 2026-01-01
const START: u64 = 1_767_225_600_000_000;
const POST: &str = "app.bsky.feed.post";
const REPOST: &str = "app.bsky.feed.repost";
const FOLLOW: &str = "app.bsky.graph.follow";
const CID: &str = "bafyreib25swk3a6waplk2ie75u4a3qfejnkoiezfowuz7sa74i7tief3di";
const ACCOUNTS: usize = 30;
/// These do something, the others are only followed.
const ACTIVE: usize = 6;

fn did(n: usize) -> String {
    let letter = char::from(b"abcdefghijklmnopqrstuvwxyz234567"[n]);
    format!("did:plc:{}", letter.to_string().repeat(24))
}

/// So few accounts and keys that everything happens to everything, one event a `step`. Revs repeat now and then, and
/// come up to `late` events late; some keys are no TIDs, and some accounts follow many.
fn events(rng: &mut SmallRng, count: u64, step: u64, late: u64) -> Vec<Event> {
    // all get their numbers in the same order on both paths
    let mut events: Vec<_> = (0..ACCOUNTS).map(|n| Event::account(&did(n), START, true, None)).collect();
    let mut last = [START; ACTIVE];
    for n in 0..count {
        let who = rng.random_range(0..ACTIVE);
        let (did_of, at, other) = (did(who), START + (n + 1) * step, did(rng.random_range(0..ACCOUNTS)));
        // the rev is that of this time: mostly news, sometimes the commit before or older
        let rev_at = match rng.random_range(0..12) {
            0 => last[who].max(at.saturating_sub(late * step)),
            1 => START + rng.random_range((n + 1).saturating_sub(late)..=n + 1) * step,
            _ => at,
        };
        last[who] = rev_at.max(last[who]);
        let created = skyweir_loadtest::rfc3339_millis(at);
        let tid = Tid::from_parts(START + rng.random_range(0..60) * 1_000_003, 3).to_string();
        let key = if rng.random_bool(0.1) { "self".to_owned() } else { tid };
        let item = format!("k{}", rng.random_range(0..4));
        let mut event = match rng.random_range(0..24) {
            0..10 => {
                let record = json!({"$type": FOLLOW, "createdAt": created, "subject": other});
                Event::create(&did_of, rev_at, FOLLOW, &key, record)
            }
            10..13 => Event::delete(&did_of, rev_at, FOLLOW, &key),
            13..16 => {
                let record = json!({"$type": POST, "createdAt": created, "text": n.to_string()});
                match rng.random() {
                    true => Event::create(&did_of, rev_at, POST, &item, record),
                    false => Event::update(&did_of, rev_at, POST, &item, record),
                }
            }
            16..19 => {
                let uri = format!("at://{}/{POST}/{item}", did(rng.random_range(0..ACTIVE)));
                let subject = json!({"uri": uri, "cid": CID});
                let record = json!({"$type": REPOST, "createdAt": created, "subject": subject});
                Event::create(&did_of, rev_at, REPOST, &item, record)
            }
            19 => Event::delete(&did_of, rev_at, [POST, REPOST][n as usize % 2], &item),
            20 => Event::account(&did_of, at, rng.random(), Some("deactivated")),
            21 if rng.random_bool(0.3) => Event::account(&did_of, at, false, Some("deleted")),
            21 | 22 => Event::sync(&did_of, rev_at),
            _ => Event::identity(&did_of, at, None),
        };
        event.time_us = at;
        events.push(event);
    }
    // the last thing to tell the time, and both paths take it
    events.push(Event::account(&did(0), START + (count + 1) * step, true, None));
    events
}

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
        if self.rng.random_bool(0.3) { self.bulk.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<()> {
        self.bulk.sync()
    }
}

/// One archive read by both paths.
struct Case {
    upstream: Upstream,
    clock: Clock,
    tombstone_hours: u32,
    items_since_us: i64,
}

impl Case {
    fn loader(&self) -> Loader {
        let (status, url) = (Arc::new(SourceStatus::default()), self.upstream.url_http());
        let config = config(self.tombstone_hours);
        Loader::new(config, &url, self.items_since_us, self.clock.clone(), status).unwrap()
    }

    /// Event by event: all of it, or what a load has left.
    async fn backfill(&self, store: &EmbeddedStore) -> Option<u64> {
        let (config, url) = (config(self.tombstone_hours), self.upstream.url_http());
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
            let cut = Cut { bulk, left, rng: SmallRng::seed_from_u64(rng.random()) };
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

/// What a store says of all accounts: what both paths may write as other rows.
async fn contents(store: &EmbeddedStore) -> BTreeMap<String, Vec<String>> {
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
        lines.push(format!("{:?}", row.gone));
        let follows = view.follows(*actor, None, 1_000).await.unwrap();
        let pairs: Vec<_> = follows.iter().map(|subject| (*actor, *subject)).collect();
        for (edge, (_, subject)) in view.edges(&pairs).await.unwrap().iter().zip(&pairs) {
            lines.push(format!("follows {subject} by {edge:?}"));
        }
        for (key, row) in txn.records_of(*actor, None, 1_000).await.unwrap() {
            lines.push(format!("{key:?} {row:?}"));
        }
        found.insert(view.dids(&[*actor]).await.unwrap()[0].to_string(), lines);
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

/// Half of it is sealed, and read by both paths, before the rest is. `items_since` is for each half the share of all
/// before which items aren't wanted.
async fn is_the_same(seed: u64, step: u64, late: u64, tombstone_hours: u32, items_since: [f64; 2]) -> u32 {
    let mut rng = SmallRng::seed_from_u64(seed);
    let upstream =
        Upstream::start(UpstreamConfig { block_rows: 7, segment_blocks: 5, ..UpstreamConfig::default() });
    let upstream = upstream.await.unwrap();
    let mut first = events(&mut rng, 500, step, late);
    let rest = first.split_off(first.len() / 2);
    upstream.push_many(first);
    upstream.seal();
    let clock = Clock::manual((START + 600 * step) as i64);
    let [since, later] = items_since.map(|share| (START as f64 + 500.0 * step as f64 * share) as i64);
    let mut case = Case { upstream, clock, tombstone_hours, items_since_us: since };
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let expected = EmbeddedStore::open(store_config(other.path())).unwrap();
    case.backfill(&expected).await.unwrap();
    drop(case.read(dir.path(), &mut rng).await);
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

    let (mut found, mut wanted) = (contents(&loaded).await, contents(&expected).await);
    if tombstone_hours < 100 {
        // single events have forgotten revs that a load still knows when the account is deleted
        for contents in [&mut found, &mut wanted] {
            contents.values_mut().for_each(|lines| drop(lines.remove(3)));
        }
    }
    for (did, lines) in &wanted {
        assert_eq!(found.get(did), Some(lines), "seed {seed}: {did}");
    }
    assert_eq!(found.len(), wanted.len(), "seed {seed}");
    drop((loaded, expected));
    for table in ALIKE {
        let (found, wanted) = (rows(dir.path(), table), rows(other.path(), table));
        assert!(found == wanted, "seed {seed}: {table} has {found:?}, not {wanted:?}");
    }
    let place = |dir: &Path| {
        let is_place = |(key, _): &(Vec<u8>, Vec<u8>)| key == b"cursor" || key == b"whole";
        rows(dir, "meta").into_iter().filter(is_place).collect::<Vec<_>>()
    };
    assert_eq!(place(dir.path()), place(other.path()), "seed {seed}");
    assert_eq!(place(dir.path()).len(), 2, "seed {seed}: it is whole");
    for dir in [&dir, &other] {
        let report = check(dir.path()).unwrap();
        assert!(report.is_sound(), "seed {seed}: {report}");
    }
    cuts
}

fn seeds() -> u64 {
    std::env::var("SKYWEIR_ARCHIVE_SEEDS").map_or(4, |seeds| seeds.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_leaves_what_single_events_do() {
    let mut cuts = 0;
    for seed in 0..seeds() {
        cuts += is_the_same(seed, 1_000_000, 500, 168, [0.0, 0.0]).await;
    }
    assert!(cuts > 0, "it was never cut off");
}

/// Hours go by: tombstones are forgotten, resyncs end by themselves, and the first half's posts are too old.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_old_is_forgotten_as_by_single_events() {
    for seed in 0..seeds() {
        // what comes late is never older than what is forgotten
        is_the_same(seed, 400_000_000, 60, 8, [0.5, 0.5]).await;
    }
}

/// `--items-since` counts back from when a run begins: a load that rests for long goes on with less.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_noted_is_deleted_though_it_is_too_old_by_then() {
    for seed in 0..seeds() {
        is_the_same(seed, 400_000_000, 60, 8, [0.0, 1.1]).await;
    }
}
