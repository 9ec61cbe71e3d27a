//! A small network whose repositories are read.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::Rng;
use rand::rngs::SmallRng;
use serde_json::json;
use skyweir_loadtest::Event;
use skyweir_store::Store;

use crate::contents::{KEYS, contents};

/// 2026-01-01
pub(crate) const START: u64 = 1_767_225_600_000_000;
pub(crate) const POST: &str = "app.bsky.feed.post";
pub(crate) const REPOST: &str = "app.bsky.feed.repost";
pub(crate) const FOLLOW: &str = "app.bsky.graph.follow";
const CID: &str = "bafyreib25swk3a6waplk2ie75u4a3qfejnkoiezfowuz7sa74i7tief3di";
/// This one is hidden for good at some time, and this one deleted, and back.
const HIDDEN: usize = 6;
const DELETED: usize = 7;

pub(crate) fn did(n: usize) -> String {
    format!("did:plc:{}", char::from(b'a' + n as u8).to_string().repeat(24))
}

/// What a small network does. `living` are the records that there are, with their CIDs, `touched` the posts whose
/// reposts upstream takes away when they are replaced or deleted: a repository doesn't tell which those are.
#[derive(Default)]
pub(crate) struct World {
    living: BTreeMap<[String; 3], String>,
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
                let touched = &mut self.touched;
                self.living.retain(|[who, collection, key], _| {
                    let stays = *who != did(DELETED);
                    if !stays && collection == POST {
                        touched.insert(format!("at://{who}/{POST}/{key}\""));
                    }
                    stays
                });
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
                let post = [other.clone(), POST.to_owned(), format!("k{}", rng.random_range(0..KEYS))];
                let cid = self.living.get(&post).map_or(CID, String::as_str);
                let subject = json!({"uri": format!("at://{}", post.join("/")), "cid": cid});
                (REPOST, json!({"$type": REPOST, "createdAt": created, "subject": subject}))
            }
            _ => (FOLLOW, json!({"$type": FOLLOW, "createdAt": created, "subject": other})),
        };
        let place = [who.clone(), collection.to_owned(), key.clone()];
        let cid = skyweir_loadtest::cid_of(&skyweir_loadtest::encode_dag_cbor(&record));
        let mut ends = || {
            if collection == POST {
                self.touched.insert(format!("at://{who}/{POST}/{key}\""));
            }
        };
        match rng.random_range(0..20) {
            0..15 if !self.living.contains_key(&place) => {
                self.living.insert(place, cid);
                Event::create(&who, at, collection, &key, record)
            }
            0..12 => {
                ends();
                self.living.insert(place, cid);
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

    /// Leaves out what no repository tells: of reposts those stay that name what there is, as it has always been.
    pub(crate) fn known(&self, mut contents: BTreeSet<String>) -> BTreeSet<String> {
        let is_hidden = |line: &str| line.starts_with(&did(HIDDEN)) && !line.contains("(Hidden");
        let posts = self.living.iter().filter(|([_, collection, _], _)| collection == POST);
        let named = posts.map(|(post, cid)| format!("uri: \"at://{}\", cid: \"{cid}\"", post.join("/")));
        let named: Vec<_> = named.filter(|post| !self.touched.iter().any(|uri| post.contains(uri))).collect();
        let is_known =
            |line: &str| !line.contains(" Repost {") || named.iter().any(|post| line.contains(post));
        contents.retain(|line| !is_hidden(line) && is_known(line));
        contents
    }
}

/// A record of the first account.
pub(crate) fn record(second: u64, collection: &str, key: &str, subject: usize) -> Event {
    let created = "2026-01-01T00:00:00.000Z";
    let record = json!({"$type": collection, "createdAt": created, "subject": did(subject), "text": key});
    Event::create(&did(0), START + second * 1_000_000, collection, key, record)
}

/// The records of the first account.
pub(crate) async fn has(store: &Arc<dyn Store>) -> Vec<String> {
    let lines = contents(store.as_ref()).await.into_iter();
    let own = lines.filter_map(|line| Some(line.strip_prefix(&format!("{} has ", did(0)))?.to_owned()));
    own.collect()
}
