//! A transaction: an overlay that becomes one synced batch.

mod bounds;
mod edges;
mod fold;
mod fold_follows;
mod records;
mod tombstones;

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use fjall::Slice;
use foldhash::fast::RandomState;
use skyweir_store::{AccountRow, Error, NewItem, RecordRow, Result, SavedCursor, Task, Txn};
use skyweir_types::{ActorId, Collection, Did, Item, ItemId, Position, RecordKey, RecordRef, TaskId, Tid};
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use crate::blocking::blocking;
use crate::cache::Touched;
use crate::db::Read;
use crate::error::corrupt;
use crate::metrics;
use crate::overlay::Overlay;
use crate::store::{Inner, Numbers};
use crate::table::heads::Head;
use crate::table::{
    Table, actors, after_prefix, feeds, items, meta, reposts, syncs, tasks, tombstones as tombs,
};
use tombstones::Seen;

/// What [`crate::EmbeddedStore`] answers to `begin`.
pub(crate) struct EmbeddedTxn {
    inner: Arc<Inner>,
    /// Held from begin to the end: one transaction at a time.
    numbers: OwnedMutexGuard<Numbers>,
    /// Accounts and tasks are dense: numbers of a dropped transaction were never seen, and are given again.
    /// Items are not, they are counted in `numbers` at once.
    actors: u32,
    tasks: Vec<Task>,
    overlay: Overlay,
    /// Heads read or written.
    heads: HashMap<ActorId, (Head, Change), RandomState>,
    items_added: bool,
    /// `i64::MIN`: it isn't raised.
    horizon: i64,
    /// As in [`Numbers`], once this is committed.
    oldest_tombstone: i64,
    /// Accounts interned by this transaction.
    interned: Vec<(Did, ActorId)>,
    seen: Seen,
    touched: Touched,
}

/// What became of a head since it was read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    None,
    /// Within what its row says.
    Within,
    /// It needs another row.
    Row,
}

impl EmbeddedTxn {
    pub(crate) fn new(inner: Arc<Inner>, numbers: OwnedMutexGuard<Numbers>) -> Self {
        let overlay = Overlay::new(inner.db.snapshot());
        let (actors, oldest_tombstone) = (numbers.actors, numbers.oldest_tombstone);
        Self {
            inner,
            numbers,
            actors,
            tasks: Vec::new(),
            overlay,
            heads: HashMap::default(),
            items_added: false,
            horizon: i64::MIN,
            oldest_tombstone,
            interned: Vec::new(),
            seen: Seen::default(),
            touched: Touched::default(),
        }
    }

    fn head(&mut self, actor: ActorId) -> Result<Head> {
        if let Some((head, _)) = self.heads.get(&actor) {
            return Ok(*head);
        }
        let head = if let Some(known) = self.numbers.remembered.heads.get(&actor) {
            known
        } else {
            let stored = self.overlay.get(Table::Heads, &actors::number(actor))?;
            stored.map_or(Ok(Head::default()), |bytes| Head::decode(&bytes))?
        };
        self.heads.insert(actor, (head, Change::None));
        Ok(head)
    }

    /// Changes a head that was read before.
    fn set_head(&mut self, actor: ActorId, head: Head) {
        let (known, change) = self.heads.entry(actor).or_insert((head, Change::Row));
        let now = if head.needs_row(known) { Change::Row } else { Change::Within };
        (*known, *change) = (head, now.max(*change));
    }

    fn next_task(&self) -> TaskId {
        TaskId(self.numbers.tasks + self.tasks.len() as u64)
    }

    /// Everything that is not in the overlay yet.
    fn finish_overlay(&mut self) {
        for (actor, (head, change)) in &mut self.heads {
            if *change == Change::Row {
                head.reach_ahead();
                self.overlay.put(Table::Heads, actors::number(*actor), head.encode());
            }
        }
        for (n, row) in self.tasks.chunks(tasks::ROW_MOST).enumerate() {
            let last = self.numbers.tasks + (n * tasks::ROW_MOST + row.len()) as u64 - 1;
            self.overlay.put(Table::Tasks, tasks::key(TaskId(last)), tasks::encode(row));
        }
        let next_task = self.next_task();
        let mut number = |key: &[u8], n: u64| self.overlay.put(Table::Meta, key, n.to_be_bytes());
        if self.actors != self.numbers.actors {
            number(meta::KEY_ACTORS, self.actors.into());
        }
        if self.items_added {
            number(meta::KEY_ITEMS, self.numbers.items);
        }
        if !self.tasks.is_empty() {
            number(meta::KEY_TASKS, next_task.0);
        }
    }

    fn changed_heads(&self) -> impl Iterator<Item = (ActorId, &Head)> {
        self.heads
            .iter()
            .filter(|(_, (_, change))| *change > Change::None)
            .map(|(actor, (head, _))| (*actor, head))
    }

    fn commit_now(mut self) -> Result<()> {
        let begun = Instant::now();
        self.fold_followers()?;
        self.fold_follows()?;
        self.finish_overlay();
        let keys = self.overlay.len();
        if keys == 0 {
            return Ok(());
        }
        self.inner.horizon.fetch_max(self.horizon, Ordering::AcqRel);
        let mut batch = self.inner.db.synced_batch(keys);
        self.overlay.drain_into(&mut batch);
        let commit = self.inner.accounts.prepare(self.changed_heads());
        self.inner.caches.prepare(&self.touched, commit);
        if let Err(error) = batch.commit() {
            self.inner.accounts.give_up(self.changed_heads());
            // nobody knows which side of the commit the disk is on
            self.numbers.remembered.heads.clear();
            self.numbers.oldest_tombstone = i64::MIN;
            return Err(error);
        }
        self.inner.accounts.publish(commit);
        let next_task = self.next_task();
        self.inner.caches.names.publish(self.actors);
        self.numbers.actors = self.actors;
        self.numbers.oldest_tombstone = self.oldest_tombstone;
        for (did, actor) in self.interned {
            self.numbers.remembered.numbers.put(did, actor);
        }
        for (actor, (head, _)) in self.heads {
            self.numbers.remembered.heads.put(actor, head);
        }
        if !self.tasks.is_empty() {
            self.numbers.tasks = next_task.0;
            self.inner.next_task.send_replace(next_task);
        }
        ::metrics::counter!(metrics::COMMITS).increment(1);
        ::metrics::counter!(metrics::COMMIT_KEYS).increment(keys as u64);
        ::metrics::histogram!(metrics::COMMIT_SECONDS).record(begun.elapsed());
        Ok(())
    }
}

#[async_trait]
impl Txn for EmbeddedTxn {
    async fn intern(&mut self, did: &Did) -> Result<ActorId> {
        if let Some(known) = self.numbers.remembered.numbers.get(did) {
            return Ok(known);
        }
        if let Some(bytes) = self.overlay.get(Table::Dids, did.as_str().as_bytes())? {
            let actor = actors::read_number(&bytes)?;
            if actor.0 < self.numbers.actors {
                self.numbers.remembered.numbers.put(did.clone(), actor);
            }
            return Ok(actor);
        }
        let actor = ActorId(self.actors);
        self.actors = self.actors.checked_add(1).ok_or_else(|| Error::Limit("2^32 accounts".into()))?;
        let (text, number) = (Slice::from(did.as_str()), actors::number(actor));
        self.overlay.put(Table::Dids, text.clone(), number);
        self.overlay.put(Table::Actors, number, text);
        self.interned.push((did.clone(), actor));
        self.set_head(actor, Head::of_new_account());
        Ok(actor)
    }

    async fn did(&mut self, actor: ActorId) -> Result<Did> {
        match self.overlay.get(Table::Actors, &actors::number(actor))? {
            Some(bytes) => actors::read_did(&bytes),
            None => Err(corrupt(format_args!("account {actor} was never interned"))),
        }
    }

    async fn account(&mut self, actor: ActorId) -> Result<AccountRow> {
        Ok(self.head(actor)?.row)
    }

    async fn set_account(&mut self, actor: ActorId, row: AccountRow) -> Result<()> {
        let mut head = self.head(actor)?;
        match row.sync {
            same if same == head.row.sync => {}
            Some(mark) => {
                self.overlay.put(Table::Syncs, actors::number(actor), syncs::encode(mark));
            }
            None => self.overlay.remove(Table::Syncs, actors::number(actor)),
        }
        head.row = row;
        self.set_head(actor, head);
        Ok(())
    }

    async fn record(&mut self, key: &RecordRef) -> Result<Option<RecordRow>> {
        self.read_record(key)
    }

    async fn is_wiped(&mut self, post: &RecordRef, rev: Tid) -> Result<bool> {
        if !self.may_be_wiped(post, rev)? {
            return Ok(false);
        }
        Ok(self.read_record(post)?.is_some_and(|row| rev < row.wiped))
    }

    async fn put_record(&mut self, key: &RecordRef, row: RecordRow) -> Result<()> {
        self.write_record(key, Some(&row))
    }

    async fn remove_record(&mut self, key: &RecordRef) -> Result<()> {
        self.write_record(key, None)
    }

    async fn records_of(
        &mut self,
        actor: ActorId,
        after: Option<(Collection, RecordKey)>,
        n: usize,
    ) -> Result<Vec<(RecordRef, RecordRow)>> {
        self.records_page(actor, after, n)
    }

    async fn tombstones_before(&mut self, before_ms: i64, n: usize) -> Result<Vec<RecordRef>> {
        let (from, to) = (tombs::bound(self.oldest_tombstone), tombs::bound(before_ms));
        let (mut found, mut oldest) = (Vec::new(), before_ms);
        if n > 0 {
            self.overlay.scan(Table::Tombstones, Bound::Included(&from), Some(&to), &mut |key, _| {
                let (at_ms, record) = tombs::read_key(key)?;
                oldest = oldest.min(at_ms);
                found.push(record);
                Ok(found.len() < n)
            })?;
            self.oldest_tombstone = self.oldest_tombstone.max(oldest);
        }
        Ok(found)
    }

    async fn add_item(&mut self, item: NewItem) -> Result<ItemId> {
        let id = ItemId(self.numbers.items);
        if id.0 >> 47 != 0 {
            return Err(Error::Limit("2^47 items".into()));
        }
        self.numbers.items += 1;
        self.items_added = true;
        self.touched.items.push(id);
        let place = Position::new(item.sort_at, &item.cid, item.uri_hash);
        self.overlay.put(Table::Items, items::key(id), items::encode(&item));
        self.overlay.put(Table::Feeds, feeds::key(item.author, &place), feeds::encode(id));
        let mut head = self.head(item.author)?;
        head.newest = head.newest.max(item.sort_at);
        // set even if it is the same: a row that was read again reaches further than what all views are told
        self.set_head(item.author, head);
        Ok(id)
    }

    async fn remove_item(&mut self, id: ItemId) -> Result<()> {
        let Some(bytes) = self.overlay.get(Table::Items, &items::key(id))? else { return Ok(()) };
        let item = items::decode(id, &bytes)?;
        self.overlay.remove(Table::Items, items::key(id));
        self.touched.items.push(id);
        let place = feeds::key(item.author, &item.position());
        // a new version of the record may have taken the very same place
        let entry = self.overlay.get(Table::Feeds, &place)?;
        if entry.is_some_and(|value| *value == feeds::encode(id)[..]) {
            self.overlay.remove(Table::Feeds, place);
        }
        Ok(())
    }

    async fn item(&mut self, id: ItemId) -> Result<Option<Item>> {
        let stored = self.overlay.get(Table::Items, &items::key(id))?;
        stored.map(|bytes| items::decode(id, &bytes)).transpose()
    }

    async fn items_from(&mut self, from: ItemId, n: usize) -> Result<Vec<Item>> {
        let (from, mut found) = (items::key(from), Vec::new());
        if n > 0 {
            self.overlay.scan(Table::Items, Bound::Included(&from), None, &mut |key, value| {
                found.push(items::decode(items::read_key(key)?, value)?);
                Ok(found.len() < n)
            })?;
        }
        Ok(found)
    }

    async fn raise_horizon(&mut self, sort_at: i64) -> Result<()> {
        if sort_at > meta::horizon(&self.overlay)? {
            self.horizon = sort_at;
            self.overlay.put(Table::Meta, meta::KEY_HORIZON, sort_at.to_be_bytes());
        }
        Ok(())
    }

    async fn link_repost(&mut self, post: &RecordRef, repost: &RecordRef) -> Result<()> {
        self.overlay.put(Table::Reposts, reposts::key(post, repost), []);
        Ok(())
    }

    async fn unlink_repost(&mut self, post: &RecordRef, repost: &RecordRef) -> Result<()> {
        self.overlay.remove(Table::Reposts, reposts::key(post, repost));
        Ok(())
    }

    async fn reposts_of(
        &mut self,
        post: &RecordRef,
        after: Option<&RecordRef>,
        n: usize,
    ) -> Result<Vec<RecordRef>> {
        let prefix = reposts::prefix(post);
        let after = after.map(|repost| reposts::key(post, repost));
        let from = after.as_deref().map_or(Bound::Included(&prefix[..]), Bound::Excluded);
        let mut found = Vec::new();
        if n > 0 {
            self.overlay.scan(Table::Reposts, from, after_prefix(&prefix).as_deref(), &mut |key, _| {
                found.push(reposts::read_key(key)?.1);
                Ok(found.len() < n)
            })?;
        }
        Ok(found)
    }

    async fn add_follow(&mut self, follower: ActorId, subject: ActorId, rkey: &RecordKey) -> Result<bool> {
        let new = self.add_to_edge(follower, subject, rkey)?;
        self.touched.followers.extend(new.then_some(follower));
        Ok(new)
    }

    async fn remove_follow(&mut self, follower: ActorId, subject: ActorId, rkey: &RecordKey) -> Result<bool> {
        let gone = self.remove_from_edge(follower, subject, rkey)?;
        self.touched.followers.extend(gone.then_some(follower));
        Ok(gone)
    }

    async fn append(&mut self, task: Task) -> Result<TaskId> {
        let id = self.next_task();
        self.tasks.push(task);
        Ok(id)
    }

    async fn set_cursor(&mut self, cursor: SavedCursor) -> Result<()> {
        self.overlay.put(Table::Meta, meta::KEY_CURSOR, meta::encode_cursor(&cursor));
        Ok(())
    }

    async fn set_whole(&mut self, whole: bool) -> Result<()> {
        if whole {
            self.overlay.put(Table::Meta, meta::KEY_WHOLE, []);
        } else {
            self.overlay.remove(Table::Meta, meta::KEY_WHOLE);
        }
        Ok(())
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        blocking("commit", move || self.commit_now()).await
    }
}
