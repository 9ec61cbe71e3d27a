//! What the marks of accounts that are to be read anew are good for, whatever their hosts answer, and when.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::json;
use skyweir_indexer::CursorChoice;
use skyweir_loadtest::{Event, Repository, Upstream, UpstreamConfig, encode_dag_cbor, tid};
use skyweir_store::{AccountRow, MemoryStore, Store, SyncMark};
use skyweir_types::{Did, Tid};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::away::hiding;
use super::chains::{like, lose};
use super::hosted::{FOLLOW, START, did, has, record};
use super::{host, live_until, running_until, saved};

/// An account's host that answers each question when it is told to, and a relay that sends on to it.
struct Told {
    relay: Upstream,
    /// Whose repositories were asked for, so far.
    asked: Arc<Mutex<Vec<usize>>>,
    /// One for each question, in order.
    answers: Vec<Option<oneshot::Sender<Vec<u8>>>>,
    _host: JoinSet<()>,
}

impl Told {
    async fn start(questions: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = UpstreamConfig {
            repositories: true,
            repositories_at: vec![format!("http://{}", listener.local_addr().unwrap())],
            ..UpstreamConfig::default()
        };
        let relay = Upstream::start(config).await.unwrap();
        let (answers, told): (Vec<_>, Vec<_>) = (0..questions).map(|_| oneshot::channel::<Vec<u8>>()).unzip();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, mut host) = (asked.clone(), JoinSet::new());
        host.spawn(async move {
            let mut connections = JoinSet::new();
            for answer in told {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    stream.read_buf(&mut request).await.unwrap();
                }
                let request = String::from_utf8(request).unwrap();
                let names = |n: &usize| request.contains(&did(*n)[8..]);
                seen.lock().unwrap().push((0..9).find(names).unwrap());
                connections.spawn(async move {
                    if let Ok(answer) = answer.await {
                        // who asked may be gone
                        let _ = stream.write_all(&answer).await;
                    }
                });
            }
            connections.join_all().await;
        });
        Self { relay, asked, answers: answers.into_iter().map(Some).collect(), _host: host }
    }

    async fn asked(&self, questions: usize) {
        let asked = async {
            while self.asked.lock().unwrap().len() < questions {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), asked).await.expect("nobody asks");
    }

    fn answer(&mut self, question: usize, body: &[u8], status: &str) {
        let (length, close) = (body.len(), "connection: close");
        let head = format!("HTTP/1.1 {status}\r\n{close}\r\ncontent-length: {length}\r\n\r\n");
        self.answers[question].take().unwrap().send([head.as_bytes(), body].concat()).unwrap();
    }

    /// The first account's repository at a second, with a follow under this key.
    fn has_at(&mut self, question: usize, second: u64, key: &str, subject: usize) {
        let created = "2026-01-01T00:00:00.000Z";
        let follow = json!({"$type": FOLLOW, "createdAt": created, "subject": did(subject)});
        let records = BTreeMap::from([(format!("{FOLLOW}/{key}"), encode_dag_cbor(&follow))]);
        let repository = Repository::new(&did(0), &rev(second), &records);
        self.answer(question, &repository.car(), "200 OK");
    }

    fn hides(&mut self, question: usize) {
        self.answer(question, br#"{"error":"RepoTakendown"}"#, "400 Bad Request");
    }
}

fn rev(second: u64) -> String {
    tid(START + second * 1_000_000, 0)
}

fn has_k(n: usize) -> [String; 1] {
    [format!("Follow k{n} of {}", did(n))]
}

fn empty() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

/// The revs of all marks.
async fn marks(store: &Arc<dyn Store>) -> Vec<Tid> {
    let marks = store.view().await.unwrap().sync_marks(9).await.unwrap();
    marks.into_iter().map(|(_, mark)| mark.rev).collect()
}

/// Whether all up to this place is applied, and nobody is to be read.
async fn is_over(store: &Arc<dyn Store>, up_to: u64) -> bool {
    saved(store.as_ref()).await.is_some_and(|saved| saved.position >= up_to) && marks(store).await.is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_from_before_what_was_lost_mends_nothing() {
    for behind in [1, 6] {
        let mut told = Told::start(7).await;
        told.relay.push_many([record(1, FOLLOW, "k1", 1), like(2)]);
        lose(&told.relay, 3);
        let last = told.relay.push(like(6));
        for question in 0..behind {
            told.has_at(question, 2, "k1", 1);
        }
        told.has_at(behind, 6, "k2", 2);
        let store = empty();
        let over = async || is_over(&store, last).await;
        live_until(&told.relay, CursorChoice::At(0), store.clone(), over).await;
        assert_eq!(has(&store).await, has_k(2), "{behind} times behind");
        assert_eq!(told.asked.lock().unwrap().len(), behind + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_away_for_a_while_costs_no_mark() {
    let mut told = Told::start(6).await;
    told.relay.push_many([record(1, FOLLOW, "k1", 1), like(2)]);
    lose(&told.relay, 3);
    told.relay.push(like(6));
    told.answer(0, b"", "403 Forbidden");
    let store = empty();
    let again = async || told.asked.lock().unwrap().len() == 2;
    let stop = CancellationToken::new();
    let mut killed = running_until(&told.relay, CursorChoice::At(0), store.clone(), stop, again).await;
    // what it was told of the first answer is applied before this
    let last = told.relay.push(like(7));
    let applied = async {
        while saved(store.as_ref()).await.is_none_or(|saved| saved.position < last) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), applied).await.expect("it doesn't get on");
    assert_eq!(marks(&store).await, [Tid::parse(&rev(6)).unwrap()]);
    killed.shutdown().await;
    for (question, status) in [(2, "502 Bad Gateway"), (3, "429 Too Many Requests")] {
        told.answer(question, b"", status);
    }
    told.has_at(4, 7, "k2", 2);
    let over = async || is_over(&store, last).await;
    live_until(&told.relay, CursorChoice::Auto, store.clone(), over).await;
    assert_eq!((has(&store).await, told.asked.lock().unwrap().len()), (has_k(2).to_vec(), 5));
    // what it hasn't got isn't waited for
    let last = told.relay.push(Event::sync(&did(0), START + 8_000_000));
    told.answer(5, br#"{"error":"RepoNotFound"}"#, "400 Bad Request");
    let over = async || is_over(&store, last).await;
    live_until(&told.relay, CursorChoice::Auto, store.clone(), over).await;
    assert_eq!((has(&store).await, told.asked.lock().unwrap().len()), (has_k(2).to_vec(), 6));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_during_a_download_is_fetched_also_after_a_kill() {
    let mut told = Told::start(3).await;
    told.relay.push_many([record(1, FOLLOW, "k1", 1), Event::sync(&did(0), START + 2_000_000)]);
    let store = empty();
    let losing = async {
        told.asked(1).await;
        lose(&told.relay, 3);
        told.relay.push(like(6));
    };
    let breaking = Tid::parse(&rev(6)).unwrap();
    let is_marked = async || marks(&store).await == [breaking];
    let stop = CancellationToken::new();
    let running = running_until(&told.relay, CursorChoice::At(0), store.clone(), stop, is_marked);
    let (mut killed, ()) = tokio::join!(running, losing);
    // the one of before comes, and brings something that shows it
    told.has_at(0, 2, "k5", 5);
    let come = async {
        while has(&store).await != has_k(5) && has(&store).await.len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), come).await.expect("it doesn't come");
    told.asked(2).await;
    assert_eq!(marks(&store).await, [breaking]);
    killed.shutdown().await;
    told.has_at(2, 6, "k2", 2);
    let mended = async || has(&store).await == has_k(2) && marks(&store).await.is_empty();
    live_until(&told.relay, CursorChoice::Auto, store.clone(), mended).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_been_read_since_is_not_read_again() {
    let mut told = Told::start(5).await;
    let back = |relay: &Upstream, n: usize, second: u64| {
        let at = START + second * 1_000_000;
        relay.push(Event::account(&did(n), at, false, Some("deactivated")));
        relay.push(Event::account(&did(n), at + 1, true, None))
    };
    let store = empty();
    back(&told.relay, 1, 1);
    let stop = CancellationToken::new();
    let begun = async || told.asked.lock().unwrap().len() == 1;
    let running = running_until(&told.relay, CursorChoice::At(0), store.clone(), stop, begun).await;
    back(&told.relay, 2, 2);
    told.asked(2).await;
    // both downloads are busy: one waits, one that is being read is asked for again, and another waits beside it
    for (n, second) in [(3, 3), (2, 4), (4, 5)] {
        back(&told.relay, n, second);
    }
    let last = told.relay.last_seq();
    let reaches = async |left: usize| {
        let reached = async {
            let saved = async || saved(store.as_ref()).await.is_some_and(|saved| saved.position >= last);
            while marks(&store).await.len() > left || !saved().await {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), reached).await.expect("marks stay");
    };
    reaches(4).await;
    told.hides(1);
    told.asked(3).await;
    reaches(3).await;
    told.hides(2);
    told.asked(4).await;
    let mut asked = told.asked.lock().unwrap().clone();
    // which of those that wait gets the download is open
    asked[2..].sort_unstable();
    assert_eq!(asked, [1, 2, 3, 4]);
    told.hides(3);
    told.hides(0);
    reaches(0).await;
    drop(running);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_is_read_while_a_commit_is_under_way() {
    let (told, store) = (Told::start(1).await, empty());
    let mut txn = store.begin().await.unwrap();
    let actor = txn.intern(&Did::parse(&did(0)).unwrap()).await.unwrap();
    let mark = SyncMark { rev: Tid::parse(&rev(1)).unwrap(), since_ms: 0 };
    txn.set_account(actor, AccountRow { sync: Some(mark), ..AccountRow::default() }).await.unwrap();
    txn.commit().await.unwrap();
    let _under_way = store.begin().await.unwrap();
    let begun = async || told.asked.lock().unwrap().len() == 1;
    let stop = CancellationToken::new();
    drop(running_until(&told.relay, CursorChoice::At(0), store.clone(), stop, begun).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_has_done_nothing_since_is_no_fault() {
    let upstream = host().await;
    upstream.push(record(1, FOLLOW, "k1", 1));
    let last = upstream.push(Event::sync(&did(0), START + 2_000_000));
    let store = empty();
    let over = async || is_over(&store, last).await;
    live_until(&upstream, CursorChoice::At(0), store.clone(), over).await;
    assert_eq!(upstream.repository_counts().repositories, 1);
    upstream.push(Event::account(&did(0), START + 3_000_000, false, Some("deactivated")));
    let last = upstream.push(Event::account(&did(0), START + 4_000_000, true, None));
    let over = async || is_over(&store, last).await;
    live_until(&upstream, CursorChoice::Auto, store.clone(), over).await;
    assert_eq!((has(&store).await, upstream.repository_counts().repositories), (has_k(1).to_vec(), 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_never_answers_does_not_get_all_downloads() {
    let (mut hosts, silent) = (JoinSet::new(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let at = vec![format!("http://{}", silent.local_addr().unwrap()), hiding(&mut hosts).await.0];
    let config = UpstreamConfig { repositories: true, repositories_at: at, ..UpstreamConfig::default() };
    let relay = Upstream::start(config).await.unwrap();
    for n in 0..8 {
        let at = START + n as u64 * 1_000_000;
        relay.push(Event::account(&did(n), at, false, Some("deactivated")));
        relay.push(Event::account(&did(n), at + 1, true, None));
    }
    let (store, last) = (empty(), relay.last_seq());
    let is_there = async || {
        saved(store.as_ref()).await.is_some_and(|saved| saved.position >= last)
            && marks(&store).await.len() == 4
    };
    let stop = CancellationToken::new();
    drop(running_until(&relay, CursorChoice::At(0), store.clone(), stop, is_there).await);
}
