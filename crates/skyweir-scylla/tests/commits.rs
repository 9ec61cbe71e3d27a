//! What survives what: commits that are cut off at any of their steps, two indexers, a Redis that forgets.
#![expect(clippy::unwrap_used, reason = "these are parts of tests")]

mod common;

use std::future::poll_fn;
use std::task::Poll;

use common::Servers;
use skyweir_scylla::{Config, ScyllaStore};
use skyweir_store::{Error, FeedAsk, NewItem, RecordBody, RecordRow, SavedCursor, Store, Task, Txn, View};
use skyweir_types::{
    ActorId, Cid, Clock, Collection, Did, ItemId, ItemKind, Position, RecordKey, RecordRef, TaskId, Tid,
    UriHash,
};

const A: ActorId = ActorId(0);

/// Runs a test on empty servers, if there are some.
fn on_servers(test: impl AsyncFnOnce(&Servers)) {
    let Some(servers) = Servers::find("commits") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        servers.empty().await;
        test(&servers).await;
    });
}

async fn open(config: &Config) -> ScyllaStore {
    ScyllaStore::open(config, Clock::system()).await.unwrap()
}

fn did(n: u32) -> Did {
    Did::parse(&format!("did:web:a{n}.example")).unwrap()
}

fn rkey(n: u32) -> RecordKey {
    RecordKey::parse(&format!("k{n}")).unwrap()
}

/// A transaction that changes something of every table; `n` counts from 0.
async fn change(store: &dyn Store, n: u32) -> Box<dyn Txn> {
    let mut txn = store.begin().await.unwrap();
    let (a, b) = (txn.intern(&did(0)).await.unwrap(), txn.intern(&did(n + 1)).await.unwrap());
    let (cid, sort_at, uri_hash) = (Cid::from_digest([n as u8; 32]), n.into(), UriHash(n.into()));
    let kind = ItemKind::Post { is_reply: false, is_quote: true };
    let item =
        txn.add_item(NewItem { author: a, rkey: rkey(n), cid, sort_at, uri_hash, kind }).await.unwrap();
    let key = RecordRef { actor: a, collection: Collection::Post, rkey: rkey(n) };
    let (rev, wiped) = (Tid(n.into()), Tid::ZERO);
    txn.put_record(&key, RecordRow { rev, wiped, body: RecordBody::Post { item, cid } }).await.unwrap();
    txn.add_follow(a, b, &rkey(n)).await.unwrap();
    if n > 0 {
        let before = RecordRef { rkey: rkey(n - 1), ..key };
        let body = RecordBody::Tombstone { at_ms: n.into() };
        let Some(RecordBody::Post { item, .. }) = txn.record(&before).await.unwrap().map(|row| row.body)
        else {
            panic!("transaction {n} finds no record of the one before");
        };
        txn.put_record(&before, RecordRow { rev, wiped, body }).await.unwrap();
        txn.remove_item(item).await.unwrap();
        txn.remove_follow(a, ActorId(n), &rkey(n - 1)).await.unwrap();
    }
    txn.append(Task::Fill { viewer: a, author: b }).await.unwrap();
    txn.set_cursor(SavedCursor { source: "file".into(), position: n.into(), time_us: 1 }).await.unwrap();
    txn
}

/// How many changes there were, after which everything is as it has to be.
async fn changes(view: &dyn View) -> u32 {
    let n = view.next_task().await.unwrap().0 as u32 - 1;
    assert_eq!(view.actor_count().await.unwrap(), if n == 0 { 0 } else { n + 1 });
    assert_eq!(view.actor(&did(n)).await.unwrap(), Some(ActorId(n)).filter(|_| n > 0));
    assert_eq!(view.actor(&did(n + 1)).await.unwrap(), None);
    let feed = view.feeds(&[FeedAsk { author: A, after: Position::TOP }], 9).await.unwrap().remove(0);
    let items: Vec<ItemId> = feed.iter().map(|entry| entry.item).collect();
    assert_eq!(items.len(), usize::from(n > 0), "after {n}");
    let found = view.items(&items).await.unwrap();
    assert!(found.iter().all(|item| item.as_ref().is_some_and(|item| item.rkey == rkey(n - 1))));
    let wanted: Vec<ActorId> = if n == 0 { vec![] } else { vec![ActorId(n)] };
    assert_eq!(view.follows(A, None, 9).await.unwrap(), wanted);
    for follower in 1..=n {
        let wanted: &[ActorId] = if follower == n { &[A] } else { &[] };
        assert_eq!(view.followers(ActorId(follower), None, 9).await.unwrap(), wanted);
    }
    let infos = view.accounts(&[A, ActorId(n)]).await.unwrap();
    let edges = u32::from(n > 0);
    assert_eq!((infos[0].follows, infos[1].followers), (edges, edges));
    let keys: Vec<_> =
        (0..=n).map(|n| RecordRef { actor: A, collection: Collection::Post, rkey: rkey(n) }).collect();
    for (at, row) in view.records(&keys).await.unwrap().into_iter().enumerate() {
        let is_right = match row.map(|row| row.body) {
            Some(RecordBody::Tombstone { .. }) => at as u32 + 1 < n,
            Some(RecordBody::Post { item, .. }) => at as u32 + 1 == n && items == [item],
            other => other.is_none() && at as u32 == n,
        };
        assert!(is_right, "record {at} after {n}");
    }
    let cursor = view.cursor().await.unwrap().map(|cursor| cursor.position);
    assert_eq!(cursor, n.checked_sub(1).map(u64::from));
    let tasks = view.tasks(TaskId(0), 1_000).await.unwrap();
    let wanted = (1..=n).map(|n| (TaskId(n.into()), Task::Fill { viewer: A, author: ActorId(n) }));
    assert_eq!(tasks, wanted.collect::<Vec<_>>());
    n
}

async fn changes_now(store: &ScyllaStore) -> u32 {
    changes(&*store.view().await.unwrap()).await
}

/// The last committed transaction, and the one that shows.
async fn committed_and_shown(servers: &Servers) -> (i64, i64) {
    let session = servers.session().await;
    let ask = async |column: &str, table: &str| {
        let text = format!("SELECT {column} FROM {}.{table} WHERE id = 0", servers.config.keyspace);
        let rows = session.query_unpaged(text, ()).await.unwrap().into_rows_result().unwrap();
        rows.maybe_first_row::<(Option<i64>,)>().unwrap().and_then(|(n,)| n).unwrap_or(0)
    };
    (ask("seq", "lease").await, ask("seq", "visible").await)
}

/// A commit is a future: it is dropped at each point where it waits, one after the other, and a new indexer finds all of
/// it or nothing.
#[test]
fn a_commit_that_is_cut_off_is_whole_or_nothing() {
    on_servers(async |servers| {
        // one row after the other, so that it is cut off between any two of them
        let config = Config { in_flight: 1, ..servers.config.clone() };
        let mut store = open(&config).await;
        let (mut done, mut nothing, mut whole, mut half) = (0, 0, 0, 0);
        for polls in 1.. {
            let mut commit = change(&store, done).await.commit();
            let mut left = polls;
            let ended = poll_fn(|cx| {
                let poll = commit.as_mut().poll(cx).map(Some);
                left -= 1;
                if poll.is_pending() && left == 0 { Poll::Ready(None) } else { poll }
            })
            .await;
            drop((commit, store));
            let (committed, shown) = committed_and_shown(servers).await;
            half += u32::from(committed > shown);
            store = open(&config).await;
            let now = changes_now(&store).await;
            assert!(now == done || now == done + 1, "{now} after {done}");
            if let Some(ended) = ended {
                ended.unwrap();
                assert_eq!(now, done + 1);
                break;
            }
            (nothing, whole) = if now == done { (nothing + 1, whole) } else { (nothing, whole + 1) };
            done = now;
        }
        assert!(
            nothing > 0 && whole > 0,
            "{nothing} times nothing, {whole} times whole: it was cut off too seldom"
        );
        assert!(half > 9, "cut off {half} times between the commit point and the last row");
    });
}

/// The same, but the process lives on: the next transaction goes on behind what the cut off one has left.
#[test]
fn a_commit_that_is_given_up_is_settled_by_the_next() {
    on_servers(async |servers| {
        let store = open(&servers.config).await;
        let mut done = 0;
        for polls in 1..40 {
            let mut commit = change(&store, done).await.commit();
            let mut left = polls;
            let ended = poll_fn(|cx| {
                let poll = commit.as_mut().poll(cx).map(Some);
                left -= 1;
                if poll.is_pending() && left == 0 { Poll::Ready(None) } else { poll }
            })
            .await;
            drop(commit);
            // whoever tries again looks at a view first: what it sees is what the transaction begins with
            let seen = store.view().await.unwrap().actor_count().await.unwrap();
            drop(store.begin().await.unwrap());
            let now = changes_now(&store).await;
            assert_eq!(seen, if now == 0 { 0 } else { now + 1 }, "a view before showed another moment");
            assert!(now == done || now == done + 1);
            assert!(ended.is_none_or(|ended| ended.is_ok() && now == done + 1));
            done = now;
            assert_eq!(*store.next_task().borrow(), TaskId(u64::from(done) + 1));
        }
        drop(store);
        assert_eq!(changes_now(&open(&servers.config).await).await, done);
    });
}

#[test]
fn an_indexer_that_has_lost_the_lease_changes_nothing() {
    on_servers(async |servers| {
        let first = open(&servers.config).await;
        change(&first, 0).await.commit().await.unwrap();
        let late = change(&first, 1).await;
        let second = open(&servers.config).await;
        let refused = late.commit().await.unwrap_err();
        assert!(matches!(&refused, Error::Unavailable(why) if why.contains("another indexer")), "{refused}");
        assert_eq!(changes_now(&second).await, 1);
        change(&second, 1).await.commit().await.unwrap();
        assert_eq!(changes_now(&second).await, 2);
        assert!(first.begin().await.is_err());
        drop((first, second));
        assert_eq!(changes_now(&open(&servers.config).await).await, 2);
    });
}

#[test]
fn another_machine_waits_until_the_lease_is_over() {
    on_servers(async |servers| {
        let clock = Clock::manual(1_700_000_000_000_000);
        let first = ScyllaStore::open(&servers.config, clock.clone()).await.unwrap();
        change(&first, 0).await.commit().await.unwrap();
        let other = Config { holder: "another".into(), ..servers.config.clone() };
        let refused = ScyllaStore::open(&other, clock.clone()).await.err().unwrap().to_string();
        assert!(refused.contains("\"skyweir\"") && refused.contains("10000 ms"), "{refused}");
        drop(first);
        clock.advance_ms(other.lease_ms as i64);
        let second = ScyllaStore::open(&other, clock).await.unwrap();
        assert_eq!(changes_now(&second).await, 1);
    });
}

#[test]
fn tasks_that_redis_has_lost_come_again() {
    on_servers(async |servers| {
        let stream = format!("{}:tasks", servers.config.keyspace);
        let store = open(&servers.config).await;
        for n in 0..6 {
            change(&store, n).await.commit().await.unwrap();
        }
        // a tail, then all, while the indexer lives
        for last in ["0-5", "0-6"] {
            assert_eq!(servers.redis("XDEL", &[&stream, last]).await, redis::Value::Int(1));
        }
        servers.redis("XSETID", &[&stream, "0-4"]).await;
        change(&store, 6).await.commit().await.unwrap();
        assert_eq!(changes_now(&store).await, 7);
        servers.redis("DEL", &[&stream]).await;
        change(&store, 7).await.commit().await.unwrap();
        assert_eq!(changes_now(&store).await, 8);
        // and between two indexers
        servers.redis("DEL", &[&stream]).await;
        drop(store);
        let store = open(&servers.config).await;
        assert_eq!(changes_now(&store).await, 8);
        assert_eq!(store.lost_tasks(), None);
        // what was cut isn't missed
        store.trim_tasks(TaskId(8)).await.unwrap();
        servers.redis("DEL", &[&stream]).await;
        drop(store);
        let store = open(&servers.config).await;
        let tasks = store.view().await.unwrap().tasks(TaskId(0), 9).await.unwrap();
        assert_eq!(tasks.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [8]);
        assert_eq!(store.lost_tasks(), None);
    });
}

#[test]
fn tasks_that_have_left_the_journal_are_told() {
    on_servers(async |servers| {
        let stream = format!("{}:tasks", servers.config.keyspace);
        let store = open(&servers.config).await;
        for n in 0..4 {
            change(&store, n).await.commit().await.unwrap();
        }
        drop(store);
        let text = format!("DELETE FROM {}.journal WHERE slot = 2", servers.config.keyspace);
        servers.session().await.query_unpaged(text, ()).await.unwrap();
        servers.redis("DEL", &[&stream]).await;
        let store = open(&servers.config).await;
        assert_eq!(store.lost_tasks(), Some((TaskId(1), TaskId(3))));
        let tasks = store.view().await.unwrap().tasks(TaskId(0), 9).await.unwrap();
        assert_eq!(tasks.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [3, 4]);
    });
}

#[test]
fn a_stream_of_another_store_is_refused() {
    on_servers(async |servers| {
        let stream = format!("{}:tasks", servers.config.keyspace);
        servers.redis("XADD", &[&stream, "0-7", "task", "fan-out 1"]).await;
        let refused = ScyllaStore::open(&servers.config, Clock::system()).await.err().unwrap().to_string();
        assert!(refused.contains(&stream) && refused.contains("up to 7"), "{refused}");
    });
}

/// A celebrity's followers are in several buckets; pages go through all of them in one order.
#[test]
fn followers_come_in_order_from_all_buckets() {
    on_servers(async |servers| {
        let config = Config { followers_bucket: 100, ..servers.config.clone() };
        let store = open(&config).await;
        let mut txn = store.begin().await.unwrap();
        for n in 0..1_000 {
            txn.intern(&did(n)).await.unwrap();
        }
        // in another order than their numbers
        let follower = |n: u32| ActorId(1 + n * 7 % 990);
        for n in 0..990 {
            assert!(txn.add_follow(follower(n), A, &rkey(1)).await.unwrap());
        }
        txn.commit().await.unwrap();
        let mut txn = store.begin().await.unwrap();
        for n in (0..990).step_by(3) {
            assert!(txn.remove_follow(follower(n), A, &rkey(1)).await.unwrap());
        }
        let before = store.view().await.unwrap();
        txn.commit().await.unwrap();
        let mut left: Vec<ActorId> = (0..990).filter(|n| n % 3 > 0).map(follower).collect();
        left.sort_unstable();
        let after = store.view().await.unwrap();
        for (view, wanted) in [(&before, (1..=990).map(ActorId).collect()), (&after, left)] {
            for n in [7, 300, 5_000] {
                let mut found: Vec<ActorId> = Vec::new();
                loop {
                    let page = view.followers(A, found.last().copied(), n).await.unwrap();
                    found.extend_from_slice(&page);
                    if page.len() < n {
                        break;
                    }
                }
                assert_eq!(found, wanted, "pages of {n}");
            }
        }
        let session = servers.session().await;
        let text = format!("SELECT DISTINCT subject, bucket FROM {}.followers", config.keyspace);
        let buckets = session.query_unpaged(text, ()).await.unwrap().into_rows_result().unwrap();
        assert_eq!(buckets.rows_num(), 10);
    });
}

/// An entry of the journal may be of several chunks, and a request may not name any number of rows.
#[test]
fn a_large_transaction_is_as_whole_as_a_small_one() {
    on_servers(async |servers| {
        let store = open(&servers.config).await;
        let mut txn = store.begin().await.unwrap();
        let a = txn.intern(&did(0)).await.unwrap();
        let long = |n: u64| RecordKey::parse(&format!("{n:0>512}")).unwrap();
        let mut ids = Vec::new();
        for n in 0..1_300 {
            let (rkey, uri_hash) = (long(n), UriHash(n));
            let kind = ItemKind::Post { is_reply: true, is_quote: false };
            let new = NewItem { author: a, rkey, cid: Cid::from_digest([1; 32]), sort_at: 1, uri_hash, kind };
            ids.push(txn.add_item(new).await.unwrap());
        }
        txn.append(Task::FanOut { item: ids[7] }).await.unwrap();
        txn.commit().await.unwrap();
        drop(store);
        let keyspace = &servers.config.keyspace;
        let session = servers.session().await;
        let chunks =
            session.query_unpaged(format!("SELECT chunk FROM {keyspace}.journal"), ()).await.unwrap();
        assert_eq!(chunks.into_rows_result().unwrap().rows_num(), 2);
        // as if it had ended right behind the commit point
        for table in ["items", "feeds", "visible"] {
            session.query_unpaged(format!("TRUNCATE {keyspace}.{table}"), ()).await.unwrap();
        }
        servers.redis("DEL", &[&format!("{keyspace}:tasks")]).await;
        let view = open(&servers.config).await.view().await.unwrap();
        let found = view.items(&ids).await.unwrap();
        for (n, item) in found.iter().enumerate() {
            assert_eq!(item.as_ref().map(|item| &item.rkey), Some(&long(n as u64)));
        }
        let feed = view.feeds(&[FeedAsk { author: a, after: Position::TOP }], 5_000).await.unwrap();
        assert_eq!(feed[0].len(), ids.len());
        let tasks = view.tasks(TaskId(0), 9).await.unwrap();
        assert_eq!(tasks, [(TaskId(1), Task::FanOut { item: ids[7] })]);
    });
}

/// What is replaced or removed doesn't stay for ever, and what is there does.
#[test]
fn what_is_gone_passes() {
    on_servers(async |servers| {
        let config = Config { superseded_ttl_s: 1_000, ..servers.config.clone() };
        let store = open(&config).await;
        for n in 0..3 {
            change(&store, n).await.commit().await.unwrap();
        }
        let session = servers.session().await;
        let ttls = async |table: &str, column: &str| {
            let text = format!("SELECT ttl({column}) FROM {}.{table}", config.keyspace);
            let rows = session.query_unpaged(text, ()).await.unwrap().into_rows_result().unwrap();
            let rows = rows.rows::<(Option<i32>,)>().unwrap().map(|row| row.unwrap().0);
            let (passing, staying): (Vec<_>, Vec<_>) = rows.partition(Option::is_some);
            assert!(passing.iter().flatten().all(|ttl| (900..=1_000).contains(ttl)), "{table}: {passing:?}");
            (passing.len(), staying.len())
        };
        // three changes: two posts and edges are gone again, two records were replaced, two accounts lost their follower
        for (table, column) in [("items", "body"), ("feeds", "born"), ("follows", "rkey")] {
            assert_eq!(ttls(table, column).await, (2, 1), "{table}");
        }
        assert_eq!(ttls("records", "body").await, (2, 3));
        assert_eq!(ttls("accounts", "body").await, (2, 4));
        assert_eq!(ttls("visible", "body").await, (0, 1));
    });
}
