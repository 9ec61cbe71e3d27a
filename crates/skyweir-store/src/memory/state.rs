//! All records at one moment. A clone shares every table; whoever writes copies what it touches.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use skyweir_types::{ActorId, Collection, Did, Item, ItemId, Position, RecordKey, RecordRef, TaskId};

use super::nested::Nested;
use crate::{AccountInfo, AccountRow, Error, RecordRow, Result, SavedCursor, Task};

/// What changes about an account.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) row: AccountRow,
    pub(super) newest: i64,
    pub(super) follows: u32,
    pub(super) followers: u32,
}

impl Default for Head {
    fn default() -> Self {
        Self { row: AccountRow::default(), newest: i64::MIN, follows: 0, followers: 0 }
    }
}

impl Head {
    pub(super) fn info(&self) -> AccountInfo {
        AccountInfo {
            status: self.row.status,
            newest: self.newest,
            follows: self.follows,
            followers: self.followers,
        }
    }
}

/// The tables.
#[derive(Clone, Debug)]
pub(super) struct State {
    /// Index: account number.
    pub(super) dids: Arc<Vec<Did>>,
    pub(super) actors: Arc<BTreeMap<Did, ActorId>>,
    pub(super) heads: Arc<BTreeMap<ActorId, Head>>,
    pub(super) records: Nested<(Collection, RecordKey), RecordRow>,
    pub(super) tombstones: Arc<BTreeSet<(i64, RecordRef)>>,
    pub(super) items: Arc<BTreeMap<ItemId, Arc<Item>>>,
    /// Items before this `sortAt` don't show.
    pub(super) horizon: i64,
    /// Newest first.
    pub(super) feeds: Nested<Reverse<Position>, ItemId>,
    pub(super) reposts: Arc<BTreeMap<RecordRef, BTreeSet<RecordRef>>>,
    /// By follower and subject: keys of the edge's living records, oldest arrival first, never none.
    pub(super) follows: Nested<ActorId, Vec<RecordKey>>,
    /// By subject and follower.
    pub(super) followers: Nested<ActorId, ()>,
    pub(super) tasks: Arc<BTreeMap<TaskId, Task>>,
    pub(super) next_task: TaskId,
    pub(super) cursor: Option<SavedCursor>,
    pub(super) whole: bool,
}

impl Default for State {
    fn default() -> Self {
        Self {
            dids: Arc::default(),
            actors: Arc::default(),
            heads: Arc::default(),
            records: Nested::default(),
            tombstones: Arc::default(),
            items: Arc::default(),
            horizon: i64::MIN,
            feeds: Nested::default(),
            reposts: Arc::default(),
            follows: Nested::default(),
            followers: Nested::default(),
            tasks: Arc::default(),
            next_task: TaskId(1),
            cursor: None,
            whole: false,
        }
    }
}

impl State {
    pub(super) fn head(&self, actor: ActorId) -> Head {
        self.heads.get(&actor).copied().unwrap_or_default()
    }

    pub(super) fn head_mut(&mut self, actor: ActorId) -> &mut Head {
        Arc::make_mut(&mut self.heads).entry(actor).or_default()
    }

    pub(super) fn did(&self, actor: ActorId) -> Result<Did> {
        let known = self.dids.get(actor.0 as usize).cloned();
        known.ok_or_else(|| Error::Corrupt(format!("account {actor} was never interned")))
    }

    pub(super) fn record(&self, key: &RecordRef) -> Option<&RecordRow> {
        self.records.get(key.actor, &(key.collection, key.rkey.clone()))
    }

    pub(super) fn has_edge(&self, follower: ActorId, subject: ActorId) -> bool {
        self.follows.get(follower, &subject).is_some()
    }
}
