//! A transaction: what it has read and changed, in memory, until it is committed as one entry of the journal.

mod accounts;
mod ahead;
mod edges;
mod effects;
mod items;
mod records;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use skyweir_store::{AccountRow, Ahead, Error, NewItem, RecordRow, Result, SavedCursor, Task, Txn};
use skyweir_types::{ActorId, Collection, Did, Item, ItemId, Position, RecordKey, RecordRef, TaskId, Tid};
use tokio::sync::OwnedMutexGuard;

use self::edges::Edge;
use crate::base::Base;
use crate::error::corrupt;
use crate::moment::Moment;
use crate::settle::Writer;
use crate::store::Inner;
use crate::table::accounts::Stored as StoredAccount;
use crate::table::items::Row as ItemRow;
use crate::table::records::Stored as StoredRecord;

/// Numbers of accounts are columns with a sign.
const ACTORS_MOST: u32 = i32::MAX as u32;
/// As in other stores: places in memory have 47 bits for an item's number.
const ITEMS_MOST: u64 = 1 << 47;

/// What [`crate::ScyllaStore`] answers to `begin`.
pub(crate) struct ScyllaTxn {
    inner: Arc<Inner>,
    /// Held from begin to the end: one transaction at a time.
    writer: OwnedMutexGuard<Writer>,
    /// The store as this transaction leaves it.
    moment: Moment,
    /// Accounts interned by this transaction, and their numbers.
    interned: Vec<Did>,
    numbers: HashMap<Did, ActorId>,
    /// DIDs that were looked for and have no number.
    strangers: HashSet<Did>,
    accounts: BTreeMap<ActorId, Account>,
    records: BTreeMap<RecordRef, Record>,
    /// Items read, added and removed.
    items: BTreeMap<ItemId, KnownItem>,
    /// What happened at places of feeds, in this order.
    places: BTreeMap<(ActorId, Position), Vec<At>>,
    edges: BTreeMap<(ActorId, ActorId), Edge>,
    /// By post and repost, whether the note is there.
    reposts: BTreeMap<RecordRef, BTreeMap<RecordRef, bool>>,
    /// Partitions of tombstones that were found empty.
    emptied: BTreeSet<i64>,
    tasks: Vec<Task>,
}

/// An account as it is stored, with the row that it gets.
struct Account {
    stored: StoredAccount,
    row: AccountRow,
}

/// A record as it is stored, and as it becomes.
struct Record {
    stored: Option<StoredRecord>,
    now: Option<RecordRow>,
}

/// An item as it is stored, `None` if this transaction adds it, and whether it is there.
struct KnownItem {
    item: Item,
    stored: Option<ItemRow>,
    is_there: bool,
}

/// What happens at a place of a feed.
#[derive(Clone, Copy)]
enum At {
    Added(ItemId),
    Removed(ItemId),
}

impl ScyllaTxn {
    pub(crate) fn new(inner: Arc<Inner>, writer: OwnedMutexGuard<Writer>) -> Self {
        let mut moment = Moment::clone(&writer.moment);
        moment.seq += 1;
        Self {
            inner,
            writer,
            moment,
            interned: Vec::new(),
            numbers: HashMap::new(),
            strangers: HashSet::new(),
            accounts: BTreeMap::new(),
            records: BTreeMap::new(),
            items: BTreeMap::new(),
            places: BTreeMap::new(),
            edges: BTreeMap::new(),
            reposts: BTreeMap::new(),
            emptied: BTreeSet::new(),
            tasks: Vec::new(),
        }
    }
}

#[async_trait]
impl Txn for ScyllaTxn {
    async fn look_ahead(&mut self, ahead: Ahead) -> Result<()> {
        self.read_ahead(ahead).await
    }

    async fn intern(&mut self, did: &Did) -> Result<ActorId> {
        if let Some(known) = self.numbers.get(did) {
            return Ok(*known);
        }
        let Inner { base, remembered, .. } = &*self.inner;
        let Base { db, tables, .. } = &**base;
        if let Some(known) = remembered.numbers.get(did) {
            return Ok(known);
        }
        if !self.strangers.contains(did)
            && let Some(actor) = tables.dids.actor(db, did).await?
        {
            remembered.numbers.insert(did.clone(), actor);
            return Ok(actor);
        }
        if self.moment.actors >= ACTORS_MOST {
            return Err(Error::Limit("2^31 accounts".into()));
        }
        let actor = ActorId(self.moment.actors);
        self.moment.actors += 1;
        self.interned.push(did.clone());
        self.numbers.insert(did.clone(), actor);
        Ok(actor)
    }

    async fn did(&mut self, actor: ActorId) -> Result<Did> {
        let Base { db, tables, .. } = &*self.inner.base;
        let stored = self.writer.moment.actors;
        match actor.0.checked_sub(stored) {
            None => tables.dids.did(db, actor).await,
            Some(new) => self
                .interned
                .get(new as usize)
                .cloned()
                .ok_or_else(|| corrupt(format_args!("account {actor} was never interned"))),
        }
    }

    async fn account(&mut self, actor: ActorId) -> Result<AccountRow> {
        Ok(self.known_account(actor).await?.row)
    }

    async fn set_account(&mut self, actor: ActorId, row: AccountRow) -> Result<()> {
        self.known_account(actor).await?.row = row;
        Ok(())
    }

    async fn record(&mut self, key: &RecordRef) -> Result<Option<RecordRow>> {
        Ok(self.known_record(key).await?.now.clone())
    }

    async fn is_wiped(&mut self, post: &RecordRef, rev: Tid) -> Result<bool> {
        Ok(self.known_record(post).await?.now.as_ref().is_some_and(|row| rev < row.wiped))
    }

    async fn put_record(&mut self, key: &RecordRef, row: RecordRow) -> Result<()> {
        self.write_record(key, Some(row)).await
    }

    async fn remove_record(&mut self, key: &RecordRef) -> Result<()> {
        self.write_record(key, None).await
    }

    async fn records_of(
        &mut self,
        actor: ActorId,
        after: Option<(Collection, RecordKey)>,
        n: usize,
    ) -> Result<Vec<(RecordRef, RecordRow)>> {
        self.records_page(actor, after, n).await
    }

    async fn tombstones_before(&mut self, before_ms: i64, n: usize) -> Result<Vec<RecordRef>> {
        self.tombstones_page(before_ms, n).await
    }

    async fn add_item(&mut self, item: NewItem) -> Result<ItemId> {
        let id = self.writer.next_item;
        if id.0 >= ITEMS_MOST {
            return Err(Error::Limit("2^47 items".into()));
        }
        self.writer.next_item = ItemId(id.0 + 1);
        let NewItem { author, rkey, cid, sort_at, uri_hash, kind } = item;
        let item = Item { id, author, rkey, cid, sort_at, uri_hash, kind };
        self.places.entry((author, item.position())).or_default().push(At::Added(id));
        self.items.insert(id, KnownItem { item, stored: None, is_there: true });
        Ok(id)
    }

    async fn remove_item(&mut self, id: ItemId) -> Result<()> {
        let Some(known) = self.known_item(id).await? else { return Ok(()) };
        known.is_there = false;
        let place = (known.item.author, known.item.position());
        self.places.entry(place).or_default().push(At::Removed(id));
        Ok(())
    }

    async fn item(&mut self, id: ItemId) -> Result<Option<Item>> {
        Ok(self.known_item(id).await?.map(|known| known.item.clone()))
    }

    async fn items_from(&mut self, from: ItemId, n: usize) -> Result<Vec<Item>> {
        self.items_page(from, n).await
    }

    async fn raise_horizon(&mut self, sort_at: i64) -> Result<()> {
        self.moment.horizon = self.moment.horizon.max(sort_at);
        Ok(())
    }

    async fn link_repost(&mut self, post: &RecordRef, repost: &RecordRef) -> Result<()> {
        self.reposts.entry(post.clone()).or_default().insert(repost.clone(), true);
        Ok(())
    }

    async fn unlink_repost(&mut self, post: &RecordRef, repost: &RecordRef) -> Result<()> {
        self.reposts.entry(post.clone()).or_default().insert(repost.clone(), false);
        Ok(())
    }

    async fn reposts_of(
        &mut self,
        post: &RecordRef,
        after: Option<&RecordRef>,
        n: usize,
    ) -> Result<Vec<RecordRef>> {
        self.reposts_page(post, after, n).await
    }

    async fn add_follow(&mut self, follower: ActorId, subject: ActorId, rkey: &RecordKey) -> Result<bool> {
        Ok(self.known_edge(follower, subject).await?.add(rkey))
    }

    async fn remove_follow(&mut self, follower: ActorId, subject: ActorId, rkey: &RecordKey) -> Result<bool> {
        Ok(self.known_edge(follower, subject).await?.remove(rkey))
    }

    async fn append(&mut self, task: Task) -> Result<TaskId> {
        let id = self.moment.next_task;
        self.moment.next_task = id.next();
        self.tasks.push(task);
        Ok(id)
    }

    async fn set_cursor(&mut self, cursor: SavedCursor) -> Result<()> {
        self.moment.cursor = Some(cursor);
        Ok(())
    }

    async fn set_whole(&mut self, whole: bool) -> Result<()> {
        self.moment.whole = whole;
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<()> {
        match self.entry().await? {
            Some(entry) => self.inner.commit(&mut self.writer, entry).await,
            None => Ok(()),
        }
    }
}
