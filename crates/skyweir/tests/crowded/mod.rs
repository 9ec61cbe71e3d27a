//! A network of so few accounts and keys that everything happens to everything.

use rand::Rng;
use rand::rngs::SmallRng;
use serde_json::json;
use skyweir_loadtest::Event;
use skyweir_types::Tid;

/// 2026-01-01
pub(crate) const START: u64 = 1_767_225_600_000_000;
const POST: &str = "app.bsky.feed.post";
const REPOST: &str = "app.bsky.feed.repost";
const FOLLOW: &str = "app.bsky.graph.follow";
const CID: &str = "bafyreib25swk3a6waplk2ie75u4a3qfejnkoiezfowuz7sa74i7tief3di";
const ACCOUNTS: usize = 30;
/// These do something, the others are only followed.
const ACTIVE: usize = 6;

fn did(n: usize) -> String {
    let letter = char::from(b"abcdefghijklmnopqrstuvwxyz234567"[n]);
    format!("did:plc:{}", letter.to_string().repeat(24))
}

/// So few accounts and keys that everything happens to everything, one event a `step`. Revs repeat now and then, and
/// come up to `late` events late; some keys are no TIDs, and some accounts follow many.
pub(crate) fn events(rng: &mut SmallRng, count: u64, step: u64, late: u64) -> Vec<Event> {
    // all get their numbers in the same order on both paths
    let mut events: Vec<_> = (0..ACCOUNTS).map(|n| Event::account(&did(n), START, true, None)).collect();
    let mut last = [START; ACTIVE];
    for n in 0..count {
        let who = rng.random_range(0..ACTIVE);
        let (did_of, at, other) = (did(who), START + (n + 1) * step, did(rng.random_range(0..ACCOUNTS)));
        // the rev is that of this time: mostly news, sometimes the commit before or older
        let rev_at = match rng.random_range(0..12) {
            0 => last[who].max(at.saturating_sub(late * step)),
            1 => START + rng.random_range((n + 1).saturating_sub(late)..=n + 1) * step,
            _ => at,
        };
        last[who] = rev_at.max(last[who]);
        let created = skyweir_loadtest::rfc3339_millis(at);
        let tid = Tid::from_parts(START + rng.random_range(0..60) * 1_000_003, 3).to_string();
        let key = if rng.random_bool(0.1) { "self".to_owned() } else { tid };
        let item = format!("k{}", rng.random_range(0..4));
        let mut event = match rng.random_range(0..24) {
            0..10 => {
                let record = json!({"$type": FOLLOW, "createdAt": created, "subject": other});
                Event::create(&did_of, rev_at, FOLLOW, &key, record)
            }
            10..13 => Event::delete(&did_of, rev_at, FOLLOW, &key),
            13..16 => {
                let record = json!({"$type": POST, "createdAt": created, "text": n.to_string()});
                match rng.random() {
                    true => Event::create(&did_of, rev_at, POST, &item, record),
                    false => Event::update(&did_of, rev_at, POST, &item, record),
                }
            }
            16..19 => {
                let uri = format!("at://{}/{POST}/{item}", did(rng.random_range(0..ACTIVE)));
                let subject = json!({"uri": uri, "cid": CID});
                let record = json!({"$type": REPOST, "createdAt": created, "subject": subject});
                Event::create(&did_of, rev_at, REPOST, &item, record)
            }
            19 => Event::delete(&did_of, rev_at, [POST, REPOST][n as usize % 2], &item),
            20 => Event::account(&did_of, at, rng.random(), Some("deactivated")),
            21 if rng.random_bool(0.3) => Event::account(&did_of, at, false, Some("deleted")),
            21 | 22 => Event::sync(&did_of, rev_at),
            _ => Event::identity(&did_of, at, None),
        };
        event.time_us = at;
        events.push(event);
    }
    // the last thing to tell the time, and both paths take it
    events.push(Event::account(&did(0), START + (count + 1) * step, true, None));
    events
}
