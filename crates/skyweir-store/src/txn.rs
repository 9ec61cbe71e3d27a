//! Writing records: a group of events as one atomic, synced step.

use async_trait::async_trait;
use skyweir_types::{
    AccountStatus, ActorId, Cid, Collection, Did, Item, ItemId, ItemKind, RecordKey, RecordRef, TaskId, Tid,
    UriHash,
};
use tokio::sync::watch;

use crate::{Result, Task, View};

/// What is stored under a record's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordRow {
    /// Rev of the last operation on this record that was applied.
    pub rev: Tid,
    /// Reposts of this post whose rev is below this one lost their items with a former version; zero: none did.
    pub wiped: Tid,
    /// What the record is now.
    pub body: RecordBody,
}

/// What a record is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordBody {
    /// A living post.
    Post {
        /// Its item.
        item: ItemId,
        /// Its CID.
        cid: Cid,
    },
    /// A living repost.
    Repost {
        /// Its item; `None` once the post's deletion or update took it away.
        item: Option<ItemId>,
        /// Its CID.
        cid: Cid,
        /// The reposted post; `None` when the subject is in another collection.
        subject: Option<RecordRef>,
    },
    /// A living follow.
    Follow {
        /// Who is followed.
        subject: ActorId,
    },
    /// Deleted at this stream time in milliseconds; kept a while so that a late create loses.
    Tombstone {
        /// Stream time of the delete, milliseconds since 1970.
        at_ms: i64,
    },
}

/// What is stored of an account beside its DID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AccountRow {
    /// Its state.
    pub status: AccountStatus,
    /// Time of the account event that set it, microseconds since 1970: older ones are replays.
    pub status_us: i64,
    /// What has a rev at or below this one is settled: gone for good with a deletion, or as the whole repository had
    /// it; zero: nothing is.
    pub gone: Tid,
    /// A resync under way.
    pub sync: Option<SyncMark>,
}

/// A resync under way: what still carries an older rev when it ends is swept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncMark {
    /// The repository's new rev.
    pub rev: Tid,
    /// Stream time of the `#sync`, milliseconds since 1970.
    pub since_ms: i64,
}

/// An item to be: the store gives it a number, puts it into its author's feed and lifts the author's newest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewItem {
    /// The originator.
    pub author: ActorId,
    /// Key of the item's own record.
    pub rkey: RecordKey,
    /// Its CID.
    pub cid: Cid,
    /// `min(createdAt, indexedAt)`, milliseconds.
    pub sort_at: i64,
    /// Hash of its record's URI.
    pub uri_hash: UriHash,
    /// Post or repost.
    pub kind: ItemKind,
}

/// Where to resume upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedCursor {
    /// The source that the position belongs to: its URL without query.
    pub source: String,
    /// Sequence number, or microseconds (Jetstream v1), or line number (file), of the last applied frame.
    pub position: u64,
    /// Greatest event time seen, microseconds since 1970: the stream's own clock.
    pub time_us: i64,
}

/// What a transaction is going to ask for: see [`Txn::look_ahead`].
#[derive(Clone, Debug, Default)]
pub struct Ahead {
    /// Accounts that may be interned.
    pub dids: Vec<Did>,
    /// Records that are read or written.
    pub records: Vec<RecordRef>,
    /// (follower, subject) pairs whose edges get or lose a record.
    pub edges: Vec<(ActorId, ActorId)>,
}

/// The records of one service. One transaction at a time; views at any time.
#[async_trait]
pub trait Store: Send + Sync {
    /// Takes a snapshot. A store may refuse (`Unavailable`) what is asked of one that is older than some minutes. It
    /// shows all that was committed before. Only a process that was the indexer, and doesn't know yet that another one
    /// is, may miss what that has committed.
    async fn view(&self) -> Result<Box<dyn View>>;
    /// Begins a transaction, once the one before has ended. Dropped without commit it leaves no trace: numbers of items
    /// stay used up until a restart, those of accounts and tasks were never seen and are given out again.
    async fn begin(&self) -> Result<Box<dyn Txn>>;
    /// Waits as long as the log holds so many tasks that no more may come; who appends some asks before it begins.
    async fn room(&self) {}
    /// Watches the number that the next task will get: what is below is synced.
    fn next_task(&self) -> watch::Receiver<TaskId>;
    /// Forgets tasks below `kept`.
    async fn trim_tasks(&self, kept: TaskId) -> Result<()>;
}

/// A transaction. Reads see its own writes.
#[async_trait]
pub trait Txn: Send {
    /// Tells what will be asked for: a store on servers reads it side by side now, and not one by one then. What isn't
    /// told is read all the same, and to tell more than is used does no harm.
    async fn look_ahead(&mut self, _ahead: Ahead) -> Result<()> {
        Ok(())
    }
    /// The number of an account, a new one if need be. One DID, one number, for ever.
    async fn intern(&mut self, did: &Did) -> Result<ActorId>;
    /// The DID of an account.
    async fn did(&mut self, actor: ActorId) -> Result<Did>;
    /// Reads an account's row; the default for one never written.
    async fn account(&mut self, actor: ActorId) -> Result<AccountRow>;
    /// Writes an account's row.
    async fn set_account(&mut self, actor: ActorId, row: AccountRow) -> Result<()>;
    /// Reads a record.
    async fn record(&mut self, key: &RecordRef) -> Result<Option<RecordRow>>;
    /// Whether reposts with this rev lost their items with a former version of a post: its `wiped` is above it.
    async fn is_wiped(&mut self, post: &RecordRef, rev: Tid) -> Result<bool>;
    /// Writes a record. Nothing else follows from it: items, edges and reposts have calls of their own.
    async fn put_record(&mut self, key: &RecordRef, row: RecordRow) -> Result<()>;
    /// Forgets a record or tombstone.
    async fn remove_record(&mut self, key: &RecordRef) -> Result<()>;
    /// An account's records and tombstones by (collection, key) in a fixed order, after `after`, at most `n`.
    async fn records_of(
        &mut self,
        actor: ActorId,
        after: Option<(Collection, RecordKey)>,
        n: usize,
    ) -> Result<Vec<(RecordRef, RecordRow)>>;
    /// Tombstones whose `at_ms` is below `before_ms`, oldest first, at most `n`.
    async fn tombstones_before(&mut self, before_ms: i64, n: usize) -> Result<Vec<RecordRef>>;
    /// Adds an item, with its feed entry.
    async fn add_item(&mut self, item: NewItem) -> Result<ItemId>;
    /// Removes an item with its feed entry; nothing if it is gone already.
    async fn remove_item(&mut self, id: ItemId) -> Result<()>;
    /// Reads an item, also one that has left and isn't removed yet.
    async fn item(&mut self, id: ItemId) -> Result<Option<Item>>;
    /// Items by rising number from `from` on, at most `n`, also those that have left and aren't removed yet.
    async fn items_from(&mut self, from: ItemId, n: usize) -> Result<Vec<Item>>;
    /// Raises the horizon to at least this `sortAt`, milliseconds, for all views from the commit on. It never falls.
    async fn raise_horizon(&mut self, sort_at: i64) -> Result<()>;
    /// Notes that `repost` (of the reposts' collection) points at `post` (of the posts').
    async fn link_repost(&mut self, post: &RecordRef, repost: &RecordRef) -> Result<()>;
    /// Takes that note away.
    async fn unlink_repost(&mut self, post: &RecordRef, repost: &RecordRef) -> Result<()>;
    /// The reposts noted for `post`, in a fixed order after `after`, at most `n`.
    async fn reposts_of(
        &mut self,
        post: &RecordRef,
        after: Option<&RecordRef>,
        n: usize,
    ) -> Result<Vec<RecordRef>>;
    /// Adds a follow record to an edge. Returns whether the edge is new. Adding one twice changes nothing. The record
    /// itself is put before the transaction is committed: a store may keep no more of it in the edge than finds it.
    async fn add_follow(&mut self, follower: ActorId, subject: ActorId, rkey: &RecordKey) -> Result<bool>;
    /// Takes a follow record from an edge, before the record itself is written or removed. Returns whether the edge
    /// is gone with it.
    async fn remove_follow(&mut self, follower: ActorId, subject: ActorId, rkey: &RecordKey) -> Result<bool>;
    /// Appends a task; it reaches the writer after the commit.
    async fn append(&mut self, task: Task) -> Result<TaskId>;
    /// Sets the upstream cursor.
    async fn set_cursor(&mut self, cursor: SavedCursor) -> Result<()>;
    /// Says whether the store is whole, see [`View::is_whole`].
    async fn set_whole(&mut self, whole: bool) -> Result<()>;
    /// Makes everything durable in one step, then visible, then announces the tasks.
    async fn commit(self: Box<Self>) -> Result<()>;
}
