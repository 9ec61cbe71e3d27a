//! What every timeline has to be: a naive join over all records, by the contract's rules 1 to 12.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::feed::{Collection, Event, Record, What, did};

/// One item of a timeline, as the service shows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    pub(crate) uri: String,
    pub(crate) cid: String,
    /// Empty for a plain post.
    pub(crate) repost: String,
    pub(crate) repost_cid: String,
}

type Key = (usize, Collection, String);

#[derive(Clone, Debug)]
struct Stored {
    rev: u64,
    /// Rev of the last deletion or update of this post: reposts with an older one are no items any more.
    wiped: u64,
    /// `None`: deleted.
    body: Option<Body>,
}

#[derive(Clone, Debug)]
struct Body {
    cid: String,
    sort_at: i64,
    record: Record,
}

/// All records of the network.
#[derive(Default)]
pub(crate) struct Model {
    records: HashMap<Key, Stored>,
    /// Since when an account is in its state: (microseconds, active).
    accounts: HashMap<usize, (i64, bool)>,
}

impl Model {
    /// The network after these events.
    pub(crate) fn after(events: &[Event]) -> Self {
        let mut model = Self::default();
        for event in events {
            model.apply(event);
        }
        model
    }

    fn apply(&mut self, event: &Event) {
        match &event.what {
            What::Account { active } => {
                let state = self.accounts.entry(event.actor).or_insert((i64::MIN, true));
                if event.time_us >= state.0 {
                    *state = (event.time_us, *active);
                }
            }
            What::Put { collection, rkey, rev, cid, record, .. } => {
                let created_ms = match record {
                    Record::Post { created_ms } | Record::Repost { created_ms, .. } => *created_ms,
                    Record::Follow { .. } => 0,
                };
                let sort_at = created_ms.min(event.time_us / 1000);
                let body = Body { cid: cid.clone(), sort_at, record: record.clone() };
                self.store((event.actor, *collection, rkey.clone()), *rev, Some(body));
            }
            What::Delete { collection, rkey, rev } => {
                self.store((event.actor, *collection, rkey.clone()), *rev, None);
            }
        }
    }

    fn store(&mut self, key: Key, rev: u64, body: Option<Body>) {
        let is_post = key.1 == Collection::Post;
        match self.records.get_mut(&key) {
            Some(stored) if rev <= stored.rev => {}
            Some(stored) => {
                *stored = Stored { rev, wiped: if is_post { rev } else { 0 }, body };
            }
            None => {
                let wiped = if is_post && body.is_none() { rev } else { 0 };
                self.records.insert(key, Stored { rev, wiped, body });
            }
        }
    }

    /// The whole timeline of an account, newest first.
    pub(crate) fn timeline(&self, viewer: usize) -> Vec<Entry> {
        let mut authors: HashSet<usize> = HashSet::from([viewer]);
        for ((actor, _, _), stored) in &self.records {
            if let Some(Body { record: Record::Follow { subject }, .. }) = &stored.body
                && *actor == viewer
            {
                authors.insert(*subject);
            }
        }
        authors.retain(|author| self.accounts.get(author).is_none_or(|state| state.1));
        let mut items = BTreeSet::new();
        for (key, stored) in &self.records {
            if let Some(body) = &stored.body
                && authors.contains(&key.0)
                && self.is_item(stored, body)
            {
                items.insert((body.sort_at, body.cid.as_str(), key));
            }
        }
        items.into_iter().rev().map(|(_, cid, key)| self.entry(key, cid)).collect()
    }

    fn is_item(&self, stored: &Stored, body: &Body) -> bool {
        match &body.record {
            Record::Post { .. } => true,
            Record::Follow { .. } => false,
            Record::Repost { author, rkey, .. } => {
                let post = self.records.get(&(*author, Collection::Post, rkey.clone()));
                post.is_none_or(|post| stored.rev > post.wiped)
            }
        }
    }

    fn entry(&self, key: &Key, cid: &str) -> Entry {
        let uri =
            |(actor, collection, rkey): &Key| format!("at://{}/{}/{rkey}", did(*actor), collection.nsid());
        match self.records[key].body.as_ref().map(|body| &body.record) {
            Some(Record::Repost { author, rkey, cid: named, .. }) => {
                let post: Key = (*author, Collection::Post, rkey.clone());
                // of a post that is there its own CID, else the one that the repost names
                let living = self.records.get(&post).and_then(|post| post.body.as_ref());
                let post_cid = living.map_or_else(|| named.clone(), |body| body.cid.clone());
                Entry { uri: uri(&post), cid: post_cid, repost: uri(key), repost_cid: cid.to_owned() }
            }
            _ => {
                Entry { uri: uri(key), cid: cid.to_owned(), repost: String::new(), repost_cid: String::new() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(actor: usize, rev: u64, rkey: &str, cid: &str, record: Record) -> Event {
        let collection = match record {
            Record::Post { .. } => Collection::Post,
            Record::Repost { .. } => Collection::Repost,
            Record::Follow { .. } => Collection::Follow,
        };
        let (rkey, cid) = (rkey.to_owned(), cid.to_owned());
        let what = What::Put { collection, rkey, rev, cid, update: false, record };
        Event { actor, time_us: rev as i64 * 1_000_000, what }
    }

    fn delete(actor: usize, rev: u64, collection: Collection, rkey: &str) -> Event {
        Event {
            actor,
            time_us: rev as i64 * 1_000_000,
            what: What::Delete { collection, rkey: rkey.into(), rev },
        }
    }

    fn repost(author: usize, rkey: &str) -> Record {
        Record::Repost { created_ms: i64::MAX, author, rkey: rkey.into(), cid: "named".into() }
    }

    fn cids(model: &Model, viewer: usize) -> Vec<String> {
        let own = |entry: Entry| if entry.repost.is_empty() { entry.cid } else { entry.repost_cid };
        model.timeline(viewer).into_iter().map(own).collect()
    }

    #[test]
    fn a_small_network() {
        let mut events = vec![
            put(0, 1, "f", "f", Record::Follow { subject: 1 }),
            put(0, 2, "g", "g", Record::Follow { subject: 1 }),
            put(1, 3, "p", "p", Record::Post { created_ms: i64::MAX }),
            put(1, 4, "old", "old", Record::Post { created_ms: 5 }),
            put(0, 5, "r", "r", repost(1, "p")),
        ];
        assert_eq!(cids(&Model::after(&events), 0), ["r", "p", "old"]);
        // the delete takes the repost along, a later repost of the gone post is an item all the same
        events.push(delete(1, 6, Collection::Post, "p"));
        events.push(put(0, 7, "r2", "r2", repost(1, "p")));
        let model = Model::after(&events);
        assert_eq!(cids(&model, 0), ["r2", "old"]);
        assert_eq!(model.timeline(0)[0].cid, "named");
        // replays change nothing
        events.push(events[2].clone());
        events.push(events[4].clone());
        assert_eq!(cids(&Model::after(&events), 0), ["r2", "old"]);
        // one of two follow records is left
        events.push(delete(0, 8, Collection::Follow, "f"));
        assert_eq!(cids(&Model::after(&events), 0), ["r2", "old"]);
        // a hidden author, and an event older than the state
        for (time_us, active) in [(9, false), (8, true)] {
            events.push(Event { actor: 1, time_us, what: What::Account { active } });
        }
        assert_eq!(cids(&Model::after(&events), 0), ["r2"]);
        events.push(delete(0, 10, Collection::Follow, "g"));
        events.push(Event { actor: 1, time_us: 11, what: What::Account { active: true } });
        assert_eq!(cids(&Model::after(&events), 0), ["r2"]);
        assert_eq!(cids(&Model::after(&events), 1), ["old"]);
    }
}
