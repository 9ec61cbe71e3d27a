//! A small network in which everything happens to everything.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeSet;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use skyweir_indexer::Config;
use skyweir_indexer::source::SourceConfig;
use skyweir_loadtest::{Event, UpstreamConfig};
use skyweir_store::{SavedCursor, Store};

/// 2026-01-01
pub(crate) const START: u64 = 1_767_225_600_000_000;
pub(crate) const POST: &str = "app.bsky.feed.post";
pub(crate) const REPOST: &str = "app.bsky.feed.repost";
pub(crate) const FOLLOW: &str = "app.bsky.graph.follow";
pub(crate) const CID: &str = "bafyreib25swk3a6waplk2ie75u4a3qfejnkoiezfowuz7sa74i7tief3di";

pub(crate) fn did(n: usize) -> String {
    format!("did:plc:{}", char::from(b'a' + n as u8).to_string().repeat(24))
}

/// One of four keys. The last one says a time, which an archive is no later than.
fn rkey(n: usize) -> String {
    if n == 3 { skyweir_loadtest::tid(START + 100_000_000, 0) } else { format!("k{n}") }
}

/// What a small network does: so few accounts and keys that everything happens to everything. `living` are the records
/// that there are.
pub(crate) fn events(
    rng: &mut SmallRng,
    living: &mut BTreeSet<[String; 3]>,
    from: u64,
    count: u64,
) -> Vec<Event> {
    let mut events = Vec::new();
    for second in from..from + count {
        let (who, at) = (did(rng.random_range(0..6)), START + second * 1_000_000);
        let (other, key) = (did(rng.random_range(0..6)), rkey(rng.random_range(0..4)));
        let created = skyweir_loadtest::rfc3339_millis(at - rng.random_range(0..3) * 1_000_000);
        let (collection, record) = match rng.random_range(0..3) {
            0 => (POST, json!({"$type": POST, "createdAt": created, "text": second.to_string()})),
            1 => {
                let uri = format!("at://{other}/{POST}/{}", rkey(rng.random_range(0..4)));
                (REPOST, json!({"$type": REPOST, "createdAt": created, "subject": {"uri": uri, "cid": CID}}))
            }
            _ => (FOLLOW, json!({"$type": FOLLOW, "createdAt": created, "subject": other})),
        };
        if second + 1 == from + count {
            // something that every subscriber gets, so that all of them come to the end
            events.push(Event::account(&who, at, true, None));
            continue;
        }
        let place = [who.clone(), collection.to_owned(), key.clone()];
        events.push(match rng.random_range(0..20) {
            0..14 if living.insert(place.clone()) => Event::create(&who, at, collection, &key, record),
            0..14 => Event::update(&who, at, collection, &key, record),
            14..17 => {
                living.remove(&place);
                Event::delete(&who, at, collection, &key)
            }
            17 => Event::create(&who, at, "app.bsky.feed.like", &key, json!({"$type": "app.bsky.feed.like"})),
            18 => Event::account(
                &who,
                at,
                rng.random(),
                Some(["deactivated", "takendown"][second as usize % 2]),
            ),
            _ if rng.random_bool(0.3) => {
                living.retain(|[owner, ..]| *owner != who);
                Event::account(&who, at, false, Some("deleted"))
            }
            _ => Event::identity(&who, at, None),
        });
    }
    events
}

pub(crate) fn some(seed: u64, from: u64, count: u64) -> Vec<Event> {
    events(&mut SmallRng::seed_from_u64(seed), &mut BTreeSet::new(), from, count)
}

pub(crate) async fn saved(store: &dyn Store) -> Option<SavedCursor> {
    store.view().await.unwrap().cursor().await.unwrap()
}

pub(crate) fn config() -> Config {
    let source = SourceConfig {
        backoff_least_ms: 1,
        backoff_most_ms: 5,
        archive_attempts: 40,
        archive_block_bytes: 1 << 20,
        ..SourceConfig::default()
    };
    // so that a commit holds little
    Config { group_events: 5, source, ..Config::default() }
}

pub(crate) fn small() -> UpstreamConfig {
    UpstreamConfig { block_rows: 7, segment_blocks: 5, ..UpstreamConfig::default() }
}
