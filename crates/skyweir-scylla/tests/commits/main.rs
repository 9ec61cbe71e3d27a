//! What survives what: commits that are cut off at any of their steps, two indexers, a Redis that forgets.
#![expect(clippy::unwrap_used, reason = "these are parts of tests")]

#[path = "../common/mod.rs"]
mod common;
mod proxy;
mod reader;
mod rows;
mod tasks;
mod world;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use skyweir_scylla::Config;
use skyweir_store::{Error, Store as _};
use skyweir_types::{Clock, TaskId};

use common::Servers;
use proxy::Proxy;
use world::{A, change, changes_now, on_servers, open, open_at, open_with, rkey};

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

/// Polls so many times; `None` if that isn't the end.
async fn at_most<T>(polls: u32, mut future: Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Option<T> {
    let mut left = polls;
    poll_fn(|cx| {
        let poll = future.as_mut().poll(cx).map(Some);
        left -= 1;
        if poll.is_pending() && left == 0 { Poll::Ready(None) } else { poll }
    })
    .await
}

/// A commit is a future: it is dropped at each point where it waits, one after the other, and a new indexer finds all
/// of it or nothing.
#[test]
fn a_commit_that_is_cut_off_is_whole_or_nothing() {
    on_servers(async |servers| {
        // one row after the other, so that it is cut off between any two of them
        let config = Config { in_flight: 1, ..servers.config.clone() };
        let mut store = open(&config).await;
        let (mut done, mut nothing, mut whole, mut half) = (0, 0, 0, 0);
        for polls in 1.. {
            let mut commit = change(&store, done).await.commit();
            let ended = at_most(polls, commit.as_mut()).await;
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
            let ended = at_most(polls, commit.as_mut()).await;
            drop(commit);
            // whoever tries again looks at a view first: what it sees is what the transaction begins with
            // (two at once: neither is in the other's way)
            let (other, view) = futures::future::join(store.view(), store.view()).await;
            let seen = view.unwrap().actor_count().await.unwrap();
            assert_eq!(other.unwrap().actor_count().await.unwrap(), seen, "two views at once differ");
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

/// Between a commit point and what shows, rows are replaced already: a view of before ends in time, though the lease is
/// renewed all the while.
#[test]
fn views_end_in_time_while_a_commit_hangs() {
    on_servers(async |servers| {
        // views last a second without news
        let config = Config { in_flight: 1, superseded_ttl_s: 6, lease_ms: 1_000, ..servers.config.clone() };
        let store = open(&config).await;
        change(&store, 0).await.commit().await.unwrap();
        let mut commit = change(&store, 1).await.commit();
        let session = servers.session().await;
        let rows = format!("SELECT actor FROM {}.dids", config.keyspace);
        let rows = async || {
            let rows = session.query_unpaged(rows.as_str(), ()).await.unwrap();
            rows.into_rows_result().unwrap().rows_num()
        };
        let before = rows().await;
        while rows().await == before {
            assert!(at_most(1, commit.as_mut()).await.is_none(), "it hangs nowhere");
        }
        assert_eq!(committed_and_shown(servers).await, (2, 1));
        let refused = async {
            loop {
                let view = store.view().await.unwrap();
                if let Err(refused) = view.follows(A, None, 9).await {
                    break refused.to_string();
                }
                // the lease is renewed by a task of this thread
                tokio::task::yield_now().await;
            }
        };
        let refused = tokio::time::timeout(Duration::from_secs(30), refused).await.expect("views end");
        assert!(refused.contains("older than"), "{refused}");
        commit.await.unwrap();
        assert_eq!(store.view().await.unwrap().actor_count().await.unwrap(), 3);
    });
}

#[test]
fn an_indexer_that_has_lost_the_lease_changes_nothing() {
    on_servers(async |servers| {
        let (lease, first) = open_with(&servers.config, Clock::system()).await;
        change(&first, 0).await.commit().await.unwrap();
        // and what it would have changed beside that is nowhere
        let mut late = change(&first, 1).await;
        late.add_follow(A, A, &rkey(77)).await.unwrap();
        let second = open(&servers.config).await;
        let refused = late.commit().await.unwrap_err();
        assert!(matches!(&refused, Error::Unavailable(why) if why.contains("another indexer")), "{refused}");
        assert_eq!(changes_now(&second).await, 1);
        change(&second, 1).await.commit().await.unwrap();
        assert_eq!(changes_now(&second).await, 2);
        assert!(first.begin().await.is_err());
        tokio::time::timeout(Duration::from_secs(60), lease.lost()).await.expect("it is told");
        assert_eq!(changes_now(&first).await, 2, "who knows it reads what shows");
        drop((first, second));
        assert_eq!(changes_now(&open(&servers.config).await).await, 2);
    });
}

/// Whether a lost commit was done is found out before anything else is: the answers are lost of some, the requests of
/// others, and each is there once.
#[test]
fn a_commit_whose_answer_is_lost_counts_once() {
    on_servers(async |servers| {
        let proxy = Proxy::before(&servers.config.nodes[0]).await;
        let store = open(&Config { nodes: vec![proxy.wire.address.clone()], ..servers.config.clone() }).await;
        for n in 0..6 {
            let lost = proxy.lost();
            match n {
                1 | 2 => proxy.lose_answers(1),
                3 => proxy.lose_requests(1),
                4 => proxy.lose_answers(3),
                _ => {}
            }
            let done = change(&store, n).await.commit().await;
            assert_eq!(proxy.lost() > lost, (1..5).contains(&n), "the fault of commit {n} fired");
            // as an indexer does: until it is settled, nothing else begins
            let settled = async {
                while done.is_err() && store.begin().await.is_err() {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(60), settled).await.expect("it is settled some time");
            proxy.lose_answers(0);
            assert_eq!(changes_now(&store).await, n + 1);
        }
        drop(store);
        assert_eq!(changes_now(&open(&servers.config).await).await, 6);
    });
}

#[test]
fn another_machine_waits_until_the_lease_is_over() {
    on_servers(async |servers| {
        let clock = Clock::manual(1_700_000_000_000_000);
        let first = open_at(&servers.config, clock.clone()).await.unwrap();
        change(&first, 0).await.commit().await.unwrap();
        let other = Config { holder: "another".into(), ..servers.config.clone() };
        let refused = open_at(&other, clock.clone()).await.err().unwrap().to_string();
        assert!(refused.contains("\"skyweir\"") && refused.contains("10000 ms"), "{refused}");
        drop(first);
        clock.advance_ms(other.lease_ms as i64);
        let second = open_at(&other, clock).await.unwrap();
        assert_eq!(changes_now(&second).await, 1);
    });
}
