//! Storage contracts, the merge, the in-memory reference, fault hooks and the conformance suite.
//!
//! Records are read through a [`View`] (one consistent snapshot) and written through a [`Txn`] (all or nothing,
//! synced when it returns). Timelines are a cache of what a [`View`] defines, kept behind [`Timelines`].

pub mod conformance;

mod complete;
mod delivery;
mod enrol;
mod error;
mod hooks;
mod load;
mod memory;
mod merge;
mod moving;
mod reach;
mod task;
mod tasks;
mod timelines;
mod txn;
mod usefulness;
mod view;

pub use complete::{Complete, Completeness};
pub use delivery::{Deliveries, DeliveryReport};
pub use enrol::{Enrol, EnrolReason};
pub use error::Error;
pub use hooks::{Ask, Fault, Hook, HookedStore, HookedTimelines, Operation};
pub use load::{Load, LoadStep, Notes};
pub use memory::{MemoryStore, MemoryTimelines, Shape};
pub use merge::{Merge, Merged, Sampling};
pub use moving::{Move, MoveError, MoveProgress, Moved, is_move};
pub use reach::{Away, Reach};
pub use task::Task;
pub use tasks::{LogTasks, Reached, Sums, Taken, Tasks};
pub use timelines::{
    Cached, CachedEntry, CachedState, Counts, Delivery, Enrolment, Idle, IdleRule, MemoryUse, RingInfo,
    TimelineReads, Timelines, Viewers,
};
pub use txn::{AccountRow, Ahead, NewItem, RecordBody, RecordRow, SavedCursor, Store, SyncMark, Txn};
pub use usefulness::{LeastUseful, Usefulness, is_visit};
pub use view::{AccountInfo, FeedAsk, FeedEntry, View};

/// Result of a storage operation.
pub type Result<T> = std::result::Result<T, Error>;
