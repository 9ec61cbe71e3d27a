//! A store filled from a seed, and all that a store says, to compare one with another.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::collections::{BTreeMap, BTreeSet};

use skyweir_indexer::{Applier, Horizons};
use skyweir_store::{RecordBody, RecordRow, SavedCursor, Store};
use skyweir_testkit::{Op, Script, Told};
use skyweir_types::{ActorId, Body, Event, ItemId, Tid};

/// More than a test has of anything.
const ALL: usize = 100_000;

/// Applies what the network of this seed does, as the indexer would. Tells how many messages that were.
pub(crate) async fn fill(store: &dyn Store, seed: u64, operations: usize) -> u64 {
    let script = Script::new(seed, operations);
    let settings = script.settings().clone();
    let horizons = Horizons {
        tombstones_ms: settings.horizons.tombstones_ms,
        sync_grace_ms: settings.horizons.sync_grace_ms,
        keep_ms: settings.horizons.keep_ms,
        ..Horizons::default()
    };
    let view = store.view().await.unwrap();
    let mut applier = Applier::load(view.as_ref(), settings.across, horizons).await.unwrap();
    let (mut position, mut last) = (0, None);
    for op in script {
        let Op::Commit(messages) = op else { continue };
        position += messages.len() as u64;
        apply(store, &mut applier, &messages, position).await;
        last = messages.into_iter().flatten().last().or(last);
    }
    // a resync that has begun
    let body = Body::Sync { rev: Tid(u64::MAX >> 1), records_follow: true };
    let event = last.map(|event| Event { time_us: applier.stream_us(), body, ..event });
    apply(store, &mut applier, &[Vec::from_iter(event)], position + 1).await;
    position + 1
}

async fn apply(store: &dyn Store, applier: &mut Applier, messages: &[Vec<Event>], position: u64) {
    let mut txn = store.begin().await.unwrap();
    for message in messages {
        applier.frame(txn.as_mut(), message, &mut Vec::new()).await.unwrap();
    }
    applier.end_group(txn.as_mut()).await.unwrap();
    let time_us = applier.stream_us();
    txn.set_cursor(SavedCursor { source: "script".into(), position, time_us }).await.unwrap();
    txn.set_whole(position.is_multiple_of(2)).await.unwrap();
    txn.commit().await.unwrap();
}

/// What a store says, but for its tasks: of items their place in the order of their numbers, not the numbers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    pub(crate) lines: BTreeSet<String>,
    pub(crate) seen: Option<Told>,
    /// Of what the lines speak, how often.
    pub(crate) kinds: BTreeMap<&'static str, usize>,
}

impl Contents {
    pub(crate) async fn of(store: &dyn Store) -> Self {
        let mut found = Self { seen: Some(Told::by_store(store).await.unwrap()), ..Self::default() };
        let (view, mut txn) = (store.view().await.unwrap(), store.begin().await.unwrap());
        let mut numbers = BTreeMap::new();
        for (at, item) in txn.items_from(ItemId(0), ALL).await.unwrap().into_iter().enumerate() {
            numbers.insert(item.id, at);
            let line = format!("{} {} {:?} {:?}", item.author, item.rkey, item.cid, item.uri_hash);
            found.say("item", &format!("{at} is {line} at {} {:?}", item.sort_at, item.kind));
        }
        let actors: Vec<_> = (0..view.actor_count().await.unwrap()).map(ActorId).collect();
        for (actor, did) in actors.iter().zip(view.dids(&actors).await.unwrap()) {
            let info = view.accounts(&[*actor]).await.unwrap().remove(0);
            let row = txn.account(*actor).await.unwrap();
            let counts = (info.status, info.follows, info.followers, row);
            found.say("account", &format!("{actor} is {did} {counts:?}"));
            let follows = view.follows(*actor, None, ALL).await.unwrap();
            let pairs: Vec<_> = follows.iter().map(|subject| (*actor, *subject)).collect();
            for (pair, first) in pairs.iter().zip(view.edges(&pairs).await.unwrap()) {
                found.say("edge", &format!("{pair:?} by {}", first.unwrap()));
            }
            let followers = view.followers(*actor, None, ALL).await.unwrap();
            found.say("followers", &format!("of {actor} {followers:?}"));
            let mut followed = BTreeSet::new();
            for (key, row) in txn.records_of(*actor, None, ALL).await.unwrap() {
                if let RecordBody::Follow { subject } = row.body
                    && !followed.insert(subject)
                {
                    found.say("edge of several records", &format!("{actor} to {subject}"));
                }
                let item = row_item(&row).map(|item| numbers[&item]);
                if let RecordBody::Repost { subject: Some(post), .. } = &row.body {
                    let reposts = txn.reposts_of(post, None, ALL).await.unwrap();
                    found.say("reposts", &format!("of {post:?} {reposts:?}"));
                }
                found.say(kind(&row), &format!("{key:?} {item:?} {:?}", without_item(row)));
            }
        }
        // those of one time come in any order
        let old: BTreeSet<_> = txn.tombstones_before(i64::MAX, ALL).await.unwrap().into_iter().collect();
        found.say("tombstones", &format!("{old:?}"));
        for (actor, mark) in view.sync_marks(ALL).await.unwrap() {
            found.say("mark", &format!("of {actor} {mark:?}"));
        }
        let high: BTreeSet<_> =
            view.high_follows(1, ALL).await.unwrap().into_iter().map(|(actor, n)| (actor.0, n)).collect();
        found.say("high follows", &format!("{high:?}"));
        let (horizon, whole) = (view.horizon().await.unwrap(), view.is_whole().await.unwrap());
        if horizon > i64::MIN {
            found.say("horizon", &horizon.to_string());
        }
        found.say("store", &format!("{whole} {:?}", view.cursor().await.unwrap()));
        found
    }

    fn say(&mut self, kind: &'static str, line: &str) {
        *self.kinds.entry(kind).or_default() += 1;
        self.lines.insert(format!("{kind} {line}"));
    }

    /// Says what differs, if anything does.
    pub(crate) fn expect(&self, wanted: &Self, what: &str) {
        let missing: Vec<_> = wanted.lines.difference(&self.lines).collect();
        let wrong: Vec<_> = self.lines.difference(&wanted.lines).collect();
        assert!(missing.is_empty() && wrong.is_empty(), "{what}: missing {missing:#?}, wrong {wrong:#?}");
        let differs = wanted.seen.as_ref().unwrap().difference(self.seen.as_ref().unwrap());
        assert_eq!(differs, None, "{what}");
    }
}

fn row_item(row: &RecordRow) -> Option<ItemId> {
    match row.body {
        RecordBody::Post { item, .. } => Some(item),
        RecordBody::Repost { item, .. } => item,
        _ => None,
    }
}

fn without_item(mut row: RecordRow) -> RecordRow {
    match &mut row.body {
        RecordBody::Post { item, .. } => *item = ItemId(0),
        RecordBody::Repost { item, .. } => *item = None,
        _ => {}
    }
    row
}

fn kind(row: &RecordRow) -> &'static str {
    match row.body {
        RecordBody::Post { .. } => "post",
        RecordBody::Repost { item: Some(_), .. } => "repost",
        RecordBody::Repost { item: None, .. } => "repost without an item",
        RecordBody::Follow { .. } => "follow",
        RecordBody::Tombstone { .. } => "tombstone",
    }
}
