//! Names of accounts, records and their places in a timeline, small enough to keep millions.

use crate::time;
use std::fmt;

pub(in crate::harness) const POST: &str = "app.bsky.feed.post";
pub(in crate::harness) const REPOST: &str = "app.bsky.feed.repost";
pub(in crate::harness) const FOLLOW: &str = "app.bsky.graph.follow";

/// An account: 60 bits of its DID, which is a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::harness) struct Account(u64);

impl Account {
    /// Nothing for what is no DID of a generated network.
    pub(in crate::harness) fn of(did: &str) -> Option<Self> {
        let id = did.strip_prefix("did:plc:")?;
        let bits = id.bytes().take(12).try_fold(0_u64, |bits, byte| {
            let digit = match byte {
                b'a'..=b'z' => byte - b'a',
                b'2'..=b'7' => byte - b'2' + 26,
                _ => return None,
            };
            Some(bits << 5 | u64::from(digit))
        })?;
        (id.len() == 24).then_some(Self(bits))
    }
}

/// What an item's own record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::harness) enum Kind {
    Post,
    Repost,
}

/// The record of an item; all its versions have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::harness) struct Record {
    pub(in crate::harness) author: Account,
    pub(in crate::harness) kind: Kind,
    /// The record key, which is a TID in a generated network.
    pub(in crate::harness) key: u64,
}

impl Record {
    pub(in crate::harness) fn new(author: Account, collection: &str, rkey: &str) -> Option<Self> {
        let kind = match collection {
            POST => Kind::Post,
            REPOST => Kind::Repost,
            _ => return None,
        };
        Some(Self { author, kind, key: time::untid(rkey)? })
    }

    /// Nothing for what can't be a record of a generated network.
    pub(in crate::harness) fn of(uri: &str) -> Option<Self> {
        let mut parts = uri.strip_prefix("at://")?.split('/');
        let (did, collection, rkey) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        Self::new(Account::of(did)?, collection, rkey)
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digit =
            |at: u32| b"abcdefghijklmnopqrstuvwxyz234567"[(self.author.0 >> (55 - 5 * at)) as usize & 31];
        let id: String = (0..12).map(|at| char::from(digit(at))).collect();
        let collection = match self.kind {
            Kind::Post => POST,
            Kind::Repost => REPOST,
        };
        write!(f, "at://did:plc:{id}…/{collection}/{}", time::tid(self.key >> 10, (self.key & 0x3ff) as u16))
    }
}

/// A CID as text, of which the order is defined; 59 characters, as all of records have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::harness) struct Cid([u8; 59]);

impl Cid {
    pub(in crate::harness) fn of(text: &str) -> Option<Self> {
        text.as_bytes().try_into().ok().map(Self)
    }
}

/// Where an item stands in a timeline, but for equal pairs, whose order is free; greater is further up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::harness) struct Place {
    /// Milliseconds since 1970.
    pub(in crate::harness) sort_at: i64,
    pub(in crate::harness) cid: Cid,
}

/// The states of the world in which something holds: from one event on, and no longer from another on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::harness) struct Span {
    pub(in crate::harness) from: u64,
    pub(in crate::harness) until: u64,
}

impl Span {
    /// From this event on.
    pub(in crate::harness) fn since(from: u64) -> Self {
        Self { from, until: u64::MAX }
    }

    /// Whether it holds in all states of a range, its ends included.
    pub(in crate::harness) fn in_all(self, states: States) -> bool {
        self.from <= states.first && self.until > states.last
    }

    /// Whether it holds in one state of the range.
    pub(in crate::harness) fn in_some(self, states: States) -> bool {
        self.from <= states.last && self.until > states.first
    }
}

/// The states that a read may have seen; a state is named by the last event in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::harness) struct States {
    /// What was surely applied before the read began.
    pub(in crate::harness) first: u64,
    /// What was sent before it ended.
    pub(in crate::harness) last: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read() {
        let did = "did:plc:aaaaaaaaaaababcdefghijkl";
        assert_eq!(Account::of(did), Some(Account(1)));
        assert_eq!(Account::of("did:plc:short"), None);
        assert_eq!(Account::of("did:web:example.com"), None);
        let uri = format!("at://{did}/{POST}/3mptbyplj5d2a");
        let record = Record::of(&uri).unwrap();
        assert_eq!((record.kind, record.author), (Kind::Post, Account(1)));
        assert_eq!(record.to_string(), format!("at://did:plc:aaaaaaaaaaab…/{POST}/3mptbyplj5d2a"));
        for wrong in
            ["", "at://", &format!("{uri}/x"), &uri.replace(POST, FOLLOW), &uri.replace("3mp", "0mp")]
        {
            assert_eq!(Record::of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn spans_and_states() {
        let span = Span { from: 5, until: 8 };
        let states = |first, last| States { first, last };
        assert!(span.in_all(states(5, 7)));
        assert!(!span.in_all(states(4, 7)) && !span.in_all(states(5, 8)));
        assert!(span.in_some(states(0, 5)) && span.in_some(states(7, 9)));
        assert!(!span.in_some(states(0, 4)) && !span.in_some(states(8, 9)));
    }
}
