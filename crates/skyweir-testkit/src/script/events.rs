//! What an account does: writes, edits and deletes of records, changes of its state, resyncs.

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use skyweir_types::{
    AccountStatus, AcrossAccounts, Action, Body, Cid, Collection, Did, Event, Record, RecordKey, RecordOp,
    Tid,
};

use super::network::Network;

const YEAR_ZERO_MS: i64 = -62_167_219_200_000;
const YEAR_9999_MS: i64 = 253_402_300_799_999;

impl Network {
    /// The account's next message.
    pub(super) fn happening(&mut self, actor: usize, rng: &mut SmallRng) -> Vec<Event> {
        match rng.random_range(0..100) {
            0..89 => self.commit_of(actor, rng),
            89..93 => {
                let status = if rng.random() { AccountStatus::Hidden } else { AccountStatus::Active };
                vec![self.event(actor, Body::Account(status))]
            }
            93 => {
                let status = AccountStatus::Deleted;
                if rng.random() {
                    // It comes back soon, or else later or never.
                    let back = self.event(actor, Body::Account(AccountStatus::Active));
                    let back = Event { time_us: back.time_us + 1, ..back };
                    self.resync[actor].push_back(vec![back]);
                }
                vec![self.event(actor, Body::Account(status))]
            }
            94..98 => vec![self.event(actor, Body::Account(AccountStatus::Active))],
            _ => self.resync_of(actor, rng),
        }
    }

    /// A commit: mostly one operation, sometimes several, now and then on one key twice.
    fn commit_of(&mut self, actor: usize, rng: &mut SmallRng) -> Vec<Event> {
        let rev = self.rev();
        let n = if rng.random_bool(0.75) { 1 } else { rng.random_range(2..5) };
        (0..n).map(|_| self.operation(actor, rev, rng)).collect()
    }

    /// A resync: on the firehose an event alone; on a Jetstream the records come after it, each for itself.
    fn resync_of(&mut self, actor: usize, rng: &mut SmallRng) -> Vec<Event> {
        let rev = self.rev();
        let records_follow = self.across == AcrossAccounts::Slips;
        if records_follow {
            for _ in 0..rng.random_range(0..8) {
                let mut event = self.operation(actor, rev, rng);
                while matches!(&event.body, Body::Record(RecordOp { action: Action::Delete, .. })) {
                    event = self.operation(actor, rev, rng);
                }
                self.resync[actor].push_back(vec![event]);
            }
        }
        vec![self.event(actor, Body::Sync { rev, records_follow })]
    }

    fn operation(&mut self, actor: usize, rev: Tid, rng: &mut SmallRng) -> Event {
        let collection = match rng.random_range(0..10) {
            0..4 => Collection::Post,
            4..6 => Collection::Repost,
            _ => Collection::Follow,
        };
        // More keys, so that some follow more than is reasonable.
        let spread = if collection == Collection::Follow { 3 } else { 1 };
        let rkey = self.rkey(spread, rng);
        let action = if rng.random_bool(0.2) {
            Action::Delete
        } else {
            let record = match collection {
                Collection::Post => self.post(rng),
                Collection::Repost => self.repost(rng),
                Collection::Follow => Record::Follow { subject: self.subject(rng) },
            };
            Action::Put { cid: cid_of(&record), record }
        };
        self.event(actor, Body::Record(RecordOp { rev, collection, rkey, action }))
    }

    fn rkey(&self, spread: u32, rng: &mut SmallRng) -> RecordKey {
        RecordKey::parse(&format!("k{}", rng.random_range(0..self.keys * spread)))
            .expect("a letter and digits")
    }

    /// Few different ones, so that byte-equal records are common.
    fn post(&self, rng: &mut SmallRng) -> Record {
        let created_at = self.created_at(rng);
        Record::Post { created_at, is_reply: rng.random_bool(0.3), is_quote: rng.random_bool(0.2) }
    }

    /// A time of one of a few kinds: now, in the past, out of all reason.
    fn created_at(&self, rng: &mut SmallRng) -> i64 {
        let now = self.now_us.div_euclid(1_000);
        match rng.random_range(0..20) {
            0..9 => now,
            9..12 => now - rng.random_range(0..20),
            12..14 => now - rng.random_range(0..100_000_000),
            14..16 => now.div_euclid(100_000) * 100_000,
            16 => now + rng.random_range(1..100_000_000),
            17 => rng.random_range(-3..3),
            18 => YEAR_ZERO_MS,
            _ => YEAR_9999_MS,
        }
    }

    /// Of a known or unknown post, own or another's, living or not, or of something that is none.
    fn repost(&self, rng: &mut SmallRng) -> Record {
        let author = if rng.random_bool(0.1) { &self.ghosts } else { &self.actors };
        let author = author.choose(rng).expect("there are accounts");
        let collection =
            *["post", "post", "post", "post", "post", "generator"].choose(rng).expect("not empty");
        let uri = format!("at://{author}/app.bsky.feed.{collection}/{}", self.rkey(1, rng));
        let cid = cid_of(&Record::Post { created_at: 0, is_reply: false, is_quote: false }).to_string();
        Record::Repost { created_at: self.created_at(rng), uri, cid }
    }

    /// Mostly somebody who acts, perhaps the account itself.
    fn subject(&self, rng: &mut SmallRng) -> Did {
        let among = if rng.random_bool(0.2) { &self.ghosts } else { &self.actors };
        among.choose(rng).expect("there are accounts").clone()
    }
}

/// Equal records have equal CIDs, others don't.
fn cid_of(record: &Record) -> Cid {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in format!("{record:?}").bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let mut digest = [0; 32];
    SmallRng::seed_from_u64(hash).fill_bytes(&mut digest);
    Cid::from_digest(digest)
}
