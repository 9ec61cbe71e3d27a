//! Hosts that are down, or want to be left alone, and repositories that are cut off.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use skyweir_indexer::source::{Source, SourceConfig, SourceStatus, parse};
use skyweir_indexer::{Config, CursorChoice, Indexer};
use skyweir_loadtest::{Event, Upstream, UpstreamConfig};
use skyweir_store::{Hook, HookedStore, MemoryStore, Operation, Store};
use skyweir_types::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::contents::contents;
use super::hosted::{FOLLOW, START, did};
use super::killed::Killer;
use super::{backfill, config, has, host, live, record, saved, told};

/// A relay with so many accounts, which are on these hosts in turn.
async fn relay(at: Vec<String>, accounts: usize) -> Upstream {
    relay_of_pages(at, accounts, accounts).await
}

/// The same, which lists so many at a time.
async fn relay_of_pages(at: Vec<String>, accounts: usize, listed: usize) -> Upstream {
    let config =
        UpstreamConfig { repositories: true, repositories_at: at, listed, ..UpstreamConfig::default() };
    let relay = Upstream::start(config).await.unwrap();
    let follow = json!({"$type": FOLLOW});
    relay.push_many((0..accounts).map(|n| Event::create(&did(n), START, FOLLOW, "k1", follow.clone())));
    relay
}

fn few() -> Config {
    Config { source: SourceConfig { archive_attempts: 2, ..config().source }, ..config() }
}

fn one_by_one() -> Config {
    Config { source: SourceConfig { repo_downloads: 1, ..few().source }, ..few() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_could_not_be_had_is_counted_over_all_pages_and_kills() {
    let relay = relay_of_pages(vec!["http://127.0.0.1:1".to_owned()], 4, 1).await;
    let (store, mut kills) = (MemoryStore::new(), 0);
    let missing = loop {
        let (killer, killed) = Killer::after(kills * 4, true);
        tokio::select! {
            done = told(&relay, few(), killer.wrap(store.clone())) => break done.unwrap().1,
            () = killed => kills += 1,
        }
    };
    assert!(missing == 4 && kills > 3, "{missing} after {kills} kills");
    assert!(!store.view().await.unwrap().is_whole().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_that_is_nowhere_is_not_missing() {
    let pds = host().await;
    let relay = relay(vec![pds.url_http()], 2).await;
    pds.push(record(1, FOLLOW, "k1", 1));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    assert_eq!(told(&relay, few(), store.clone()).await.unwrap().1, 0);
    assert_eq!(pds.repository_counts().repositories, 3, "one is had, the other is asked for twice");
    assert!(has(&store).await.len() == 1 && store.view().await.unwrap().is_whole().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_listed_without_a_did_is_missing_after_kills_as_well() {
    let host = host().await;
    let nobody = (0..4).map(|n| Event::account(&format!("nobody {n}"), START + n, true, None));
    host.push_many(nobody.chain([record(9, FOLLOW, "k1", 1)]));
    let (store, mut kills) = (MemoryStore::new(), 0);
    let missing = loop {
        let (killer, killed) = Killer::after(kills, true);
        tokio::select! {
            done = told(&host, few(), killer.wrap(store.clone())) => break done.unwrap().1,
            () = killed => kills += 1,
        }
    };
    assert!(missing == 4 && kills > 3, "{missing} after {kills} kills");
    let store: Arc<dyn Store> = Arc::new(store);
    assert!(has(&store).await.len() == 1 && !store.view().await.unwrap().is_whole().await.unwrap());
}

/// Lets a host go down as soon as its accounts are listed.
struct Down {
    upstream: Arc<Upstream>,
    status: u16,
    is_done: AtomicBool,
}

#[async_trait]
impl Hook for Down {
    async fn before(&self, _: &Operation<'_>) -> skyweir_store::Result<()> {
        if self.upstream.repository_counts().lists > 0 && !self.is_done.swap(true, SeqCst) {
            self.upstream.refuse(Some(self.status));
        }
        Ok(())
    }

    async fn after(&self, _: &Operation<'_>) -> skyweir_store::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_starts_again_behind_its_proxy_is_waited_for() {
    for status in [502, 503, 504] {
        let upstream = Arc::new(host().await);
        upstream.push_many([record(1, FOLLOW, "k1", 1), record(2, FOLLOW, "k2", 2)]);
        let inner: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let down = Down { upstream: upstream.clone(), status, is_done: AtomicBool::new(false) };
        let store = Arc::new(HookedStore::new(inner.clone(), Arc::new(down)));
        let mut work = std::pin::pin!(backfill(&upstream, few(), store));
        tokio::select! {
            done = &mut work => panic!("after {status} it is passed over: {done:?}"),
            () = upstream.refused(20) => upstream.refuse(None),
        }
        work.await.unwrap().unwrap();
        assert_eq!(has(&inner).await.len(), 2, "{status}");
    }
}

/// Goes on with the stream as it is now, and fetches nothing anew.
async fn live_without_resyncs(upstream: &Upstream, store: Arc<dyn Store>, up_to: u64) {
    let none = Config { source: SourceConfig { resync_downloads: 0, ..config().source }, ..config() };
    let source = parse(&upstream.url_firehose()).unwrap();
    let source = Source::new(source, none.source.clone(), Clock::system()).unwrap();
    let (status, stop) = (Arc::new(SourceStatus::default()), CancellationToken::new());
    let running = Indexer::new(none, store.clone(), source, CursorChoice::Live, status).run(stop.clone());
    let there = async {
        while saved(store.as_ref()).await.is_none_or(|saved| saved.position < up_to) {
            tokio::task::yield_now().await;
        }
        stop.cancel();
    };
    tokio::join!(running, there).0.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_off_takes_nothing_away() {
    for is_away in [false, true] {
        let upstream = host().await;
        let follows = (0..25).map(|n| record(n as u64, FOLLOW, &format!("k{n}"), n + 1));
        let last = upstream.push_many(follows).unwrap();
        let inner = MemoryStore::new();
        let store: Arc<dyn Store> = Arc::new(inner.clone());
        live(&upstream, CursorChoice::At(0), store.clone(), last).await;
        // killed in the middle of the repository
        let mut steps = 0;
        while store.view().await.unwrap().sync_marks(9).await.unwrap().is_empty() {
            let (killer, killed) = Killer::after(steps, true);
            tokio::select! {
                _ = backfill(&upstream, config(), killer.wrap(inner.clone())) => panic!("it is killed in time"),
                () = killed => steps += 1,
            }
        }
        if is_away {
            upstream.push(Event::account(&did(0), START + 60_000_000, false, Some("deactivated")));
            backfill(&upstream, config(), store.clone()).await.unwrap().unwrap();
            assert_eq!(store.view().await.unwrap().sync_marks(9).await.unwrap(), []);
        }
        // a later rev, and then nothing for longer than a resync may take
        let goes_on = live_without_resyncs(&upstream, store.clone(), upstream.last_seq() + 2);
        let told = async {
            upstream.connected(1).await;
            let later = Event::account(&did(2), START + 2 * 86_400_000_000, true, None);
            upstream.push_many([record(90, FOLLOW, "k25", 1), later]);
        };
        tokio::join!(goes_on, told);
        assert_eq!(has(&store).await.len(), 26, "away: {is_away}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_host_is_not_asked_for_each_account() {
    let pds = host().await;
    pds.refuse(Some(502));
    let relay = relay(vec![pds.url_http()], 20).await;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    assert_eq!(told(&relay, few(), store).await.unwrap().1, 20);
    // once a round for each account, and some until it is known
    let asked = relay.repository_counts().elsewhere;
    assert!((40..50).contains(&asked), "{asked}");
}

const HIDDEN: (&str, &str) = ("400 Bad Request", "{\"error\":\"RepoTakendown\"}");

/// Not now, but in so many seconds.
fn not_now(seconds: u32) -> (String, &'static str) {
    (format!("429 Too Many Requests\r\nretry-after: {seconds}"), "")
}

/// A host with these answers: a head each, and a body. Its URL, and how often it was asked.
async fn answering(
    hosts: &mut JoinSet<()>,
    answers: impl IntoIterator<Item = (String, &'static str), IntoIter: Send> + 'static,
) -> (String, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (url, asked) = (format!("http://{}", listener.local_addr().unwrap()), Arc::new(AtomicU32::new(0)));
    let (count, mut answers) = (asked.clone(), answers.into_iter());
    hosts.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut request).await.unwrap();
            }
            count.fetch_add(1, SeqCst);
            let (head, body) = answers.next().unwrap();
            let length = format!("content-length: {}\r\nconnection: close", body.len());
            stream.write_all(format!("HTTP/1.1 {head}\r\n{length}\r\n\r\n{body}").as_bytes()).await.unwrap();
        }
    });
    (url, asked)
}

/// How many accounts a store knows to be hidden.
async fn hidden(store: &Arc<dyn Store>) -> usize {
    contents(store.as_ref()).await.iter().filter(|line| line.contains("(Hidden")).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_to_be_left_alone_is_asked_afterwards() {
    let (head, body) = HIDDEN;
    let then = std::iter::repeat_with(move || (head.to_owned(), body));
    let mut hosts = JoinSet::new();
    let (pds, _) = answering(&mut hosts, [not_now(1)].into_iter().chain(then)).await;
    let relay = relay(vec![pds], 6).await;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    assert_eq!(told(&relay, one_by_one(), store.clone()).await.unwrap().1, 0);
    assert_eq!(hidden(&store).await, 6);
    // each once before the pause is over, as long as that is, and then again
    let asked = relay.repository_counts().elsewhere;
    assert!((2 + 5..=2 * 6).contains(&asked), "{asked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_answers_one_at_a_time_is_asked_for_all() {
    let (head, body) = HIDDEN;
    let mut is_now = false;
    let answers = std::iter::repeat_with(move || {
        is_now = !is_now;
        if is_now { (head.to_owned(), body) } else { not_now(1) }
    });
    let mut hosts = JoinSet::new();
    let (pds, _) = answering(&mut hosts, answers).await;
    let relay = relay(vec![pds], 3).await;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    assert_eq!(told(&relay, one_by_one(), store.clone()).await.unwrap().1, 0);
    assert_eq!(hidden(&store).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_names_no_pause_gets_one() {
    let (head, body) = HIDDEN;
    for refused in ["429 Too Many Requests", "429 Too Many Requests\r\nretry-after: 0"] {
        let (mut since, mut left) = (Instant::now(), 3);
        let answers = std::iter::repeat_with(move || {
            if since.elapsed() >= Duration::from_millis(200) {
                (since, left) = (Instant::now(), 3);
            }
            left -= 1;
            if left >= 0 { (head.to_owned(), body) } else { (refused.to_owned(), "") }
        });
        let mut hosts = JoinSet::new();
        let (pds, _) = answering(&mut hosts, answers).await;
        let relay = relay(vec![pds], 24).await;
        let mut eight = config();
        let source = &mut eight.source;
        (source.archive_attempts, source.repo_downloads) = (5, 8);
        (source.backoff_least_ms, source.backoff_most_ms) = (50, 1_000);
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        assert_eq!(told(&relay, eight, store.clone()).await.unwrap().1, 0, "{refused}");
        assert_eq!(hidden(&store).await, 24);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_answers_holds_up_no_other_page() {
    let mut hosts = JoinSet::new();
    let then = std::iter::repeat_with(|| not_now(600));
    let (limited, asked) = answering(&mut hosts, [not_now(1)].into_iter().chain(then)).await;
    let (other, _) = hiding(&mut hosts).await;
    let relay = relay_of_pages(vec![limited, other], 6, 2).await;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let work = timeout(Duration::from_secs(60), told(&relay, few(), store.clone()));
    let missing = work.await.expect("it waits for a pause").unwrap().1;
    assert_eq!((missing, asked.load(SeqCst)), (3, 2), "it is asked on the first page only");
    assert_eq!((hidden(&store).await, relay.repository_counts().lists), (3, 1 + 3), "looked for, and read");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_does_not_wait_for_pauses_without_end() {
    let (head, body) = HIDDEN;
    let mut is_now = false;
    let answers = std::iter::repeat_with(move || {
        is_now = !is_now;
        if is_now { (head.to_owned(), body) } else { not_now(600) }
    });
    let mut hosts = JoinSet::new();
    let (pds, asked) = answering(&mut hosts, answers).await;
    let relay = relay(vec![pds], 4).await;
    let mut impatient = one_by_one();
    impatient.source.archive_patience_ms = 20;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let work = timeout(Duration::from_secs(60), told(&relay, impatient, store.clone()));
    assert_eq!(work.await.expect("it waits for a pause").unwrap().1, 3);
    assert_eq!((hidden(&store).await, asked.load(SeqCst)), (1, 2));
}

/// What is no repository, and a limit that is used up for a second.
fn damage() -> (String, &'static str) {
    ("200 OK\r\nratelimit-remaining: 0\r\nratelimit-reset: 1".to_owned(), "damage")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_asked_for_in_vain_before_each_pause_is_given_up() {
    let mut hosts = JoinSet::new();
    let (pds, asked) = answering(&mut hosts, std::iter::repeat_with(damage)).await;
    let relay = relay(vec![pds], 1).await;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let work = timeout(Duration::from_secs(60), told(&relay, few(), store.clone()));
    assert_eq!(work.await.expect("it never ends").unwrap().1, 1);
    assert_eq!(asked.load(SeqCst), 2 * 2, "two rounds of two attempts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_is_waited_for_behind_damage_as_well() {
    let (head, body) = HIDDEN;
    let then = std::iter::repeat_with(move || (head.to_owned(), body));
    let mut hosts = JoinSet::new();
    // in the first round, where it is put off, and in the last
    let (pds, _) = answering(&mut hosts, [damage(), damage(), damage()].into_iter().chain(then)).await;
    let relay = relay(vec![pds], 1).await;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    assert_eq!(told(&relay, few(), store.clone()).await.unwrap().1, 0);
    assert_eq!(hidden(&store).await, 1);
}

/// A host that shows no account and closes no connection. Its URL, and how many connections it has had.
pub(crate) async fn hiding(hosts: &mut JoinSet<()>) -> (String, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (url, opened) = (format!("http://{}", listener.local_addr().unwrap()), Arc::new(AtomicU32::new(0)));
    let count = opened.clone();
    hosts.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, SeqCst);
            connections.spawn(async move {
                let mut request = Vec::new();
                while stream.read_buf(&mut request).await.is_ok_and(|read| read > 0) {
                    if request.ends_with(b"\r\n\r\n") {
                        let ((head, body), length) = (HIDDEN, HIDDEN.1.len());
                        let answer = format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\n\r\n{body}");
                        stream.write_all(answer.as_bytes()).await.unwrap();
                        request.clear();
                    }
                }
            });
        }
    });
    (url, opened)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_to_each_host_is_enough() {
    let mut hosts = JoinSet::new();
    let (one, other) = (hiding(&mut hosts).await, hiding(&mut hosts).await);
    let relay = relay(vec![one.0, other.0], 20).await;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    assert_eq!(told(&relay, one_by_one(), store.clone()).await.unwrap().1, 0);
    assert_eq!(hidden(&store).await, 20);
    assert_eq!((one.1.load(SeqCst), other.1.load(SeqCst)), (1, 1));
}
