//! What every source makes of the network: events, alike from Jetstream, firehose and replay.

use crate::{AccountStatus, Cid, Collection, Did, RecordKey, Tid};

/// One thing that happened in one repository.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The repository.
    pub did: Did,
    /// When upstream witnessed it, microseconds since 1970: the `indexedAt` of the contract.
    pub time_us: i64,
    /// What happened.
    pub body: Body,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A record of one of our collections was written or deleted.
    Record(RecordOp),
    /// The account's state changed.
    Account(AccountStatus),
    /// The account's repository is sent again, or has to be: its state as of this rev replaces the former.
    Sync {
        /// The repository's new rev.
        rev: Tid,
        /// Whether the source sends the records again after this (Jetstream v2 does, the firehose doesn't).
        records_follow: bool,
    },
    /// No more comes of what a `Sync` announced. Sources that know say so; with others the account's next
    /// rev or the stream's clock ends it.
    SyncEnd {
        /// Its rev. If it isn't whole: that of the newest `Sync` that this ends.
        rev: Tid,
        /// Whether all of the repository came: what didn't is gone, and what has an older rev is a replay. Else nothing
        /// is taken away.
        is_whole: bool,
    },
}

/// One operation on one record.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordOp {
    /// Rev of the commit.
    pub rev: Tid,
    /// The collection.
    pub collection: Collection,
    /// The record key.
    pub rkey: RecordKey,
    /// Write or delete.
    pub action: Action,
}

/// Write or delete. A create and an update are told apart by what is stored, not by what they claim.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The record has this content now.
    Put {
        /// The record's CID.
        cid: Cid,
        /// What we keep of it.
        record: Record,
    },
    /// The record is gone; the network doesn't say what it was.
    Delete,
}

/// The content of a record that passed its lexicon, as far as a timeline needs it.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A post.
    Post {
        /// `createdAt`, milliseconds since 1970.
        created_at: i64,
        /// It has a `reply`.
        is_reply: bool,
        /// It embeds a record.
        is_quote: bool,
    },
    /// A repost.
    Repost {
        /// `createdAt`, milliseconds since 1970.
        created_at: i64,
        /// AT-URI of the subject, whose authority is a DID.
        uri: String,
        /// CID that the record names.
        cid: String,
    },
    /// A follow.
    Follow {
        /// Who is followed.
        subject: Did,
    },
}

/// Which order across accounts a source keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcrossAccounts {
    /// Upstream's own (the firehose): what came before, happened before.
    Upstream,
    /// Slips by milliseconds to seconds (any Jetstream): revs decide what happened before.
    Slips,
}
