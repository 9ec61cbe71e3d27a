//! A small network in the in-memory store, beside a plain model of what its timelines are.
#![allow(dead_code, reason = "every test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "these are parts of tests")]

pub(crate) mod serve;
pub(crate) mod upstream;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use skyweir_api::{Config, Deps};
use skyweir_store::{
    AccountRow, Complete, Completeness, Deliveries, DeliveryReport, Enrol, EnrolReason, Enrolment,
    MemoryStore, MemoryTimelines, NewItem, RecordBody, RecordRow, Shape, Store, Timelines,
};
use skyweir_types::{
    AccountStatus, ActorId, Cid, Collection, Did, DidHash, DrawKey, Item, ItemId, ItemKind, Position,
    RecordKey, RecordRef, Tid, UriHash,
};

/// What reads asked of the writer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Wish {
    Enrol(ActorId, EnrolReason),
    Touch(ActorId),
    Lower(ActorId, f32),
}

/// Records wishes and grants none.
#[derive(Default)]
pub(crate) struct Wishes(pub(crate) Mutex<Vec<Wish>>);

impl Wishes {
    pub(crate) fn take(&self) -> Vec<Wish> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Enrol for Wishes {
    fn enrol(&self, viewer: ActorId, why: EnrolReason) {
        self.0.lock().unwrap().push(Wish::Enrol(viewer, why));
    }
    fn touch(&self, viewer: ActorId) {
        self.0.lock().unwrap().push(Wish::Touch(viewer));
    }
    fn lower_rate(&self, viewer: ActorId, rate: f32) {
        self.0.lock().unwrap().push(Wish::Lower(viewer, rate));
    }
    fn caught_up(&self) -> bool {
        true
    }
}

/// Accounting of whatever a test put in.
#[derive(Default)]
pub(crate) struct Reports(pub(crate) Mutex<BTreeMap<ItemId, DeliveryReport>>);

impl Deliveries for Reports {
    fn delivery(&self, item: ItemId) -> Option<DeliveryReport> {
        self.0.lock().unwrap().get(&item).copied()
    }
}

/// Says how much is known; everything, unless told otherwise.
#[derive(Default)]
pub(crate) struct Known(Mutex<Option<Completeness>>);

impl Complete for Known {
    fn completeness(&self) -> Completeness {
        self.0.lock().unwrap().unwrap_or(Completeness::Whole)
    }
}

impl Known {
    pub(crate) fn set(&self, known: Completeness) {
        *self.0.lock().unwrap() = Some(known);
    }
}

/// The network and its model.
pub(crate) struct World {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) timelines: Arc<dyn Timelines>,
    pub(crate) wishes: Arc<Wishes>,
    pub(crate) reports: Arc<Reports>,
    pub(crate) complete: Arc<Known>,
    pub(crate) config: Config,
    items: Vec<Item>,
    follows: BTreeSet<(ActorId, ActorId)>,
    hidden: BTreeSet<ActorId>,
    horizon: i64,
    now_us: i64,
}

/// An item as the model and the service tell it: (URI of the post, URI of the repost).
pub(crate) type Shown = (String, String);

pub(crate) fn did(name: &str) -> Did {
    Did::parse(&format!("did:plc:{name}")).unwrap()
}

pub(crate) fn cid(seed: u8) -> Cid {
    let mut digest = [0u8; 32];
    for (i, byte) in digest.iter_mut().enumerate() {
        *byte = seed.wrapping_mul(31).wrapping_add(i as u8).rotate_left(u32::from(seed) % 8);
    }
    Cid::from_digest(digest)
}

pub(crate) fn uri(name: &str, collection: Collection, rkey: &str) -> String {
    format!("at://did:plc:{name}/{}/{rkey}", collection.nsid())
}

impl World {
    pub(crate) fn new() -> Self {
        let store = MemoryStore::new();
        let timelines = Arc::new(MemoryTimelines::new(&store, Shape::default()));
        Self {
            store: Arc::new(store),
            timelines,
            wishes: Arc::default(),
            reports: Arc::default(),
            complete: Arc::default(),
            config: Config::default(),
            items: Vec::new(),
            follows: BTreeSet::new(),
            hidden: BTreeSet::new(),
            horizon: i64::MIN,
            now_us: 1_000_000,
        }
    }

    pub(crate) fn deps(&self) -> Deps {
        Deps {
            store: self.store.clone(),
            timelines: self.timelines.clone(),
            enrol: self.wishes.clone(),
            deliveries: self.reports.clone(),
            complete: self.complete.clone(),
            draw: DrawKey::default(),
        }
    }

    pub(crate) async fn actor(&self, name: &str) -> ActorId {
        let mut txn = self.store.begin().await.unwrap();
        let actor = txn.intern(&did(name)).await.unwrap();
        txn.commit().await.unwrap();
        actor
    }

    pub(crate) async fn post(&mut self, name: &str, rkey: &str, sort_at: i64, cid: Cid) -> ItemId {
        self.put(name, rkey, sort_at, cid, ItemKind::Post { is_reply: false, is_quote: false }).await
    }

    pub(crate) async fn repost(&mut self, name: &str, rkey: &str, sort_at: i64, subject: String) -> ItemId {
        let kind = ItemKind::Repost { uri: subject, cid: "named".into() };
        self.put(name, rkey, sort_at, cid(200), kind).await
    }

    pub(crate) async fn put(
        &mut self,
        name: &str,
        rkey: &str,
        sort_at: i64,
        cid: Cid,
        kind: ItemKind,
    ) -> ItemId {
        let rkey = RecordKey::parse(rkey).unwrap();
        let (collection, subject) = match &kind {
            ItemKind::Post { .. } => (Collection::Post, None),
            ItemKind::Repost { .. } => (Collection::Repost, Some(None)),
        };
        let uri_hash = UriHash::of(did(name).as_str(), collection.nsid(), rkey.as_str());
        let mut txn = self.store.begin().await.unwrap();
        let author = txn.intern(&did(name)).await.unwrap();
        let new = NewItem { author, rkey: rkey.clone(), cid, sort_at, uri_hash, kind: kind.clone() };
        let id = txn.add_item(new).await.unwrap();
        let body = match subject {
            None => RecordBody::Post { item: id, cid },
            Some(subject) => RecordBody::Repost { item: Some(id), cid, subject },
        };
        let key = RecordRef { actor: author, collection, rkey: rkey.clone() };
        txn.put_record(&key, RecordRow { rev: Tid(1), wiped: Tid(0), body }).await.unwrap();
        txn.commit().await.unwrap();
        self.items.push(Item { id, author, rkey, cid, sort_at, uri_hash, kind });
        id
    }

    pub(crate) async fn delete(&mut self, id: ItemId) {
        let mut txn = self.store.begin().await.unwrap();
        txn.remove_item(id).await.unwrap();
        txn.commit().await.unwrap();
        self.items.retain(|item| item.id != id);
    }

    pub(crate) async fn follow(&mut self, follower: &str, subject: &str, rkey: &str) {
        let mut txn = self.store.begin().await.unwrap();
        let (a, b) = (txn.intern(&did(follower)).await.unwrap(), txn.intern(&did(subject)).await.unwrap());
        txn.add_follow(a, b, &RecordKey::parse(rkey).unwrap()).await.unwrap();
        txn.commit().await.unwrap();
        self.follows.insert((a, b));
    }

    pub(crate) async fn unfollow(&mut self, follower: &str, subject: &str, rkey: &str) {
        let mut txn = self.store.begin().await.unwrap();
        let (a, b) = (txn.intern(&did(follower)).await.unwrap(), txn.intern(&did(subject)).await.unwrap());
        assert!(txn.remove_follow(a, b, &RecordKey::parse(rkey).unwrap()).await.unwrap());
        txn.commit().await.unwrap();
        self.follows.remove(&(a, b));
    }

    pub(crate) async fn status(&mut self, name: &str, status: AccountStatus) {
        let mut txn = self.store.begin().await.unwrap();
        let actor = txn.intern(&did(name)).await.unwrap();
        txn.set_account(actor, AccountRow { status, ..AccountRow::default() }).await.unwrap();
        txn.commit().await.unwrap();
        if status == AccountStatus::Active {
            self.hidden.remove(&actor);
        } else {
            self.hidden.insert(actor);
        }
    }

    pub(crate) async fn raise_horizon(&mut self, sort_at: i64) {
        let mut txn = self.store.begin().await.unwrap();
        txn.raise_horizon(sort_at).await.unwrap();
        txn.commit().await.unwrap();
        self.horizon = sort_at;
    }

    /// The items that the definition gives a viewer at this rate, newest first, before hidden accounts and what
    /// has left are left out.
    fn defined(&self, viewer: ActorId, name: &str, rate: f32) -> Vec<&Item> {
        let hash = DidHash::of(did(name).as_str());
        let keeps = |item: &Item| {
            item.author == viewer
                || self.follows.contains(&(viewer, item.author))
                    && DrawKey::default().keeps(item.uri_hash, hash, rate)
        };
        let mut items: Vec<_> = self.items.iter().filter(|item| keeps(item)).collect();
        items.sort_by_key(|item| std::cmp::Reverse(item.position()));
        items
    }

    /// What a viewer has to see.
    pub(crate) async fn timeline(&self, name: &str, rate: f32) -> Vec<Shown> {
        let viewer = self.actor(name).await;
        let is_shown = |item: &&Item| !self.hidden.contains(&item.author) && item.sort_at >= self.horizon;
        let items = self.defined(viewer, name, rate).into_iter().filter(is_shown);
        let view = self.store.view().await.unwrap();
        let mut shown = Vec::new();
        for item in items {
            let author = view.dids(&[item.author]).await.unwrap().remove(0);
            let own = format!("at://{author}/{}/{}", item.collection().nsid(), item.rkey);
            shown.push(match &item.kind {
                ItemKind::Post { .. } => (own, String::new()),
                ItemKind::Repost { uri, .. } => (uri.clone(), own),
            });
        }
        shown
    }

    /// Enrols a timeline at this rate, complete above `floor`, with these references besides.
    pub(crate) async fn enrol(&mut self, name: &str, rate: f32, floor: i64) {
        let viewer = self.actor(name).await;
        let references: Vec<_> = self
            .defined(viewer, name, rate)
            .into_iter()
            .filter(|item| item.sort_at > floor)
            .map(Item::reference)
            .collect();
        self.now_us += 1_000_000;
        let enrolment = Enrolment { did_hash: DidHash::of(did(name).as_str()), rate, now_us: self.now_us };
        let generation = self.timelines.begin(viewer, enrolment).await.unwrap();
        let now_ms = self.now_us / 1000;
        assert!(self.timelines.publish(viewer, generation, &references, floor, now_ms).await.unwrap());
    }

    /// Every place where items stand, for use as a floor.
    pub(crate) fn times(&self) -> BTreeSet<i64> {
        self.items.iter().map(|item| item.sort_at).collect()
    }

    pub(crate) fn position(&self, id: ItemId) -> Position {
        self.items.iter().find(|item| item.id == id).unwrap().position()
    }

    /// Three followed authors and the viewer `eve`, with many equal times, runs of byte-equal records, and reposts.
    pub(crate) async fn crowded() -> Self {
        let mut world = Self::new();
        for (n, name) in ["ann", "bob", "cat"].into_iter().enumerate() {
            world.follow("eve", name, &format!("f{n}")).await;
        }
        for n in 0..36u8 {
            let (time, name) = (i64::from(n / 4) * 3 - 5, ["ann", "bob", "cat", "eve"][usize::from(n) % 4]);
            world.post(name, &format!("p{n}"), time, cid(n)).await;
            // Byte-equal records: the same CID at the same time, by two authors, and thrice by one.
            if n % 6 == 0 {
                world.post("ann", &format!("same{n}"), time, cid(n)).await;
                world.post("ann", &format!("same{n}.b"), time, cid(n)).await;
                world.post("eve", &format!("same{n}"), time, cid(n)).await;
            }
            if n % 5 == 0 {
                let subject = uri("ann", Collection::Post, &format!("p{}", n / 4 * 4));
                world.repost(name, &format!("r{n}"), time + 1, subject).await;
            }
            world.post("stranger", &format!("s{n}"), time, cid(n)).await;
        }
        world
    }
}
