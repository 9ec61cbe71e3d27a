//! What is known of the whole store after a transaction.

use skyweir_store::{Result, SavedCursor};
use skyweir_types::{ItemId, TaskId};

use crate::codec::{Reader, Writer};

/// The store as one transaction left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// The transaction's number, from 1 up; 0 before the first.
    pub(crate) seq: i64,
    /// How many accounts are interned.
    pub(crate) actors: u32,
    /// The next item's number.
    pub(crate) next_item: ItemId,
    /// No item below this number is left: nobody has to look there again.
    pub(crate) first_item: ItemId,
    /// The next task's number.
    pub(crate) next_task: TaskId,
    /// Items before this `sortAt` don't show.
    pub(crate) horizon: i64,
    /// Whether no follow is missing.
    pub(crate) whole: bool,
    /// Where to resume upstream.
    pub(crate) cursor: Option<SavedCursor>,
}

impl Default for Moment {
    fn default() -> Self {
        Self {
            seq: 0,
            actors: 0,
            next_item: ItemId(1),
            first_item: ItemId(1),
            next_task: TaskId(1),
            horizon: i64::MIN,
            whole: false,
            cursor: None,
        }
    }
}

impl Moment {
    pub(crate) fn push(&self, out: &mut Writer) {
        out.number(self.seq as u64).number(self.actors.into()).number(self.next_item.0);
        out.number(self.first_item.0).number(self.next_task.0).signed(self.horizon).flag(self.whole);
        out.flag(self.cursor.is_some());
        if let Some(cursor) = &self.cursor {
            out.text(&cursor.source).number(cursor.position).signed(cursor.time_us);
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            seq: i64::try_from(reader.number()?).map_err(|_| reader.bad())?,
            actors: reader.small()?,
            next_item: reader.item()?,
            first_item: reader.item()?,
            next_task: TaskId(reader.number()?),
            horizon: reader.signed()?,
            whole: reader.flag()?,
            cursor: if reader.flag()? {
                let source = reader.text()?.to_owned();
                Some(SavedCursor { source, position: reader.number()?, time_us: reader.signed()? })
            } else {
                None
            },
        })
    }

    /// Of the row that says what is visible.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new("the moment", bytes);
        let moment = Self::read(&mut reader)?;
        reader.end().map(|()| moment)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        self.push(&mut out);
        out.done()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let cursor = SavedCursor { source: "wss://host.example/x".into(), position: u64::MAX, time_us: -1 };
        let with =
            Moment { seq: 1 << 50, horizon: -7, whole: true, cursor: Some(cursor), ..Moment::default() };
        for moment in [Moment::default(), with] {
            assert_eq!(Moment::decode(&moment.encode()).unwrap(), moment);
        }
    }
}
