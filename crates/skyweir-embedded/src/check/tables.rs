//! The invariants between the tables.

mod edges;
mod packed;

use std::ops::Bound;

use skyweir_store::{RecordBody, RecordRow, Result};
use skyweir_types::{ActorId, Collection, Item, ItemId, RecordRef, TaskId, Tid};

use super::report::{Finding, Report};
use crate::codec::rkey_tid;
use crate::db::{Moment, Read, Visit};
use crate::rings::checkpoint;
use crate::table::follows::Edge;
use crate::table::heads::Head;
use crate::table::{
    Table, actors, duplicates, feeds, items, meta, record_blocks, reposts, syncs, tasks, tombstones,
};

/// Runs all of them.
pub(super) fn check(moment: &Moment, report: &mut Report) -> Result<()> {
    let tables = Tables(moment);
    tables.check_actors(report)?;
    tables.check_edges(report)?;
    tables.check_packed(report)?;
    tables.check_records(report)?;
    tables.check_items(report)?;
    tables.check_reposts(report)?;
    tables.check_tasks(report)
}

struct Tables<'a>(&'a Moment);

impl Tables<'_> {
    fn all(&self, table: Table, visit: &mut Visit<'_>) -> Result<()> {
        self.0.scan(table, Bound::Unbounded, None, visit)
    }

    fn has(&self, table: Table, key: &[u8]) -> Result<bool> {
        Ok(self.0.get(table, key)?.is_some())
    }

    fn number(&self, key: &[u8]) -> Result<Option<u64>> {
        self.0.get(Table::Meta, key)?.map(|bytes| meta::read_number(&bytes)).transpose()
    }

    fn row(&self, record: &RecordRef) -> Result<Option<RecordRow>> {
        record_blocks::record(self.0, record)
    }

    fn item(&self, id: ItemId) -> Result<Option<Item>> {
        self.0.get(Table::Items, &items::key(id))?.map(|bytes| items::decode(id, &bytes)).transpose()
    }

    fn check_actors(&self, report: &mut Report) -> Result<()> {
        let mut pairs = Finding::new("accounts and DIDs are one to one and dense");
        let mut heads = Finding::new("newest is not below the feed, and resyncs agree");
        let next = self.number(meta::KEY_ACTORS)?.unwrap_or(0);
        self.all(Table::Actors, &mut |key, did| {
            let actor = actors::read_number(key)?;
            let back = self.0.get(Table::Dids, did)?;
            let dense = u64::from(actor.0) == pairs.checked && u64::from(actor.0) < next;
            pairs.expect(dense && back.is_some_and(|back| *back == *key), || format!("account {actor}"));

            let head = self.head(actor)?;
            let mut top = i64::MIN;
            let from = actors::number(actor);
            let to = crate::table::after_prefix(&from);
            self.0.scan(Table::Feeds, Bound::Included(&from), to.as_deref(), &mut |key, value| {
                top = feeds::read(key, value)?.1.position.sort_at;
                Ok(false)
            })?;
            let sync = self.0.get(Table::Syncs, key)?.map(|bytes| syncs::decode(&bytes)).transpose()?;
            heads.expect(head.newest >= top && head.row.sync == sync, || format!("account {actor}"));
            Ok(true)
        })?;
        let mut dids = 0;
        self.all(Table::Dids, &mut |_, _| {
            dids += 1;
            Ok(true)
        })?;
        pairs.expect(dids == next && pairs.checked == next, || format!("{dids} DIDs, next account {next}"));
        report.holdings.actors = dids;
        report.findings.extend([pairs, heads]);
        Ok(())
    }

    fn head(&self, actor: ActorId) -> Result<Head> {
        let stored = self.0.get(Table::Heads, &actors::number(actor))?;
        stored.map_or(Ok(Head::default()), |bytes| Head::decode(&bytes))
    }

    fn check_records(&self, report: &mut Report) -> Result<()> {
        let mut living = Finding::new("every living record has its item, edge or link");
        let mut dead = Finding::new("the index of tombstones agrees with the records");
        let mut inside = Finding::new("no record is beyond the bounds of its account");
        let mut of: Option<(ActorId, Head)> = None;
        self.all_records(&mut |record, row| {
            report.holdings.records += 1;
            let head = match of.filter(|(actor, _)| *actor == record.actor) {
                Some((_, head)) => head,
                None => of.insert((record.actor, self.head(record.actor)?)).1,
            };
            if let Some(bounds) = head.bounds {
                let key_us = rkey_tid(&record.rkey).map_or(0, Tid::micros);
                let holds = key_us <= bounds.key_us && row.wiped <= bounds.wiped;
                inside.expect(holds, || format!("{record:?}"));
            }
            let holds = match &row.body {
                RecordBody::Post { item, .. } => self.item(*item)?.is_some_and(|item| is_of(&item, record)),
                RecordBody::Repost { item: Some(item), subject, .. } => {
                    let linked = match subject {
                        Some(post) if post.collection == Collection::Post => {
                            self.has(Table::Reposts, &reposts::key(post, record))?
                        }
                        _ => true,
                    };
                    linked && self.item(*item)?.is_some_and(|item| is_of(&item, record))
                }
                RecordBody::Repost { item: None, .. } => true,
                RecordBody::Follow { subject } => {
                    let first = match self.edge(record.actor, *subject)? {
                        Some(Edge::Keyed(edge)) => edge.first == record.rkey,
                        Some(Edge::Hinted(hint)) => hint.fits(&record.rkey),
                        None => false,
                    };
                    let further = duplicates::record_key(record.actor, *subject, &record.rkey);
                    first || self.has(Table::Duplicates, &further)?
                }
                RecordBody::Tombstone { at_ms } => {
                    let indexed = self.has(Table::Tombstones, &tombstones::key(*at_ms, record))?;
                    dead.expect(indexed, || format!("{record:?} isn't in the index"));
                    true
                }
            };
            living.expect(holds, || format!("{record:?}"));
            Ok(())
        })?;
        self.all(Table::Tombstones, &mut |key, _| {
            let (at_ms, record) = tombstones::read_key(key)?;
            let body = self.row(&record)?.map(|row| row.body);
            dead.expect(body == Some(RecordBody::Tombstone { at_ms }), || {
                format!("{record:?} is no such tombstone")
            });
            Ok(true)
        })?;
        report.findings.extend([living, dead, inside]);
        Ok(())
    }

    fn check_items(&self, report: &mut Report) -> Result<()> {
        let mut placed = Finding::new("every item has its record and its feed entry");
        let mut fed = Finding::new("every feed entry has its item");
        let mut numbers = Finding::new("the next item number is above all");
        let next = self.number(meta::KEY_ITEMS)?.unwrap_or(1);
        self.all(Table::Items, &mut |key, value| {
            let item = items::decode(items::read_key(key)?, value)?;
            report.holdings.items += 1;
            numbers.expect(item.id.0 < next, || format!("item {}, next {next}", item.id));
            let entry = self.0.get(Table::Feeds, &feeds::key(item.author, &item.position()))?;
            let in_feed = entry.is_some_and(|value| *value == feeds::encode(item.id)[..]);
            let record =
                RecordRef { actor: item.author, collection: item.collection(), rkey: item.rkey.clone() };
            let named = match self.row(&record)?.map(|row| row.body) {
                Some(RecordBody::Post { item: id, .. }) => id == item.id,
                Some(RecordBody::Repost { item: id, .. }) => id == Some(item.id),
                _ => false,
            };
            placed.expect(in_feed && named, || format!("item {} of {record:?}", item.id));
            Ok(true)
        })?;
        self.all(Table::Feeds, &mut |key, value| {
            let (author, entry) = feeds::read(key, value)?;
            let item = self.item(entry.item)?;
            let holds = item.is_some_and(|item| item.author == author && item.position() == entry.position);
            fed.expect(holds, || format!("item {} in the feed of account {author}", entry.item));
            Ok(true)
        })?;
        report.findings.extend([placed, fed, numbers]);
        Ok(())
    }

    fn check_reposts(&self, report: &mut Report) -> Result<()> {
        let mut links = Finding::new("every noted repost is a living one of that post");
        self.all(Table::Reposts, &mut |key, _| {
            let (post, repost) = reposts::read_key(key)?;
            let body = self.row(&repost)?.map(|row| row.body);
            let holds =
                matches!(body, Some(RecordBody::Repost { subject: Some(subject), .. }) if subject == post);
            links.expect(holds, || format!("{repost:?}"));
            Ok(true)
        })?;
        report.findings.push(links);
        Ok(())
    }

    fn check_tasks(&self, report: &mut Report) -> Result<()> {
        let mut log = Finding::new("tasks are numbered without gaps below the next number");
        let next = TaskId(self.number(meta::KEY_TASKS)?.unwrap_or(1));
        let mut ids: Option<(TaskId, TaskId)> = None;
        self.all(Table::Tasks, &mut |key, value| {
            for (id, _) in tasks::decode(key, value)? {
                report.holdings.tasks += 1;
                let follows = ids.is_none_or(|(_, last)| last.next() == id);
                log.expect(id < next && follows, || format!("task {id}"));
                ids = Some((ids.map_or(id, |(first, _)| first), id));
            }
            Ok(true)
        })?;
        log.expect(ids.is_none_or(|(_, last)| last.next() == next), || {
            format!("the log ends before task {next}")
        });
        let mut replayed = Finding::new("the log holds all that a restart replays");
        if let Some(kept) = checkpoint::manifest(self.0)?.map(|manifest| manifest.kept) {
            let held = kept == next || ids.is_some_and(|(first, last)| first <= kept && kept <= last);
            replayed.expect(held, || format!("the last checkpoint needs task {kept}, the next is {next}"));
        }
        report.findings.extend([log, replayed]);
        Ok(())
    }
}

fn is_of(item: &Item, record: &RecordRef) -> bool {
    item.author == record.actor && item.rkey == record.rkey && item.collection() == record.collection
}
