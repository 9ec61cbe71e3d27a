//! The exact filter: a plan may bring more than was asked for, never less.

use skyweir_types::{Action, Body, Collection, Event, RecordOp};

use super::{BlockFault, BlockReader};
use crate::Skip;
use crate::source::Frame;

/// What is wanted of an archive: follows and what happened to accounts, and posts and reposts from some time on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Rows up to this sequence number are applied already.
    pub after: u64,
    /// Rows above this one come later.
    pub through: u64,
    /// Posts and reposts are wanted from this time on, microseconds since 1970.
    pub items_since_us: i64,
    /// Nothing is later than this: what claims to be from the future counts as being from then.
    pub latest_us: i64,
}

impl Wanted {
    /// What is wanted of a block. Its position is the last row's that is within reach; none when there is no such row.
    ///
    /// # Errors
    /// [`BlockFault`].
    pub fn of_block(&self, reader: &mut BlockReader, frame: &[u8]) -> Result<Frame, BlockFault> {
        let mut wanted = Frame { position: None, time_us: i64::MIN, events: Vec::new(), skipped: Vec::new() };
        for row in reader.rows(frame)? {
            if row.seq <= self.after || row.seq > self.through {
                continue;
            }
            wanted.position = Some(row.seq);
            wanted.time_us = wanted.time_us.max(row.time_us().min(self.latest_us));
            match row.event(self.latest_us) {
                Ok(None) => {}
                Ok(Some(event)) => {
                    if row.time_us() > self.latest_us {
                        wanted.skipped.push(Skip::FutureTime);
                    }
                    self.take(event, row.is_update(), &mut wanted.events);
                }
                Err(skip) => wanted.skipped.push(skip),
            }
        }
        Ok(wanted)
    }

    /// Leaves out posts and reposts that are too old, and takes the others.
    fn take(&self, event: Event, is_update: bool, into: &mut Vec<Event>) {
        let Body::Record(op) = &event.body else { return into.push(event) };
        let is_item = op.collection != Collection::Follow && op.action != Action::Delete;
        if is_item && is_update {
            // the record of before may be compacted away, or known from a day when it wasn't too old: either way it
            // goes, and the reposts of it
            let gone = RecordOp { action: Action::Delete, ..op.clone() };
            into.push(Event { body: Body::Record(gone), ..event.clone() });
        }
        if !is_item || event.time_us >= self.items_since_us {
            into.push(event);
        }
    }
}
