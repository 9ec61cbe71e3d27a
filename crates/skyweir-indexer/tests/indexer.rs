//! The whole indexer on the in-memory store: groups, cursors, a store that fails, resyncs over a real socket.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value as Json, json};
use skyweir_indexer::source::{Ended, Source, SourceConfig, SourceStatus, parse};
use skyweir_indexer::{Config, CursorChoice, Error, Indexer};
use skyweir_loadtest::{Event, Upstream, UpstreamConfig};
use skyweir_store::{Ask, Fault, FeedAsk, Hook, HookedStore, MemoryStore, Operation, SavedCursor, Store};
use skyweir_types::{Clock, Did, Position, TaskId};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const DID: &str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
/// 2026-01-01
const START: u64 = 1_767_225_600_000_000;

fn record(text: &str) -> Json {
    json!({"$type": "app.bsky.feed.post", "createdAt": "2026-01-01T00:00:00.000Z", "text": text})
}

fn post(n: u64) -> Event {
    Event::create(DID, START + n * 1_000_000, "app.bsky.feed.post", &format!("k{n}"), record(&n.to_string()))
}

/// The keys of the author's items.
async fn keys(store: &dyn Store) -> Vec<String> {
    let view = store.view().await.unwrap();
    let Some(author) = view.actor(&Did::parse(DID).unwrap()).await.unwrap() else { return Vec::new() };
    let after = Position { sort_at: i64::MAX, cid_key: [255; 33], uri_hash: u64::MAX };
    let feed = view.feeds(&[FeedAsk { author, after }], 10_000).await.unwrap().remove(0);
    let ids: Vec<_> = feed.iter().map(|entry| entry.item).collect();
    let items = view.items(&ids).await.unwrap();
    let mut keys: Vec<_> = items.iter().flatten().map(|item| item.rkey.as_str().to_owned()).collect();
    keys.sort_unstable();
    keys
}

async fn saved(store: &dyn Store) -> Option<SavedCursor> {
    store.view().await.unwrap().cursor().await.unwrap()
}

async fn tasks(store: &dyn Store) -> usize {
    store.view().await.unwrap().tasks(TaskId(0), 10_000).await.unwrap().len()
}

/// Watches commits: after each, the cursor may not be ahead of what is applied.
struct Probe {
    store: MemoryStore,
    commits: AtomicU64,
    position: watch::Sender<u64>,
    /// Whether position and number of items have to be equal.
    is_exact: bool,
}

impl Probe {
    fn new(is_exact: bool) -> Arc<Self> {
        let position = watch::Sender::new(0);
        Arc::new(Self { store: MemoryStore::new(), commits: AtomicU64::new(0), position, is_exact })
    }

    fn hooked(self: &Arc<Self>) -> Arc<dyn Store> {
        Arc::new(HookedStore::new(Arc::new(self.store.clone()), Arc::clone(self) as Arc<dyn Hook>))
    }

    async fn reached(&self, position: u64) {
        let mut seen = self.position.subscribe();
        let reached = seen.wait_for(|now| *now >= position);
        tokio::time::timeout(Duration::from_secs(20), reached).await.expect("it never came so far").unwrap();
    }
}

#[async_trait]
impl Hook for Probe {
    async fn before(&self, _: &Operation<'_>) -> skyweir_store::Result<()> {
        Ok(())
    }

    async fn after(&self, operation: &Operation<'_>) -> skyweir_store::Result<()> {
        if matches!(operation, Operation::Commit) {
            self.commits.fetch_add(1, SeqCst);
            if let Some(cursor) = saved(&self.store).await {
                if self.is_exact {
                    assert_eq!(keys(&self.store).await.len() as u64, cursor.position);
                }
                self.position.send_replace(cursor.position);
            }
        }
        Ok(())
    }
}

fn config() -> Config {
    let source = SourceConfig { backoff_least_ms: 1, backoff_most_ms: 5, ..SourceConfig::default() };
    Config { retry_most_ms: 60, source, ..Config::default() }
}

async fn run(
    url: &str,
    config: Config,
    cursor: CursorChoice,
    store: Arc<dyn Store>,
    stop: CancellationToken,
) -> Result<Ended, Error> {
    let source = Source::new(parse(url).unwrap(), config.source.clone(), Clock::system()).unwrap();
    Indexer::new(config, store, source, cursor, Arc::new(SourceStatus::default())).run(stop).await
}

async fn run_file(path: &Path, config: Config, store: Arc<dyn Store>) -> Result<Ended, Error> {
    let url = format!("file:{}", path.display());
    run(&url, config, CursorChoice::Auto, store, CancellationToken::new()).await
}

fn write(path: &Path, events: impl IntoIterator<Item = Event>) {
    let lines = events.into_iter().map(|event| event.to_jetstream_v1_json(None).unwrap() + "\n");
    std::fs::write(path, lines.collect::<String>()).unwrap();
}

#[tokio::test]
async fn a_group_carries_the_cursor_of_its_last_message() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    write(&path, (1..=500).map(post));
    let probe = Probe::new(true);
    let small = Config { group_events: 7, ..config() };
    run_file(&path, small.clone(), probe.hooked()).await.unwrap();
    assert!(probe.commits.load(SeqCst) >= 500 / 7);
    let cursor = saved(&probe.store).await.unwrap();
    assert_eq!((cursor.position, cursor.time_us), (500, (START + 500_000_000) as i64));
    assert_eq!((keys(&probe.store).await.len(), tasks(&probe.store).await), (500, 500));
    // resumed at the end there is nothing left to do; told to rewind, it changes nothing
    run_file(&path, small.clone(), Arc::new(probe.store.clone())).await.unwrap();
    let url = format!("file:{}", path.display());
    let store = Arc::new(probe.store.clone());
    run(&url, small, CursorChoice::At(0), store, CancellationToken::new()).await.unwrap();
    assert_eq!((keys(&probe.store).await.len(), tasks(&probe.store).await), (500, 500));
}

#[tokio::test]
async fn a_store_that_fails_for_a_while_loses_and_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let events = (1..=100).flat_map(|n| {
        let time = START + n * 1_000_000 + 500_000;
        let delete =
            (n % 3 == 0).then(|| Event::delete(DID, time, "app.bsky.feed.post", &format!("k{}", n - 1)));
        std::iter::once(post(n)).chain(delete)
    });
    write(&path, events);
    let calm = MemoryStore::new();
    run_file(&path, config(), Arc::new(calm.clone())).await.unwrap();
    let faults: [fn() -> Fault; 5] = [
        || Fault::refuse(|operation| matches!(operation, Operation::Commit)),
        || Fault::refuse(|operation| matches!(operation, Operation::Begin)),
        || Fault::lose_answer(|operation| matches!(operation, Operation::Commit)),
        // the first question is asked at the start, where a failure is an error
        || Fault::refuse(|operation| matches!(operation, Operation::Commit | Operation::Ask(Ask::SyncMarks))),
        || Fault::refuse(|operation| matches!(operation, Operation::Commit | Operation::Ask(Ask::Cursor))),
    ];
    for (n, fault) in faults.into_iter().enumerate() {
        let inner = MemoryStore::new();
        let fault = Arc::new(OnceRunning { fault: fault().times(4), running: AtomicU64::new(0) });
        let store = Arc::new(HookedStore::new(Arc::new(inner.clone()), fault.clone()));
        let few = Config { group_events: 20, ..config() };
        run_file(&path, few, store).await.unwrap();
        assert_eq!(fault.fault.fired(), 4, "case {n}");
        assert_eq!(keys(&inner).await, keys(&calm).await, "case {n}");
        assert_eq!(tasks(&inner).await, tasks(&calm).await, "case {n}");
        assert_eq!(saved(&inner).await, saved(&calm).await, "case {n}");
    }
}

/// A fault that begins with the first transaction.
struct OnceRunning {
    fault: Fault,
    running: AtomicU64,
}

#[async_trait]
impl Hook for OnceRunning {
    async fn before(&self, operation: &Operation<'_>) -> skyweir_store::Result<()> {
        if matches!(operation, Operation::Begin) {
            self.running.store(1, SeqCst);
        }
        if self.running.load(SeqCst) == 0 { Ok(()) } else { self.fault.before(operation).await }
    }

    async fn after(&self, operation: &Operation<'_>) -> skyweir_store::Result<()> {
        self.fault.after(operation).await
    }
}

/// Damage that is found at the third commit.
#[derive(Default)]
struct Damage(AtomicU64);

#[async_trait]
impl Hook for Damage {
    async fn before(&self, operation: &Operation<'_>) -> skyweir_store::Result<()> {
        if matches!(operation, Operation::Commit) && self.0.fetch_add(1, SeqCst) == 2 {
            return Err(skyweir_store::Error::Corrupt("a test's".into()));
        }
        Ok(())
    }

    async fn after(&self, _: &Operation<'_>) -> skyweir_store::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn damage_ends_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    write(&path, (1..=100).map(post));
    let inner = MemoryStore::new();
    let store = Arc::new(HookedStore::new(Arc::new(inner.clone()), Arc::new(Damage::default())));
    let error = run_file(&path, Config { group_events: 10, ..config() }, store).await.unwrap_err();
    assert!(matches!(error, Error::Store(skyweir_store::Error::Corrupt(_))), "{error}");
    assert_eq!(saved(&inner).await.unwrap().position, keys(&inner).await.len() as u64);
}

#[tokio::test(start_paused = true)]
async fn the_cursor_moves_without_events_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    write(&path, (1..=100).map(|n| Event::identity(DID, START + n, None)));
    let never = Config { cursor_messages: u64::MAX, cursor_ms: 100_000_000, group_events: 1, ..config() };
    let paced = SourceConfig { file_rate: 1.0, ..SourceConfig::default() };
    // at the end only; by count; by time
    for (config, least, most) in [
        (never.clone(), 1, 1),
        (Config { cursor_messages: 20, ..never.clone() }, 4, 6),
        (Config { cursor_ms: 10_000, source: paced, ..never }, 8, 12),
    ] {
        let probe = Probe::new(false);
        run_file(&path, config, probe.hooked()).await.unwrap();
        let commits = probe.commits.load(SeqCst);
        assert!((least..=most).contains(&commits), "{commits}");
        assert_eq!(saved(&probe.store).await.unwrap().position, 100);
    }
}

/// An indexer of a stand-in's stream.
struct Running {
    probe: Arc<Probe>,
    stop: CancellationToken,
    task: JoinSet<Result<Ended, Error>>,
}

impl Running {
    fn start(url: &str, cursor: CursorChoice, probe: &Arc<Probe>) -> Self {
        let (stop, mut task) = (CancellationToken::new(), JoinSet::new());
        let (url, store, cancel) = (url.to_owned(), probe.hooked(), stop.clone());
        task.spawn(async move { run(&url, config(), cursor, store, cancel).await });
        Self { probe: Arc::clone(probe), stop, task }
    }

    async fn stop_at(mut self, position: u64) {
        self.probe.reached(position).await;
        self.stop.cancel();
        self.task.join_next().await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_resync_over_a_real_socket() {
    let upstream = Upstream::start(UpstreamConfig::default()).await.unwrap();
    upstream.push_many((1..=5).map(post));
    upstream.push(Event::sync(DID, START + 100_000_000));
    // the account's records come again under the new rev, all but one, and one that had been missed
    for n in [1, 2, 4, 5, 6] {
        let text = n.to_string();
        let time = START + 100_000_000;
        upstream.push(Event::create(DID, time, "app.bsky.feed.post", &format!("k{n}"), record(&text)));
    }
    let probe = Probe::new(false);
    Running::start(&upstream.url_v2(), CursorChoice::At(0), &probe).stop_at(upstream.last_seq()).await;
    assert_eq!(keys(&probe.store).await, ["k1", "k2", "k3", "k4", "k5", "k6"], "the end is not yet known");
    assert_eq!(tasks(&probe.store).await, 6);
    upstream.push(post(200));
    Running::start(&upstream.url_v2(), CursorChoice::Auto, &probe).stop_at(upstream.last_seq()).await;
    assert_eq!(keys(&probe.store).await, ["k1", "k2", "k200", "k4", "k5", "k6"]);
    assert_eq!(tasks(&probe.store).await, 7);
}

#[tokio::test]
async fn every_stream_comes_to_the_same_and_replays_change_nothing() {
    let upstream = Upstream::start(UpstreamConfig::default()).await.unwrap();
    upstream.push_many((1..=20).map(post));
    upstream.push(Event::delete(DID, START + 30_000_000, "app.bsky.feed.post", "k7"));
    upstream.push(Event::update(DID, START + 31_000_000, "app.bsky.feed.post", "k8", record("edited")));
    upstream.push(Event::account(DID, START + 32_000_000, false, Some("takendown")));
    upstream.raw("{noise");
    upstream.cut_after(Some(9));
    let (last, mut found) = (upstream.last_seq(), Vec::new());
    for (url, from, last) in [
        (upstream.url_v2(), 1, last),
        (upstream.url_firehose(), 0, last),
        (upstream.url_v1(), START, START + 32_000_000),
    ] {
        let probe = Probe::new(false);
        Running::start(&url, CursorChoice::At(from), &probe).stop_at(last).await;
        let cursor = saved(&probe.store).await.unwrap();
        assert!(url.starts_with(&cursor.source) && cursor.position == last);
        assert_eq!(tasks(&probe.store).await, 21, "{url}");
        // the number rewinds at every start
        probe.position.send_replace(0);
        Running::start(&url, CursorChoice::At(from), &probe).stop_at(last).await;
        assert_eq!(tasks(&probe.store).await, 21, "{url}");
        found.push(keys(&probe.store).await);
    }
    assert_eq!((found[0].len(), &found[0], &found[0]), (19, &found[1], &found[2]));
}

#[tokio::test]
async fn the_cursor_of_another_source_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("a.jsonl"), folder.path().join("b.jsonl"));
    write(&one, [post(1)]);
    write(&other, [post(2)]);
    let store = Arc::new(MemoryStore::new());
    run_file(&one, config(), store.clone()).await.unwrap();
    let error = run_file(&other, config(), store.clone()).await.unwrap_err();
    assert!(
        matches!(&error, Error::OtherSource { .. }) && error.to_string().contains("--cursor live"),
        "{error}"
    );
    let url = format!("file:{}", other.display());
    run(&url, config(), CursorChoice::Live, store.clone(), CancellationToken::new()).await.unwrap();
    assert_eq!(keys(store.as_ref()).await, ["k1", "k2"]);
}
