//! A transaction: a copy of the tables that takes their place when it is committed.

use std::cmp::Reverse;
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use skyweir_types::{ActorId, Collection, Did, Item, ItemId, Position, RecordKey, RecordRef, TaskId, Tid};
use tokio::sync::OwnedMutexGuard;

use super::Inner;
use super::state::State;
use crate::{AccountRow, NewItem, RecordBody, RecordRow, Result, SavedCursor, Task, Txn};

/// What [`super::MemoryStore`] answers to `begin`.
pub(super) struct MemoryTxn {
    inner: Arc<Inner>,
    /// The next item's number. Held from begin to the end: one transaction at a time.
    next_item: OwnedMutexGuard<u64>,
    state: State,
    /// Appended tasks, apart: the log may be trimmed while the transaction lasts.
    appended: Vec<Task>,
}

impl MemoryTxn {
    pub(super) fn new(inner: Arc<Inner>, next_item: OwnedMutexGuard<u64>) -> Self {
        let state = State::clone(&inner.now());
        Self { inner, next_item, state, appended: Vec::new() }
    }

    /// Keeps the index of tombstones in step with the record under this key.
    fn index_tombstone(&mut self, key: &RecordRef, new: Option<&RecordRow>) {
        let at = |row: Option<&RecordRow>| match row {
            Some(RecordRow { body: RecordBody::Tombstone { at_ms }, .. }) => Some(*at_ms),
            _ => None,
        };
        let (old, new) = (at(self.state.record(key)), at(new));
        if old == new {
            return;
        }
        let index = Arc::make_mut(&mut self.state.tombstones);
        if let Some(at_ms) = old {
            index.remove(&(at_ms, key.clone()));
        }
        if let Some(at_ms) = new {
            index.insert((at_ms, key.clone()));
        }
    }
}

#[async_trait]
impl Txn for MemoryTxn {
    async fn intern(&mut self, did: &Did) -> Result<ActorId> {
        if let Some(actor) = self.state.actors.get(did) {
            return Ok(*actor);
        }
        let actor = ActorId(self.state.dids.len() as u32);
        Arc::make_mut(&mut self.state.dids).push(did.clone());
        Arc::make_mut(&mut self.state.actors).insert(did.clone(), actor);
        Ok(actor)
    }

    async fn did(&mut self, actor: ActorId) -> Result<Did> {
        self.state.did(actor)
    }

    async fn account(&mut self, actor: ActorId) -> Result<AccountRow> {
        Ok(self.state.head(actor).row)
    }

    async fn set_account(&mut self, actor: ActorId, row: AccountRow) -> Result<()> {
        self.state.head_mut(actor).row = row;
        Ok(())
    }

    async fn record(&mut self, key: &RecordRef) -> Result<Option<RecordRow>> {
        Ok(self.state.record(key).cloned())
    }

    async fn is_wiped(&mut self, post: &RecordRef, rev: Tid) -> Result<bool> {
        Ok(self.state.record(post).is_some_and(|row| rev < row.wiped))
    }

    async fn put_record(&mut self, key: &RecordRef, row: RecordRow) -> Result<()> {
        self.index_tombstone(key, Some(&row));
        self.state.records.insert(key.actor, (key.collection, key.rkey.clone()), row);
        Ok(())
    }

    async fn remove_record(&mut self, key: &RecordRef) -> Result<()> {
        self.index_tombstone(key, None);
        self.state.records.remove(key.actor, &(key.collection, key.rkey.clone()));
        Ok(())
    }

    async fn records_of(
        &mut self,
        actor: ActorId,
        after: Option<(Collection, RecordKey)>,
        n: usize,
    ) -> Result<Vec<(RecordRef, RecordRow)>> {
        let rows = self.state.records.after(actor, after.as_ref()).take(n);
        let own = |((collection, rkey), row): (&(Collection, RecordKey), &RecordRow)| {
            (RecordRef { actor, collection: *collection, rkey: rkey.clone() }, row.clone())
        };
        Ok(rows.map(own).collect())
    }

    async fn tombstones_before(&mut self, before_ms: i64, n: usize) -> Result<Vec<RecordRef>> {
        let old = self.state.tombstones.iter().take_while(|(at_ms, _)| *at_ms < before_ms).take(n);
        Ok(old.map(|(_, key)| key.clone()).collect())
    }

    async fn add_item(&mut self, item: NewItem) -> Result<ItemId> {
        let id = ItemId(*self.next_item);
        *self.next_item += 1;
        let NewItem { author, rkey, cid, sort_at, uri_hash, kind } = item;
        self.state.feeds.insert(author, Reverse(Position::new(sort_at, &cid, uri_hash)), id);
        let head = self.state.head_mut(author);
        head.newest = head.newest.max(sort_at);
        let item = Item { id, author, rkey, cid, sort_at, uri_hash, kind };
        Arc::make_mut(&mut self.state.items).insert(id, Arc::new(item));
        Ok(id)
    }

    async fn remove_item(&mut self, id: ItemId) -> Result<()> {
        if let Some(item) = Arc::make_mut(&mut self.state.items).remove(&id) {
            let place = Reverse(item.position());
            // a new version of the record may have taken the very same place
            if self.state.feeds.get(item.author, &place) == Some(&id) {
                self.state.feeds.remove(item.author, &place);
            }
        }
        Ok(())
    }

    async fn item(&mut self, id: ItemId) -> Result<Option<Item>> {
        Ok(self.state.items.get(&id).map(|item| Item::clone(item)))
    }

    async fn items_from(&mut self, from: ItemId, n: usize) -> Result<Vec<Item>> {
        Ok(self.state.items.range(from..).take(n).map(|(_, item)| Item::clone(item)).collect())
    }

    async fn raise_horizon(&mut self, sort_at: i64) -> Result<()> {
        self.state.horizon = self.state.horizon.max(sort_at);
        Ok(())
    }

    async fn link_repost(&mut self, post: &RecordRef, repost: &RecordRef) -> Result<()> {
        let notes = Arc::make_mut(&mut self.state.reposts).entry(post.clone()).or_default();
        notes.insert(repost.clone());
        Ok(())
    }

    async fn unlink_repost(&mut self, post: &RecordRef, repost: &RecordRef) -> Result<()> {
        if let Some(notes) = Arc::make_mut(&mut self.state.reposts).get_mut(post) {
            notes.remove(repost);
        }
        Ok(())
    }

    async fn reposts_of(
        &mut self,
        post: &RecordRef,
        after: Option<&RecordRef>,
        n: usize,
    ) -> Result<Vec<RecordRef>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let notes = self.state.reposts.get(post).into_iter();
        Ok(notes.flat_map(|notes| notes.range((from, Bound::Unbounded))).take(n).cloned().collect())
    }

    async fn add_follow(&mut self, follower: ActorId, subject: ActorId, rkey: &RecordKey) -> Result<bool> {
        let mut rkeys = self.state.follows.get(follower, &subject).cloned().unwrap_or_default();
        if rkeys.contains(rkey) {
            return Ok(false);
        }
        rkeys.push(rkey.clone());
        let is_new = rkeys.len() == 1;
        self.state.follows.insert(follower, subject, rkeys);
        if is_new {
            self.state.followers.insert(subject, follower, ());
            self.state.head_mut(follower).follows += 1;
            self.state.head_mut(subject).followers += 1;
        }
        Ok(is_new)
    }

    async fn remove_follow(&mut self, follower: ActorId, subject: ActorId, rkey: &RecordKey) -> Result<bool> {
        let mut rkeys = self.state.follows.get(follower, &subject).cloned().unwrap_or_default();
        let Some(at) = rkeys.iter().position(|known| known == rkey) else { return Ok(false) };
        rkeys.remove(at);
        if !rkeys.is_empty() {
            self.state.follows.insert(follower, subject, rkeys);
            return Ok(false);
        }
        self.state.follows.remove(follower, &subject);
        self.state.followers.remove(subject, &follower);
        self.state.head_mut(follower).follows -= 1;
        self.state.head_mut(subject).followers -= 1;
        Ok(true)
    }

    async fn append(&mut self, task: Task) -> Result<TaskId> {
        let id = TaskId(self.state.next_task.0 + self.appended.len() as u64);
        self.appended.push(task);
        Ok(id)
    }

    async fn set_cursor(&mut self, cursor: SavedCursor) -> Result<()> {
        self.state.cursor = Some(cursor);
        Ok(())
    }

    async fn set_whole(&mut self, whole: bool) -> Result<()> {
        self.state.whole = whole;
        Ok(())
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        let Self { inner, next_item, state, appended } = *self;
        inner.replace(state, appended);
        drop(next_item);
        Ok(())
    }
}
