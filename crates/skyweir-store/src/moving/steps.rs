//! The steps of a move: a batch is read from the source, then written by one transaction with the place behind it.

use skyweir_types::{ActorId, Collection, Item, ItemId, RecordRef};

use super::Move;
use super::place::{Place, Stage};
use crate::{AccountRow, Ahead, Error, NewItem, RecordBody, RecordRow, Result, Txn, View};

/// How many accounts are looked at for one batch of records: most may have none but of items.
const ACCOUNTS_A_RECORD: u64 = 16;

impl Move {
    pub(super) async fn accounts(&mut self) -> Result<()> {
        let (view, mut from) = (self.source.view().await?, self.source.begin().await?);
        let first = self.place.next as u32;
        let actors: Vec<_> =
            (first..self.actors.min(first.saturating_add(self.batch as u32))).map(ActorId).collect();
        let dids = view.dids(&actors).await?;
        let mut to = self.target.begin().await?;
        to.look_ahead(Ahead { dids: dids.clone(), ..Ahead::default() }).await?;
        for (actor, did) in actors.iter().zip(&dids) {
            let number = to.intern(did).await?;
            if number != *actor {
                let what = format!("{did} is account {number} where it is moved to, and {actor} where from");
                return Err(Error::Corrupt(what));
            }
            let row = from.account(*actor).await?;
            if row != AccountRow::default() {
                to.set_account(*actor, row).await?;
            }
        }
        let next = u64::from(first) + actors.len() as u64;
        let place = match next < self.actors.into() {
            true => Place { next, ..self.place.clone() },
            false => Place::of(Stage::Items),
        };
        self.save(to, place).await?;
        self.moved.accounts += actors.len() as u64;
        Ok(())
    }

    pub(super) async fn items(&mut self) -> Result<()> {
        let mut from = self.source.begin().await?;
        let items = from.items_from(ItemId(self.place.next), self.batch).await?;
        let mut records = Vec::with_capacity(items.len());
        for item in &items {
            let key =
                RecordRef { actor: item.author, collection: item.collection(), rkey: item.rkey.clone() };
            let row = from.record(&key).await?;
            records.push((key, row));
        }
        let mut to = self.target.begin().await?;
        let keys = records.iter().map(|(key, _)| key.clone()).collect();
        to.look_ahead(Ahead { records: keys, ..Ahead::default() }).await?;
        let (count, last) = (items.len(), items.last().map(|item| item.id));
        for (item, (key, row)) in items.into_iter().zip(records) {
            let Item { id: old, author, rkey, cid, sort_at, uri_hash, kind } = item;
            let new = to.add_item(NewItem { author, rkey, cid, sort_at, uri_hash, kind }).await?;
            let row = row.and_then(|row| renumbered(row, old, new));
            let row = row.ok_or_else(|| Error::Corrupt(format!("item {old} isn't that of {key:?}")))?;
            put(&mut *to, &key, row).await?;
        }
        let place = match last {
            Some(last) if count == self.batch => Place { next: last.0 + 1, ..self.place.clone() },
            _ => Place::of(Stage::Records),
        };
        self.save(to, place).await?;
        self.moved.items += count as u64;
        Ok(())
    }

    pub(super) async fn records(&mut self) -> Result<()> {
        let (view, mut from) = (self.source.view().await?, self.source.begin().await?);
        let mut records = Vec::new();
        let Place { mut next, mut after, .. } = self.place.clone();
        let end = u64::from(self.actors).min(next.saturating_add(ACCOUNTS_A_RECORD * self.batch as u64));
        while next < end && records.len() < self.batch {
            let asked = self.batch - records.len();
            let page = from.records_of(ActorId(next as u32), after.take(), asked).await?;
            if page.len() < asked {
                next += 1;
            } else {
                after = page.last().map(|(key, _)| (key.collection, key.rkey.clone()));
            }
            records.extend(page.into_iter().filter(|(_, row)| !has_item(&row.body)));
        }
        let edges: Vec<_> = records.iter().filter_map(|(key, row)| edge(key, row)).collect();
        let older = older_records(&*view, &mut *from, &records, &edges).await?;
        let mut to = self.target.begin().await?;
        let all = older.iter().chain(&records);
        let ahead =
            Ahead { records: all.clone().map(|(key, _)| key.clone()).collect(), edges, ..Ahead::default() };
        to.look_ahead(ahead).await?;
        for (key, row) in all {
            put(&mut *to, key, row.clone()).await?;
        }
        let place = match next < self.actors.into() {
            true => Place { stage: Stage::Records, next, after },
            false => Place::of(Stage::Ending),
        };
        self.save(to, place).await?;
        self.moved.records += records.len() as u64;
        Ok(())
    }

    pub(super) async fn end(&mut self) -> Result<()> {
        let view = self.source.view().await?;
        let mut to = self.target.begin().await?;
        let horizon = view.horizon().await?;
        if horizon > i64::MIN {
            to.raise_horizon(horizon).await?;
        }
        to.set_whole(view.is_whole().await?).await?;
        to.set_cursor(self.cursor.clone()).await?;
        to.commit().await?;
        self.place = Place::END;
        Ok(())
    }

    async fn save(&mut self, mut to: Box<dyn Txn>, place: Place) -> Result<()> {
        to.set_cursor(place.saved(&self.name, &self.cursor)).await?;
        to.commit().await?;
        self.place = place;
        Ok(())
    }
}

/// Of edges that several records say the oldest one is copied first, wherever it stands, so that it stays that. (Of the
/// others the order isn't told; they come by their keys, which mostly are times.)
async fn older_records(
    view: &dyn View,
    from: &mut dyn Txn,
    records: &[(RecordRef, RecordRow)],
    edges: &[(ActorId, ActorId)],
) -> Result<Vec<(RecordRef, RecordRow)>> {
    let follows = records.iter().filter(|(key, row)| edge(key, row).is_some());
    let mut older = Vec::new();
    for ((key, _), first) in follows.zip(view.edges(edges).await?) {
        let missing = || Error::Corrupt(format!("{key:?} has no edge"));
        let first =
            RecordRef { actor: key.actor, collection: Collection::Follow, rkey: first.ok_or_else(missing)? };
        if first == *key {
            continue;
        }
        let row = from.record(&first).await?;
        let row = row.ok_or_else(|| Error::Corrupt(format!("{first:?}, of an edge, is gone")))?;
        older.push((first, row));
    }
    Ok(older)
}

/// The edge that a follow record says.
fn edge(key: &RecordRef, row: &RecordRow) -> Option<(ActorId, ActorId)> {
    match row.body {
        RecordBody::Follow { subject } => Some((key.actor, subject)),
        _ => None,
    }
}

fn has_item(body: &RecordBody) -> bool {
    matches!(body, RecordBody::Post { .. } | RecordBody::Repost { item: Some(_), .. })
}

/// The record with its item's new number; `None` if the item isn't its own.
fn renumbered(row: RecordRow, old: ItemId, new: ItemId) -> Option<RecordRow> {
    let body = match row.body {
        RecordBody::Post { item, cid } if item == old => RecordBody::Post { item: new, cid },
        RecordBody::Repost { item: Some(item), cid, subject } if item == old => {
            RecordBody::Repost { item: Some(new), cid, subject }
        }
        _ => return None,
    };
    Some(RecordRow { body, ..row })
}

/// Writes a record, with what follows from it.
async fn put(to: &mut dyn Txn, key: &RecordRef, row: RecordRow) -> Result<()> {
    match &row.body {
        RecordBody::Follow { subject } => {
            to.add_follow(key.actor, *subject, &key.rkey).await?;
        }
        RecordBody::Repost { subject: Some(post), .. } => to.link_repost(post, key).await?,
        _ => {}
    }
    to.put_record(key, row).await
}
