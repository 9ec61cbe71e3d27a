//! A store with a hook around snapshots and what they are asked, transactions' beginnings and commits.

use std::sync::Arc;

use async_trait::async_trait;
use skyweir_types::{ActorId, Collection, Did, Item, ItemId, RecordKey, RecordRef, TaskId, Tid};
use tokio::sync::watch;

use super::{Ask, Hook, Operation};
use crate::{
    AccountInfo, AccountRow, Ahead, FeedAsk, FeedEntry, NewItem, RecordRow, Result, SavedCursor, Store,
    SyncMark, Task, Txn, View,
};

/// A store that asks a hook.
#[derive(Clone)]
pub struct HookedStore {
    inner: Arc<dyn Store>,
    hook: Arc<dyn Hook>,
}

impl HookedStore {
    /// Wraps this store.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, hook: Arc<dyn Hook>) -> Self {
        Self { inner, hook }
    }
}

#[async_trait]
impl Store for HookedStore {
    async fn view(&self) -> Result<Box<dyn View>> {
        self.hook.before(&Operation::View).await?;
        let inner = self.inner.view().await?;
        self.hook.after(&Operation::View).await?;
        Ok(Box::new(HookedView { inner, hook: Arc::clone(&self.hook) }))
    }

    async fn begin(&self) -> Result<Box<dyn Txn>> {
        self.hook.before(&Operation::Begin).await?;
        let inner = self.inner.begin().await?;
        self.hook.after(&Operation::Begin).await?;
        Ok(Box::new(HookedTxn { inner, hook: Arc::clone(&self.hook) }))
    }

    async fn room(&self) {
        self.inner.room().await;
    }

    fn next_task(&self) -> watch::Receiver<TaskId> {
        self.inner.next_task()
    }

    async fn trim_tasks(&self, kept: TaskId) -> Result<()> {
        self.hook.before(&Operation::TrimTasks(kept)).await?;
        self.inner.trim_tasks(kept).await?;
        self.hook.after(&Operation::TrimTasks(kept)).await
    }
}

struct HookedView {
    inner: Box<dyn View>,
    hook: Arc<dyn Hook>,
}

impl HookedView {
    async fn ask<T: Send>(&self, ask: Ask, answer: impl Future<Output = Result<T>> + Send) -> Result<T> {
        self.hook.before(&Operation::Ask(ask)).await?;
        let answer = answer.await?;
        self.hook.after(&Operation::Ask(ask)).await?;
        Ok(answer)
    }
}

#[async_trait]
impl View for HookedView {
    async fn actor(&self, did: &Did) -> Result<Option<ActorId>> {
        self.ask(Ask::Actor, self.inner.actor(did)).await
    }

    async fn dids(&self, actors: &[ActorId]) -> Result<Vec<Did>> {
        self.ask(Ask::Dids, self.inner.dids(actors)).await
    }

    async fn actor_count(&self) -> Result<u32> {
        self.ask(Ask::ActorCount, self.inner.actor_count()).await
    }

    async fn accounts(&self, actors: &[ActorId]) -> Result<Vec<AccountInfo>> {
        self.ask(Ask::Accounts, self.inner.accounts(actors)).await
    }

    async fn horizon(&self) -> Result<i64> {
        self.ask(Ask::Horizon, self.inner.horizon()).await
    }

    async fn items(&self, ids: &[ItemId]) -> Result<Vec<Option<Item>>> {
        self.ask(Ask::Items, self.inner.items(ids)).await
    }

    async fn records(&self, keys: &[RecordRef]) -> Result<Vec<Option<RecordRow>>> {
        self.ask(Ask::Records, self.inner.records(keys)).await
    }

    async fn feeds(&self, asks: &[FeedAsk], n: usize) -> Result<Vec<Vec<FeedEntry>>> {
        self.ask(Ask::Feeds, self.inner.feeds(asks, n)).await
    }

    async fn follows(&self, viewer: ActorId, after: Option<ActorId>, n: usize) -> Result<Vec<ActorId>> {
        self.ask(Ask::Follows, self.inner.follows(viewer, after, n)).await
    }

    async fn followers(&self, author: ActorId, after: Option<ActorId>, n: usize) -> Result<Vec<ActorId>> {
        self.ask(Ask::Followers, self.inner.followers(author, after, n)).await
    }

    async fn edges(&self, pairs: &[(ActorId, ActorId)]) -> Result<Vec<Option<RecordKey>>> {
        self.ask(Ask::Edges, self.inner.edges(pairs)).await
    }

    async fn has_edges(&self, pairs: &[(ActorId, ActorId)]) -> Result<Vec<bool>> {
        self.ask(Ask::HasEdges, self.inner.has_edges(pairs)).await
    }

    async fn high_follows(&self, limit: u32, n: usize) -> Result<Vec<(ActorId, u32)>> {
        self.ask(Ask::HighFollows, self.inner.high_follows(limit, n)).await
    }

    async fn tasks(&self, from: TaskId, n: usize) -> Result<Vec<(TaskId, Task)>> {
        self.ask(Ask::Tasks, self.inner.tasks(from, n)).await
    }

    async fn next_task(&self) -> Result<TaskId> {
        self.ask(Ask::NextTask, self.inner.next_task()).await
    }

    async fn cursor(&self) -> Result<Option<SavedCursor>> {
        self.ask(Ask::Cursor, self.inner.cursor()).await
    }

    async fn is_whole(&self) -> Result<bool> {
        self.ask(Ask::IsWhole, self.inner.is_whole()).await
    }

    async fn sync_marks(&self, n: usize) -> Result<Vec<(ActorId, SyncMark)>> {
        self.ask(Ask::SyncMarks, self.inner.sync_marks(n)).await
    }

    async fn sync_mark(&self, actor: ActorId) -> Result<Option<SyncMark>> {
        self.ask(Ask::SyncMark, self.inner.sync_mark(actor)).await
    }
}

struct HookedTxn {
    inner: Box<dyn Txn>,
    hook: Arc<dyn Hook>,
}

#[async_trait]
impl Txn for HookedTxn {
    async fn look_ahead(&mut self, ahead: Ahead) -> Result<()> {
        self.inner.look_ahead(ahead).await
    }

    async fn intern(&mut self, did: &Did) -> Result<ActorId> {
        self.inner.intern(did).await
    }

    async fn did(&mut self, actor: ActorId) -> Result<Did> {
        self.inner.did(actor).await
    }

    async fn account(&mut self, actor: ActorId) -> Result<AccountRow> {
        self.inner.account(actor).await
    }

    async fn set_account(&mut self, actor: ActorId, row: AccountRow) -> Result<()> {
        self.inner.set_account(actor, row).await
    }

    async fn record(&mut self, key: &RecordRef) -> Result<Option<RecordRow>> {
        self.inner.record(key).await
    }

    async fn is_wiped(&mut self, post: &RecordRef, rev: Tid) -> Result<bool> {
        self.inner.is_wiped(post, rev).await
    }

    async fn put_record(&mut self, key: &RecordRef, row: RecordRow) -> Result<()> {
        self.inner.put_record(key, row).await
    }

    async fn remove_record(&mut self, key: &RecordRef) -> Result<()> {
        self.inner.remove_record(key).await
    }

    async fn records_of(
        &mut self,
        actor: ActorId,
        after: Option<(Collection, RecordKey)>,
        n: usize,
    ) -> Result<Vec<(RecordRef, RecordRow)>> {
        self.inner.records_of(actor, after, n).await
    }

    async fn tombstones_before(&mut self, before_ms: i64, n: usize) -> Result<Vec<RecordRef>> {
        self.inner.tombstones_before(before_ms, n).await
    }

    async fn add_item(&mut self, item: NewItem) -> Result<ItemId> {
        self.inner.add_item(item).await
    }

    async fn remove_item(&mut self, id: ItemId) -> Result<()> {
        self.inner.remove_item(id).await
    }

    async fn item(&mut self, id: ItemId) -> Result<Option<Item>> {
        self.inner.item(id).await
    }

    async fn items_from(&mut self, from: ItemId, n: usize) -> Result<Vec<Item>> {
        self.inner.items_from(from, n).await
    }

    async fn raise_horizon(&mut self, sort_at: i64) -> Result<()> {
        self.inner.raise_horizon(sort_at).await
    }

    async fn link_repost(&mut self, post: &RecordRef, repost: &RecordRef) -> Result<()> {
        self.inner.link_repost(post, repost).await
    }

    async fn unlink_repost(&mut self, post: &RecordRef, repost: &RecordRef) -> Result<()> {
        self.inner.unlink_repost(post, repost).await
    }

    async fn reposts_of(
        &mut self,
        post: &RecordRef,
        after: Option<&RecordRef>,
        n: usize,
    ) -> Result<Vec<RecordRef>> {
        self.inner.reposts_of(post, after, n).await
    }

    async fn add_follow(&mut self, follower: ActorId, subject: ActorId, rkey: &RecordKey) -> Result<bool> {
        self.inner.add_follow(follower, subject, rkey).await
    }

    async fn remove_follow(&mut self, follower: ActorId, subject: ActorId, rkey: &RecordKey) -> Result<bool> {
        self.inner.remove_follow(follower, subject, rkey).await
    }

    async fn append(&mut self, task: Task) -> Result<TaskId> {
        self.inner.append(task).await
    }

    async fn set_cursor(&mut self, cursor: SavedCursor) -> Result<()> {
        self.inner.set_cursor(cursor).await
    }

    async fn set_whole(&mut self, whole: bool) -> Result<()> {
        self.inner.set_whole(whole).await
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        self.hook.before(&Operation::Commit).await?;
        self.inner.commit().await?;
        self.hook.after(&Operation::Commit).await
    }
}
