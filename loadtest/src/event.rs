//! The neutral event: what happened on the network, before any wire's encoding.

use crate::{dagcbor, time};
use serde_json::Value;

/// One event of an account.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The account's DID.
    pub did: String,
    /// When the upstream witnessed it, in microseconds since 1970.
    pub time_us: u64,
    /// What happened.
    pub body: Body,
}

/// What an event says.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// One operation on one record.
    Commit {
        /// The revision of the repository: a TID.
        rev: String,
        /// What was done to the record.
        operation: Operation,
        /// The record's collection: an NSID.
        collection: String,
        /// The record's key.
        rkey: String,
        /// The record in atproto JSON; absent on a delete.
        record: Option<Value>,
        /// The record's CID; absent on a delete.
        cid: Option<String>,
    },
    /// The handle or the DID document changed.
    Identity {
        /// The new handle, if the upstream says it.
        handle: Option<String>,
    },
    /// The account's hosting status changed.
    Account {
        /// Whether the account is active now.
        active: bool,
        /// Why not: `deactivated`, `suspended`, `takendown`, `deleted`, …
        status: Option<String>,
    },
    /// The chain of commits is broken; a consumer has to read the repository anew.
    Sync {
        /// The revision of the repository: a TID.
        rev: String,
    },
}

/// What a commit does to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A record under a key that had none.
    Create,
    /// Another record under the same key.
    Update,
    /// The record is gone.
    Delete,
}

impl Operation {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

impl Event {
    /// A record's creation; `rev` is the TID of `time_us`, the CID that of the record.
    pub fn create(did: &str, time_us: u64, collection: &str, rkey: &str, record: Value) -> Self {
        Self::put(did, time_us, Operation::Create, collection, rkey, record)
    }

    /// A record's replacement; `rev` and CID as with [`Event::create`].
    pub fn update(did: &str, time_us: u64, collection: &str, rkey: &str, record: Value) -> Self {
        Self::put(did, time_us, Operation::Update, collection, rkey, record)
    }

    /// A record's delete; `rev` is the TID of `time_us`.
    pub fn delete(did: &str, time_us: u64, collection: &str, rkey: &str) -> Self {
        Self::commit(did, time_us, Operation::Delete, collection, rkey, None, None)
    }

    /// A change of identity.
    pub fn identity(did: &str, time_us: u64, handle: Option<&str>) -> Self {
        let body = Body::Identity { handle: handle.map(str::to_owned) };
        Self { did: did.to_owned(), time_us, body }
    }

    /// A change of the hosting status.
    pub fn account(did: &str, time_us: u64, active: bool, status: Option<&str>) -> Self {
        let body = Body::Account { active, status: status.map(str::to_owned) };
        Self { did: did.to_owned(), time_us, body }
    }

    /// A broken chain of commits; `rev` is the TID of `time_us`.
    pub fn sync(did: &str, time_us: u64) -> Self {
        Self { did: did.to_owned(), time_us, body: Body::Sync { rev: time::tid(time_us, 0) } }
    }

    /// The kind as Jetstream names it: `commit`, `identity`, `account` or `sync`.
    pub fn kind(&self) -> &'static str {
        match self.body {
            Body::Commit { .. } => "commit",
            Body::Identity { .. } => "identity",
            Body::Account { .. } => "account",
            Body::Sync { .. } => "sync",
        }
    }

    /// The collection of a commit.
    pub fn collection(&self) -> Option<&str> {
        match &self.body {
            Body::Commit { collection, .. } => Some(collection),
            _ => None,
        }
    }

    fn put(
        did: &str,
        time_us: u64,
        operation: Operation,
        collection: &str,
        rkey: &str,
        record: Value,
    ) -> Self {
        let cid = dagcbor::cid_of(&dagcbor::encode_dag_cbor(&record));
        Self::commit(did, time_us, operation, collection, rkey, Some(record), Some(cid))
    }

    fn commit(
        did: &str,
        time_us: u64,
        operation: Operation,
        collection: &str,
        rkey: &str,
        record: Option<Value>,
        cid: Option<String>,
    ) -> Self {
        let body = Body::Commit {
            rev: time::tid(time_us, 0),
            operation,
            collection: collection.to_owned(),
            rkey: rkey.to_owned(),
            record,
            cid,
        };
        Self { did: did.to_owned(), time_us, body }
    }

    /// The relay's own sequence number for this event, of which Jetstream's `identity`, `account` and `sync` objects
    /// speak: made up of the time, so that every encoding of an event names the same.
    pub(crate) fn relay_seq(&self) -> u64 {
        self.time_us / 50_000
    }

    /// The relay's own time for this event: a quarter of a second before the Jetstream's.
    pub(crate) fn relay_time(&self) -> String {
        time::rfc3339_millis(self.time_us.saturating_sub(250_000))
    }
}
