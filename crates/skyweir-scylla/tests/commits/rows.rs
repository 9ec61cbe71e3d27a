//! Rows of many transactions, and of one large one.

use skyweir_scylla::Config;
use skyweir_store::{FeedAsk, NewItem, Store as _, Task};
use skyweir_types::{ActorId, Cid, ItemKind, Position, RecordKey, TaskId, UriHash};

use crate::world::{A, change, did, on_servers, open, rkey};

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
        // three changes: two posts and edges are gone again, two records replaced, two accounts lost their follower
        for (table, column) in [("items", "body"), ("feeds", "born"), ("follows", "rkey")] {
            assert_eq!(ttls(table, column).await, (2, 1), "{table}");
        }
        assert_eq!(ttls("records", "body").await, (2, 3));
        assert_eq!(ttls("accounts", "body").await, (2, 4));
        assert_eq!(ttls("visible", "body").await, (0, 1));
    });
}
