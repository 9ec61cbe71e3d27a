//! Records that pass the strict lexicons.

use crate::prng::Prng;
use crate::time::rfc3339_millis;
use serde_json::{Value, json};

const WORDS: [&str; 24] = [
    "weir",
    "stream",
    "sky",
    "over",
    "the",
    "and",
    "spill",
    "morning",
    "coffee",
    "bridge",
    "river",
    "never",
    "again",
    "a & b",
    "<3",
    "空",
    "みず",
    "🌊",
    "naïve",
    "tram",
    "late",
    "\"quoted\"",
    "rain",
    "lantern",
];

/// A reference to one version of a record.
#[derive(Clone, Debug)]
pub(super) struct Strong {
    pub(super) uri: String,
    pub(super) cid: String,
}

impl Strong {
    fn json(&self) -> Value {
        json!({"cid": self.cid, "uri": self.uri})
    }
}

/// What a post hangs on.
#[derive(Default)]
pub(super) struct PostLinks<'a> {
    pub(super) reply: Option<(&'a Strong, &'a Strong)>,
    pub(super) quote: Option<&'a Strong>,
}

/// A post; `reply` is (root, parent).
pub(super) fn post(prng: &mut Prng, created_us: u64, links: &PostLinks<'_>) -> Value {
    let count = 1 + prng.below(30);
    let words: Vec<&str> = (0..count).map(|_| WORDS[prng.below(WORDS.len() as u64) as usize]).collect();
    let mut record = json!({"$type": "app.bsky.feed.post", "createdAt": rfc3339_millis(created_us)});
    // keys are added in alphabetical order, as the wire has them, whichever map serde_json is built with
    if let Some(quoted) = links.quote {
        record["embed"] = json!({"$type": "app.bsky.embed.record", "record": quoted.json()});
    }
    record["langs"] = json!(["en"]);
    if let Some((root, parent)) = links.reply {
        record["reply"] = json!({"parent": parent.json(), "root": root.json()});
    }
    record["text"] = json!(words.join(" "));
    record
}

pub(super) fn repost(created_us: u64, subject: &Strong) -> Value {
    let created = rfc3339_millis(created_us);
    json!({"$type": "app.bsky.feed.repost", "createdAt": created, "subject": subject.json()})
}

/// A follow or a block: both name a DID.
pub(super) fn edge(collection: &str, created_us: u64, subject: &str) -> Value {
    json!({"$type": collection, "createdAt": rfc3339_millis(created_us), "subject": subject})
}

pub(super) fn profile(prng: &mut Prng, created_us: u64) -> Value {
    let name = WORDS[prng.below(WORDS.len() as u64) as usize];
    json!({"$type": "app.bsky.actor.profile", "createdAt": rfc3339_millis(created_us), "displayName": name})
}
