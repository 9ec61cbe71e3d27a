//! Items as a transaction changes them.

use skyweir_store::Result;
use skyweir_types::{Item, ItemId};

use super::{KnownItem, ScyllaTxn};
use crate::base::Base;
use crate::table::items::{Row, bucket};

/// How many partitions are read at a time where most of them may be empty.
const BUCKETS_MOST: i64 = 16;

impl ScyllaTxn {
    /// The item, if it is there.
    pub(super) async fn known_item(&mut self, id: ItemId) -> Result<Option<&mut KnownItem>> {
        if !self.items.contains_key(&id) {
            let Base { db, tables, .. } = &*self.inner.base;
            let rows = tables.items.of(db, bucket(id), &[id]).await?;
            if let Some(row) = rows.into_iter().find(|row| row.life.died.is_none()) {
                self.items
                    .insert(id, KnownItem { item: row.item.clone(), stored: Some(row), is_there: true });
            }
        }
        Ok(self.items.get_mut(&id).filter(|known| known.is_there))
    }

    pub(super) async fn items_page(&mut self, from: ItemId, n: usize) -> Result<Vec<Item>> {
        let from = from.max(self.moment.first_item);
        let mut found: Vec<Item> = Vec::new();
        if n == 0 {
            return Ok(found);
        }
        let last = bucket(self.writer.moment.next_item);
        let (mut next, mut is_first) = (bucket(from), true);
        while next <= last && found.len() < n {
            let (first, some) = (next, BUCKETS_MOST.min(last + 1 - next));
            next += some;
            let Base { db, tables, .. } = &*self.inner.base;
            let rows = db.each(some as usize, |at| tables.items.from(db, first + at as i64, from)).await?;
            let stored = rows.into_iter().flatten().filter(|row| row.life.died.is_none());
            for Row { item, .. } in stored {
                if std::mem::take(&mut is_first) && from == self.moment.first_item {
                    // all before it are gone; whoever comes next begins here
                    self.moment.first_item = item.id;
                }
                if self.items.get(&item.id).is_none_or(|known| known.is_there) {
                    found.push(item);
                }
            }
        }
        // all that this transaction adds is above what is stored
        let ours = self.items.range(from..).map(|(_, known)| known);
        found.extend(
            ours.filter(|known| known.stored.is_none() && known.is_there).map(|known| known.item.clone()),
        );
        found.truncate(n);
        Ok(found)
    }
}
