//! Reading records: one consistent snapshot of items, feeds, edges, accounts and the task log.

use async_trait::async_trait;
use skyweir_types::{AccountStatus, ActorId, Did, Item, ItemId, Position, RecordKey, RecordRef, TaskId};

use crate::{RecordRow, Result, SavedCursor, SyncMark, Task};

/// What reads and fan-out need to know of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountInfo {
    /// Only an active account's items are shown.
    pub status: AccountStatus,
    /// No item of this author has a greater `sortAt`; `i64::MIN` if it never had one. May be too great.
    pub newest: i64,
    /// How many accounts it follows, each counted once.
    pub follows: u32,
    /// How many accounts follow it, each counted once.
    pub followers: u32,
}

/// One question to [`View::feeds`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedAsk {
    /// Whose items.
    pub author: ActorId,
    /// Only what stands strictly after (below) this place.
    pub after: Position,
}

/// One entry of an author's feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedEntry {
    /// Where it stands.
    pub position: Position,
    /// The item.
    pub item: ItemId,
}

/// One consistent snapshot: nothing committed after it was taken shows, everything before does.
///
/// Answers of batch calls are in the order of the questions. Paged calls return at most `n` entries in rising order,
/// strictly after `after`; fewer than `n` means that the end is reached.
#[async_trait]
pub trait View: Send + Sync {
    /// The number of an account; `None` for one never seen. Reads intern nobody.
    async fn actor(&self, did: &Did) -> Result<Option<ActorId>>;
    /// The DIDs of accounts. A number never given out is [`crate::Error::Corrupt`].
    async fn dids(&self, actors: &[ActorId]) -> Result<Vec<Did>>;
    /// How many accounts are interned; their numbers are the ones below.
    async fn actor_count(&self) -> Result<u32>;
    /// What is known of accounts. One never written to is active with no items.
    async fn accounts(&self, actors: &[ActorId]) -> Result<Vec<AccountInfo>>;
    /// Items before this `sortAt`, milliseconds, have left: [`View::items`] and [`View::feeds`] don't know them,
    /// whether they are removed already or not. `i64::MIN`: none has.
    async fn horizon(&self) -> Result<i64>;
    /// Current items; `None` where the version is replaced or deleted, or has left.
    async fn items(&self, ids: &[ItemId]) -> Result<Vec<Option<Item>>>;
    /// Stored records (living or tombstones).
    async fn records(&self, keys: &[RecordRef]) -> Result<Vec<Option<RecordRow>>>;
    /// For each author the newest `n` feed entries after the asked place, newest first.
    async fn feeds(&self, asks: &[FeedAsk], n: usize) -> Result<Vec<Vec<FeedEntry>>>;
    /// Whom `viewer` follows, by rising number, itself included if it follows itself.
    async fn follows(&self, viewer: ActorId, after: Option<ActorId>, n: usize) -> Result<Vec<ActorId>>;
    /// Who follows `author`, by rising number, itself included if it follows itself.
    async fn followers(&self, author: ActorId, after: Option<ActorId>, n: usize) -> Result<Vec<ActorId>>;
    /// For (follower, subject) pairs the key of the oldest living follow record; `None` where there is no edge.
    async fn edges(&self, pairs: &[(ActorId, ActorId)]) -> Result<Vec<Option<RecordKey>>>;
    /// For (follower, subject) pairs whether there is an edge: cheaper than [`View::edges`].
    async fn has_edges(&self, pairs: &[(ActorId, ActorId)]) -> Result<Vec<bool>>;
    /// Accounts that follow more than `limit` others, with their counts; any order, at most `n`.
    async fn high_follows(&self, limit: u32, n: usize) -> Result<Vec<(ActorId, u32)>>;
    /// Tasks from `from` on, in order, at most `n`.
    async fn tasks(&self, from: TaskId, n: usize) -> Result<Vec<(TaskId, Task)>>;
    /// The number that the next task will get.
    async fn next_task(&self) -> Result<TaskId>;
    /// The upstream cursor of the last commit that set one.
    async fn cursor(&self) -> Result<Option<SavedCursor>>;
    /// Whether all follows up to the cursor's place are known: no event that could have told of one was missed. Not as
    /// long as nobody has said so.
    async fn is_whole(&self) -> Result<bool>;
    /// Resyncs under way, at most `n`.
    async fn sync_marks(&self, n: usize) -> Result<Vec<(ActorId, SyncMark)>>;
    /// The resync of an account, if one is under way; none of one never written to.
    async fn sync_mark(&self, actor: ActorId) -> Result<Option<SyncMark>>;
}
