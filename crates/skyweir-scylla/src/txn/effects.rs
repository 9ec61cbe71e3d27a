//! What follows from a transaction, row by row. No row is written twice: both writes would have the same timestamp.

use std::collections::BTreeSet;

use skyweir_store::{FeedEntry, Result};
use skyweir_types::{ActorId, ItemId, Position};

use super::records::deleted_at;
use super::{At, ScyllaTxn};
use crate::base::Base;
use crate::entry::Entry;
use crate::moment::Moment;
use crate::table::{Effect, Life, dids, feeds, items, records, reposts, tombstones};

impl ScyllaTxn {
    /// The entry of the journal; `None` if nothing changes.
    pub(super) async fn entry(&mut self) -> Result<Option<Entry>> {
        let mut effects = Vec::new();
        for (did, number) in self.interned.iter().zip(self.writer.moment.actors..) {
            effects.push(Effect::Did(dids::Row { did: did.clone(), actor: ActorId(number) }));
        }
        let buckets = self.account_effects(&mut effects).await?;
        for (pair, edge) in &self.edges {
            let bucket = buckets.get(pair).copied().unwrap_or(0);
            edge.effects(*pair, self.moment.seq, bucket, &mut effects);
        }
        self.record_effects(&mut effects);
        self.item_effects(&mut effects);
        self.feed_effects(&mut effects).await?;
        for (post, notes) in &self.reposts {
            for (repost, is_there) in notes {
                let (post, repost) = (post.clone(), repost.clone());
                effects.push(Effect::Repost(reposts::Row { post, repost, is_there: *is_there }));
            }
        }
        let before = &*self.writer.moment;
        let Moment { seq, next_item, first_item, .. } = *before;
        // numbers of items that are gone again stay used until a restart, and where to begin looking is only a hint
        let same = Moment { seq, next_item, first_item, ..self.moment.clone() };
        if effects.is_empty() && same == *before {
            return Ok(None);
        }
        self.moment.next_item = self.writer.next_item;
        let tasks = std::mem::take(&mut self.tasks);
        Ok(Some(Entry { former: self.writer.entry, moment: self.moment.clone(), tasks, effects }))
    }

    fn record_effects(&self, effects: &mut Vec<Effect>) {
        let seq = self.moment.seq;
        let mut filled = BTreeSet::new();
        for (key, record) in &self.records {
            let stored = record.stored.as_ref();
            let was = stored.map(|stored| &stored.row);
            if was == record.now.as_ref() {
                continue;
            }
            let version =
                |seq, row, passes| Effect::Record(records::Row { key: key.clone(), seq, row, passes });
            effects.push(version(seq, record.now.clone(), false));
            if let Some(stored) = stored {
                effects.push(version(stored.seq, Some(stored.row.clone()), true));
            }
            let (old, new) = (deleted_at(was), deleted_at(record.now.as_ref()));
            if old == new {
                continue;
            }
            let at = |at_ms, is_there| tombstones::Row::At { at_ms, key: key.clone(), is_there };
            effects.extend(old.map(|at_ms| Effect::Tombstone(at(at_ms, false))));
            effects.extend(new.map(|at_ms| Effect::Tombstone(at(at_ms, true))));
            filled.extend(new.map(tombstones::bucket));
        }
        let bucket = |bucket, is_there| Effect::Tombstone(tombstones::Row::Bucket { bucket, is_there });
        effects.extend(self.emptied.difference(&filled).map(|emptied| bucket(*emptied, false)));
        effects.extend(filled.iter().map(|filled| bucket(*filled, true)));
    }

    fn item_effects(&self, effects: &mut Vec<Effect>) {
        let seq = self.moment.seq;
        for known in self.items.values() {
            let item = known.item.clone();
            match &known.stored {
                None if known.is_there => {
                    effects.push(Effect::Item(items::Row { item, life: Life::from(seq) }));
                }
                Some(stored) if !known.is_there => {
                    effects.push(Effect::Item(items::Row { item, life: stored.life.until(seq) }));
                }
                _ => {}
            }
        }
    }

    /// At each place stands one entry at most, that of the item that came last; if that goes, none is left.
    async fn feed_effects(&self, effects: &mut Vec<Effect>) -> Result<()> {
        let Base { db, tables, .. } = &*self.inner.base;
        let places: Vec<(ActorId, Position)> = self.places.keys().copied().collect();
        let stored = db.each(places.len(), |at| tables.feeds.at(db, places[at].0, &places[at].1)).await?;
        for (((author, position), happened), rows) in self.places.iter().zip(stored) {
            let old = rows.into_iter().find(|row| row.life.died.is_none());
            let was = old.map(|row| row.entry.item);
            let now = happened.iter().fold(was, |now, at| stands(now, *at));
            if now == was {
                continue;
            }
            let seq = self.moment.seq;
            effects.extend(old.map(|row| Effect::Feed(feeds::Row { life: row.life.until(seq), ..row })));
            effects.extend(now.map(|item| {
                let entry = FeedEntry { position: *position, item };
                Effect::Feed(feeds::Row { author: *author, entry, life: Life::from(seq) })
            }));
        }
        Ok(())
    }
}

/// Whose entry stands at a place after this.
fn stands(now: Option<ItemId>, at: At) -> Option<ItemId> {
    match at {
        At::Added(item) => Some(item),
        At::Removed(item) => now.filter(|now| *now != item),
    }
}
