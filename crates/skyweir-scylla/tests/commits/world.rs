//! A store that changes by small steps, each of which touches every table, and what has to be there after them.

use skyweir_scylla::{Cluster, Config, Lease, ScyllaReader, ScyllaStore};
use skyweir_store::{FeedAsk, NewItem, RecordBody, RecordRow, Result, SavedCursor, Store, Task, Txn, View};
use skyweir_types::{
    ActorId, Cid, Clock, Collection, Did, ItemId, ItemKind, Position, RecordKey, RecordRef, TaskId, Tid,
    UriHash,
};

use crate::common::Servers;

pub(crate) const A: ActorId = ActorId(0);

/// Runs a test on empty servers, if there are some.
pub(crate) fn on_servers(test: impl AsyncFnOnce(&Servers)) {
    let Some(servers) = Servers::find("commits") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        servers.empty().await;
        test(&servers).await;
    });
}

pub(crate) async fn open(config: &Config) -> ScyllaStore {
    open_at(config, Clock::system()).await.unwrap()
}

pub(crate) async fn open_reader(config: &Config) -> ScyllaReader {
    ScyllaReader::open(&Cluster::connect(config).await.unwrap()).await.unwrap()
}

pub(crate) async fn open_at(config: &Config, clock: Clock) -> Result<ScyllaStore> {
    ScyllaStore::open(&Cluster::connect(config).await?, clock).await
}

/// With its lease, for who looks after that by itself.
pub(crate) async fn open_with(config: &Config, clock: Clock) -> (Lease, ScyllaStore) {
    let lease = Lease::take(&Cluster::connect(config).await.unwrap(), clock).await.unwrap();
    let store = ScyllaStore::with(&lease).await.unwrap();
    (lease, store)
}

pub(crate) fn did(n: u32) -> Did {
    Did::parse(&format!("did:web:a{n}.example")).unwrap()
}

pub(crate) fn rkey(n: u32) -> RecordKey {
    RecordKey::parse(&format!("k{n}")).unwrap()
}

/// A transaction that changes something of every table; `n` counts from 0.
pub(crate) async fn change(store: &dyn Store, n: u32) -> Box<dyn Txn> {
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
pub(crate) async fn changes(view: &dyn View) -> u32 {
    let n = changes_of_records(view).await;
    let tasks = view.tasks(TaskId(0), 1_000).await.unwrap();
    let wanted = (1..=n).map(|n| (TaskId(n.into()), Task::Fill { viewer: A, author: ActorId(n) }));
    assert_eq!(tasks, wanted.collect::<Vec<_>>());
    n
}

/// The same, whether their tasks are in Redis already or not.
pub(crate) async fn changes_of_records(view: &dyn View) -> u32 {
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
    n
}

pub(crate) async fn changes_now(store: &dyn Store) -> u32 {
    changes(&*store.view().await.unwrap()).await
}
