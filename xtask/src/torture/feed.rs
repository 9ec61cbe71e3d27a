//! The feed: events of a small network from a seed, and their Jetstream v1 lines.

use serde_json::{Value, json};

use crate::run::Rng;

/// Time of the first event: 2026-01-05, microseconds since 1970.
const BEGIN_US: i64 = 1_767_571_200_000_000;
/// Events to look back for one that comes a second time.
const REPLAYED_FROM: usize = 400;

/// One of the three collections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Collection {
    Post,
    Repost,
    Follow,
}

impl Collection {
    pub(crate) fn nsid(self) -> &'static str {
        match self {
            Self::Post => "app.bsky.feed.post",
            Self::Repost => "app.bsky.feed.repost",
            Self::Follow => "app.bsky.graph.follow",
        }
    }
}

/// What is in a record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Record {
    Post { created_ms: i64 },
    Repost { created_ms: i64, author: usize, rkey: String, cid: String },
    Follow { subject: usize },
}

/// What happened in an account.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum What {
    /// A record was created, or replaced when `update`.
    Put { collection: Collection, rkey: String, rev: u64, cid: String, update: bool, record: Record },
    /// A record was deleted.
    Delete { collection: Collection, rkey: String, rev: u64 },
    /// The account was deactivated or came back.
    Account { active: bool },
}

/// One line of the feed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) actor: usize,
    pub(crate) time_us: i64,
    pub(crate) what: What,
}

/// The DID of the n-th account.
pub(crate) fn did(actor: usize) -> String {
    format!("did:plc:torture{}", base32(&(actor as u64).to_be_bytes(), b"abcdefghijklmnopqrstuvwxyz234567"))
        .chars()
        .take(32)
        .chain("a".repeat(32).chars())
        .take(32)
        .collect()
}

/// Events of `actors` accounts, alike for the same seed.
pub(crate) fn generate(seed: u64, actors: usize, events: usize) -> Vec<Event> {
    let mut maker = Maker {
        rng: Rng::new(seed),
        now_us: BEGIN_US,
        actors,
        events: Vec::with_capacity(events),
        living: Vec::new(),
    };
    for actor in 0..actors {
        for _ in 0..6 {
            maker.follow(actor);
        }
    }
    while maker.events.len() < events {
        maker.step();
    }
    maker.events.truncate(events);
    maker.events
}

/// A record that can be deleted, updated or reposted.
struct Living {
    actor: usize,
    collection: Collection,
    rkey: String,
    cid: String,
}

struct Maker {
    rng: Rng,
    now_us: i64,
    actors: usize,
    events: Vec<Event>,
    living: Vec<Living>,
}

impl Maker {
    fn step(&mut self) {
        // a few accounts write most of it
        let actor = self.rng.index(self.actors).min(self.rng.index(self.actors));
        match self.rng.below(1000) {
            0..460 => self.post(actor),
            460..660 => self.repost(actor),
            660..760 => self.follow(actor),
            760..800 => self.delete(Collection::Post),
            800..830 => self.delete(Collection::Repost),
            830..890 => self.delete(Collection::Follow),
            890..915 => self.update(),
            915..930 => {
                let active = self.rng.per_mille(600);
                self.push(actor, What::Account { active });
            }
            _ => self.replay(),
        }
    }

    fn tick(&mut self) -> i64 {
        self.now_us += 1 + self.rng.below(40_000) as i64;
        self.now_us
    }

    fn push(&mut self, actor: usize, what: What) {
        let time_us = self.now_us + 300;
        self.events.push(Event { actor, time_us, what });
        self.tick();
    }

    /// Mostly a moment ago, sometimes long ago or in the future.
    fn created_ms(&mut self) -> i64 {
        let now_ms = self.now_us / 1000;
        match self.rng.below(20) {
            0 => now_ms - self.rng.below(30 * 86_400_000) as i64,
            1 => now_ms + self.rng.below(86_400_000) as i64,
            _ => now_ms - self.rng.below(2_000) as i64,
        }
    }

    fn rev(&mut self) -> u64 {
        (self.tick() as u64) << 10 | 7
    }

    fn put(&mut self, actor: usize, record: Record) {
        let rev = self.rev();
        let rkey = tid(rev - (1 << 10));
        let cid = self.cid();
        let collection = match record {
            Record::Post { .. } => Collection::Post,
            Record::Repost { .. } => Collection::Repost,
            Record::Follow { .. } => Collection::Follow,
        };
        self.living.push(Living { actor, collection, rkey: rkey.clone(), cid: cid.clone() });
        self.push(actor, What::Put { collection, rkey, rev, cid, update: false, record });
    }

    fn post(&mut self, actor: usize) {
        let created_ms = self.created_ms();
        self.put(actor, Record::Post { created_ms });
    }

    fn follow(&mut self, actor: usize) {
        // the first accounts have the most followers
        let subject = self.rng.index(self.actors).min(self.rng.index(self.actors));
        self.put(actor, Record::Follow { subject });
    }

    fn repost(&mut self, actor: usize) {
        let created_ms = self.created_ms();
        let Some(index) = self.pick(Collection::Post) else { return };
        let post = &self.living[index];
        let (author, rkey, cid) = (post.actor, post.rkey.clone(), post.cid.clone());
        // one in ten is of a post that goes at once, so that posts already gone are reposted too
        self.put(actor, Record::Repost { created_ms, author, rkey: rkey.clone(), cid: cid.clone() });
        if self.rng.per_mille(100) {
            self.remove(index);
            let created_ms = self.created_ms();
            let later = self.rng.index(self.actors);
            self.put(later, Record::Repost { created_ms, author, rkey, cid });
        }
    }

    fn delete(&mut self, collection: Collection) {
        if let Some(index) = self.pick(collection) {
            self.remove(index);
        }
    }

    fn remove(&mut self, index: usize) {
        let gone = self.living.swap_remove(index);
        let rev = self.rev();
        self.push(gone.actor, What::Delete { collection: gone.collection, rkey: gone.rkey, rev });
    }

    fn update(&mut self) {
        let created_ms = self.created_ms();
        let Some(index) = self.pick(Collection::Post) else { return };
        let (rev, cid) = (self.rev(), self.cid());
        let post = &mut self.living[index];
        post.cid.clone_from(&cid);
        let (actor, rkey) = (post.actor, post.rkey.clone());
        let record = Record::Post { created_ms };
        self.push(actor, What::Put { collection: Collection::Post, rkey, rev, cid, update: true, record });
    }

    /// An earlier event comes a second time: with its old time, or seen anew (records only: of an account event the
    /// time decides whether it is a replay).
    fn replay(&mut self) {
        let back = self.events.len().min(REPLAYED_FROM);
        let mut again = self.events[self.events.len() - 1 - self.rng.index(back)].clone();
        if !matches!(again.what, What::Account { .. }) && self.rng.per_mille(500) {
            again.time_us = self.now_us + 300;
        }
        self.events.push(again);
        self.tick();
    }

    /// A living record of this kind, likely a young one.
    fn pick(&mut self, collection: Collection) -> Option<usize> {
        let len = self.living.len();
        (0..50).find_map(|_| {
            let index = self.rng.index(len).max(self.rng.index(len));
            (self.living[index].collection == collection).then_some(index)
        })
    }

    /// Well-formed (CID version 1, DAG-CBOR, SHA-256) and unique; no record has this digest.
    fn cid(&mut self) -> String {
        let mut bytes = vec![0x01, 0x71, 0x12, 0x20];
        for _ in 0..4 {
            bytes.extend(self.rng.next().to_be_bytes());
        }
        format!("b{}", base32(&bytes, b"abcdefghijklmnopqrstuvwxyz234567"))
    }
}

impl Event {
    /// Its line of Jetstream v1.
    pub(crate) fn line(&self) -> String {
        let did = did(self.actor);
        let mut line = json!({ "did": did, "time_us": self.time_us });
        match &self.what {
            What::Put { collection, rkey, rev, cid, update, record } => {
                line["kind"] = "commit".into();
                line["commit"] = json!({
                    "rev": tid(*rev), "operation": if *update { "update" } else { "create" },
                    "collection": collection.nsid(), "rkey": rkey, "record": record.json(self.time_us), "cid": cid,
                });
            }
            What::Delete { collection, rkey, rev } => {
                line["kind"] = "commit".into();
                line["commit"] = json!({
                    "rev": tid(*rev), "operation": "delete", "collection": collection.nsid(), "rkey": rkey,
                });
            }
            What::Account { active } => {
                line["kind"] = "account".into();
                let ms = self.time_us / 1000;
                line["account"] = json!({ "active": active, "did": did, "seq": ms, "time": date(ms) });
                if !active {
                    line["account"]["status"] = "deactivated".into();
                }
            }
        }
        line.to_string()
    }
}

impl Record {
    fn json(&self, time_us: i64) -> Value {
        let of = |kind: Collection, ms: i64| json!({ "$type": kind.nsid(), "createdAt": date(ms) });
        match self {
            Self::Post { created_ms } => {
                let mut record = of(Collection::Post, *created_ms);
                record["text"] = format!("post {time_us}").into();
                record["langs"] = json!(["en"]);
                record
            }
            Self::Repost { created_ms, author, rkey, cid } => {
                let mut record = of(Collection::Repost, *created_ms);
                let uri = format!("at://{}/{}/{rkey}", did(*author), Collection::Post.nsid());
                record["subject"] = json!({ "cid": cid, "uri": uri });
                record
            }
            Self::Follow { subject } => {
                let mut record = of(Collection::Follow, time_us / 1000);
                record["subject"] = did(*subject).into();
                record
            }
        }
    }
}

/// A TID as text.
pub(crate) fn tid(value: u64) -> String {
    let alphabet = b"234567abcdefghijklmnopqrstuvwxyz";
    (0..13).map(|i| alphabet[(value >> (60 - 5 * i) & 31) as usize] as char).collect()
}

fn base32(bytes: &[u8], alphabet: &[u8; 32]) -> String {
    let bit = |n: usize| bytes.get(n / 8).map_or(0, |byte| byte >> (7 - n % 8) & 1);
    let digits = (bytes.len() * 8).div_ceil(5);
    (0..digits)
        .map(|d| alphabet[(0..5).fold(0, |value, i| value << 1 | bit(d * 5 + i)) as usize] as char)
        .collect()
}

/// RFC 3339 in UTC with milliseconds, from milliseconds since 1970.
fn date(ms: i64) -> String {
    let (days, rest) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
    // civil date from days, by eras of 400 years that begin on 1 March
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second, milli) =
        (rest / 3_600_000, rest / 60_000 % 60, rest / 1_000 % 60, rest % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_ids_have_their_form() {
        assert_eq!(date(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(date(1_709_164_800_123), "2024-02-29T00:00:00.123Z");
        assert_eq!(date(BEGIN_US / 1000), "2026-01-05T00:00:00.000Z");
        assert_eq!(tid(0), "2222222222222");
        assert!((0..200).all(|n| did(n).len() == 32));
        let dids: std::collections::HashSet<_> = (0..200).map(did).collect();
        assert_eq!(dids.len(), 200);
    }

    #[test]
    fn a_feed_is_alike_for_its_seed_and_well_formed() {
        let feed = generate(7, 20, 3_000);
        assert_eq!(feed, generate(7, 20, 3_000));
        assert_ne!(feed, generate(8, 20, 3_000));
        let mut kinds = std::collections::HashMap::<String, usize>::new();
        for event in &feed {
            let line: Value = serde_json::from_str(&event.line()).unwrap();
            let commit = &line["commit"];
            if let Some(cid) = commit["cid"].as_str() {
                assert!(cid.len() == 59 && cid.starts_with("bafyrei"), "{cid}");
                assert!("aeimquy4".contains(&cid[58..]), "{cid}");
            }
            *kinds
                .entry(format!("{} {} {}", line["kind"], commit["operation"], commit["collection"]))
                .or_default() += 1;
        }
        // posts: create, update, delete; reposts and follows: create, delete; accounts
        assert_eq!(kinds.len(), 8, "{kinds:?}");
        assert!(feed.windows(2).any(|pair| pair[0].time_us > pair[1].time_us), "old times come again");
    }
}
