//! An archive first, its stream then, and the archive again when the stream has lost our place: killed at any step,
//! nothing is lost, as the model says (but for what compaction takes away for good, see [`agreed`]), and what is lost
//! upstream is known. `SKYWEIR_ARCHIVE_SEEDS=1000` tries more.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod agreed;
mod killed;
mod network;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use agreed::{Agreed, Reading};
use killed::Killer;
use network::{START, config, did, events, saved, small, some};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use skyweir_indexer::source::{SourceStatus, parse};
use skyweir_indexer::{Begin, Config, CursorChoice, Error, Intake};
use skyweir_loadtest::{ArchiveCounts, ArchiveFaults, Event, Upstream, UpstreamConfig};
use skyweir_store::{Complete, Completeness, Fault, HookedStore, MemoryStore, Operation, SavedCursor, Store};
use skyweir_types::{Clock, TaskId};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const AUTO: Begin =
    Begin { cursor: CursorChoice::Auto, backfill: true, items_since_us: i64::MIN, has_timelines: false };
/// So long may anything take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running intake.
struct Running {
    task: JoinSet<Result<(), Error>>,
    status: Arc<SourceStatus>,
    loaded: CancellationToken,
    stop: CancellationToken,
}

impl Running {
    async fn start(url: &str, begin: Begin, store: Arc<dyn Store>) -> Result<Self, Error> {
        Self::with(config(), url, begin, store).await
    }

    async fn with(config: Config, url: &str, begin: Begin, store: Arc<dyn Store>) -> Result<Self, Error> {
        let (status, stop) = (Arc::new(SourceStatus::default()), CancellationToken::new());
        let kind = parse(url).unwrap();
        let intake = Intake::begin(config, store, kind, begin, Clock::system(), status.clone()).await?;
        let (loaded, mut task) = (intake.loaded(), JoinSet::new());
        task.spawn(intake.run(stop.clone()));
        Ok(Self { task, status, loaded, stop })
    }

    /// Waits until something holds, as long as it runs.
    async fn until(&mut self, what: &str, holds: impl AsyncFn() -> bool) {
        let there = async {
            while !holds().await {
                if let Some(ended) = self.task.try_join_next() {
                    panic!("it ended, and not {what}: {ended:?}");
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, there).await.unwrap_or_else(|_| panic!("not {what} in time"));
    }

    /// Waits until the stream's place is this one, or a later one.
    async fn streams(&mut self, store: &MemoryStore, url: &str, position: u64) {
        self.until(&format!("at {position}"), async || stands(store, url, position).await).await;
    }

    /// Waits until it tells this: what is committed is told right after.
    async fn knows(&mut self, known: Completeness) {
        let status = self.status.clone();
        self.until(&format!("{known:?}"), async || status.completeness() == known).await;
    }

    async fn stop(mut self) {
        self.stop.cancel();
        self.task.join_next().await.unwrap().unwrap().unwrap();
    }

    async fn ended(mut self) -> Error {
        let ended = tokio::time::timeout(PATIENCE, self.task.join_next()).await.expect("it doesn't end");
        ended.unwrap().unwrap().unwrap_err()
    }
}

/// Whether the stream's place is this one, or a later one.
async fn stands(store: &MemoryStore, url: &str, position: u64) -> bool {
    saved(store).await.is_some_and(|saved| saved.source == url && saved.position >= position)
}

async fn is_whole(store: &dyn Store) -> bool {
    store.view().await.unwrap().is_whole().await.unwrap()
}

async fn stand(store: &dyn Store, source: &str, position: u64, whole: bool) {
    let mut txn = store.begin().await.unwrap();
    txn.set_cursor(SavedCursor { source: source.into(), position, time_us: START as i64 }).await.unwrap();
    txn.set_whole(whole).await.unwrap();
    txn.commit().await.unwrap();
}

/// Runs it with kills until the stream's place is this one. Returns how often it was killed.
async fn killed(
    rng: &mut SmallRng,
    upstream: &Upstream,
    begin: Begin,
    store: &MemoryStore,
    position: u64,
) -> u32 {
    let mut kills = 0;
    loop {
        // the first one comes before it can be done
        let most = if kills == 0 { 30 } else { 150 };
        let (killer, killed) = Killer::after(rng.random_range(1..most), rng.random());
        let url = upstream.url_v2();
        let (wrapped, kind) = (killer.wrap(store.clone()), parse(&url).unwrap());
        let status = Arc::new(SourceStatus::default());
        // dropped where it stands, as a kill leaves it
        let work = async {
            let intake = Intake::begin(config(), wrapped, kind, begin, Clock::system(), status).await;
            intake.unwrap().run(CancellationToken::new()).await
        };
        let there = async {
            while !stands(store, &url, position).await {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            ended = work => panic!("it ended: {ended:?}"),
            () = killed => kills += 1,
            there = tokio::time::timeout(PATIENCE, there) => {
                there.expect("it doesn't get on");
                return kills;
            }
        }
        assert_eq!(is_whole(store).await, saved(store).await.is_some(), "all up to the place is known");
    }
}

/// One network, one archive, kills and faults by the seed. Returns how many faults there were, at the first reading and
/// at the second, and how many lines that were free in the end were there, and how many weren't.
async fn survives(seed: u64) -> [u64; 4] {
    let mut rng = SmallRng::seed_from_u64(seed);
    let upstream = Upstream::start(small()).await.unwrap();
    let (mut living, mut all, store) = (BTreeSet::new(), Vec::new(), MemoryStore::new());
    let mut next = |rng: &mut SmallRng, all: &mut Vec<Event>, count| {
        let more = events(rng, &mut living, all.len() as u64, count);
        all.extend(more.clone());
        upstream.push_many(more).unwrap()
    };

    let sealed = next(&mut rng, &mut all, 150);
    upstream.seal();
    upstream.archive_faults(Some(ArchiveFaults { seed, faults: 10 }));
    let last = next(&mut rng, &mut all, 20);
    let kills = killed(&mut rng, &upstream, AUTO, &store, last).await;
    let first = upstream.archive_counts();
    // what a fault seals is read as well: there is more until nothing more is sealed
    let end = |counts: ArchiveCounts, sealed, last| if counts.sealed > 0 { last } else { sealed };
    let loaded = end(first, sealed, last);
    let reading = |seqs, meanwhile| Reading { seqs, before: 0, meanwhile };
    let loading = || reading(1..=loaded, first.compacted > 0);
    let agreed = Agreed::after(&all, last, &[loading()]);
    agreed.with(&store, &format!("seed {seed}: loaded up to {loaded}")).await;

    // it was away for longer than the stream looks back
    let missed = last;
    next(&mut rng, &mut all, 200);
    let sealed = upstream.seal();
    upstream.set_floor(sealed - rng.random_range(0..20));
    upstream.archive_faults(Some(ArchiveFaults { seed, faults: 10 }));
    let last = next(&mut rng, &mut all, 30);
    // whether timelines are kept or not, all that it missed is wanted
    let kept = Begin { has_timelines: seed.is_multiple_of(2), items_since_us: i64::MAX, ..AUTO };
    let before = store.view().await.unwrap().next_task().await.unwrap();
    let more = killed(&mut rng, &upstream, kept, &store, last).await;
    let both = upstream.archive_counts();
    assert!(kills > 0 && more > 0, "seed {seed}: {kills} kills, then {more}");
    assert!(is_whole(&store).await, "seed {seed}");
    let after = store.view().await.unwrap().next_task().await.unwrap();
    assert!(after > before, "seed {seed}: timelines need what was missed");

    let again = ArchiveCounts { sealed: both.sealed - first.sealed, ..both };
    let caught_up = reading(missed + 1..=end(again, sealed, last), both.compacted > first.compacted);
    let agreed = Agreed::after(&all, last, &[loading(), caught_up]);
    let free = agreed.with(&store, &format!("seed {seed}: caught up")).await;
    [first.faults(), both.faults() - first.faults(), free[0], free[1]]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_place_is_found_in_the_archive_and_kills_lose_nothing() {
    let seeds =
        std::env::var("SKYWEIR_ARCHIVE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(100);
    let mut sum = [0; 4];
    for seed in 0..seeds {
        let seen = survives(seed).await;
        sum.iter_mut().zip(seen).for_each(|(sum, seen)| *sum += seen);
    }
    // else this shows nothing of them
    assert!(sum.iter().all(|seen| *seen > 0), "{sum:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_may_keep_a_timeline_before_all_is_loaded() {
    let upstream = Upstream::start(small()).await.unwrap();
    upstream.push_many(some(1, 0, 50));
    upstream.seal();
    upstream.refuse(Some(503));
    let store = MemoryStore::new();
    let shared = Arc::new(store.clone());
    let running = Running::start(&upstream.url_v2(), AUTO, shared).await.unwrap();
    tokio::time::timeout(PATIENCE, upstream.refused(2)).await.unwrap();
    assert!(!running.loaded.is_cancelled());
    assert_eq!(running.status.completeness(), Completeness::Loading(0.0));
    let status = running.status.clone();
    running.stop().await;
    assert_eq!(status.completeness(), Completeness::Loading(0.0), "as long as anybody may ask");
    upstream.refuse(None);
    let mut running = Running::start(&upstream.url_v2(), AUTO, Arc::new(store.clone())).await.unwrap();
    tokio::time::timeout(PATIENCE, running.loaded.cancelled()).await.expect("it doesn't load");
    let view = store.view().await.unwrap();
    assert_eq!(view.next_task().await.unwrap(), TaskId(1), "it leaves no tasks");
    running.streams(&store, &upstream.url_v2(), 50).await;
    running.knows(Completeness::Whole).await;
    let last = upstream.push_many(some(2, 50, 60)).unwrap();
    running.streams(&store, &upstream.url_v2(), last).await;
    assert!(store.view().await.unwrap().next_task().await.unwrap() > TaskId(1), "the stream does");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_begins_without_an_archive() {
    let upstream = Upstream::start(small()).await.unwrap();
    upstream.push_many(some(1, 0, 50));
    upstream.seal();
    let live = Begin { cursor: CursorChoice::Live, ..AUTO };
    let without = Begin { backfill: false, ..AUTO };
    let (v2, v1) = (upstream.url_v2(), upstream.url_v1());
    for (n, (begin, url)) in (1..).zip([(live, &v2), (without, &v2), (AUTO, &v1)]) {
        let store = MemoryStore::new();
        let running = Running::start(url, begin, Arc::new(store.clone())).await.unwrap();
        assert!(running.loaded.is_cancelled());
        assert_eq!(running.status.completeness(), Completeness::Partial);
        tokio::time::timeout(PATIENCE, upstream.accepted(n)).await.expect("nobody comes");
        let query = &upstream.subscribers().recent.last().unwrap().query.clone();
        assert!(!query.contains("cursor="), "live: {query}");
        running.stop().await;
    }
    // one that can't be had is no reason to begin without it
    upstream.refuse(Some(404));
    let running = Running::start(&v2, AUTO, Arc::new(MemoryStore::new())).await.unwrap();
    let text = running.ended().await.to_string();
    assert!(text.contains("planSnapshot: status 404") && text.contains("--cursor live"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_neither_has_is_a_gap_and_the_store_knows() {
    let upstream = Upstream::start(small()).await.unwrap();
    let url = upstream.url_v2();
    upstream.push_many(some(1, 0, 40));
    // the archive ends below our place
    upstream.seal();
    upstream.push_many(some(2, 40, 20));
    let store = MemoryStore::new();
    stand(&store, &url, 45, true).await;
    upstream.set_floor(50);
    upstream.refuse(Some(503));
    let mut running = Running::start(&url, AUTO, Arc::new(store.clone())).await.unwrap();
    assert_eq!(running.status.completeness(), Completeness::Whole, "as far as anybody knows");
    upstream.refuse(None);
    running.streams(&store, &url, 60).await;
    assert!(!is_whole(&store).await);
    running.knows(Completeness::Partial).await;
    let gap = running.status.snapshot().last_gap.unwrap();
    assert_eq!(gap.reason, "CursorTooOld");
    running.stop().await;

    // the oldest that is there is ours, or the one behind it, which the archive has as well: no gap
    upstream.seal();
    upstream.set_floor(60);
    let last = upstream.push_many(some(3, 60, 10)).unwrap();
    for place in [60, 59] {
        let store = MemoryStore::new();
        stand(&store, &url, place, true).await;
        let mut running = Running::start(&url, AUTO, Arc::new(store.clone())).await.unwrap();
        running.streams(&store, &url, last).await;
        assert!(is_whole(&store).await, "from {place}");
        assert_eq!(running.status.snapshot().gaps, 0);
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_fails_does_not_stop_a_service() {
    let upstream = Upstream::start(small()).await.unwrap();
    let url = upstream.url_v2();
    upstream.push_many(some(1, 0, 40));
    upstream.seal();
    // set up anew since
    let store = MemoryStore::new();
    stand(&store, &format!("archive behind {url}"), 1_000, true).await;
    let begin = Begin { has_timelines: true, ..AUTO };
    upstream.refuse(Some(503));
    let mut running = Running::start(&url, begin, Arc::new(store.clone())).await.unwrap();
    assert!(running.loaded.is_cancelled());
    assert_eq!(running.status.completeness(), Completeness::Loading(0.0));
    upstream.refuse(None);
    tokio::time::timeout(PATIENCE, upstream.accepted(1)).await.expect("nobody comes");
    let last = upstream.push_many(some(2, 40, 20)).unwrap();
    running.streams(&store, &url, 1).await;
    let there = async || saved(&store).await.is_some_and(|saved| saved.position == last);
    running.until("at the end", there).await;
    assert!(!is_whole(&store).await);
    assert_eq!(running.status.snapshot().last_gap.unwrap().reason, "AnotherSequence");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_never_answers_does_not_stop_a_service() {
    let upstream = Upstream::start(small()).await.unwrap();
    let url = upstream.url_v2();
    upstream.push_many(some(1, 0, 40));
    upstream.seal();
    upstream.set_floor(30);
    let mut config = config();
    config.source.archive_patience_ms = 20;
    for has_plan in [false, true] {
        if has_plan {
            upstream.archive_downloads(Some(0));
        } else {
            upstream.refuse(Some(503));
        }
        let store = MemoryStore::new();
        stand(&store, &format!("archive behind {url}"), 5, true).await;
        let shared = Arc::new(store.clone());
        let mut running = Running::with(config.clone(), &url, AUTO, shared).await.unwrap();
        running.until("back at the stream", async || stands(&store, &url, 5).await).await;
        upstream.refuse(None);
        running.streams(&store, &url, 40).await;
        assert!(!is_whole(&store).await);
        assert_eq!(running.status.snapshot().last_gap.unwrap().reason, "CursorTooOld");
        running.stop().await;
    }
    assert!(upstream.archive_counts().refused > 0, "downloads were");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_on_a_firehose_is_known_as_well() {
    let upstream = Upstream::start(UpstreamConfig::default()).await.unwrap();
    let url = upstream.url_firehose();
    let store = MemoryStore::new();
    let begin = Begin { cursor: CursorChoice::At(0), ..AUTO };
    let mut running = Running::start(&url, begin, Arc::new(store.clone())).await.unwrap();
    assert_eq!(running.status.completeness(), Completeness::Whole);
    assert!(!is_whole(&store).await, "no place is saved yet");
    let event = |n: u64| Event::account(&did(1), START + n, true, None);
    let last = upstream.push_many((0..10).map(event)).unwrap();
    running.streams(&store, &url, last).await;
    assert!(is_whole(&store).await);
    running.stop().await;
    // of the future: it goes on live
    stand(&store, &url, 1_000, true).await;
    let mut running = Running::start(&url, AUTO, Arc::new(store.clone())).await.unwrap();
    tokio::time::timeout(PATIENCE, upstream.accepted(3)).await.expect("nobody comes");
    let last = upstream.push(event(11));
    let there = async || saved(&store).await.is_some_and(|saved| saved.position == last);
    running.until("behind the gap", there).await;
    assert!(!is_whole(&store).await);
    running.knows(Completeness::Partial).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_for_a_while_gets_its_place_all_the_same() {
    let upstream = Upstream::start(small()).await.unwrap();
    let url = upstream.url_v2();
    let refusing = |store: &MemoryStore| {
        let fault = Arc::new(Fault::refuse(|operation| matches!(operation, Operation::Commit)).times(2));
        (Arc::new(HookedStore::new(Arc::new(store.clone()), fault.clone())), fault)
    };
    // nothing is sealed: the place is all that is written
    let store = MemoryStore::new();
    let (hooked, fault) = refusing(&store);
    let mut running = Running::start(&url, AUTO, hooked).await.unwrap();
    running.streams(&store, &url, 0).await;
    assert!(is_whole(&store).await);
    assert_eq!(fault.fired(), 2);
    running.stop().await;
    // another instance's archive while catching up: the place is given back
    let store = MemoryStore::new();
    stand(&store, &format!("archive behind {url}"), 1_000, true).await;
    let (hooked, fault) = refusing(&store);
    let mut running = Running::start(&url, Begin { has_timelines: true, ..AUTO }, hooked).await.unwrap();
    running.streams(&store, &url, 1_000).await;
    assert_eq!(fault.fired(), 2);
    running.stop().await;
}
