//! A small network whose repositories are read, and what a reader could tell of a store.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeSet;

use rand::Rng;
use rand::rngs::SmallRng;
use serde_json::json;
use skyweir_loadtest::Event;
use skyweir_store::{FeedAsk, RecordBody, Store};
use skyweir_types::{ActorId, Collection, Position, RecordKey, RecordRef};

/// 2026-01-01
pub(crate) const START: u64 = 1_767_225_600_000_000;
pub(crate) const POST: &str = "app.bsky.feed.post";
const REPOST: &str = "app.bsky.feed.repost";
pub(crate) const FOLLOW: &str = "app.bsky.graph.follow";
const CID: &str = "bafyreib25swk3a6waplk2ie75u4a3qfejnkoiezfowuz7sa74i7tief3di";
/// This one is hidden for good at some time, and this one deleted, and back.
const HIDDEN: usize = 6;
const DELETED: usize = 7;
const KEYS: usize = 30;

pub(crate) fn did(n: usize) -> String {
    format!("did:plc:{}", char::from(b'a' + n as u8).to_string().repeat(24))
}

/// What a small network does. `living` are the records that there are, `touched` the posts whose reposts upstream takes
/// away when they are replaced or deleted: a repository doesn't tell of those.
#[derive(Default)]
pub(crate) struct World {
    living: BTreeSet<[String; 3]>,
    touched: BTreeSet<String>,
}

impl World {
    pub(crate) fn events(&mut self, rng: &mut SmallRng, from: u64, count: u64) -> Vec<Event> {
        (from..from + count).map(|second| self.event(rng, second)).collect()
    }

    fn event(&mut self, rng: &mut SmallRng, second: u64) -> Event {
        let (actor, at) = (rng.random_range(0..8), START + second * 1_000_000);
        let (who, other) = (did(actor), did(rng.random_range(0..8)));
        let created = skyweir_loadtest::rfc3339_millis(at - rng.random_range(1..4) * 1_000_000);
        match second {
            120 => return Event::account(&did(HIDDEN), at, false, Some("takendown")),
            150 => {
                self.living.retain(|[owner, ..]| *owner != did(DELETED));
                return Event::account(&did(DELETED), at, false, Some("deleted"));
            }
            151 => return Event::account(&did(DELETED), at, true, None),
            _ if actor == HIDDEN && second > 120 => return Event::identity(&who, at, None),
            _ => {}
        }
        let key = format!("k{}", rng.random_range(0..KEYS));
        let kind = if actor == HIDDEN { 0 } else { rng.random_range(0..3) };
        let (collection, record) = match kind {
            0 => (POST, json!({"$type": POST, "createdAt": created, "text": second.to_string()})),
            1 => {
                let uri = format!("at://{other}/{POST}/k{}", rng.random_range(0..KEYS));
                (REPOST, json!({"$type": REPOST, "createdAt": created, "subject": {"uri": uri, "cid": CID}}))
            }
            _ => (FOLLOW, json!({"$type": FOLLOW, "createdAt": created, "subject": other})),
        };
        let place = [who.clone(), collection.to_owned(), key.clone()];
        let mut ends = || {
            if collection == POST {
                self.touched.insert(format!("at://{who}/{POST}/{key}\""));
            }
        };
        match rng.random_range(0..20) {
            0..15 if self.living.insert(place.clone()) => Event::create(&who, at, collection, &key, record),
            0..12 => {
                ends();
                Event::update(&who, at, collection, &key, record)
            }
            12..18 => {
                ends();
                self.living.remove(&place);
                Event::delete(&who, at, collection, &key)
            }
            18 => Event::create(&who, at, "app.bsky.feed.like", &key, json!({"$type": "app.bsky.feed.like"})),
            _ => Event::identity(&who, at, None),
        }
    }

    /// Leaves out what no repository tells.
    pub(crate) fn known(&self, mut contents: BTreeSet<String>) -> BTreeSet<String> {
        let is_hidden = |line: &str| line.starts_with(&did(HIDDEN)) && !line.contains("(Hidden");
        contents.retain(|line| !is_hidden(line) && !self.touched.iter().any(|uri| line.contains(uri)));
        contents
    }
}

/// All that a reader could tell of a store.
pub(crate) async fn contents(store: &dyn Store) -> BTreeSet<String> {
    let view = store.view().await.unwrap();
    let actors: Vec<_> = (0..view.actor_count().await.unwrap()).map(ActorId).collect();
    let dids = view.dids(&actors).await.unwrap();
    let mut found = BTreeSet::new();
    for (actor, did) in actors.iter().zip(&dids) {
        let info = view.accounts(&[*actor]).await.unwrap().remove(0);
        found.insert(format!("{} ({:?}, {}, {})", did.as_str(), info.status, info.follows, info.followers));
        for collection in Collection::ALL {
            let keys = (0..KEYS).map(|n| RecordKey::parse(&format!("k{n}")).unwrap());
            let keys: Vec<_> = keys.map(|rkey| RecordRef { actor: *actor, collection, rkey }).collect();
            for (key, row) in keys.iter().zip(view.records(&keys).await.unwrap()) {
                let has = format!("{} has {collection:?} {}", did.as_str(), key.rkey.as_str());
                match row.map(|row| row.body) {
                    None | Some(RecordBody::Tombstone { .. }) => false,
                    Some(RecordBody::Follow { subject }) => {
                        found.insert(format!("{has} of {}", dids[subject.0 as usize].as_str()))
                    }
                    Some(_) => found.insert(has),
                };
            }
        }
        let after = Position { sort_at: i64::MAX, cid_key: [255; 33], uri_hash: u64::MAX };
        let feed = view.feeds(&[FeedAsk { author: *actor, after }], 1_000).await.unwrap().remove(0);
        let ids: Vec<_> = feed.iter().map(|entry| entry.item).collect();
        for item in view.items(&ids).await.unwrap().into_iter().flatten() {
            let (rkey, kind) = (item.rkey.as_str(), &item.kind);
            found.insert(format!("{} {rkey} {} {} {kind:?}", did.as_str(), item.cid, item.sort_at));
        }
    }
    found
}
