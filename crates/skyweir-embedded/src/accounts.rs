//! What merges ask of thousands of accounts at a time, in memory: 24 bytes an account.
//!
//! Each slot carries the number of the commit that changed it last, set *before* that commit. A view knows the last
//! commit that was complete when it was taken: slots changed later are read from its snapshot instead.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use skyweir_store::AccountInfo;
use skyweir_types::{AccountStatus, ActorId};

use crate::table::heads::Head;

/// No view is as late as this.
const NEVER: u64 = u64::MAX >> 2;
/// How many slots are looked at under one lock.
const STRIDE: usize = 65_536;

#[derive(Clone, Copy)]
struct Slot {
    newest: i64,
    follows: u32,
    followers: u32,
    /// Commit number in the high 62 bits, status in the low 2.
    stamp: u64,
}

impl Slot {
    fn new(info: &AccountInfo, commit: u64) -> Self {
        let status = match info.status {
            AccountStatus::Active => 0,
            AccountStatus::Hidden => 1,
            AccountStatus::Deleted => 2,
        };
        Self {
            newest: info.newest,
            follows: info.follows,
            followers: info.followers,
            stamp: commit << 2 | status,
        }
    }

    fn commit(&self) -> u64 {
        self.stamp >> 2
    }

    fn info(&self) -> AccountInfo {
        let status = match self.stamp & 3 {
            0 => AccountStatus::Active,
            1 => AccountStatus::Hidden,
            _ => AccountStatus::Deleted,
        };
        AccountInfo { status, newest: self.newest, follows: self.follows, followers: self.followers }
    }
}

/// All accounts.
#[derive(Default)]
pub(crate) struct Accounts {
    slots: RwLock<Vec<Slot>>,
    complete: AtomicU64,
}

impl Accounts {
    fn read(&self) -> RwLockReadGuard<'_, Vec<Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Vec<Slot>> {
        self.slots.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last complete commit. Taken *before* a view's snapshot.
    pub(crate) fn complete(&self) -> u64 {
        self.complete.load(Ordering::Acquire)
    }

    /// Sets what the next commit will make true, before it is made. Returns the commit's number.
    pub(crate) fn prepare<'a>(&self, changes: impl Iterator<Item = (ActorId, &'a Head)>) -> u64 {
        let commit = self.complete() + 1;
        self.set(changes, commit);
        commit
    }

    /// The commit is visible.
    pub(crate) fn publish(&self, commit: u64) {
        self.complete.store(commit, Ordering::Release);
    }

    /// The commit failed: nobody trusts these slots again.
    pub(crate) fn give_up<'a>(&self, changes: impl Iterator<Item = (ActorId, &'a Head)>) {
        self.set(changes, NEVER);
    }

    fn set<'a>(&self, changes: impl Iterator<Item = (ActorId, &'a Head)>, commit: u64) {
        let mut slots = self.write();
        let blank = Slot::new(&Head::default().info(), 0);
        for (actor, head) in changes {
            let at = actor.0 as usize;
            if slots.len() <= at {
                slots.resize(at + 1, blank);
            }
            slots[at] = Slot::new(&head.info(), commit);
        }
    }

    /// Fills what is known at open.
    pub(crate) fn load(&self, actor: ActorId, head: &Head) {
        self.set(std::iter::once((actor, head)), 0);
    }

    /// What is known as of a view; `None` where the view's snapshot has to be asked.
    pub(crate) fn get(&self, actors: &[ActorId], view: u64) -> Vec<Option<AccountInfo>> {
        let slots = self.read();
        let info = |actor: &ActorId| match slots.get(actor.0 as usize) {
            None => Some(Head::default().info()),
            Some(slot) => (slot.commit() <= view).then(|| slot.info()),
        };
        actors.iter().map(info).collect()
    }

    /// The accounts of one stretch from `from` on that may follow more than `limit` others as of a view, and where
    /// the next stretch begins.
    pub(crate) fn high_follows(&self, from: u32, limit: u32, view: u64) -> (Vec<ActorId>, Option<u32>) {
        let slots = self.read();
        let start = (from as usize).min(slots.len());
        let end = (start + STRIDE).min(slots.len());
        let may = |slot: &Slot| slot.follows > limit || slot.commit() > view;
        let found = (start..end).filter(|at| may(&slots[*at])).map(|at| ActorId(at as u32)).collect();
        (found, (end < slots.len()).then_some(end as u32))
    }
}
