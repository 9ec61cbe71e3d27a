//! Fault hooks: decorators that are stores and timelines themselves and ask a [`Hook`] around each operation.

mod fault;
mod store;
mod timelines;

use async_trait::async_trait;
use skyweir_types::{ActorId, TaskId};

use crate::{Delivery, Result};

pub use fault::Fault;
pub use store::HookedStore;
pub use timelines::HookedTimelines;

/// An operation that is about to be done or was just done. Calls that can't fail have none, and inside a
/// transaction only its commit has one.
#[derive(Clone, Copy, Debug)]
pub enum Operation<'a> {
    /// A snapshot is taken.
    View,
    /// A snapshot is asked.
    Ask(Ask),
    /// A transaction begins.
    Begin,
    /// A transaction commits.
    Commit,
    /// Tasks below this one are forgotten.
    TrimTasks(TaskId),
    /// What others have changed of timelines is learnt.
    Refresh,
    /// References are written to a shard.
    Apply {
        /// The shard.
        shard: u32,
        /// What is written.
        deliveries: &'a [Delivery],
    },
    /// An author's items are written to a timeline.
    Fill(ActorId),
    /// An author's items are removed from a timeline.
    Purge {
        /// Whose timeline.
        viewer: ActorId,
        /// Whose items.
        author: ActorId,
    },
    /// References before a `sortAt` are dropped.
    DropBefore(i64),
    /// A timeline is read.
    Read(ActorId),
    /// A timeline begins a generation.
    Enrol(ActorId),
    /// A generation is published.
    Publish(ActorId),
    /// A timeline leaves.
    Leave(ActorId),
    /// A timeline's rate is lowered.
    LowerRate(ActorId),
    /// Idle timelines are looked for.
    Idle,
    /// The least useful timelines are looked for.
    LeastUseful,
    /// A checkpoint is written.
    Checkpoint(TaskId),
}

/// What a snapshot is asked: the calls of [`crate::View`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the call of that name")]
pub enum Ask {
    Actor,
    Dids,
    ActorCount,
    Accounts,
    Horizon,
    Items,
    Records,
    Feeds,
    Follows,
    Followers,
    Edges,
    HasEdges,
    HighFollows,
    Tasks,
    NextTask,
    Cursor,
    IsWhole,
    SyncMarks,
    SyncMark,
}

/// Is asked around each operation. It may wait, and what it answers instead of `Ok` is the caller's answer.
#[async_trait]
pub trait Hook: Send + Sync {
    /// Before the operation. After an error it isn't done.
    async fn before(&self, operation: &Operation<'_>) -> Result<()>;
    /// After the operation succeeded: an error hides that, as a lost answer does.
    async fn after(&self, operation: &Operation<'_>) -> Result<()>;
}
