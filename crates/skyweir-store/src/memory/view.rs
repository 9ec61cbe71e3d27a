//! A snapshot: the tables as they were.

use std::cmp::Reverse;
use std::sync::Arc;

use async_trait::async_trait;
use skyweir_types::{ActorId, Did, Item, ItemId, RecordKey, RecordRef, TaskId};

use super::state::State;
use crate::{AccountInfo, FeedAsk, FeedEntry, RecordRow, Result, SavedCursor, SyncMark, Task, View};

/// What [`super::MemoryStore`] answers to `view`.
pub(super) struct MemoryView(pub(super) Arc<State>);

#[async_trait]
impl View for MemoryView {
    async fn actor(&self, did: &Did) -> Result<Option<ActorId>> {
        Ok(self.0.actors.get(did).copied())
    }

    async fn dids(&self, actors: &[ActorId]) -> Result<Vec<Did>> {
        actors.iter().map(|actor| self.0.did(*actor)).collect()
    }

    async fn actor_count(&self) -> Result<u32> {
        Ok(self.0.dids.len() as u32)
    }

    async fn accounts(&self, actors: &[ActorId]) -> Result<Vec<AccountInfo>> {
        Ok(actors.iter().map(|actor| self.0.head(*actor).info()).collect())
    }

    async fn horizon(&self) -> Result<i64> {
        Ok(self.0.horizon)
    }

    async fn items(&self, ids: &[ItemId]) -> Result<Vec<Option<Item>>> {
        let shown = |id: &ItemId| self.0.items.get(id).filter(|item| item.sort_at >= self.0.horizon);
        Ok(ids.iter().map(|id| shown(id).map(|item| Item::clone(item))).collect())
    }

    async fn records(&self, keys: &[RecordRef]) -> Result<Vec<Option<RecordRow>>> {
        Ok(keys.iter().map(|key| self.0.record(key).cloned()).collect())
    }

    async fn feeds(&self, asks: &[FeedAsk], n: usize) -> Result<Vec<Vec<FeedEntry>>> {
        let feed = |ask: &FeedAsk| {
            let after = Reverse(ask.after);
            let entries = self.0.feeds.after(ask.author, Some(&after));
            let shown = entries.take_while(|(place, _)| place.0.sort_at >= self.0.horizon);
            shown.take(n).map(|(place, item)| FeedEntry { position: place.0, item: *item }).collect()
        };
        Ok(asks.iter().map(feed).collect())
    }

    async fn follows(&self, viewer: ActorId, after: Option<ActorId>, n: usize) -> Result<Vec<ActorId>> {
        Ok(self.0.follows.after(viewer, after.as_ref()).take(n).map(|(subject, _)| *subject).collect())
    }

    async fn followers(&self, author: ActorId, after: Option<ActorId>, n: usize) -> Result<Vec<ActorId>> {
        Ok(self.0.followers.after(author, after.as_ref()).take(n).map(|(follower, ())| *follower).collect())
    }

    async fn edges(&self, pairs: &[(ActorId, ActorId)]) -> Result<Vec<Option<RecordKey>>> {
        let oldest = |(follower, subject): &(ActorId, ActorId)| {
            self.0.follows.get(*follower, subject).and_then(|rkeys| rkeys.first().cloned())
        };
        Ok(pairs.iter().map(oldest).collect())
    }

    async fn has_edges(&self, pairs: &[(ActorId, ActorId)]) -> Result<Vec<bool>> {
        Ok(pairs.iter().map(|(follower, subject)| self.0.follows.get(*follower, subject).is_some()).collect())
    }

    async fn high_follows(&self, limit: u32, n: usize) -> Result<Vec<(ActorId, u32)>> {
        let counts = self.0.heads.iter().map(|(actor, head)| (*actor, head.follows));
        Ok(counts.filter(|(_, follows)| *follows > limit).take(n).collect())
    }

    async fn tasks(&self, from: TaskId, n: usize) -> Result<Vec<(TaskId, Task)>> {
        Ok(self.0.tasks.range(from..).take(n).map(|(id, task)| (*id, *task)).collect())
    }

    async fn next_task(&self) -> Result<TaskId> {
        Ok(self.0.next_task)
    }

    async fn cursor(&self) -> Result<Option<SavedCursor>> {
        Ok(self.0.cursor.clone())
    }

    async fn is_whole(&self) -> Result<bool> {
        Ok(self.0.whole)
    }

    async fn sync_marks(&self, n: usize) -> Result<Vec<(ActorId, SyncMark)>> {
        let marks = self.0.heads.iter().filter_map(|(actor, head)| Some((*actor, head.row.sync?)));
        Ok(marks.take(n).collect())
    }

    async fn sync_mark(&self, actor: ActorId) -> Result<Option<SyncMark>> {
        Ok(self.0.heads.get(&actor).and_then(|head| head.row.sync))
    }
}
