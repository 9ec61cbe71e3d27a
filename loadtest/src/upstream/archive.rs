//! The stand-in's archive: events sealed into segments, and what compaction leaves of them.

use super::log::{Entry, Item};
use crate::event::Event;
use crate::segment::{ArchiveBlock, ArchiveRow, ArchiveSegment};
use std::collections::HashMap;

/// Rows of a block, and blocks of a segment, as they are sealed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) rows: usize,
    pub(super) blocks: usize,
}

/// The archive.
#[derive(Debug, Default)]
pub(super) struct Archive {
    pub(super) segments: Vec<Sealed>,
    /// What is up to here is sealed.
    pub(super) through: u64,
}

/// A sealed segment: what is in it, and its file.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) name: String,
    pub(super) blocks: Vec<ArchiveBlock>,
    pub(super) file: ArchiveSegment,
}

impl Archive {
    /// Seals what is behind the last sealed event.
    pub(super) fn seal(&mut self, entries: impl Iterator<Item = Entry>, sizes: Sizes) -> anyhow::Result<()> {
        let mut rows = Vec::new();
        for entry in entries.filter(|entry| entry.seq > self.through) {
            if let Item::Event(event, _) = &entry.item {
                rows.push(ArchiveRow::of_event(entry.seq, event));
            }
        }
        let Some(last) = rows.last() else { return Ok(()) };
        let through = last.seq;
        let blocks: Vec<_> =
            rows.chunks(sizes.rows.max(1)).map(|rows| ArchiveBlock::new(rows.to_vec())).collect();
        for blocks in blocks.chunks(sizes.blocks.max(1)) {
            let name = format!("seg_{}.jss", base36(self.segments.len()));
            let file = ArchiveSegment::of_blocks(blocks)?;
            self.segments.push(Sealed { name, blocks: blocks.to_vec(), file });
        }
        self.through = through;
        Ok(())
    }

    /// Removes records that something later replaced or took away. Markers stay, and so do blocks, empty or not.
    pub(super) fn compact(&mut self) -> anyhow::Result<()> {
        let mut records: HashMap<(String, String, String), u64> = HashMap::new();
        let mut accounts: HashMap<String, u64> = HashMap::new();
        for row in self.segments.iter().flat_map(|segment| &segment.blocks).flat_map(|block| &block.rows) {
            match row.kind {
                2 | 3 => records.insert(key(row), row.seq),
                6 => accounts.insert(row.did.clone(), row.seq),
                5 if is_deletion(row) => accounts.insert(row.did.clone(), row.seq),
                _ => None,
            };
        }
        let is_gone = |row: &ArchiveRow| {
            let later = |at: Option<&u64>| at.is_some_and(|at| row.seq < *at);
            matches!(row.kind, 1 | 2 | 7) && (later(records.get(&key(row))) || later(accounts.get(&row.did)))
        };
        for segment in &mut self.segments {
            let before: usize = segment.blocks.iter().map(|block| block.rows.len()).sum();
            segment.blocks.iter_mut().for_each(|block| block.rows.retain(|row| !is_gone(row)));
            if segment.blocks.iter().map(|block| block.rows.len()).sum::<usize>() < before {
                segment.file = ArchiveSegment::of_blocks(&segment.blocks)?;
            }
        }
        Ok(())
    }

    pub(super) fn segment(&self, name: &str) -> Option<&Sealed> {
        self.segments.iter().find(|segment| segment.name == name)
    }
}

impl Sealed {
    /// The checksum as the wire has it.
    pub(super) fn checksum(&self) -> String {
        format!("{:016x}", self.file.checksum)
    }

    pub(super) fn seqs(&self) -> (u64, u64) {
        let first = self.blocks.first().map_or(0, |block| block.seqs.0);
        (first, self.blocks.last().map_or(0, |block| block.seqs.1))
    }
}

fn key(row: &ArchiveRow) -> (String, String, String) {
    (row.did.clone(), row.collection.clone(), row.rkey.clone())
}

/// Whether a row of an account says that it was deleted: the object holds the word as a text of that length.
fn is_deletion(row: &ArchiveRow) -> bool {
    let deleted = Event::account(&row.did, row.witnessed_at.unsigned_abs(), false, Some("deleted"));
    ArchiveRow::of_event(row.seq, &deleted).payload == row.payload
}

/// Ten digits, as the names of segments have them.
fn base36(mut number: usize) -> String {
    let mut digits = [b'0'; 10];
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdefghijklmnopqrstuvwxyz"[number % 36];
        number /= 36;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::sync::Arc;

    fn archive(events: &[Event]) -> Archive {
        let mut archive = Archive::default();
        let entries = events
            .iter()
            .zip(1..)
            .map(|(event, seq)| Entry { seq, item: Item::Event(Arc::new(event.clone()), None) });
        archive.seal(entries, Sizes { rows: 2, blocks: 2 }).unwrap();
        archive
    }

    fn rows(archive: &Archive) -> Vec<Vec<u64>> {
        let blocks = archive.segments.iter().flat_map(|segment| &segment.blocks);
        blocks.map(|block| block.rows.iter().map(|row| row.seq).collect()).collect()
    }

    #[test]
    fn compaction_leaves_what_counts_and_all_blocks() {
        let create = |did: &str, rkey: &str| Event::create(did, 1, "a.b.c", rkey, json!({"$type": "a.b.c"}));
        let mut archive = archive(&[
            create("did:plc:a", "1"),
            create("did:plc:b", "1"),
            Event::update("did:plc:a", 2, "a.b.c", "1", json!({"$type": "a.b.c"})),
            create("did:plc:b", "2"),
            Event::delete("did:plc:b", 3, "a.b.c", "2"),
            create("did:plc:a", "2"),
            Event::account("did:plc:b", 4, false, Some("deleted")),
            Event::account("did:plc:a", 4, false, Some("suspended")),
            create("did:plc:b", "3"),
        ]);
        assert_eq!(archive.segments.iter().map(|s| s.seqs()).collect::<Vec<_>>(), [(1, 4), (5, 8), (9, 9)]);
        let checksums: Vec<_> = archive.segments.iter().map(Sealed::checksum).collect();
        archive.compact().unwrap();
        assert_eq!(rows(&archive), [vec![], vec![3], vec![5, 6], vec![7, 8], vec![9]]);
        assert_ne!(archive.segments[0].checksum(), checksums[0]);
        assert_eq!(archive.segments[1].checksum(), checksums[1]);
        assert_eq!(archive.segments[0].seqs(), (1, 4));
        assert_eq!(archive.segments[2].name, "seg_0000000002.jss");
        assert_eq!(base36(36 * 36 - 1), "00000000zz");
    }
}
