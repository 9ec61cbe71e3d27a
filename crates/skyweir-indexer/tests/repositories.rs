//! A whole network read from a stand-in's repositories, which misbehaves, by a backfill that is killed again and again;
//! then live. The store has to hold what it would, had it been fed live all along. `SKYWEIR_ARCHIVE_SEEDS=100` tries
//! more.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod away;
mod chains;
mod contents;
mod hosted;
mod killed;
mod marks;
mod settled;

use std::sync::Arc;
use std::time::Duration;

use contents::contents;
use hosted::{FOLLOW, POST, START, World, did, has, record};
use killed::Killer;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use skyweir_indexer::archive::{Backfill, BackfillError};
use skyweir_indexer::source::{Ended, Source, SourceConfig, SourceStatus, parse};
use skyweir_indexer::{Config, CursorChoice, Error, Indexer};
use skyweir_loadtest::{Event, RepositoryCounts, RepositoryFaults, Upstream, UpstreamConfig};
use skyweir_store::{MemoryStore, SavedCursor, Store};
use skyweir_types::{Clock, Did, TaskId};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

async fn saved(store: &dyn Store) -> Option<SavedCursor> {
    store.view().await.unwrap().cursor().await.unwrap()
}

fn config() -> Config {
    let source = SourceConfig {
        backoff_least_ms: 1,
        backoff_most_ms: 5,
        archive_attempts: 20,
        repo_downloads: 3,
        repo_quiet_ms: 20,
        resync_downloads: 3,
        resync_pause_ms: 500,
        ..SourceConfig::default()
    };
    // so that a commit holds little
    Config { group_events: 5, source, ..Config::default() }
}

async fn backfill(
    upstream: &Upstream,
    config: Config,
    store: Arc<dyn Store>,
) -> Result<Option<u64>, BackfillError> {
    Ok(told(upstream, config, store).await?.0)
}

/// Tells also how many repositories couldn't be had.
async fn told(
    upstream: &Upstream,
    config: Config,
    store: Arc<dyn Store>,
) -> Result<(Option<u64>, u64), BackfillError> {
    let (clock, status) = (Clock::manual(START as i64 + 86_400_000_000), Arc::new(SourceStatus::default()));
    let told = status.clone();
    let begun = Backfill::begin(config, store, &upstream.url_http(), i64::MIN, clock, status).await?;
    let reached = begun.run(CancellationToken::new()).await?;
    Ok((reached, told.repositories_missing()))
}

/// Feeds a store live until it stands at this place.
async fn live(upstream: &Upstream, cursor: CursorChoice, store: Arc<dyn Store>, up_to: u64) {
    let there = async || saved(store.as_ref()).await.is_some_and(|saved| saved.position >= up_to);
    live_until(upstream, cursor, store.clone(), there).await;
}

/// Feeds a store live until it is as it should be.
async fn live_until(
    upstream: &Upstream,
    cursor: CursorChoice,
    store: Arc<dyn Store>,
    is_there: impl AsyncFn() -> bool,
) {
    let stop = CancellationToken::new();
    let mut running = running_until(upstream, cursor, store, stop.clone(), is_there).await;
    stop.cancel();
    running.join_next().await.unwrap().unwrap().unwrap();
}

/// The same, and leaves it running: it ends without a word when it is dropped.
async fn running_until(
    upstream: &Upstream,
    cursor: CursorChoice,
    store: Arc<dyn Store>,
    stop: CancellationToken,
    is_there: impl AsyncFn() -> bool,
) -> JoinSet<Result<Ended, Error>> {
    let source =
        Source::new(parse(&upstream.url_firehose()).unwrap(), config().source, Clock::system()).unwrap();
    let status = Arc::new(SourceStatus::default());
    let mut running = JoinSet::new();
    running.spawn(Indexer::new(config(), store, source, cursor, status).run(stop));
    tokio::select! {
        ended = running.join_next() => panic!("it ended: {ended:?}"),
        () = until(is_there) => {}
    }
    running
}

/// Waits until something is as it should be.
async fn until(is_there: impl AsyncFn() -> bool) {
    let there = async {
        while !is_there().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), there).await.expect("the live stream doesn't get on");
}

async fn host() -> Upstream {
    let config = UpstreamConfig { repositories: true, listed: 3, ..UpstreamConfig::default() };
    Upstream::start(config).await.unwrap()
}

/// One network, one host, kills and faults by the seed. Returns what went wrong at the host, and how often it was
/// killed.
async fn survives(seed: u64) -> (RepositoryCounts, u32) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let (upstream, mut world) = (host().await, World::default());
    let mut all = world.events(&mut rng, 0, 400);
    upstream.push_many(all.clone());
    // what was before has left the firehose
    upstream.set_floor(rng.random_range(100..400));
    upstream.repository_faults(Some(RepositoryFaults { seed, faults: 30 }));
    let (store, mut kills) = (MemoryStore::new(), 0);
    let reached = loop {
        let (killer, killed) = Killer::after(rng.random_range(0..200), rng.random());
        let work = backfill(&upstream, config(), killer.wrap(store.clone()));
        let work = tokio::time::timeout(Duration::from_secs(60), work);
        tokio::select! {
            done = work => break done.expect("the backfill doesn't get on").unwrap().unwrap(),
            () = killed => kills += 1,
        }
        let source = saved(&store).await.map_or(String::new(), |saved| saved.source);
        let is_under_way = source.is_empty() || source.starts_with("repositories of ");
        // killed behind its last step it begins anew
        assert!(is_under_way || source == upstream.url_firehose(), "seed {seed}: {source}");
        // the network doesn't wait
        let more = world.events(&mut rng, all.len() as u64, 10);
        upstream.push_many(more.clone());
        all.extend(more);
    };
    let saved = saved(&store).await.unwrap();
    assert_eq!((saved.source, saved.position), (upstream.url_firehose(), reached), "seed {seed}");
    assert!(store.view().await.unwrap().is_whole().await.unwrap(), "seed {seed}");
    assert_eq!(store.view().await.unwrap().tasks(TaskId(0), 10).await.unwrap(), [], "seed {seed}");
    let counts = upstream.repository_counts();
    let more = world.events(&mut rng, all.len() as u64, 40);
    let last = upstream.push_many(more.clone()).unwrap();
    all.extend(more);
    let whole: Arc<dyn Store> = Arc::new(store);
    live(&upstream, CursorChoice::Auto, whole.clone(), last).await;

    let other = host().await;
    let last = other.push_many(all).unwrap();
    let expected: Arc<dyn Store> = Arc::new(MemoryStore::new());
    live(&other, CursorChoice::At(0), expected.clone(), last).await;
    let (found, expected) =
        (world.known(contents(whole.as_ref()).await), world.known(contents(expected.as_ref()).await));
    assert!(expected.iter().filter(|line| line.contains(" has ")).count() > 50, "{expected:#?}");
    let (missing, wrong): (Vec<_>, Vec<_>) =
        (expected.difference(&found).collect(), found.difference(&expected).collect());
    assert!(missing.is_empty() && wrong.is_empty(), "seed {seed}: missing {missing:#?}, wrong {wrong:#?}");
    (counts, kills)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_misbehaves_and_kills_lose_nothing() {
    let seeds =
        std::env::var("SKYWEIR_ARCHIVE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(20);
    let (mut all, mut kills) = (Vec::new(), 0);
    for seed in 0..seeds {
        let (counts, killed) = survives(seed).await;
        kills += killed;
        all.push(counts);
    }
    // each of them has to have happened, else this shows nothing
    let happened = |count: fn(&RepositoryCounts) -> u64| all.iter().map(count).sum::<u64>() > 0;
    let each: [fn(&RepositoryCounts) -> u64; 6] =
        [|c| c.refused, |c| c.cut, |c| c.flipped, |c| c.vanished, |c| c.holed, |c| c.shuffled];
    assert!(each.into_iter().all(happened) && kills > 0, "{all:?}, {kills} kills");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_directory_missed_is_mended() {
    let upstream = host().await;
    let last = upstream.push_many([
        record(1, FOLLOW, "k1", 1),
        record(2, FOLLOW, "k2", 2),
        record(3, POST, "k3", 0),
    ]);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    live(&upstream, CursorChoice::At(0), store.clone(), last.unwrap()).await;
    // it is down for longer than the firehose looks back
    upstream.push_many([
        Event::delete(&did(0), START + 4_000_000, FOLLOW, "k1"),
        Event::delete(&did(0), START + 5_000_000, POST, "k3"),
        record(6, FOLLOW, "k4", 4),
    ]);
    upstream.set_floor(7);
    assert_eq!(backfill(&upstream, config(), store.clone()).await.unwrap(), Some(0));
    assert_eq!(has(&store).await, [format!("Follow k2 of {}", did(2)), format!("Follow k4 of {}", did(4))]);
    // again, it changes nothing
    assert_eq!(backfill(&upstream, config(), store.clone()).await.unwrap(), Some(0));
    assert_eq!(has(&store).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_firehose_only_says_has_changed_is_fetched() {
    let upstream = host().await;
    let told = [record(1, FOLLOW, "k1", 1), record(2, FOLLOW, "k2", 2), record(3, POST, "k3", 0)];
    let last = upstream.push_many(told).unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    live(&upstream, CursorChoice::At(0), store.clone(), last).await;
    upstream.push_many([Event::delete(&did(0), START + 4_000_000, FOLLOW, "k1"), record(5, FOLLOW, "k4", 4)]);
    upstream.set_floor(6);
    let marks = async || store.view().await.unwrap().sync_marks(9).await.unwrap().len();
    // killed before the repository could be had: the store knows that it is to be read
    let connecting = upstream.subscribers().accepted;
    let refusing = async {
        upstream.accepted(connecting + 1).await;
        upstream.refuse(Some(503));
        upstream.push(Event::sync(&did(0), START + 6_000_000));
    };
    let is_marked = async || marks().await == 1;
    tokio::join!(live_until(&upstream, CursorChoice::Auto, store.clone(), is_marked), refusing);
    upstream.refuse(None);
    let mended =
        [format!("Follow k2 of {}", did(2)), format!("Follow k4 of {}", did(4)), "Post k3".to_owned()];
    live_until(&upstream, CursorChoice::Auto, store.clone(), async || marks().await == 0).await;
    assert_eq!(has(&store).await, mended);
    // what happens after it is told as ever, and where nobody has the repository, all stays
    upstream.push(record(7, FOLLOW, "k5", 5));
    upstream.push(Event::account(&did(0), START + 8_000_000, false, Some("gone")));
    let last = upstream.push(Event::sync(&did(0), START + 9_000_000));
    let is_over = async || {
        saved(store.as_ref()).await.is_some_and(|saved| saved.position >= last) && marks().await == 0
    };
    live_until(&upstream, CursorChoice::Auto, store.clone(), is_over).await;
    assert_eq!(has(&store).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_items_are_left_out_and_stay_where_they_are_known() {
    let upstream = host().await;
    let (old, new) = (skyweir_loadtest::tid(START, 0), skyweir_loadtest::tid(START + 60_000_000, 0));
    let last = upstream.push_many([
        record(61, POST, &old, 0),
        record(62, POST, &new, 0),
        record(63, FOLLOW, "k2", 2),
    ]);
    let items = async |known: bool| {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        if known {
            live(&upstream, CursorChoice::At(0), store.clone(), last.unwrap()).await;
        }
        let (clock, status, url) = (
            Clock::manual(START as i64 + 86_400_000_000),
            Arc::new(SourceStatus::default()),
            upstream.url_http(),
        );
        let since = START as i64 + 30_000_000;
        let begun = Backfill::begin(config(), store.clone(), &url, since, clock, status).await.unwrap();
        begun.run(CancellationToken::new()).await.unwrap().unwrap();
        assert_eq!(has(&store).await, [format!("Follow k2 of {}", did(2))]);
        contents(store.as_ref()).await.iter().filter(|line| line.contains("Post {")).count()
    };
    assert_eq!((items(false).await, items(true).await), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_sends_on_to_where_accounts_are() {
    let pds = host().await;
    let config_of_relay = UpstreamConfig {
        repositories: true,
        repositories_at: vec![pds.url_http()],
        listed: 1,
        ..UpstreamConfig::default()
    };
    let relay = Upstream::start(config_of_relay).await.unwrap();
    let events = [record(1, FOLLOW, "k1", 1), record(2, FOLLOW, "k2", 2)];
    pds.push_many(events.clone());
    relay.push_many(events);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    backfill(&relay, config(), store.clone()).await.unwrap().unwrap();
    assert_eq!(has(&store).await.len(), 2);
    assert_eq!((relay.repository_counts().elsewhere, pds.repository_counts().repositories), (1, 1));
    // an account whose host is down is passed over, after some attempts
    for host in [&relay, &pds] {
        host.push(Event::create(&did(1), START, FOLLOW, "k1", json!({"$type": FOLLOW})));
    }
    pds.refuse(Some(500));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let few = Config { source: SourceConfig { archive_attempts: 2, ..config().source }, ..config() };
    let (_, missing) = told(&relay, few, store.clone()).await.unwrap();
    assert_eq!((has(&store).await, missing), (Vec::new(), 2));
    assert!(!store.view().await.unwrap().is_whole().await.unwrap());
    assert_eq!(
        relay.repository_counts().elsewhere,
        1 + 2 * 2 * 2,
        "two accounts, two rounds of two attempts"
    );
    // run again, it tries those
    pds.refuse(None);
    assert_eq!(told(&relay, config(), store.clone()).await.unwrap().1, 0);
    assert!(has(&store).await.len() == 2 && store.view().await.unwrap().is_whole().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_place_is_that_of_the_firehose_before_anything_is_read() {
    let upstream = host().await;
    upstream.push_many([record(1, FOLLOW, "k1", 1), record(2, FOLLOW, "k2", 2)]);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut patient = config();
    patient.source.repo_quiet_ms = 60_000;
    let work = backfill(&upstream, patient, store.clone());
    let busy = async {
        upstream.connected(1).await;
        assert_eq!(upstream.repository_counts().repositories, 0);
        upstream.push(record(3, FOLLOW, "k3", 3))
    };
    let (reached, told) = tokio::join!(work, busy);
    assert_eq!((reached.unwrap(), told), (Some(3), 3));
    assert_eq!(has(&store).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_says_why() {
    let upstream = host().await;
    upstream.push(record(1, FOLLOW, "k1", 1));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut txn = store.begin().await.unwrap();
    txn.intern(&Did::parse(&did(0)).unwrap()).await.unwrap();
    txn.commit().await.unwrap();
    let said = backfill(&upstream, config(), store).await.unwrap_err().to_string();
    assert!(said.contains("a source that has left no place"), "{said}");
    let named = async |source: String| {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let mut txn = store.begin().await.unwrap();
        txn.set_cursor(SavedCursor { source, position: 7, time_us: 1 }).await.unwrap();
        txn.commit().await.unwrap();
        store
    };
    let elsewhere = named("repositories of ws://elsewhere 1 2 3 0 ".to_owned()).await;
    let said = backfill(&upstream, config(), elsewhere).await.unwrap_err().to_string();
    assert!(said.starts_with("the data directory was filled from repositories of ws://elsewhere"), "{said}");
    // a place beyond the end of the list is its end
    let url = upstream.url_firehose();
    let end = named(format!("repositories of {url} 5 6 7 0 - 8")).await;
    assert_eq!(backfill(&upstream, config(), end.clone()).await.unwrap(), Some(5));
    let end = named(format!("repositories of {url} 5 6 7 0 - no number")).await;
    let said = backfill(&upstream, config(), end.clone()).await.unwrap_err().to_string();
    assert!(said.contains("listRepos: status 400 InvalidRequest") && said.contains("see --from"), "{said}");
    // nothing but a backfill goes on there
    let source = Source::new(parse(&url).unwrap(), config().source, Clock::system()).unwrap();
    let status = Arc::new(SourceStatus::default());
    let ended =
        Indexer::new(config(), end, source, CursorChoice::Auto, status).run(CancellationToken::new()).await;
    let said = ended.unwrap_err().to_string();
    assert!(said.starts_with(&format!("a backfill from {url} was cut off: `skyweir backfill`")), "{said}");
}
