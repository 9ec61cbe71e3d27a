//! Which reposts a backfill from repositories leaves out: those of posts that are gone or were replaced, and no others.

use std::sync::Arc;

use serde_json::json;
use skyweir_indexer::Config;
use skyweir_indexer::archive::Backfill;
use skyweir_indexer::source::SourceStatus;
use skyweir_loadtest::{Body, Event, Upstream, UpstreamConfig, tid};
use skyweir_store::{MemoryStore, SavedCursor, Store};
use skyweir_types::{Clock, Did};
use tokio_util::sync::CancellationToken;

use super::contents::contents;
use super::hosted::{POST, REPOST, START, did, record};
use super::killed::Killer;
use super::{backfill, config, host, saved};

/// The second account's repost of a post, as this account's.
fn repost(second: u64, key: &str, author: usize, post: &Event) -> Event {
    let Body::Commit { rkey, cid: Some(cid), .. } = &post.body else { panic!("it is a record") };
    let subject = json!({"uri": format!("at://{}/{POST}/{rkey}", did(author)), "cid": cid});
    let record = json!({"$type": REPOST, "createdAt": "2026-01-01T00:00:00.000Z", "subject": subject});
    Event::create(&did(1), START + second * 1_000_000, REPOST, key, record)
}

/// The keys of all reposts that are items.
async fn reposts(store: &dyn Store) -> Vec<String> {
    let lines = contents(store).await.into_iter().filter(|line| line.contains(" Repost {"));
    lines.map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repost_of_what_is_gone_is_none() {
    let upstream = host().await;
    let keys = ["k1", "k2", "k3"];
    let posts = keys.map(|key| record(1, POST, key, 0));
    upstream.push_many(posts.clone());
    upstream.push_many(keys.iter().zip(&posts).map(|(key, post)| repost(2, key, 0, post)));
    // nobody here knows the author of this one
    upstream.push(repost(2, "k4", 9, &posts[0]));
    upstream.push(Event::delete(&did(0), START + 3_000_000, POST, "k1"));
    let replaced = json!({"$type": POST, "createdAt": "2026-01-01T00:00:00.000Z", "text": "another"});
    upstream.push(Event::update(&did(0), START + 4_000_000, POST, "k2", replaced));
    upstream.set_floor(9);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    backfill(&upstream, config(), store.clone()).await.unwrap().unwrap();
    assert_eq!(reposts(store.as_ref()).await, ["k3", "k4"]);
}

/// Between the old post and all else.
const SINCE: i64 = START as i64 + 30_000_000;

/// A host with reposts of an old post, and of a newer one that is gone. Each account is a page.
async fn old_and_gone() -> Upstream {
    let config = UpstreamConfig { repositories: true, listed: 1, ..UpstreamConfig::default() };
    let upstream = Upstream::start(config).await.unwrap();
    let [old, gone] = [1, 40].map(|second| (second, tid(START + second * 1_000_000, 0)));
    let posts = [&old, &gone].map(|(second, key)| record(*second, POST, key, 0));
    let reposts = [repost(60, "old", 0, &posts[0]), repost(61, "gone", 0, &posts[1])];
    upstream.push_many(posts.into_iter().chain(reposts));
    upstream.push(Event::delete(&did(0), START + 62_000_000, POST, &gone.1));
    upstream.set_floor(6);
    upstream
}

/// A backfill of posts and reposts since then.
async fn since(upstream: &Upstream, config: Config, store: Arc<dyn Store>, since_us: i64) {
    let clock = Clock::manual(START as i64 + 86_400_000_000);
    let (status, url) = (Arc::new(SourceStatus::default()), upstream.url_http());
    let begun = Backfill::begin(config, store, &url, since_us, clock, status).await.unwrap();
    begun.run(CancellationToken::new()).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repost_of_an_older_post_stays() {
    let (upstream, store) = (old_and_gone().await, Arc::new(MemoryStore::new()));
    since(&upstream, config(), store.clone(), SINCE).await;
    assert_eq!(reposts(store.as_ref()).await, ["old"]);
    // it takes no older posts of an author who has done nothing since
    since(&upstream, config(), store.clone(), i64::MIN).await;
    assert_eq!(reposts(store.as_ref()).await, ["old"]);
    // of a store that it didn't begin nothing is known but what is there
    let begun: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut txn = begun.begin().await.unwrap();
    txn.intern(&Did::parse(&did(2)).unwrap()).await.unwrap();
    let place = SavedCursor { source: upstream.url_firehose(), position: 1, time_us: 1 };
    txn.set_cursor(place).await.unwrap();
    txn.commit().await.unwrap();
    since(&upstream, config(), begun.clone(), i64::MIN).await;
    assert_eq!(reposts(begun.as_ref()).await, ["gone", "old"]);
}

/// Reads the author's page as the first of these says, is killed, and goes on as the second says.
async fn killed_between(first: (Config, i64), second: (Config, i64)) -> Vec<String> {
    let (upstream, store, mut steps) = (old_and_gone().await, MemoryStore::new(), 0);
    loop {
        let (killer, killed) = Killer::after(steps, true);
        tokio::select! {
            () = since(&upstream, first.0.clone(), killer.wrap(store.clone()), first.1) => panic!("not killed"),
            () = killed => steps += 1,
        }
        let source = saved(&store).await.map_or(String::new(), |saved| saved.source);
        if source.split(' ').nth(5) == Some("1") {
            break;
        }
    }
    since(&upstream, second.0, Arc::new(store.clone()), second.1).await;
    reposts(&store).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_before_a_kill_counts() {
    let keeping = Config { keep_hours: Some(1_000), ..config() };
    let killed = async |first, second| killed_between(first, second).await;
    assert_eq!(killed((config(), SINCE), (config(), i64::MIN)).await, ["old"]);
    assert_eq!(killed((config(), i64::MIN), (config(), SINCE)).await, ["old"]);
    // with a time to keep them posts may have left
    assert_eq!(killed((keeping.clone(), SINCE), (config(), SINCE)).await, ["gone", "old"]);
    assert_eq!(killed((config(), SINCE), (keeping, SINCE)).await, ["gone", "old"]);
}
