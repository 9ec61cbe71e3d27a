//! The tables: one file each, with its layout, its key and value codec and a round-trip property.

pub(crate) mod actors;
pub(crate) mod blocks;
pub(crate) mod duplicates;
pub(crate) mod feeds;
pub(crate) mod follow_blocks;
pub(crate) mod followers;
pub(crate) mod follows;
pub(crate) mod heads;
pub(crate) mod items;
pub(crate) mod meta;
pub(crate) mod record_blocks;
pub(crate) mod records;
pub(crate) mod reposts;
pub(crate) mod syncs;
pub(crate) mod tasks;
pub(crate) mod tombstones;

/// A fjall keyspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    Meta,
    Dids,
    Actors,
    Heads,
    Records,
    RecordBlocks,
    Tombstones,
    Syncs,
    Items,
    Feeds,
    Reposts,
    Follows,
    FollowBlocks,
    Followers,
    FollowerBlocks,
    Duplicates,
    Tasks,
}

impl Table {
    pub(crate) const ALL: [Self; 17] = [
        Self::Meta,
        Self::Dids,
        Self::Actors,
        Self::Heads,
        Self::Records,
        Self::RecordBlocks,
        Self::Tombstones,
        Self::Syncs,
        Self::Items,
        Self::Feeds,
        Self::Reposts,
        Self::Follows,
        Self::FollowBlocks,
        Self::Followers,
        Self::FollowerBlocks,
        Self::Duplicates,
        Self::Tasks,
    ];

    /// The keyspace's name on disk.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Dids => "dids",
            Self::Actors => "actors",
            Self::Heads => "heads",
            Self::Records => "records",
            Self::RecordBlocks => "record_blocks",
            Self::Tombstones => "tombstones",
            Self::Syncs => "syncs",
            Self::Items => "items",
            Self::Feeds => "feeds",
            Self::Reposts => "reposts",
            Self::Follows => "follows",
            Self::FollowBlocks => "follow_blocks",
            Self::Followers => "followers",
            Self::FollowerBlocks => "follower_blocks",
            Self::Duplicates => "duplicates",
            Self::Tasks => "tasks",
        }
    }

    /// Whether single keys are looked up, so that a filter pays; the others are only scanned.
    pub(crate) fn is_looked_up(self) -> bool {
        matches!(
            self,
            Self::Dids
                | Self::Actors
                | Self::Heads
                | Self::Records
                | Self::Items
                | Self::Follows
                | Self::Duplicates
        )
    }
}

/// The first key that doesn't begin with this prefix; `None` when there is none.
pub(crate) fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=keep].to_vec();
    end[keep] += 1;
    Some(end)
}
