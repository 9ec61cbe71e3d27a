//! A whole network read from a stand-in's archive that misbehaves, by a backfill that is killed again and again; then
//! live. The store has to hold what it would, had it been fed live all along. `SKYWEIR_ARCHIVE_SEEDS=1000` tries more.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod contents;
mod killed;
mod network;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use contents::contents;
use killed::Killer;
use network::{FOLLOW, POST, START, config, did, events, saved, small, some};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use skyweir_indexer::archive::{Backfill, BackfillError};
use skyweir_indexer::source::{Source, SourceStatus, parse};
use skyweir_indexer::{Config, CursorChoice, Error, Indexer};
use skyweir_loadtest::{ArchiveCounts, ArchiveFaults, Body, Event, Upstream, UpstreamConfig};
use skyweir_store::{MemoryStore, SavedCursor, Store};
use skyweir_types::{Clock, Did, TaskId};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

async fn backfill(
    upstream: &Upstream,
    config: Config,
    store: Arc<dyn Store>,
) -> Result<Option<u64>, BackfillError> {
    let (clock, status) = (Clock::manual(START as i64 + 86_400_000_000), Arc::new(SourceStatus::default()));
    let begun = Backfill::begin(config, store, &upstream.url_http(), i64::MIN, clock, status).await?;
    begun.run(CancellationToken::new()).await
}

/// Feeds a store live until it stands at this place.
async fn live(
    upstream: &Upstream,
    cursor: CursorChoice,
    store: Arc<dyn Store>,
    up_to: u64,
) -> Result<(), Error> {
    let source = Source::new(parse(&upstream.url_v2()).unwrap(), config().source, Clock::system()).unwrap();
    let (status, stop) = (Arc::new(SourceStatus::default()), CancellationToken::new());
    let indexer = Indexer::new(config(), store.clone(), source, cursor, status);
    let mut running = JoinSet::new();
    running.spawn(indexer.run(stop.clone()));
    let there = async {
        while saved(store.as_ref()).await.is_none_or(|saved| saved.position < up_to) {
            if let Some(ended) = running.try_join_next() {
                return ended.unwrap().map(drop);
            }
            tokio::task::yield_now().await;
        }
        stop.cancel();
        running.join_next().await.unwrap().unwrap().map(drop)
    };
    tokio::time::timeout(Duration::from_secs(60), there).await.expect("the live stream doesn't get on")
}

/// One network, one archive, kills and faults by the seed. Returns what went wrong at the archive, and how often it was
/// killed.
async fn survives(seed: u64) -> (ArchiveCounts, u32) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let upstream = Upstream::start(small()).await.unwrap();
    let mut living = BTreeSet::new();
    let mut next = |rng: &mut SmallRng, from, count| events(rng, &mut living, from, count);
    let (first, second, third) = (next(&mut rng, 0, 300), next(&mut rng, 300, 60), next(&mut rng, 360, 40));
    let is_deletion = |event: &&Event| match &event.body {
        Body::Account { status, .. } => status.as_deref() == Some("deleted"),
        _ => false,
    };
    let deleted: BTreeSet<_> =
        first.iter().chain(&second).filter(is_deletion).map(|event| event.did.clone()).collect();
    upstream.push_many(first.clone());
    upstream.seal();
    if rng.random() {
        upstream.compact();
    }
    // some of this is sealed while the archive is read
    upstream.push_many(second.clone());
    upstream.archive_faults(Some(ArchiveFaults { seed, faults: 25 }));
    let (store, mut kills) = (MemoryStore::new(), 0);
    let reached = loop {
        // the first one comes before it can be done
        let most = if kills == 0 { 40 } else { 200 };
        let (killer, killed) = Killer::after(rng.random_range(0..most), rng.random());
        let work = backfill(&upstream, config(), killer.wrap(store.clone()));
        let work = tokio::time::timeout(Duration::from_secs(60), work);
        tokio::select! {
            done = work => break done.expect("the backfill doesn't get on").unwrap().unwrap(),
            () = killed => kills += 1,
        }
        let saved = saved(&store).await;
        let whole = store.view().await.unwrap().is_whole().await.unwrap();
        assert_eq!(whole, saved.is_some(), "seed {seed}: all up to the place is known");
        // the live stream gets it when all that was sealed is read, and not before
        let is_done = |saved: &SavedCursor| saved.source == upstream.url_v2() && saved.position >= 300;
        let stands = saved.is_none_or(|saved| saved.source.starts_with("archive of ") || is_done(&saved));
        assert!(stands, "seed {seed}");
    };
    let saved = saved(&store).await.unwrap();
    assert_eq!((saved.source, saved.position), (upstream.url_v2(), reached), "seed {seed}");
    assert!(reached >= 300, "seed {seed}: {reached}");
    assert_eq!(store.view().await.unwrap().tasks(TaskId(0), 10).await.unwrap(), [], "seed {seed}");

    let counts = upstream.archive_counts();
    let last = upstream.push_many(third.clone()).unwrap();
    let whole: Arc<dyn Store> = Arc::new(store);
    live(&upstream, CursorChoice::Auto, whole.clone(), last).await.unwrap();

    let other = Upstream::start(UpstreamConfig::default()).await.unwrap();
    let last = other.push_many(first.into_iter().chain(second).chain(third)).unwrap();
    let expected: Arc<dyn Store> = Arc::new(MemoryStore::new());
    live(&other, CursorChoice::At(1), expected.clone(), last).await.unwrap();
    let (mut found, mut expected) = (contents(whole.as_ref()).await, contents(expected.as_ref()).await);
    // that a post was replaced, and its reposts went, is compacted away when its account is deleted later
    for contents in [&mut found, &mut expected] {
        contents.retain(|line| !deleted.iter().any(|did| line.contains(&format!("at://{did}/"))));
    }
    let (missing, wrong): (Vec<_>, Vec<_>) =
        (expected.difference(&found).collect(), found.difference(&expected).collect());
    assert!(missing.is_empty() && wrong.is_empty(), "seed {seed}: missing {missing:#?}, wrong {wrong:#?}");
    (counts, kills)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_that_misbehaves_and_kills_lose_nothing() {
    let seeds =
        std::env::var("SKYWEIR_ARCHIVE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(100);
    let mut sum = ArchiveCounts::default();
    for seed in 0..seeds {
        let (counts, killed) = survives(seed).await;
        assert!(killed > 0, "seed {seed}: nothing was killed");
        sum = ArchiveCounts {
            segments: sum.segments + counts.segments,
            resumed: sum.resumed + counts.resumed,
            blocks: sum.blocks + counts.blocks,
            refused: sum.refused + counts.refused,
            cut: sum.cut + counts.cut,
            flipped: sum.flipped + counts.flipped,
            gone: sum.gone + counts.gone,
            compacted: sum.compacted + counts.compacted,
            sealed: sum.sealed + counts.sealed,
            plans: sum.plans + counts.plans,
        };
    }
    // each of them has to have happened, else this shows nothing
    let all =
        [sum.resumed, sum.blocks, sum.refused, sum.cut, sum.flipped, sum.gone, sum.compacted, sum.sealed];
    assert!(all.iter().all(|count| *count > 0), "{sum:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_resync_replaced_is_gone() {
    let upstream = Upstream::start(small()).await.unwrap();
    let follow = |second: u64, key: &str, subject: usize| {
        let record =
            json!({"$type": FOLLOW, "createdAt": "2026-01-01T00:00:00.000Z", "subject": did(subject)});
        Event::create(&did(0), START + second * 1_000_000, FOLLOW, key, record)
    };
    upstream.push_many([follow(1, "a", 1), follow(2, "b", 2), Event::sync(&did(0), START + 3_000_000)]);
    // what comes again has the resync's rev; the next commit ends it
    let mut again = follow(3, "b", 2);
    again.time_us += 1;
    upstream.push_many([again, follow(9, "c", 3)]);
    upstream.seal();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    assert_eq!(backfill(&upstream, config(), store.clone()).await.unwrap(), Some(5));
    let follows = contents(store.as_ref()).await.into_iter().filter(|line| line.contains(" follows "));
    let expected = [2, 3].map(|subject| format!("{} follows {}", did(0), did(subject)));
    assert_eq!(follows.collect::<Vec<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_archive_ends_at_its_begin() {
    let upstream = Upstream::start(small()).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    assert_eq!(backfill(&upstream, config(), store.clone()).await.unwrap(), Some(0));
    let last = upstream.push_many(some(1, 0, 10)).unwrap();
    live(&upstream, CursorChoice::Auto, store.clone(), last).await.unwrap();
    assert!(!contents(store.as_ref()).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_backfilled_says_why() {
    let upstream = Upstream::start(small()).await.unwrap();
    upstream.push_many(some(1, 0, 50));
    upstream.seal();
    let said = async |store| backfill(&upstream, config(), store).await.unwrap_err().to_string();
    let with_cursor = async |source: &str| {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let mut txn = store.begin().await.unwrap();
        txn.set_cursor(SavedCursor { source: source.to_owned(), position: 7, time_us: 1 }).await.unwrap();
        txn.commit().await.unwrap();
        store
    };
    let empty = || -> Arc<dyn Store> { Arc::new(MemoryStore::new()) };
    let elsewhere = said(with_cursor("ws://elsewhere/subscribe").await).await;
    assert!(
        elsewhere.starts_with("the data directory was filled from ws://elsewhere/subscribe: "),
        "{elsewhere}"
    );
    let used = empty();
    let mut txn = used.begin().await.unwrap();
    txn.intern(&Did::parse(&did(0)).unwrap()).await.unwrap();
    txn.commit().await.unwrap();
    assert!(said(used).await.contains("a source that has left no place"));

    // a place beyond the end is another archive's
    let ahead = with_cursor(&format!("archive of {}", upstream.url_v2())).await;
    let mut txn = ahead.begin().await.unwrap();
    let cursor =
        SavedCursor { source: format!("archive of {}", upstream.url_v2()), position: 1_000, time_us: 1 };
    txn.set_cursor(cursor).await.unwrap();
    txn.commit().await.unwrap();
    let text = said(ahead.clone()).await;
    assert!(
        text.contains("it ends at 50, below 1000, up to which it was read: another instance answers"),
        "{text}"
    );
    // and nothing but a backfill goes on from an archive's place
    let text = live(&upstream, CursorChoice::Auto, ahead, 2_000).await.unwrap_err().to_string();
    assert!(
        text.starts_with(&format!("a backfill from {} was cut off: `skyweir backfill`", upstream.url_v2())),
        "{text}"
    );

    let large = Upstream::start(UpstreamConfig::default()).await.unwrap();
    large.push_many((0..40).map(|n| {
        let text = format!("{n}").repeat(1_000);
        let record = json!({"$type": POST, "createdAt": "2026-01-01T00:00:00.000Z", "text": text});
        Event::create(&did(0), START + n, POST, &format!("k{n}"), record)
    }));
    large.seal();
    let mut tight = config();
    (tight.source.archive_block_bytes, tight.source.archive_attempts) = (65_536, 3);
    let text = backfill(&large, tight, empty()).await.unwrap_err().to_string();
    let expected = "seg_0000000000.jss came damaged 3 times in a row, at last so: block 0: it is larger than the 65536 \
                    bytes that a block may have (archive_block_bytes); raise that limit";
    assert_eq!(text, format!("the archive of {}: {expected}", large.address()));

    upstream.refuse(Some(404));
    let (text, host) = (said(empty()).await, upstream.address());
    assert!(text.starts_with(&format!("the archive of {host}: planSnapshot: status 404 ")), "{text}");
    assert!(
        text.ends_with("it has to be a Jetstream v2, a relay or a PDS, which lets us in: see --from"),
        "{text}"
    );
    upstream.refuse(Some(501));
    assert!(said(empty()).await.contains("planSnapshot: status 501 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_it_and_it_goes_on() {
    let upstream = Upstream::start(small()).await.unwrap();
    upstream.push_many(some(1, 0, 50));
    upstream.seal();
    upstream.refuse(Some(503));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let (clock, stop) = (Clock::system(), CancellationToken::new());
    let (status, url) = (Arc::new(SourceStatus::default()), upstream.url_http());
    let begun = Backfill::begin(config(), store.clone(), &url, i64::MIN, clock, status).await.unwrap();
    let mut running = JoinSet::new();
    running.spawn(begun.run(stop.clone()));
    // a server that is starting has no time: it is asked again
    upstream.refused(3).await;
    stop.cancel();
    assert_eq!(running.join_next().await.unwrap().unwrap().unwrap(), None);
    upstream.refuse(None);
    assert_eq!(backfill(&upstream, config(), store.clone()).await.unwrap(), Some(50));
    // sealed since: a store that is whole catches up
    upstream.push_many(some(2, 50, 20));
    upstream.seal();
    assert_eq!(backfill(&upstream, config(), store.clone()).await.unwrap(), Some(70));
    // fed live past all that is sealed: there is nothing to read, and it goes on live
    let last = upstream.push_many(some(3, 70, 5)).unwrap();
    live(&upstream, CursorChoice::Auto, store.clone(), last).await.unwrap();
    assert_eq!(backfill(&upstream, config(), store.clone()).await.unwrap(), Some(last));
    assert_eq!(saved(store.as_ref()).await.unwrap().source, upstream.url_v2());
    // a service that was cut off while it caught up
    let mut txn = store.begin().await.unwrap();
    let source = format!("archive behind {}", upstream.url_v2());
    txn.set_cursor(SavedCursor { source, position: 60, time_us: START as i64 }).await.unwrap();
    txn.commit().await.unwrap();
    assert_eq!(backfill(&upstream, config(), store.clone()).await.unwrap(), Some(70));
    assert_eq!(saved(store.as_ref()).await.unwrap().source, upstream.url_v2());
    // without what was before there is nothing to catch up with
    let mut txn = store.begin().await.unwrap();
    txn.set_whole(false).await.unwrap();
    txn.commit().await.unwrap();
    let text = backfill(&upstream, config(), store).await.unwrap_err().to_string();
    assert!(text.starts_with("follows are missing in the data directory: "), "{text}");
}
