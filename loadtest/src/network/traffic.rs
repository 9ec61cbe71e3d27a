//! The events of a network in order: the graph, then traffic in the mix that was measured on the real network.

mod pool;

use super::{Network, records, records::PostLinks, records::Strong};
use crate::event::{Body, Event, Operation};
use crate::prng::Prng;
use crate::{dagcbor, time};
use pool::{Known, Pool};
use serde_json::Value;
use std::collections::BTreeSet;

const POST: &str = "app.bsky.feed.post";
const REPOST: &str = "app.bsky.feed.repost";
const FOLLOW: &str = "app.bsky.graph.follow";
const BLOCK: &str = "app.bsky.graph.block";
const PROFILE: &str = "app.bsky.actor.profile";

/// How many accounts are inactive at a time, at the most.
const INACTIVE: usize = 32;
const DAY_US: u64 = 86_400_000_000;

/// Weights per 965: likes left out, a blend of samples of 2024 and 2026.
const MIX: [(Kind, u64); 9] = [
    (Kind::Post, 330),
    (Kind::Repost, 300),
    (Kind::Follow, 200),
    (Kind::Unfollow, 75),
    (Kind::DeletePost, 15),
    (Kind::DeleteRepost, 10),
    (Kind::Block, 25),
    (Kind::Update, 5),
    (Kind::Account, 5),
];

mod purpose {
    pub(super) const TRAFFIC: u64 = 16;
}

#[derive(Clone, Copy)]
enum Kind {
    Post,
    Repost,
    Follow,
    Unfollow,
    DeletePost,
    DeleteRepost,
    Block,
    Update,
    Account,
}

/// The events of a [`Network`] in order; see [`Network::events`].
pub struct NetworkEvents<'a> {
    network: &'a Network,
    prng: Prng,
    now_us: f64,
    last_us: u64,
    /// The actor whose follows come next, and those of the current one that are left (in reverse).
    next_actor: u32,
    pending: Vec<u32>,
    follower: u32,
    traffic_left: u64,
    /// The pace of the traffic, in events a second of network time.
    pace: f64,
    posts: Pool,
    reposts: Pool,
    follows: Pool,
    inactive: BTreeSet<u32>,
}

impl<'a> NetworkEvents<'a> {
    pub(super) fn new(network: &'a Network) -> Self {
        let spec = network.spec();
        Self {
            network,
            prng: Prng::new(spec.seed, purpose::TRAFFIC, 0),
            now_us: spec.start_us as f64,
            last_us: spec.start_us,
            next_actor: 0,
            pending: Vec::new(),
            follower: 0,
            traffic_left: spec.events,
            pace: spec.events_per_second,
            posts: Pool::default(),
            reposts: Pool::default(),
            follows: Pool::default(),
            inactive: BTreeSet::new(),
        }
    }

    pub(super) fn traffic_only(network: &'a Network) -> Self {
        Self { next_actor: network.actors(), ..Self::new(network) }
    }

    /// The next event of the graph; nothing when the graph is complete.
    pub fn next_of_graph(&mut self) -> Option<Event> {
        while self.pending.is_empty() {
            if self.next_actor == self.network.actors() {
                return None;
            }
            self.follower = self.next_actor;
            self.pending = self.network.followees(self.follower);
            self.pending.reverse();
            self.next_actor += 1;
        }
        let followee = self.pending.pop()?;
        self.advance(1e6 / self.network.spec().follows_per_second);
        Some(self.follow(self.follower, followee))
    }

    /// How many accounts' follows were begun: the way through the graph, whose length is [`Network::actors`].
    pub fn accounts_begun(&self) -> u32 {
        self.next_actor
    }

    /// The next event of traffic, whether or not the graph is complete and the spec's number reached: a live stream
    /// has no end.
    pub fn next_of_traffic(&mut self) -> Event {
        let pause = self.prng.exponential() * 1e6 / self.pace;
        self.advance(pause);
        let total = MIX.iter().map(|(_, weight)| weight).sum();
        let mut at = self.prng.below(total);
        let kind = MIX.iter().find(|(_, weight)| {
            let here = at < *weight;
            at = at.saturating_sub(*weight);
            here
        });
        let event = match kind.map_or(Kind::Post, |(kind, _)| *kind) {
            Kind::Post => None,
            Kind::Repost => self.repost(),
            Kind::Follow => Some(self.new_follow()),
            Kind::Unfollow => self.unfollow(),
            Kind::DeletePost => self.delete_post(),
            Kind::DeleteRepost => self.delete_repost(),
            Kind::Block => Some(self.block()),
            Kind::Update => Some(self.update()),
            Kind::Account => Some(self.account()),
        };
        // what finds no subject yet becomes a post: the stream stays as long as the spec says
        event.unwrap_or_else(|| self.post())
    }

    /// Sets the network's clock forward and returns what it shows, in microseconds since 1970: this time, or a later
    /// one if that has passed.
    pub fn skip_to(&mut self, time_us: u64) -> u64 {
        self.now_us = self.now_us.max(time_us as f64);
        self.now_us as u64
    }

    /// Changes the mean pace of the traffic, in events a second of network time; above 0.
    pub fn set_pace(&mut self, events_per_second: f64) {
        self.pace = events_per_second;
    }

    /// A post of this account right after the last event, without reply or quote.
    pub fn post_of(&mut self, actor: u32) -> Event {
        self.advance(1.0);
        let created = self.last_us - 1_000;
        let record = records::post(&mut self.prng, created, &PostLinks::default());
        let rkey = self.rkey(actor);
        let event = self.put(actor, Operation::Create, POST, rkey.clone(), record);
        self.remember_post(actor, rkey, &event, None);
        event
    }

    /// Moves the clock, by 1 µs at the least: times rise strictly, and with them revs and record keys.
    fn advance(&mut self, by_us: f64) {
        self.now_us += by_us;
        self.last_us = (self.last_us + 1).max(self.now_us as u64);
    }

    fn follow(&mut self, actor: u32, followee: u32) -> Event {
        let created = self.created();
        let record = records::edge(FOLLOW, created, &self.network.did(followee));
        let rkey = self.rkey(actor);
        self.follows.push(&mut self.prng, Known { actor, rkey: rkey.clone(), post: None });
        self.put(actor, Operation::Create, FOLLOW, rkey, record)
    }

    fn new_follow(&mut self) -> Event {
        let actor = self.author();
        let graph = &self.network.graph;
        let followee = loop {
            let followee = graph.draw_followed(&mut self.prng);
            if followee != actor {
                break followee;
            }
            // one account may hold all the weight
            if self.prng.chance(0.5) {
                break (actor + 1) % self.network.actors();
            }
        };
        self.follow(actor, followee)
    }

    fn unfollow(&mut self) -> Option<Event> {
        let known = self.follows.take(&mut self.prng, &self.inactive)?;
        Some(self.delete(known.actor, FOLLOW, known.rkey))
    }

    fn post(&mut self) -> Event {
        let actor = self.author();
        let created = self.created();
        let parent = if self.prng.chance(0.5) { self.posts.pick(&mut self.prng) } else { None };
        let parent = parent.and_then(|known| known.post.clone());
        let quoted = if self.prng.chance(0.1) { self.posts.pick(&mut self.prng) } else { None };
        let quoted = quoted.and_then(|known| known.post.clone()).map(|(own, _)| own);
        let links =
            PostLinks { reply: parent.as_ref().map(|(own, root)| (root, own)), quote: quoted.as_ref() };
        let record = records::post(&mut self.prng, created, &links);
        let rkey = self.rkey(actor);
        let event = self.put(actor, Operation::Create, POST, rkey.clone(), record);
        self.remember_post(actor, rkey, &event, parent.map(|(_, root)| root));
        event
    }

    fn remember_post(&mut self, actor: u32, rkey: String, event: &Event, root: Option<Strong>) {
        if let Body::Commit { cid: Some(cid), .. } = &event.body {
            let own = Strong { uri: format!("at://{}/{POST}/{rkey}", event.did), cid: cid.clone() };
            let root = root.unwrap_or_else(|| own.clone());
            self.posts.push(&mut self.prng, Known { actor, rkey, post: Some((own, root)) });
        }
    }

    fn delete_post(&mut self) -> Option<Event> {
        let known = self.posts.take(&mut self.prng, &self.inactive)?;
        Some(self.delete(known.actor, POST, known.rkey))
    }

    fn repost(&mut self) -> Option<Event> {
        let (subject, _) = self.posts.pick(&mut self.prng)?.post.clone()?;
        let actor = self.author();
        let record = records::repost(self.created(), &subject);
        let rkey = self.rkey(actor);
        self.reposts.push(&mut self.prng, Known { actor, rkey: rkey.clone(), post: None });
        Some(self.put(actor, Operation::Create, REPOST, rkey, record))
    }

    fn delete_repost(&mut self) -> Option<Event> {
        let known = self.reposts.take(&mut self.prng, &self.inactive)?;
        Some(self.delete(known.actor, REPOST, known.rkey))
    }

    fn block(&mut self) -> Event {
        let actor = self.author();
        let subject = (actor + 1 + self.prng.below(u64::from(self.network.actors()) - 1) as u32)
            % self.network.actors();
        let record = records::edge(BLOCK, self.created(), &self.network.did(subject));
        let rkey = self.rkey(actor);
        self.put(actor, Operation::Create, BLOCK, rkey, record)
    }

    /// A post's update every other time, else a profile's.
    fn update(&mut self) -> Event {
        let created = self.created();
        if self.prng.chance(0.5)
            && let Some(known) = self.posts.take(&mut self.prng, &self.inactive)
        {
            let record = records::post(&mut self.prng, created, &PostLinks::default());
            let event = self.put(known.actor, Operation::Update, POST, known.rkey.clone(), record);
            self.remember_post(known.actor, known.rkey, &event, None);
            return event;
        }
        let actor = self.author();
        let record = records::profile(&mut self.prng, created);
        self.put(actor, Operation::Update, PROFILE, "self".to_owned(), record)
    }

    /// An account goes, an account comes back, or says its handle.
    fn account(&mut self) -> Event {
        let returning = if self.prng.chance(0.4) { self.inactive.pop_first() } else { None };
        if let Some(actor) = returning {
            return Event::account(&self.network.did(actor), self.last_us, true, None);
        }
        let actor = self.author();
        let did = self.network.did(actor);
        let spare = !self.network.graph.is_celebrity(actor);
        // never more than a tenth: somebody has to be left to write
        let room = self.inactive.len() < INACTIVE.min(self.network.actors() as usize / 10);
        if spare && room && self.prng.chance(0.6) {
            self.inactive.insert(actor);
            let status = if self.prng.chance(0.8) { "deactivated" } else { "takendown" };
            return Event::account(&did, self.last_us, false, Some(status));
        }
        Event::identity(&did, self.last_us, Some(&self.network.handle(actor)))
    }

    /// An active account, by activity.
    fn author(&mut self) -> u32 {
        for _ in 0..64 {
            let actor = self.network.graph.draw_active(&mut self.prng);
            if !self.inactive.contains(&actor) {
                return actor;
            }
        }
        // one inactive account holds nearly all activity: take the first that is not
        (0..self.network.actors()).find(|actor| !self.inactive.contains(actor)).unwrap_or(0)
    }

    /// What the client claims: shortly before, and in one of 200 cases days off.
    fn created(&mut self) -> u64 {
        let honest = self.last_us - 100_000 - self.prng.below(900_000);
        match self.prng.below(400) {
            0 => honest - self.prng.below(30 * DAY_US).min(honest),
            1 => honest + self.prng.below(365 * DAY_US),
            _ => honest,
        }
    }

    /// Unique by the strictly rising time; the clock id is the account's.
    fn rkey(&self, actor: u32) -> String {
        time::tid(self.last_us - 80_000, (actor & 0x3ff) as u16)
    }

    fn put(&self, actor: u32, operation: Operation, collection: &str, rkey: String, record: Value) -> Event {
        let cid = dagcbor::cid_of(&dagcbor::encode_dag_cbor(&record));
        self.commit(actor, operation, collection, rkey, Some((record, cid)))
    }

    fn delete(&self, actor: u32, collection: &str, rkey: String) -> Event {
        self.commit(actor, Operation::Delete, collection, rkey, None)
    }

    fn commit(
        &self,
        actor: u32,
        operation: Operation,
        collection: &str,
        rkey: String,
        record: Option<(Value, String)>,
    ) -> Event {
        let rev = time::tid(self.last_us - 50_000, (actor & 0x3ff) as u16);
        let (record, cid) = record.unzip();
        let body = Body::Commit { rev, operation, collection: collection.to_owned(), rkey, record, cid };
        Event { did: self.network.did(actor), time_us: self.last_us, body }
    }
}

impl Iterator for NetworkEvents<'_> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.next_of_graph() {
            return Some(event);
        }
        self.traffic_left = self.traffic_left.checked_sub(1)?;
        Some(self.next_of_traffic())
    }
}

#[cfg(test)]
mod tests;
