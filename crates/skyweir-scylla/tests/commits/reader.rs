//! A store that only reads, beside the indexer's.

use std::time::Duration;

use scylla::value::{CqlValue, Row};
use skyweir_scylla::{Cluster, Config, ScyllaReader};
use skyweir_store::{Error, Store as _};
use skyweir_types::{Clock, TaskId};

use crate::at_most;
use crate::world::{
    A, change, changes_now, changes_of_records, on_servers, open, open_at, open_reader, open_with,
};

/// Nothing here takes longer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_reader_shows_what_is_committed_and_writes_nothing() {
    on_servers(async |servers| {
        // it may be there first
        let reader = open_reader(&servers.config).await;
        assert_eq!(changes_now(&reader).await, 0);
        let mut next = reader.next_task();
        let store = open(&servers.config).await;
        for n in 0..4 {
            change(&store, n).await.commit().await.unwrap();
            assert_eq!(changes_now(&reader).await, n + 1);
            let announced = next.wait_for(|next| *next == TaskId(u64::from(n) + 2));
            tokio::time::timeout(PATIENCE, announced).await.expect("it is announced").unwrap();
        }
        let refused = reader.begin().await.err().unwrap();
        assert!(matches!(&refused, Error::Unavailable(why) if why.contains("--roles")), "{refused}");
        // what isn't needed any more is told by whoever knows it
        reader.trim_tasks(TaskId(3)).await.unwrap();
        for reader in [&reader, &open_reader(&servers.config).await] {
            let tasks = reader.view().await.unwrap().tasks(TaskId(0), 9).await.unwrap();
            assert_eq!(tasks.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [3, 4]);
        }
    });
}

/// Many at once: each sees what was committed before it asked, though they share what is read.
#[test]
fn a_view_shows_what_was_committed_before_it_was_asked_for() {
    on_servers(async |servers| {
        let (store, reader) = (open(&servers.config).await, open_reader(&servers.config).await);
        for n in 0..12 {
            let mut before = reader.view();
            // under way while the commit ends: who asks after that has to get another
            let ended = at_most(n + 1, before.as_mut()).await;
            change(&store, n).await.commit().await.unwrap();
            let after = async { futures::future::join_all((0..8).map(|_| reader.view())).await };
            let before = async { if let Some(ended) = ended { ended } else { before.await } };
            let (before, after) = futures::future::join(before, after).await;
            assert!(before.unwrap().actor_count().await.unwrap() <= n + 2);
            for view in after {
                assert_eq!(view.unwrap().actor_count().await.unwrap(), n + 2);
            }
        }
    });
}

/// Wherever an indexer ends, what a reader sees is whole, and it goes on with the next one.
#[test]
fn a_reader_outlives_indexers_that_end_within_a_commit() {
    on_servers(async |servers| {
        let config = Config { in_flight: 1, ..servers.config.clone() };
        let reader = open_reader(&config).await;
        let mut store = open(&config).await;
        let mut done = 0;
        for polls in 1.. {
            let mut commit = change(&store, done).await.commit();
            let ended = at_most(polls, commit.as_mut()).await;
            let within = changes_of_records(&*reader.view().await.unwrap()).await;
            assert!(within == done || within == done + 1, "{within} after {done}");
            drop((commit, store));
            let after = changes_of_records(&*reader.view().await.unwrap()).await;
            assert!(after == within || after == done + 1, "{after} after {within}");
            store = open(&config).await;
            let now = changes_now(&store).await;
            assert!(now >= after);
            assert_eq!(changes_now(&reader).await, now);
            done = now;
            if ended.is_some() {
                break;
            }
        }
        assert!(done > 9, "{done} commits");
    });
}

/// As long as a commit hangs, rows may pass that views need: they end, and come again when it is through.
#[test]
fn views_of_a_reader_end_while_a_commit_hangs() {
    on_servers(async |servers| {
        // views last a second without news
        let config = Config { in_flight: 1, superseded_ttl_s: 6, lease_ms: 1_000, ..servers.config.clone() };
        let store = open(&config).await;
        change(&store, 0).await.commit().await.unwrap();
        let reader = open_reader(&config).await;
        let mut commit = change(&store, 1).await.commit();
        let committed = async || {
            let text = format!("SELECT seq FROM {}.lease WHERE id = 0", config.keyspace);
            let rows = servers.session().await.query_unpaged(text, ()).await.unwrap();
            rows.into_rows_result().unwrap().single_row::<(i64,)>().unwrap().0
        };
        while committed().await == 1 {
            assert!(at_most(1, commit.as_mut()).await.is_none(), "it hangs nowhere");
        }
        let refused = async {
            loop {
                let view = reader.view().await.unwrap();
                if let Err(refused) = view.follows(A, None, 9).await {
                    break refused.to_string();
                }
            }
        };
        let refused = tokio::time::timeout(PATIENCE, refused).await.expect("views end");
        assert!(refused.contains("older than"), "{refused}");
        // who comes now finds no view that may be had
        let impatient = Config { request_timeout_ms: 3_000, ..config.clone() };
        let refused = ScyllaReader::open(&Cluster::connect(&impatient).await.unwrap()).await.err().unwrap();
        assert!(
            refused.to_string().contains("transaction 2 is committed, and doesn't show yet"),
            "{refused}"
        );
        commit.await.unwrap();
        assert_eq!(changes_now(&reader).await, 2);
        assert_eq!(changes_now(&open_reader(&config).await).await, 2);
    });
}

/// An indexer of another name needn't wait for a lease that was given back.
#[test]
fn a_lease_that_is_given_back_is_free() {
    on_servers(async |servers| {
        let clock = Clock::manual(1_700_000_000_000_000);
        let (lease, first) = open_with(&servers.config, clock.clone()).await;
        change(&first, 0).await.commit().await.unwrap();
        let late = change(&first, 1).await;
        lease.give_back().await.unwrap();
        let other = Config { holder: "another".into(), ..servers.config.clone() };
        let second = open_at(&other, clock).await.unwrap();
        assert_eq!(changes_now(&second).await, 1);
        change(&second, 1).await.commit().await.unwrap();
        // who still reads there isn't told of before
        assert_eq!([changes_now(&first).await, changes_now(&second).await], [2, 2]);
        for refused in [late.commit().await.err(), first.begin().await.err()] {
            assert!(refused.unwrap().to_string().contains("this indexer has ended"));
        }
        assert_eq!(changes_now(&first).await, 2, "nor by a commit that was refused");
        lease.give_back().await.expect("again is no harm");
        change(&second, 2).await.commit().await.unwrap();
        assert_eq!(changes_now(&second).await, 3);
    });
}

/// A renewal may be on its way when the store is dropped and the lease given back: what the server takes up later than
/// that is refused.
#[test]
fn a_renewal_that_comes_after_a_lease_was_given_back_is_refused() {
    on_servers(async |servers| {
        let (session, keyspace) = (servers.session().await, &servers.config.keyspace);
        let row =
            async |text: String| session.query_unpaged(text, ()).await.unwrap().into_rows_result().unwrap();
        let (lease, store) = open_with(&servers.config, Clock::system()).await;
        let epoch = row(format!("SELECT epoch FROM {keyspace}.lease WHERE id = 0")).await;
        let (epoch,) = epoch.single_row::<(i64,)>().unwrap();
        drop(store);
        lease.give_back().await.unwrap();
        let renewal =
            format!("UPDATE {keyspace}.lease SET until_ms = {} WHERE id = 0 IF epoch = {epoch}", i64::MAX);
        let found = row(renewal).await;
        let columns = found.single_row::<Row>().unwrap().columns;
        assert_eq!(columns[0], Some(CqlValue::Boolean(false)), "it was applied");
        let other = Config { holder: "another".into(), ..servers.config.clone() };
        drop(open_at(&other, Clock::system()).await.unwrap());
    });
}

/// What writers in other processes have said isn't needed is none of what is missed, though it has left the journal.
#[test]
fn an_indexer_knows_what_writers_elsewhere_have_done() {
    on_servers(async |servers| {
        let (store, reader) = (open(&servers.config).await, open_reader(&servers.config).await);
        for n in 0..4 {
            change(&store, n).await.commit().await.unwrap();
        }
        assert_eq!(changes_now(&reader).await, 4);
        reader.next_task().wait_for(|next| *next == TaskId(5)).await.unwrap();
        reader.trim_tasks(TaskId(4)).await.unwrap();
        let text = format!("DELETE FROM {}.journal WHERE slot = 2", servers.config.keyspace);
        servers.session().await.query_unpaged(text, ()).await.unwrap();
        servers.redis("DEL", &[&format!("{}:tasks", servers.config.keyspace)]).await;
        change(&store, 4).await.commit().await.unwrap();
        let tasks = reader.view().await.unwrap().tasks(TaskId(0), 9).await.unwrap();
        assert_eq!(tasks.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [4, 5]);
        assert_eq!((store.lost_below(), reader.lost_below()), (TaskId(0), TaskId(0)));
    });
}
