//! What a timeline holds, newest first: the join of follows and items, rules 1–4, 8–12, 22 and 24.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use skyweir_types::{AccountStatus, Cid, Did, DidHash, DrawKey, Record, RecordKey, Tid};

use super::{Key, Model, Row, State, Version};

/// Which items a reader doesn't want (rule 22).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Without {
    /// No posts that answer another.
    pub replies: bool,
    /// No reposts.
    pub reposts: bool,
    /// No posts that embed a record, and no reposts of such.
    pub quotes: bool,
}

/// One item, as a reader has to see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// AT-URI of the post.
    pub uri: String,
    /// CID of the post; where it is unknown, the one that the repost names.
    pub cid: String,
    /// AT-URI of the repost; empty for a post.
    pub repost: String,
    /// CID of the repost; empty for a post.
    pub repost_cid: String,
    /// The post answers another.
    pub is_reply: bool,
    /// It is a repost.
    pub is_repost: bool,
    /// The post embeds a record.
    pub is_quote_post: bool,
    /// `min(createdAt, indexedAt)`, milliseconds since 1970.
    pub sort_at: i64,
    /// Who made the item.
    pub author: Did,
    /// Hash of the item's own URI.
    pub uri_hash: u64,
}

impl Expected {
    /// Rule 11: `sortAt`, then the CID of the item's own record as a string, then the hash of its URI.
    #[must_use]
    pub fn place(&self) -> (i64, &str, u64) {
        (self.sort_at, if self.is_repost { &self.repost_cid } else { &self.cid }, self.uri_hash)
    }

    /// The item's own record.
    #[must_use]
    pub fn own_uri(&self) -> &str {
        if self.is_repost { &self.repost } else { &self.uri }
    }
}

impl Model {
    /// The timeline of `viewer` at this rate.
    #[must_use]
    pub fn timeline(&self, viewer: &Did, rate: f32, draw: &DrawKey, without: Without) -> Vec<Expected> {
        let mut authors = self.follows(viewer);
        authors.insert(viewer.clone());
        let mut items = Vec::new();
        for (key, row) in &self.records {
            let Some(version) = self.item(row) else { continue };
            if !authors.contains(&key.did) || self.status(&key.did) != AccountStatus::Active {
                continue;
            }
            let uri = key.uri_hash();
            let kept = key.did == *viewer || draw.draw(uri, DidHash::of(viewer.as_str())) < f64::from(rate);
            if kept {
                items.push(self.expected(key, version, uri.0));
            }
        }
        items.retain(|item| {
            !(without.replies && item.is_reply && !item.is_repost
                || without.reposts && item.is_repost
                || without.quotes && item.is_quote_post)
        });
        items.sort_by(|a, b| Reverse(a.place()).cmp(&Reverse(b.place())));
        items
    }

    /// All items of an account, whatever its state, in no order.
    #[must_use]
    pub fn items(&self, author: &Did) -> Vec<Expected> {
        let own = self.records.iter().filter(|(key, _)| key.did == *author);
        own.filter_map(|(key, row)| Some(self.expected(key, self.item(row)?, key.uri_hash().0))).collect()
    }

    /// The version of a record that is an item.
    fn item<'m>(&self, row: &'m Row) -> Option<&'m Version> {
        match &row.state {
            State::Living(version) if version.is_item && !self.has_left(row) => Some(version),
            _ => None,
        }
    }

    fn expected(&self, key: &Key, version: &Version, uri_hash: u64) -> Expected {
        let mut item = Expected {
            uri: key.uri(),
            cid: version.cid.to_string(),
            repost: String::new(),
            repost_cid: String::new(),
            is_reply: false,
            is_repost: false,
            is_quote_post: false,
            sort_at: version.sort_at,
            author: key.did.clone(),
            uri_hash,
        };
        match &version.record {
            Record::Post { is_reply, is_quote, .. } => {
                (item.is_reply, item.is_quote_post) = (*is_reply, *is_quote);
            }
            Record::Repost { uri, cid, .. } => {
                item.is_repost = true;
                item.repost = std::mem::replace(&mut item.uri, uri.clone());
                item.repost_cid = std::mem::replace(&mut item.cid, cid.clone());
                if let Some((cid, is_reply, is_quote)) = self.post(uri) {
                    item.cid = cid.to_string();
                    (item.is_reply, item.is_quote_post) = (is_reply, is_quote);
                }
            }
            Record::Follow { .. } => {}
        }
        item
    }

    /// CID and flags of a living post.
    fn post(&self, uri: &str) -> Option<(Cid, bool, bool)> {
        let row = self.records.get(&Key::post(uri)?)?;
        match &row.state {
            _ if self.has_left(row) => None,
            State::Living(Version { cid, record: Record::Post { is_reply, is_quote, .. }, .. }) => {
                Some((*cid, *is_reply, *is_quote))
            }
            _ => None,
        }
    }

    /// Whom an account follows, each once, itself included if it follows itself.
    #[must_use]
    pub fn follows(&self, viewer: &Did) -> BTreeSet<Did> {
        self.edges().filter(|(follower, _)| *follower == viewer).map(|(_, subject)| subject.clone()).collect()
    }

    /// Who follows an account, each once, itself included if it follows itself.
    #[must_use]
    pub fn followers(&self, author: &Did) -> BTreeSet<Did> {
        self.edges().filter(|(_, subject)| *subject == author).map(|(follower, _)| follower.clone()).collect()
    }

    /// One for each living follow record (rule 8: an edge may have several).
    fn edges(&self) -> impl Iterator<Item = (&Did, &Did)> {
        self.records.iter().filter_map(|(key, row)| match &row.state {
            State::Living(Version { record: Record::Follow { subject }, .. }) => Some((&key.did, subject)),
            _ => None,
        })
    }

    /// Keys of the living follow records of one edge.
    #[must_use]
    pub fn follow_records(&self, follower: &Did, subject: &Did) -> BTreeSet<RecordKey> {
        let of_edge = self.records.iter().filter(|(key, row)| {
            key.did == *follower
                && matches!(&row.state, State::Living(Version { record: Record::Follow { subject: ours }, .. })
                    if ours == subject)
        });
        of_edge.map(|(key, _)| key.rkey.clone()).collect()
    }

    /// Whoever is heard of: by an event, or as the subject of a follow.
    #[must_use]
    pub fn accounts(&self) -> BTreeSet<Did> {
        self.accounts.keys().chain(self.edges().map(|(_, subject)| subject)).cloned().collect()
    }

    /// The living records: AT-URI, rev, and what it says.
    pub fn records(&self) -> impl Iterator<Item = (String, Tid, &Record)> {
        self.records.iter().filter_map(|(key, row)| match &row.state {
            State::Living(version) => Some((key.uri(), row.rev, &version.record)),
            State::Deleted(_) => None,
        })
    }

    /// An account's state; active for one never heard of.
    #[must_use]
    pub fn status(&self, did: &Did) -> AccountStatus {
        self.accounts.get(did).map_or(AccountStatus::Active, |account| account.status)
    }
}
