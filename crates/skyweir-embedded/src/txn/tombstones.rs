//! The index of tombstones, kept in step with the records.

use fjall::Slice;
use skyweir_store::{RecordBody, RecordRow, Result};
use skyweir_types::RecordRef;

use super::EmbeddedTxn;
use crate::table::{Table, tombstones};

/// So many records are known without a second look: the operation's own one is read first, its subject between.
const SEEN: usize = 4;

/// Records read or written last.
#[derive(Default)]
pub(super) struct Seen {
    rows: [Option<(Slice, Known)>; SEEN],
    next: usize,
}

/// What is known of a record.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// Its time, if it is a tombstone.
    pub(super) tombstone: Option<i64>,
    /// Whether it is in a block.
    pub(super) packed: bool,
}

impl Seen {
    pub(super) fn note(&mut self, key: Slice, now: Known) {
        if let Some(known) = self.rows.iter_mut().flatten().find(|(seen, _)| *seen == key) {
            known.1 = now;
            return;
        }
        self.rows[self.next] = Some((key, now));
        self.next = (self.next + 1) % SEEN;
    }

    fn get(&self, key: &[u8]) -> Option<Known> {
        self.rows.iter().flatten().find(|(seen, _)| **seen == *key).map(|(_, known)| *known)
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
    /// Keeps the index in step with the record under this key, which becomes a row or nothing. Returns whether it is in
    /// a block so far.
    pub(super) fn index_tombstone(
        &mut self,
        key: &Slice,
        record: &RecordRef,
        new: Option<i64>,
    ) -> Result<bool> {
        let old = match self.seen.get(key) {
            Some(known) => known,
            None => self.stored(key, record)?.1,
        };
        if old.tombstone != new {
            if let Some(at_ms) = old.tombstone {
                self.overlay.remove(Table::Tombstones, tombstones::key(at_ms, record));
            }
            if let Some(at_ms) = new {
                self.oldest_tombstone = self.oldest_tombstone.min(at_ms);
                self.overlay.put(Table::Tombstones, tombstones::key(at_ms, record), []);
            }
        }
        self.seen.note(key.clone(), Known { tombstone: new, packed: false });
        Ok(old.packed)
    }
}
