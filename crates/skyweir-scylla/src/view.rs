//! A snapshot: what is there after one transaction, as the rows say.

mod edges;
mod marked;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use skyweir_store::{
    AccountInfo, Error, FeedAsk, FeedEntry, RecordRow, Result, SavedCursor, SyncMark, Task, View,
};
use skyweir_types::{ActorId, Did, Item, ItemId, RecordKey, RecordRef, TaskId};
use tokio::time::Instant;

use crate::base::Base;
use crate::error::corrupt;
use crate::moment::Moment;
use crate::table::feeds::Below;
use crate::table::{Life, items};

/// How many rows one request asks for at most: answers stay below a megabyte or so.
const PAGE_MOST: usize = 5_000;
/// How many rows of a partition one request names, as many as ScyllaDB lets one.
const KEYS_MOST: usize = 100;
/// How many rows more than asked for are read of a feed: some of them may be dead.
const SPARE: usize = 4;

/// What [`crate::ScyllaStore`] answers to `view`.
pub(crate) struct ScyllaView {
    base: Arc<Base>,
    moment: Arc<Moment>,
    /// Tasks below this one were cut.
    kept: TaskId,
    /// From then on, rows that it needs may have passed.
    until: Instant,
}

impl ScyllaView {
    pub(crate) fn new(base: Arc<Base>, moment: Arc<Moment>, until: Instant) -> Self {
        let kept = base.log.kept();
        Self { base, moment, kept, until }
    }

    /// Whether a row is there at this view's moment.
    fn shows(&self, life: Life) -> bool {
        life.at(self.moment.seq)
    }

    /// An answer that is right: given before the rows that it is made of may have passed.
    async fn timely<A>(&self, answer: impl Future<Output = Result<A>> + Send) -> Result<A> {
        // one that is too old anyway needn't ask
        in_time(self.until, self.base.ttl)?;
        let answer = answer.await?;
        in_time(self.until, self.base.ttl)?;
        Ok(answer)
    }

    async fn feed(&self, ask: &FeedAsk, n: usize) -> Result<Vec<FeedEntry>> {
        let (mut found, mut below) = (Vec::new(), Below::Place(ask.after));
        while found.len() < n {
            let rows = (n - found.len()).saturating_add(SPARE).min(PAGE_MOST);
            let page = self.base.tables.feeds.below(&self.base.db, ask.author, below, rows as i32).await?;
            let is_last = page.len() < rows;
            if let Some(last) = page.last() {
                below = Below::Entry(last.entry);
            }
            for row in page {
                if row.entry.position.sort_at < self.moment.horizon {
                    return Ok(found);
                }
                if self.shows(row.life) && found.len() < n {
                    found.push(row.entry);
                }
            }
            if is_last {
                break;
            }
        }
        Ok(found)
    }

    async fn items_by_number(&self, ids: &[ItemId]) -> Result<HashMap<ItemId, Item>> {
        let mut buckets: HashMap<i64, Vec<ItemId>> = HashMap::new();
        for id in ids {
            buckets.entry(items::bucket(*id)).or_default().push(*id);
        }
        let asks: Vec<(i64, &[ItemId])> = buckets
            .iter()
            .flat_map(|(bucket, ids)| ids.chunks(KEYS_MOST).map(|some| (*bucket, some)))
            .collect();
        let Base { db, tables, .. } = &*self.base;
        let rows = db.each(asks.len(), |at| tables.items.of(db, asks[at].0, asks[at].1)).await?;
        let shown = |row: &items::Row| self.shows(row.life) && row.item.sort_at >= self.moment.horizon;
        Ok(rows.into_iter().flatten().filter(shown).map(|row| (row.item.id, row.item)).collect())
    }
}

/// # Errors
/// `Unavailable` once a view's time is over.
fn in_time(until: Instant, ttl: i32) -> Result<()> {
    if Instant::now() < until {
        return Ok(());
    }
    let ttl = Duration::from_secs(ttl.unsigned_abs().into());
    Err(Error::Unavailable(format!(
        "this view is older than rows of before are kept, {} s; take a new one, or raise scylla.superseded_ttl_s",
        ttl.as_secs()
    )))
}

#[async_trait]
impl View for ScyllaView {
    async fn actor(&self, did: &Did) -> Result<Option<ActorId>> {
        let actor = self.base.tables.dids.actor(&self.base.db, did).await?;
        Ok(actor.filter(|actor| actor.0 < self.moment.actors))
    }

    async fn dids(&self, actors: &[ActorId]) -> Result<Vec<Did>> {
        let Base { db, tables, .. } = &*self.base;
        if let Some(actor) = actors.iter().find(|actor| actor.0 >= self.moment.actors) {
            return Err(corrupt(format_args!("account {actor} was never interned")));
        }
        db.each(actors.len(), |at| tables.dids.did(db, actors[at])).await
    }

    async fn actor_count(&self) -> Result<u32> {
        Ok(self.moment.actors)
    }

    async fn accounts(&self, actors: &[ActorId]) -> Result<Vec<AccountInfo>> {
        let Base { db, tables, .. } = &*self.base;
        let answer = db.each(actors.len(), |at| tables.accounts.at(db, actors[at], self.moment.seq));
        let stored = self.timely(answer).await?;
        Ok(stored.into_iter().map(|stored| stored.head.info(stored.newest)).collect())
    }

    async fn horizon(&self) -> Result<i64> {
        Ok(self.moment.horizon)
    }

    async fn items(&self, ids: &[ItemId]) -> Result<Vec<Option<Item>>> {
        let found = self.timely(self.items_by_number(ids)).await?;
        Ok(ids.iter().map(|id| found.get(id).cloned()).collect())
    }

    async fn records(&self, keys: &[RecordRef]) -> Result<Vec<Option<RecordRow>>> {
        let Base { db, tables, .. } = &*self.base;
        let answer = db.each(keys.len(), |at| tables.records.at(db, &keys[at], self.moment.seq));
        let stored = self.timely(answer).await?;
        Ok(stored.into_iter().map(|stored| stored.map(|stored| stored.row)).collect())
    }

    async fn feeds(&self, asks: &[FeedAsk], n: usize) -> Result<Vec<Vec<FeedEntry>>> {
        self.timely(self.base.db.each(asks.len(), |at| self.feed(&asks[at], n))).await
    }

    async fn follows(&self, viewer: ActorId, after: Option<ActorId>, n: usize) -> Result<Vec<ActorId>> {
        self.timely(self.follows_page(viewer, after, n)).await
    }

    async fn followers(&self, author: ActorId, after: Option<ActorId>, n: usize) -> Result<Vec<ActorId>> {
        self.timely(self.followers_page(author, after, n)).await
    }

    async fn edges(&self, pairs: &[(ActorId, ActorId)]) -> Result<Vec<Option<RecordKey>>> {
        self.timely(self.oldest_records(pairs)).await
    }

    async fn has_edges(&self, pairs: &[(ActorId, ActorId)]) -> Result<Vec<bool>> {
        Ok(self.edges(pairs).await?.iter().map(Option::is_some).collect())
    }

    async fn high_follows(&self, limit: u32, n: usize) -> Result<Vec<(ActorId, u32)>> {
        self.timely(self.those_that_follow_more(limit, n)).await
    }

    async fn tasks(&self, from: TaskId, n: usize) -> Result<Vec<(TaskId, Task)>> {
        self.base.log.read(from.max(self.kept).max(TaskId(1)), self.moment.next_task, n).await
    }

    async fn next_task(&self) -> Result<TaskId> {
        Ok(self.moment.next_task)
    }

    async fn cursor(&self) -> Result<Option<SavedCursor>> {
        Ok(self.moment.cursor.clone())
    }

    async fn is_whole(&self) -> Result<bool> {
        Ok(self.moment.whole)
    }

    async fn sync_marks(&self, n: usize) -> Result<Vec<(ActorId, SyncMark)>> {
        self.timely(self.those_under_way(n)).await
    }

    async fn sync_mark(&self, actor: ActorId) -> Result<Option<SyncMark>> {
        let Base { db, tables, .. } = &*self.base;
        let stored = self.timely(tables.accounts.at(db, actor, self.moment.seq)).await?;
        Ok(stored.head.row.sync)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_view_ends_before_its_rows_pass() {
        let until = Instant::now() + Duration::from_secs(10);
        assert!(in_time(until, 15).is_ok());
        tokio::time::advance(Duration::from_secs(10)).await;
        let refused = in_time(until, 15).unwrap_err().to_string();
        assert!(refused.contains("older than") && refused.contains("15 s"), "{refused}");
    }
}
