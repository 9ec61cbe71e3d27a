//! Items: versions of post and repost records.

use crate::{ActorId, Cid, ItemId, Position, RecordKey, UriHash};

/// The three collections that Skyweir reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Collection {
    /// `app.bsky.feed.post`
    Post,
    /// `app.bsky.feed.repost`
    Repost,
    /// `app.bsky.graph.follow`
    Follow,
}

impl Collection {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Post, Self::Repost, Self::Follow];

    /// The collection's NSID.
    #[must_use]
    pub fn nsid(self) -> &'static str {
        match self {
            Self::Post => "app.bsky.feed.post",
            Self::Repost => "app.bsky.feed.repost",
            Self::Follow => "app.bsky.graph.follow",
        }
    }

    /// The collection of an NSID, if it is one of ours.
    #[must_use]
    pub fn from_nsid(nsid: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ours| ours.nsid() == nsid)
    }
}

/// A record's place in the network, with its account interned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordRef {
    /// The repository.
    pub actor: ActorId,
    /// The collection.
    pub collection: Collection,
    /// The record key.
    pub rkey: RecordKey,
}

/// What an item is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemKind {
    /// A post, with the flags that a page tells.
    Post {
        /// The post answers another.
        is_reply: bool,
        /// The post embeds a record.
        is_quote: bool,
    },
    /// A repost, with its subject as the record gives it.
    Repost {
        /// AT-URI of the reposted record.
        uri: String,
        /// CID that the repost names.
        cid: String,
    },
}

/// One version of a post or repost record. Never changes under its [`ItemId`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its number.
    pub id: ItemId,
    /// The originator: author of the post, or reposter.
    pub author: ActorId,
    /// Key of the item's own record.
    pub rkey: RecordKey,
    /// CID of the item's own record.
    pub cid: Cid,
    /// `min(createdAt, indexedAt)` in milliseconds.
    pub sort_at: i64,
    /// Hash of the URI of the item's own record.
    pub uri_hash: UriHash,
    /// Post or repost.
    pub kind: ItemKind,
}

impl Item {
    /// The item's place in every timeline that holds it.
    #[must_use]
    pub fn position(&self) -> Position {
        Position::new(self.sort_at, &self.cid, self.uri_hash)
    }

    /// The collection of the item's own record.
    #[must_use]
    pub fn collection(&self) -> Collection {
        match self.kind {
            ItemKind::Post { .. } => Collection::Post,
            ItemKind::Repost { .. } => Collection::Repost,
        }
    }

    /// What a timeline keeps of the item.
    #[must_use]
    pub fn reference(&self) -> Reference {
        Reference { item: self.id, sort_at: self.sort_at, uri_hash: self.uri_hash, author: self.author }
    }
}

/// An item's entry on its way into a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The item.
    pub item: ItemId,
    /// Its `sortAt` in milliseconds.
    pub sort_at: i64,
    /// Hash of its record's URI, for the draw.
    pub uri_hash: UriHash,
    /// Its originator: own items are never dropped.
    pub author: ActorId,
}
