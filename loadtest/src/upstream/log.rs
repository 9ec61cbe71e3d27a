//! The log that all subscribers read: a bounded queue with positions that never shift.

use crate::event::Event;
use std::collections::VecDeque;
use std::sync::Arc;

/// Something to send.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// An event, encoded for each subscriber's wire, and the rev before a commit's, of which the firehose tells.
    Event(Arc<Event>, Option<Arc<str>>),
    /// A firehose frame as it was given.
    Frame(Arc<[u8]>),
    /// Only for who was connected when it was appended.
    Live(Arc<Live>),
}

/// What is told to the subscribers of the moment and never replayed.
#[derive(Debug)]
pub(super) enum Live {
    Text(String),
    Binary(Vec<u8>),
    Info { name: String, message: String },
    Error { error: String, message: String },
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) seq: u64,
    pub(super) item: Item,
}

/// Entries in the order of their sequence numbers, the oldest dropped over the limit.
#[derive(Debug)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    /// The position of the first entry.
    base: u64,
    next_seq: u64,
    floor: u64,
    limit: usize,
}

impl Log {
    pub(super) fn new(first_seq: u64, limit: usize) -> Self {
        Self { entries: VecDeque::new(), base: 0, next_seq: first_seq, floor: 0, limit: limit.max(1) }
    }

    pub(super) fn push(&mut self, item: Item) -> u64 {
        let seq = self.next_seq;
        self.push_at(seq, item);
        seq
    }

    /// Appends at a sequence number of the caller's; one that regresses is ordered as if it were the last one again.
    pub(super) fn push_at(&mut self, seq: u64, item: Item) {
        self.next_seq = self.next_seq.max(seq.saturating_add(1));
        let seq = self.entries.back().map_or(seq, |last| last.seq.max(seq));
        self.append(Entry { seq, item });
    }

    pub(super) fn push_live(&mut self, live: Arc<Live>) {
        // the next event's number: a replay from there on may pass over it
        self.append(Entry { seq: self.next_seq, item: Item::Live(live) });
    }

    pub(super) fn skip(&mut self, count: u64) {
        self.next_seq = self.next_seq.saturating_add(count);
    }

    pub(super) fn set_floor(&mut self, seq: u64) {
        self.floor = seq;
    }

    pub(super) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    pub(super) fn end(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    /// The lowest sequence number that can be asked for.
    pub(super) fn floor_seq(&self) -> u64 {
        match self.entries.front() {
            // while nothing was dropped, every number from the first on is there to be asked for
            Some(first) if self.base > 0 => self.floor.max(first.seq),
            _ => self.floor,
        }
    }

    /// The position of the first entry at or above a sequence number and the floor.
    pub(super) fn position(&self, seq: u64) -> u64 {
        let seq = seq.max(self.floor);
        self.base + self.entries.partition_point(|entry| entry.seq < seq) as u64
    }

    /// The first retained event at or after a time: its position, and whether it is the first retained of all and
    /// younger than the time (so that the cursor was clamped).
    pub(super) fn position_at(&self, time_us: u64) -> (u64, bool) {
        let start = self.position(0);
        let mut events = (start..self.end()).filter_map(|position| {
            match &self.entries[(position - self.base) as usize].item {
                Item::Event(event, _) => Some((position, event.time_us)),
                _ => None,
            }
        });
        let first = events.next();
        match first {
            Some((position, time)) if time >= time_us => (position, time > time_us),
            _ => (events.find(|(_, time)| *time >= time_us).map_or(self.end(), |(at, _)| at), false),
        }
    }

    /// The position `count` events before another, at the floor at the lowest.
    pub(super) fn back(&self, position: u64, count: u64) -> u64 {
        position.saturating_sub(count).max(self.position(0)).min(position)
    }

    pub(super) fn seq_at(&self, position: u64) -> u64 {
        let index = position.saturating_sub(self.base) as usize;
        self.entries.get(index).map_or(self.next_seq, |entry| entry.seq)
    }

    /// Up to `count` entries from a position on; nothing when the position was dropped meanwhile.
    pub(super) fn batch(&self, position: u64, count: usize) -> Option<Vec<Entry>> {
        let index = position.checked_sub(self.base)? as usize;
        let end = self.entries.len().min(index + count);
        Some(self.entries.range(index.min(end)..end).cloned().collect())
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        self.entries.iter().cloned()
    }

    fn append(&mut self, entry: Entry) {
        if self.entries.len() == self.limit {
            self.entries.pop_front();
            self.base += 1;
        }
        self.entries.push_back(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(limit: usize, times: &[u64]) -> Log {
        let mut log = Log::new(1, limit);
        for time in times {
            log.push(Item::Event(Arc::new(Event::sync("did:plc:a", *time)), None));
        }
        log
    }

    #[test]
    fn positions_survive_drops() {
        let log = log(3, &[10, 20, 30, 40, 50]);
        assert_eq!((log.end(), log.floor_seq(), log.next_seq()), (5, 3, 6));
        assert_eq!(log.position(4), 3);
        assert_eq!(log.seq_at(3), 4);
        assert!(log.batch(1, 9).is_none(), "dropped");
        assert_eq!(log.batch(3, 9).unwrap().iter().map(|entry| entry.seq).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(log.batch(5, 9).unwrap().len(), 0);
    }

    #[test]
    fn times_and_floor() {
        let mut log = log(9, &[10, 20, 30]);
        assert_eq!(log.position_at(5), (0, true));
        assert_eq!(log.position_at(10), (0, false));
        assert_eq!(log.position_at(11), (1, false));
        assert_eq!(log.position_at(31), (3, false));
        log.set_floor(3);
        assert_eq!(log.position_at(11), (2, true));
        assert_eq!(log.position(1), 2);
        assert_eq!((log.back(3, 1), log.back(3, 9)), (2, 2));
    }

    #[test]
    fn own_sequence_numbers_leave_gaps_and_never_regress() {
        let mut log = log(9, &[10]);
        log.skip(5);
        assert_eq!(log.push(Item::Frame(Arc::from([].as_slice()))), 7);
        log.push_at(100, Item::Frame(Arc::from([].as_slice())));
        log.push_at(50, Item::Frame(Arc::from([].as_slice())));
        assert_eq!(log.seq_at(3), 100);
        assert_eq!(log.position(8), 2);
    }
}
