//! A snapshot of all records.

use std::ops::Bound;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use skyweir_store::{AccountInfo, FeedAsk, FeedEntry, RecordRow, Result, SavedCursor, SyncMark, Task, View};
use skyweir_types::{ActorId, Did, Item, ItemId, RecordKey, RecordRef, TaskId};
use tokio::task::yield_now;

use crate::cache::{self, Best};
use crate::db::{Moment, Read};
use crate::error::corrupt;
use crate::hinted;
use crate::store::Inner;
use crate::table::heads::Head;
use crate::table::{
    Table, actors, after_prefix, feeds, follow_blocks, followers, items, meta, record_blocks, syncs, tasks,
};

/// After so many single reads others get their turn.
const STRETCH: usize = 256;
/// The same of entries that are read in a row.
const PAGE: usize = 10_000;

/// What [`crate::EmbeddedStore`] answers to `view`.
pub(crate) struct EmbeddedView {
    inner: Arc<Inner>,
    /// The last commit that was complete before the moment.
    complete: u64,
    /// How many accounts were known before the moment.
    known: u32,
    moment: Moment,
    /// Of the moment, once it is asked for.
    horizon: OnceLock<i64>,
}

impl EmbeddedView {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        let complete = inner.accounts.complete();
        let known = inner.caches.names.known();
        let moment = inner.db.snapshot();
        Self { inner, complete, known, moment, horizon: OnceLock::new() }
    }

    fn head(&self, actor: ActorId) -> Result<Head> {
        let stored = self.moment.get(Table::Heads, &actors::number(actor))?;
        stored.map_or(Ok(Head::default()), |bytes| Head::decode(&bytes))
    }

    fn did(&self, actor: ActorId) -> Result<Did> {
        let caches = &self.inner.caches;
        if let Some(did) = caches.names.did(actor, self.known) {
            return Ok(did);
        }
        caches.of_names.miss();
        let stored = self.moment.get(Table::Actors, &actors::number(actor))?;
        let never = || corrupt(format_args!("account {actor} was never interned"));
        let did = actors::read_did(&stored.ok_or_else(never)?)?;
        caches.names.keep_did(actor, &did);
        Ok(did)
    }

    fn left_before(&self) -> Result<i64> {
        // asked after the moment was taken: what it shows was noted before
        if self.inner.horizon.load(Ordering::Acquire) == i64::MIN {
            return Ok(i64::MIN);
        }
        if let Some(known) = self.horizon.get() {
            return Ok(*known);
        }
        let stored = meta::horizon(&self.moment)?;
        Ok(*self.horizon.get_or_init(|| stored))
    }

    fn item(&self, id: ItemId) -> Result<Option<Item>> {
        let caches = &self.inner.caches;
        if let Some(item) = caches.items.get(&id, self.complete) {
            return Ok(Some(item));
        }
        caches.of_items.miss();
        let Some(bytes) = self.moment.get(Table::Items, &items::key(id))? else { return Ok(None) };
        let item = items::decode(id, &bytes)?;
        caches.items.insert(id, item.clone(), self.complete);
        Ok(Some(item))
    }

    /// How many others an account follows.
    fn follow_count(&self, viewer: ActorId) -> Result<u32> {
        let known = self.inner.accounts.get(&[viewer], self.complete);
        known[0].map_or_else(|| Ok(self.head(viewer)?.follows), |info| Ok(info.follows))
    }

    async fn follow_page(&self, viewer: ActorId, after: Option<ActorId>, n: usize) -> Result<Vec<ActorId>> {
        let caches = &self.inner.caches;
        caches.of_follows.look(1);
        let best = caches.follows.for_page(viewer, n, self.follow_count(viewer)?, self.complete);
        if let Best::Known(all) = best {
            return Ok(cache::page(&all, after, n));
        }
        caches.of_follows.miss();
        match best {
            Best::ReadAll => Ok(cache::page(&self.read_follows(viewer).await?, after, n)),
            _ => follow_blocks::page(&self.moment, viewer, after, n),
        }
    }

    /// Whom an account follows, if it is known or worth knowing for the sake of so many single edges.
    async fn follow_set(&self, viewer: ActorId, edges: usize) -> Result<Option<Arc<[ActorId]>>> {
        let caches = &self.inner.caches;
        caches.of_follows.look(1);
        let best = caches.follows.for_edges(viewer, edges, self.follow_count(viewer)?, self.complete);
        if let Best::Known(all) = best {
            return Ok(Some(all));
        }
        caches.of_follows.miss();
        match best {
            Best::ReadAll => self.read_follows(viewer).await.map(Some),
            _ => Ok(None),
        }
    }

    /// Reads and keeps everyone whom an account follows, yielding now and then.
    async fn read_follows(&self, viewer: ActorId) -> Result<Arc<[ActorId]>> {
        let mut all = Vec::new();
        loop {
            let page = follow_blocks::page(&self.moment, viewer, all.last().copied(), PAGE)?;
            all.extend_from_slice(&page);
            if page.len() < PAGE {
                break;
            }
            yield_now().await;
        }
        let all: Arc<[ActorId]> = all.into();
        self.inner.caches.follows.keep(viewer, Arc::clone(&all), self.complete);
        Ok(all)
    }

    /// Answers one question after the other, yielding now and then.
    async fn each<Q: Sync, A: Send>(
        &self,
        asks: &[Q],
        answer: impl Fn(&Q) -> Result<A> + Send,
    ) -> Result<Vec<A>> {
        let mut answers = Vec::with_capacity(asks.len());
        for stretch in asks.chunks(STRETCH) {
            if !answers.is_empty() {
                yield_now().await;
            }
            for ask in stretch {
                answers.push(answer(ask)?);
            }
        }
        Ok(answers)
    }

    fn feed(&self, ask: &FeedAsk, n: usize, horizon: i64) -> Result<Vec<FeedEntry>> {
        let mut entries = Vec::with_capacity(n.min(1_024));
        if n == 0 || ask.after.sort_at < horizon {
            return Ok(entries);
        }
        let from = feeds::key(ask.author, &ask.after);
        let to = match horizon {
            i64::MIN => after_prefix(&actors::number(ask.author)),
            horizon => Some(feeds::end(ask.author, horizon)),
        };
        self.moment.scan(Table::Feeds, Bound::Excluded(&from), to.as_deref(), &mut |key, value| {
            entries.push(feeds::read(key, value)?.1);
            Ok(entries.len() < n)
        })?;
        Ok(entries)
    }
}

#[async_trait]
impl View for EmbeddedView {
    async fn actor(&self, did: &Did) -> Result<Option<ActorId>> {
        let caches = &self.inner.caches;
        caches.of_names.look(1);
        if let Some(actor) = caches.names.actor(did, self.known) {
            return Ok(Some(actor));
        }
        caches.of_names.miss();
        let Some(bytes) = self.moment.get(Table::Dids, did.as_str().as_bytes())? else { return Ok(None) };
        let actor = actors::read_number(&bytes)?;
        caches.names.keep_actor(actor, did);
        Ok(Some(actor))
    }

    async fn dids(&self, asked: &[ActorId]) -> Result<Vec<Did>> {
        self.inner.caches.of_names.look(asked.len());
        self.each(asked, |actor| self.did(*actor)).await
    }

    async fn actor_count(&self) -> Result<u32> {
        Inner::actor_count(&self.moment)
    }

    async fn accounts(&self, asked: &[ActorId]) -> Result<Vec<AccountInfo>> {
        let known = self.inner.accounts.get(asked, self.complete);
        let pair = |(info, actor): (Option<AccountInfo>, &ActorId)| match info {
            Some(info) => Ok(info),
            None => Ok(self.head(*actor)?.info()),
        };
        known.into_iter().zip(asked).map(pair).collect()
    }

    async fn horizon(&self) -> Result<i64> {
        self.left_before()
    }

    async fn items(&self, ids: &[ItemId]) -> Result<Vec<Option<Item>>> {
        self.inner.caches.of_items.look(ids.len());
        let horizon = self.left_before()?;
        self.each(ids, |id| Ok(self.item(*id)?.filter(|item| item.sort_at >= horizon))).await
    }

    async fn records(&self, keys: &[RecordRef]) -> Result<Vec<Option<RecordRow>>> {
        self.each(keys, |key| record_blocks::record(&self.moment, key)).await
    }

    async fn feeds(&self, asks: &[FeedAsk], n: usize) -> Result<Vec<Vec<FeedEntry>>> {
        let horizon = self.left_before()?;
        self.each(asks, |ask| self.feed(ask, n, horizon)).await
    }

    async fn follows(&self, viewer: ActorId, after: Option<ActorId>, n: usize) -> Result<Vec<ActorId>> {
        self.follow_page(viewer, after, n).await
    }

    async fn followers(&self, author: ActorId, after: Option<ActorId>, n: usize) -> Result<Vec<ActorId>> {
        followers::page(&self.moment, author, self.head(author)?.packed, after, n)
    }

    async fn edges(&self, pairs: &[(ActorId, ActorId)]) -> Result<Vec<Option<RecordKey>>> {
        hinted::edges(&self.moment, pairs).await
    }

    async fn has_edges(&self, pairs: &[(ActorId, ActorId)]) -> Result<Vec<bool>> {
        let mut any = Vec::with_capacity(pairs.len());
        for group in pairs.chunk_by(|one, next| one.0 == next.0) {
            let Some((viewer, _)) = group.first() else { continue };
            match self.follow_set(*viewer, group.len()).await? {
                Some(all) => any.extend(group.iter().map(|(_, author)| cache::holds(&all, *author))),
                None => {
                    let look_up = |(follower, subject): &(ActorId, ActorId)| {
                        follow_blocks::edge(&self.moment, *follower, *subject).map(|edge| edge.is_some())
                    };
                    any.extend(self.each(group, look_up).await?);
                }
            }
        }
        Ok(any)
    }

    async fn high_follows(&self, limit: u32, n: usize) -> Result<Vec<(ActorId, u32)>> {
        let mut found = Vec::new();
        let mut from = Some(0);
        while let Some(start) = from.filter(|_| found.len() < n) {
            let (actors, next) = self.inner.accounts.high_follows(start, limit, self.complete);
            let infos = View::accounts(self, &actors).await?;
            let pairs = actors.into_iter().zip(infos).map(|(actor, info)| (actor, info.follows));
            found.extend(pairs.filter(|(_, follows)| *follows > limit));
            from = next;
            yield_now().await;
        }
        found.truncate(n);
        Ok(found)
    }

    async fn tasks(&self, from: TaskId, n: usize) -> Result<Vec<(TaskId, Task)>> {
        let mut found = Vec::with_capacity(n.min(1_024));
        if n == 0 {
            return Ok(found);
        }
        self.moment.scan(Table::Tasks, Bound::Included(&tasks::key(from)), None, &mut |key, value| {
            found.extend(tasks::decode(key, value)?.into_iter().filter(|(id, _)| *id >= from));
            Ok(found.len() < n)
        })?;
        found.truncate(n);
        Ok(found)
    }

    async fn next_task(&self) -> Result<TaskId> {
        let stored = self.moment.get(Table::Meta, meta::KEY_TASKS)?;
        Ok(TaskId(stored.map(|bytes| meta::read_number(&bytes)).transpose()?.unwrap_or(1)))
    }

    async fn cursor(&self) -> Result<Option<SavedCursor>> {
        let stored = self.moment.get(Table::Meta, meta::KEY_CURSOR)?;
        stored.map(|bytes| meta::decode_cursor(&bytes)).transpose()
    }

    async fn is_whole(&self) -> Result<bool> {
        Ok(self.moment.get(Table::Meta, meta::KEY_WHOLE)?.is_some())
    }

    async fn sync_marks(&self, n: usize) -> Result<Vec<(ActorId, SyncMark)>> {
        let mut found = Vec::new();
        if n == 0 {
            return Ok(found);
        }
        self.moment.scan(Table::Syncs, Bound::Unbounded, None, &mut |key, value| {
            found.push((actors::read_number(key)?, syncs::decode(value)?));
            Ok(found.len() < n)
        })?;
        Ok(found)
    }

    async fn sync_mark(&self, actor: ActorId) -> Result<Option<SyncMark>> {
        let stored = self.moment.get(Table::Syncs, &actors::number(actor))?;
        stored.map(|bytes| syncs::decode(&bytes)).transpose()
    }
}
