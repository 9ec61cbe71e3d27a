//! The records that the simulated writer reads: posts and tasks in the in-memory store, followers computed.

use std::sync::Arc;

use async_trait::async_trait;
use skyweir_store::{
    AccountInfo, FeedAsk, FeedEntry, MemoryStore, NewItem, RecordRow, Result, SavedCursor, Store, SyncMark,
    Task, Txn, View,
};
use skyweir_types::{ActorId, Cid, Did, Item, ItemId, ItemKind, RecordKey, RecordRef, TaskId, UriHash};
use tokio::sync::watch;
use tokio::time::sleep;

use super::World;
use super::cluster::stretched;
use crate::rng::Rng;

/// Somebody who is followed by so many of the accounts, at least one, evenly spread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Author {
    pub(super) id: ActorId,
    followers: u32,
    accounts: u32,
}

impl Author {
    /// The author with this number, counted from 0.
    pub(crate) fn new(world: &World, number: u32, followers: u32) -> Self {
        let accounts = world.shape.accounts;
        Self { id: ActorId(accounts + number), followers: followers.clamp(1, accounts), accounts }
    }

    pub(super) fn followers(&self) -> u32 {
        self.followers
    }

    /// All accounts are cut into as many parts as there are followers, and one in each follows.
    fn follower(&self, part: u32) -> u32 {
        let begin = |part: u32| u64::from(part) * u64::from(self.accounts) / u64::from(self.followers);
        let (from, to) = (begin(part), begin(part + 1));
        let place = Rng::new(u64::from(self.id.0) << 32 | u64::from(part)).below((to - from) as u32);
        from as u32 + place
    }

    /// Up to `n` followers after this one, by rising number.
    pub(crate) fn followers_after(&self, after: Option<ActorId>, n: usize) -> Vec<ActorId> {
        let next = after.map_or(0, |ActorId(after)| {
            let behind = (u64::from(after) + 1) * u64::from(self.followers);
            let part = (behind.div_ceil(self.accounts.into()) - 1).min(self.followers.into()) as u32;
            if part < self.followers && self.follower(part) > after { part } else { part + 1 }
        });
        let parts = next..self.followers.min(next.saturating_add(u32::try_from(n).unwrap_or(u32::MAX)));
        parts.map(|part| ActorId(self.follower(part))).collect()
    }
}

/// The store.
#[derive(Clone)]
pub(super) struct Network {
    posts: MemoryStore,
    world: Arc<World>,
    authors: Arc<[Author]>,
}

impl Network {
    pub(super) fn new(world: Arc<World>, authors: &[Author]) -> Self {
        Self { posts: MemoryStore::new(), world, authors: authors.into() }
    }

    /// Adds a post, with its task; `before` hears of it before the writer does.
    pub(super) async fn post(&self, author: &Author, random: u64, before: impl FnOnce(ItemId)) -> Result<()> {
        let kind = ItemKind::Post { is_reply: false, is_quote: false };
        let rkey = RecordKey::parse(&format!("r{random}")).expect("letters and digits are a key");
        let (cid, uri_hash) = (Cid::from_digest([random as u8; 32]), UriHash(random));
        let mut txn = self.begin().await?;
        let item = txn.add_item(NewItem { author: author.id, rkey, cid, sort_at: 1, uri_hash, kind }).await?;
        txn.append(Task::FanOut { item }).await?;
        before(item);
        txn.commit().await
    }
}

#[async_trait]
impl Store for Network {
    async fn view(&self) -> Result<Box<dyn View>> {
        let posts = self.posts.view().await?;
        Ok(Box::new(Computed { posts, world: Arc::clone(&self.world), authors: Arc::clone(&self.authors) }))
    }

    async fn begin(&self) -> Result<Box<dyn Txn>> {
        self.posts.begin().await
    }

    fn next_task(&self) -> watch::Receiver<TaskId> {
        self.posts.next_task()
    }

    async fn trim_tasks(&self, kept: TaskId) -> Result<()> {
        self.posts.trim_tasks(kept).await
    }
}

/// Answers what a fan-out asks of accounts and followers; all else is as the store of the posts has it.
struct Computed {
    posts: Box<dyn View>,
    world: Arc<World>,
    authors: Arc<[Author]>,
}

impl Computed {
    fn author(&self, actor: ActorId) -> Option<&Author> {
        self.authors.iter().find(|author| author.id == actor)
    }
}

#[async_trait]
impl View for Computed {
    async fn accounts(&self, actors: &[ActorId]) -> Result<Vec<AccountInfo>> {
        let mut infos = self.posts.accounts(actors).await?;
        for (info, actor) in infos.iter_mut().zip(actors) {
            match self.author(*actor) {
                Some(author) => info.followers = author.followers,
                None => info.follows = self.world.follows(actor.0),
            }
        }
        Ok(infos)
    }

    async fn followers(&self, author: ActorId, after: Option<ActorId>, n: usize) -> Result<Vec<ActorId>> {
        sleep(stretched(self.world.shape.page_read.as_nanos() as u64)).await;
        Ok(self.author(author).map_or_else(Vec::new, |author| author.followers_after(after, n)))
    }

    async fn high_follows(&self, limit: u32, n: usize) -> Result<Vec<(ActorId, u32)>> {
        let over = self.world.over.iter().filter(|(_, follows)| *follows > limit).take(n);
        Ok(over.map(|(account, follows)| (ActorId(*account), *follows)).collect())
    }

    async fn actor_count(&self) -> Result<u32> {
        Ok(self.world.shape.accounts + self.authors.len() as u32)
    }

    async fn actor(&self, did: &Did) -> Result<Option<ActorId>> {
        self.posts.actor(did).await
    }
    async fn dids(&self, actors: &[ActorId]) -> Result<Vec<Did>> {
        self.posts.dids(actors).await
    }
    async fn horizon(&self) -> Result<i64> {
        self.posts.horizon().await
    }
    async fn items(&self, ids: &[ItemId]) -> Result<Vec<Option<Item>>> {
        self.posts.items(ids).await
    }
    async fn records(&self, keys: &[RecordRef]) -> Result<Vec<Option<RecordRow>>> {
        self.posts.records(keys).await
    }
    async fn feeds(&self, asks: &[FeedAsk], n: usize) -> Result<Vec<Vec<FeedEntry>>> {
        self.posts.feeds(asks, n).await
    }
    async fn follows(&self, viewer: ActorId, after: Option<ActorId>, n: usize) -> Result<Vec<ActorId>> {
        self.posts.follows(viewer, after, n).await
    }
    async fn edges(&self, pairs: &[(ActorId, ActorId)]) -> Result<Vec<Option<RecordKey>>> {
        self.posts.edges(pairs).await
    }
    async fn has_edges(&self, pairs: &[(ActorId, ActorId)]) -> Result<Vec<bool>> {
        self.posts.has_edges(pairs).await
    }
    async fn tasks(&self, from: TaskId, n: usize) -> Result<Vec<(TaskId, Task)>> {
        self.posts.tasks(from, n).await
    }
    async fn next_task(&self) -> Result<TaskId> {
        self.posts.next_task().await
    }
    async fn cursor(&self) -> Result<Option<SavedCursor>> {
        self.posts.cursor().await
    }
    async fn is_whole(&self) -> Result<bool> {
        self.posts.is_whole().await
    }
    async fn sync_marks(&self, n: usize) -> Result<Vec<(ActorId, SyncMark)>> {
        self.posts.sync_marks(n).await
    }

    async fn sync_mark(&self, actor: ActorId) -> Result<Option<SyncMark>> {
        self.posts.sync_mark(actor).await
    }
}
