//! Records in a transaction: what is read may be in a block, what is written becomes a row.

use std::ops::Bound;

use fjall::Slice;
use skyweir_store::{RecordRow, Result};
use skyweir_types::{ActorId, Collection, RecordKey, RecordRef};

use super::EmbeddedTxn;
use super::tombstones::{Known, tombstone};
use crate::codec::{rkey_tid, tid_rkey};
use crate::db::Read;
use crate::error::corrupt;
use crate::table::record_blocks::{Entry, RecordBlocks};
use crate::table::{Table, actors, after_prefix, blocks, records};

impl EmbeddedTxn {
    /// The record under this key.
    pub(super) fn stored(&mut self, key: &[u8], record: &RecordRef) -> Result<(Option<RecordRow>, Known)> {
        let mut packed = false;
        let row = match self.overlay.get(Table::Records, key)? {
            Some(bytes) => Some(records::decode(&record.rkey, &bytes)?),
            None => {
                let entry = self.packed_record(record)?;
                packed = entry.is_some();
                entry.map(|entry| entry.row())
            }
        };
        let known = Known { tombstone: tombstone(row.as_ref()), packed };
        Ok((row, known))
    }

    /// The record, if it is in a block. Most are newer than any that is: those need no look.
    fn packed_record(&mut self, record: &RecordRef) -> Result<Option<Entry>> {
        if record.collection != Collection::Follow {
            return Ok(None);
        }
        let (Some(folded), Some(tid)) = (self.head(record.actor)?.folded, rkey_tid(&record.rkey)) else {
            return Ok(None);
        };
        if tid > folded.last {
            return Ok(None);
        }
        blocks::find::<RecordBlocks>(&self.overlay, record.actor, tid.0)
    }

    pub(super) fn read_record(&mut self, record: &RecordRef) -> Result<Option<RecordRow>> {
        let key = Slice::from(records::key(record));
        let (row, known) =
            if self.may_be_there(record)? { self.stored(&key, record)? } else { (None, Known::default()) };
        self.seen.note(key, known);
        Ok(row)
    }

    /// Makes a record a row, or nothing.
    pub(super) fn write_record(&mut self, record: &RecordRef, row: Option<&RecordRow>) -> Result<()> {
        let key = Slice::from(records::key(record));
        let packed = self.index_tombstone(&key, record, tombstone(row))?;
        if packed {
            let tid = rkey_tid(&record.rkey).ok_or_else(|| corrupt("a packed record's key is no TID"))?;
            blocks::take::<RecordBlocks>(&mut self.overlay, record.actor, tid.0)?;
        }
        match row {
            Some(row) => {
                self.lift_bounds(record, row)?;
                self.overlay.put(Table::Records, key, records::encode(&record.rkey, row));
                self.loosen(record, row)?;
            }
            None if packed => {}
            None => self.overlay.remove(Table::Records, key),
        }
        Ok(())
    }

    /// Counts a row that can be folded.
    fn loosen(&mut self, record: &RecordRef, row: &RecordRow) -> Result<()> {
        if record.collection != Collection::Follow {
            return Ok(());
        }
        let mut head = self.head(record.actor)?;
        if let Some(folded) = &mut head.folded
            && let Some(tid) = rkey_tid(&record.rkey)
            && Entry::of(tid, row).is_some()
        {
            folded.loosen(tid);
            self.set_head(record.actor, head);
        }
        Ok(())
    }

    /// An account's records after a place, in the order of their keys.
    pub(super) fn records_page(
        &mut self,
        actor: ActorId,
        after: Option<(Collection, RecordKey)>,
        n: usize,
    ) -> Result<Vec<(RecordRef, RecordRow)>> {
        let mut found = Vec::new();
        if n == 0 {
            return Ok(found);
        }
        let after = after.map(|(collection, rkey)| RecordRef { actor, collection, rkey });
        let prefix = actors::number(actor);
        let low = after.as_ref().map(records::key);
        let from = low.as_deref().map_or(Bound::Included(&prefix[..]), Bound::Excluded);
        self.overlay.scan(Table::Records, from, after_prefix(&prefix).as_deref(), &mut |key, value| {
            let record = records::read_key(key)?;
            let row = records::decode(&record.rkey, value)?;
            found.push((record, row));
            Ok(found.len() < n)
        })?;
        if self.head(actor)?.folded.is_none() {
            return Ok(found);
        }
        let from = after.as_ref().map_or(0, packed_from);
        let to = match found.last() {
            Some((last, _)) if found.len() == n => packed_from(last),
            _ => u64::MAX,
        };
        let packed = blocks::range::<RecordBlocks>(&self.overlay, actor, (from, to), n)?;
        if !packed.is_empty() {
            for entry in packed {
                let rkey = tid_rkey(entry.tid)?;
                found.push((RecordRef { actor, collection: Collection::Follow, rkey }, entry.row()));
            }
            found.sort_by_cached_key(|(record, _)| records::key(record));
            found.truncate(n);
        }
        Ok(found)
    }
}

/// The place in blocks after which a record of any kind stands: keys that are no TIDs come after all of them.
fn packed_from(record: &RecordRef) -> u64 {
    match record.collection {
        Collection::Post | Collection::Repost => 0,
        Collection::Follow => rkey_tid(&record.rkey).map_or(u64::MAX, |tid| tid.0.saturating_add(1)),
    }
}
