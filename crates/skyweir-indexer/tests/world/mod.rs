//! An applier on the in-memory store, and short words for events.
#![allow(dead_code, reason = "each test binary uses its part")]

use sha2::{Digest, Sha256};
use skyweir_indexer::{Applier, Horizons, Outcome};
use skyweir_store::{AccountRow, FeedAsk, MemoryStore, RecordBody, SavedCursor, Store, Task};
use skyweir_types::{
    AccountStatus, AcrossAccounts, Action, ActorId, Body, Cid, Collection, Did, Event, Item, Position,
    Record, RecordKey, RecordOp, RecordRef, TaskId, Tid,
};

/// 2026-01-01, in seconds: the second 0 of the tests.
pub(crate) const START: i64 = 1_767_225_600;
pub(crate) const DAY: i64 = 86_400;

pub(crate) fn did(who: &str) -> Did {
    Did::parse(&format!("did:plc:{who}")).unwrap()
}

pub(crate) fn rev(second: i64) -> Tid {
    Tid::from_parts(((START + second) * 1_000_000) as u64, 0)
}

pub(crate) fn ms(second: i64) -> i64 {
    (START + second) * 1_000
}

/// What happened at this second.
pub(crate) fn event(who: &str, second: i64, body: Body) -> Event {
    Event { did: did(who), time_us: (START + second) * 1_000_000, body }
}

fn op(who: &str, second: i64, collection: Collection, rkey: &str, action: Action) -> Event {
    let rkey = RecordKey::parse(rkey).unwrap();
    event(who, second, Body::Record(RecordOp { rev: rev(second), collection, rkey, action }))
}

/// The content decides the CID.
fn put(content: &str, record: Record) -> Action {
    Action::Put { cid: Cid::from_digest(Sha256::digest(content).into()), record }
}

/// A post of this content, created when it is witnessed.
pub(crate) fn post(who: &str, second: i64, rkey: &str, content: &str) -> Event {
    post_of(who, second, rkey, content, ms(second))
}

pub(crate) fn post_of(who: &str, second: i64, rkey: &str, content: &str, created_at: i64) -> Event {
    let record = Record::Post { created_at, is_reply: false, is_quote: false };
    op(who, second, Collection::Post, rkey, put(content, record))
}

pub(crate) fn repost(who: &str, second: i64, rkey: &str, author: &str, post: &str) -> Event {
    let uri = format!("at://did:plc:{author}/app.bsky.feed.post/{post}");
    let record = Record::Repost { created_at: ms(second), uri: uri.clone(), cid: String::new() };
    op(who, second, Collection::Repost, rkey, put(&uri, record))
}

pub(crate) fn follow(who: &str, second: i64, rkey: &str, subject: &str) -> Event {
    op(who, second, Collection::Follow, rkey, put(subject, Record::Follow { subject: did(subject) }))
}

pub(crate) fn delete(who: &str, second: i64, collection: Collection, rkey: &str) -> Event {
    op(who, second, collection, rkey, Action::Delete)
}

pub(crate) fn account(who: &str, second: i64, status: AccountStatus) -> Event {
    event(who, second, Body::Account(status))
}

pub(crate) fn sync(who: &str, second: i64) -> Event {
    event(who, second, Body::Sync { rev: rev(second), records_follow: true })
}

/// The same event under another rev, as it comes again after a resync, or late.
pub(crate) fn at_rev(mut event: Event, second: i64) -> Event {
    if let Body::Record(op) = &mut event.body {
        op.rev = rev(second);
    }
    event
}

pub(crate) struct World {
    pub(crate) store: MemoryStore,
    applier: Applier,
    across: AcrossAccounts,
    horizons: Horizons,
    seen: TaskId,
}

impl World {
    pub(crate) async fn new(across: AcrossAccounts) -> Self {
        let store = MemoryStore::new();
        let view = store.view().await.unwrap();
        let seen = view.next_task().await.unwrap();
        let horizons = Horizons::default();
        let applier = Applier::load(view.as_ref(), across, horizons).await.unwrap();
        Self { store, applier, across, horizons, seen }
    }

    /// A world whose items leave when they are older than this, milliseconds.
    pub(crate) async fn keeping(across: AcrossAccounts, keep_ms: i64) -> Self {
        let mut world = Self::new(across).await;
        world.keep(Some(keep_ms)).await;
        world
    }

    /// What a restart with another setting does.
    pub(crate) async fn keep(&mut self, keep_ms: Option<i64>) {
        self.horizons.keep_ms = keep_ms;
        self.reload().await;
    }

    /// Applies each event as a message and a group of its own.
    pub(crate) async fn apply(&mut self, events: &[Event]) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for event in events {
            outcomes.extend(self.frame(std::slice::from_ref(event)).await);
        }
        outcomes
    }

    /// Applies the events of one message.
    pub(crate) async fn frame(&mut self, events: &[Event]) -> Vec<Outcome> {
        let (mut txn, mut outcomes) = (self.store.begin().await.unwrap(), Vec::new());
        self.applier.frame(txn.as_mut(), events, &mut outcomes).await.unwrap();
        self.applier.end_group(txn.as_mut()).await.unwrap();
        let time_us = self.applier.stream_us();
        txn.set_cursor(SavedCursor { source: "x".to_owned(), position: 1, time_us }).await.unwrap();
        txn.commit().await.unwrap();
        outcomes
    }

    /// What a restart does.
    pub(crate) async fn reload(&mut self) {
        let view = self.store.view().await.unwrap();
        self.applier = Applier::load(view.as_ref(), self.across, self.horizons).await.unwrap();
    }

    /// What a refused commit does: nothing of this group is left, and it has to come again.
    pub(crate) async fn refused(&mut self, event: &Event) {
        let (mut txn, mut outcomes) = (self.store.begin().await.unwrap(), Vec::new());
        self.applier.frame(txn.as_mut(), std::slice::from_ref(event), &mut outcomes).await.unwrap();
        self.applier.end_group(txn.as_mut()).await.unwrap();
        drop(txn);
        self.applier.reload(self.store.view().await.unwrap().as_ref()).await.unwrap();
    }

    /// How far removing what has left is behind the horizon, milliseconds.
    pub(crate) fn behind_ms(&self) -> i64 {
        self.applier.left().map_or(0, |(_, swept)| swept.behind_ms)
    }

    pub(crate) fn stream_us(&self) -> i64 {
        self.applier.stream_us()
    }

    pub(crate) async fn actor(&self, who: &str) -> ActorId {
        self.store.view().await.unwrap().actor(&did(who)).await.unwrap().unwrap()
    }

    /// An author's items, newest first.
    pub(crate) async fn items(&self, who: &str) -> Vec<Item> {
        let view = self.store.view().await.unwrap();
        let Some(author) = view.actor(&did(who)).await.unwrap() else { return Vec::new() };
        let ask =
            FeedAsk { author, after: Position { sort_at: i64::MAX, cid_key: [255; 33], uri_hash: u64::MAX } };
        let feed = view.feeds(&[ask], 1_000).await.unwrap().remove(0);
        let ids: Vec<_> = feed.iter().map(|entry| entry.item).collect();
        let items = view.items(&ids).await.unwrap();
        items.into_iter().map(|item| item.expect("a feed holds current items only")).collect()
    }

    pub(crate) async fn store_actors(&self) -> u32 {
        self.store.view().await.unwrap().actor_count().await.unwrap()
    }

    pub(crate) async fn store_item(&self, id: skyweir_types::ItemId) -> Option<Item> {
        self.store.view().await.unwrap().items(&[id]).await.unwrap().remove(0)
    }

    /// The keys of an author's items, newest first.
    pub(crate) async fn keys(&self, who: &str) -> Vec<String> {
        self.items(who).await.iter().map(|item| item.rkey.as_str().to_owned()).collect()
    }

    pub(crate) async fn follows(&self, who: &str, subject: &str) -> bool {
        let view = self.store.view().await.unwrap();
        let pair = (self.actor(who).await, self.actor(subject).await);
        view.edges(&[pair]).await.unwrap()[0].is_some()
    }

    /// Whether a record is known; `Some(false)` is a tombstone.
    pub(crate) async fn lives(&self, who: &str, collection: Collection, rkey: &str) -> Option<bool> {
        let key =
            RecordRef { actor: self.actor(who).await, collection, rkey: RecordKey::parse(rkey).unwrap() };
        let row = self.store.view().await.unwrap().records(&[key]).await.unwrap().remove(0)?;
        Some(!matches!(row.body, RecordBody::Tombstone { .. }))
    }

    pub(crate) async fn body(&self, who: &str, collection: Collection, rkey: &str) -> Option<RecordBody> {
        let key =
            RecordRef { actor: self.actor(who).await, collection, rkey: RecordKey::parse(rkey).unwrap() };
        self.store.view().await.unwrap().records(&[key]).await.unwrap().remove(0).map(|row| row.body)
    }

    /// How many records and tombstones there are of an account.
    pub(crate) async fn stored(&self, who: &str) -> usize {
        let actor = self.actor(who).await;
        self.store.begin().await.unwrap().records_of(actor, None, 10_000).await.unwrap().len()
    }

    /// How many reposts are noted for a post.
    pub(crate) async fn links(&self, who: &str, rkey: &str) -> usize {
        let (actor, rkey) = (self.actor(who).await, RecordKey::parse(rkey).unwrap());
        let post = RecordRef { actor, collection: Collection::Post, rkey };
        self.store.begin().await.unwrap().reposts_of(&post, None, 10_000).await.unwrap().len()
    }

    pub(crate) async fn account(&self, who: &str) -> AccountRow {
        let actor = self.actor(who).await;
        self.store.begin().await.unwrap().account(actor).await.unwrap()
    }

    /// The tasks appended since the last call.
    pub(crate) async fn tasks(&mut self) -> Vec<Task> {
        let view = self.store.view().await.unwrap();
        let tasks = view.tasks(self.seen, 1_000).await.unwrap();
        self.seen = view.next_task().await.unwrap();
        tasks.into_iter().map(|(_, task)| task).collect()
    }
}
