//! A Redis that forgets.

use std::time::Duration;

use skyweir_scylla::{Cluster, Config, Group};
use skyweir_store::{Error, Store as _, Tasks as _};
use skyweir_types::{Clock, TaskId};

use crate::world::{change, changes_now, on_servers, open, open_at};

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
        assert_eq!(store.lost_below(), TaskId(0));
        // what was cut isn't missed
        store.trim_tasks(TaskId(8)).await.unwrap();
        servers.redis("DEL", &[&stream]).await;
        drop(store);
        let store = open(&servers.config).await;
        let tasks = store.view().await.unwrap().tasks(TaskId(0), 9).await.unwrap();
        assert_eq!(tasks.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [8]);
        assert_eq!(store.lost_below(), TaskId(0));
    });
}

/// Nobody has to write for that, and until then a reader is told to wait.
#[test]
fn tasks_come_again_by_themselves() {
    on_servers(async |servers| {
        let stream = format!("{}:tasks", servers.config.keyspace);
        let store = open(&servers.config).await;
        for n in 0..3 {
            change(&store, n).await.commit().await.unwrap();
        }
        let view = store.view().await.unwrap();
        let again = async {
            let mut waited = 0;
            servers.redis("DEL", &[&stream]).await;
            loop {
                match view.tasks(TaskId(2), 9).await {
                    // each transaction's are appended by a step of its own
                    Ok(tasks) if tasks.len() == 1 => {}
                    Ok(tasks) => break (waited, tasks.len()),
                    Err(Error::Unavailable(why)) => assert!(why.contains("misses task 2"), "{why}"),
                    Err(error) => panic!("{error}"),
                }
                waited += 1;
            }
        };
        let again = tokio::time::timeout(Duration::from_secs(60), again).await;
        let (waited, tasks) = again.expect("they come again");
        assert!(waited > 0 && tasks == 2, "{waited} times, {tasks} tasks");
        assert_eq!(changes_now(&store).await, 3);
        assert_eq!(store.lost_below(), TaskId(0));
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
        // who comes later finds nothing missing, and is told all the same
        for _ in 0..2 {
            let store = open(&servers.config).await;
            assert_eq!(store.lost_below(), TaskId(3));
            let view = store.view().await.unwrap();
            let lost = view.tasks(TaskId(0), 9).await.unwrap_err();
            assert!(matches!(&lost, Error::Corrupt(why) if why.contains("from 1 on, below 3")), "{lost}");
            let tasks = view.tasks(TaskId(3), 9).await.unwrap();
            assert_eq!(tasks.iter().map(|(id, _)| id.0).collect::<Vec<_>>(), [3, 4]);
        }
    });
}

#[test]
fn a_stream_of_another_store_is_refused() {
    on_servers(async |servers| {
        let stream = format!("{}:tasks", servers.config.keyspace);
        servers.redis("XADD", &[&stream, "0-7", "task", "fan-out 1"]).await;
        let refused = open_at(&servers.config, Clock::system()).await.err().unwrap().to_string();
        assert!(refused.contains(&stream) && refused.contains("up to 7"), "{refused}");
    });
}

/// Cuts a test off that would hang.
async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect(what)
}

/// It is looked each second, so some more than that come before it holds.
#[test]
fn there_is_no_room_while_too_many_tasks_are_not_done() {
    on_servers(async |servers| {
        let config = Config { tasks_most: 3, ..servers.config.clone() };
        let store = open(&config).await;
        let group = Group::join(&Cluster::connect(&config).await.unwrap(), TaskId(0)).await.unwrap();
        let mut n = 0;
        in_time("the log is full", async {
            while tokio::time::timeout(Duration::from_secs(5), store.room()).await.is_ok() {
                change(&store, n).await.commit().await.unwrap();
                n += 1;
            }
        })
        .await;
        assert!(n > 3, "{n}");
        // who has asked before it was full, or appends nothing, begins all the same
        drop(in_time("a transaction begins", store.begin()).await.unwrap());
        in_time("all tasks are taken", async {
            let mut taken = 0;
            while taken < n {
                let some = group.take(100).await.unwrap();
                some.iter().for_each(|task| group.finish(task.id));
                taken += some.len() as u32;
            }
        })
        .await;
        let mut done = group.done();
        let goes_on = async {
            store.room().await;
            done.wait_for(|done| *done == TaskId(u64::from(n) + 1)).await.unwrap();
        };
        tokio::select! {
            ended = group.run() => panic!("{ended:?}"),
            () = in_time("there is room again", goes_on) => {}
        }
        change(&store, n).await.commit().await.unwrap();
        assert_eq!(changes_now(&store).await, n + 1);
    });
}
