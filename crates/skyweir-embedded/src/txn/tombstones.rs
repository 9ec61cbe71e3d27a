//! The index of tombstones, kept in step with the records.

use fjall::Slice;
use skyweir_store::{RecordBody, RecordRow, Result};
use skyweir_types::RecordRef;

use super::EmbeddedTxn;
use crate::table::{Table, tombstones};

/// So many records are known without a second look: the operation's own one is read first, its subject between.
const SEEN: usize = 4;

/// Records read or written last, with the time of those that are tombstones.
#[derive(Default)]
pub(super) struct Seen {
    rows: [Option<(Slice, Option<i64>)>; SEEN],
    next: usize,
}

impl Seen {
    pub(super) fn note(&mut self, key: Slice, tombstone: Option<i64>) {
        if let Some(known) = self.rows.iter_mut().flatten().find(|(seen, _)| *seen == key) {
            known.1 = tombstone;
            return;
        }
        self.rows[self.next] = Some((key, tombstone));
        self.next = (self.next + 1) % SEEN;
    }

    fn get(&self, key: &[u8]) -> Option<Option<i64>> {
        self.rows.iter().flatten().find(|(seen, _)| **seen == *key).map(|(_, tombstone)| *tombstone)
    }
}

/// The time of a tombstone.
pub(super) fn tombstone(row: Option<&RecordRow>) -> Option<i64> {
    match row {
        Some(RecordRow { body: RecordBody::Tombstone { at_ms }, .. }) => Some(*at_ms),
        _ => None,
    }
}

impl EmbeddedTxn {
    /// Keeps the index in step with the record under this key.
    pub(super) fn index_tombstone(
        &mut self,
        key: &Slice,
        record: &RecordRef,
        new: Option<i64>,
    ) -> Result<()> {
        let old = match self.seen.get(key) {
            Some(known) => known,
            None => tombstone(self.stored_row(key, record)?.as_ref()),
        };
        if old != new {
            if let Some(at_ms) = old {
                self.overlay.remove(Table::Tombstones, tombstones::key(at_ms, record));
            }
            if let Some(at_ms) = new {
                self.oldest_tombstone = self.oldest_tombstone.min(at_ms);
                self.overlay.put(Table::Tombstones, tombstones::key(at_ms, record), []);
            }
        }
        self.seen.note(key.clone(), new);
        Ok(())
    }
}
