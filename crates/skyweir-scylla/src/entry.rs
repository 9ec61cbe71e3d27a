//! A transaction as the journal has it: what follows from it, row by row, and the store as it leaves it.

use skyweir_store::{Result, Task};
use skyweir_types::TaskId;

use crate::codec::{Reader, Writer};
use crate::moment::Moment;
use crate::table::Effect;

const VERSION: u64 = 1;

/// An entry of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The entry of the transaction before; 0: there is none.
    pub(crate) former: i64,
    /// The store after it.
    pub(crate) moment: Moment,
    /// What it appends to the log.
    pub(crate) tasks: Vec<Task>,
    pub(crate) effects: Vec<Effect>,
}

impl Entry {
    /// The number of its first task, or of the next one if it has none.
    pub(crate) fn first_task(&self) -> TaskId {
        TaskId(self.moment.next_task.0 - self.tasks.len() as u64)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Writer::default();
        out.number(VERSION).signed(self.former);
        self.moment.push(&mut out);
        out.number(self.tasks.len() as u64);
        for task in &self.tasks {
            match task {
                Task::FanOut { item } => out.number(0).number(item.0),
                Task::Fill { viewer, author } => out.number(1).actor(*viewer).actor(*author),
                Task::Purge { viewer, author } => out.number(2).actor(*viewer).actor(*author),
            };
        }
        for effect in &self.effects {
            effect.push(&mut out);
        }
        out.done()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new("the journal", bytes);
        if reader.number()? != VERSION {
            return Err(reader.bad());
        }
        let (former, moment) = (reader.signed()?, Moment::read(&mut reader)?);
        let mut tasks = Vec::new();
        for _ in 0..reader.number()? {
            tasks.push(match reader.number()? {
                0 => Task::FanOut { item: reader.item()? },
                1 => Task::Fill { viewer: reader.actor()?, author: reader.actor()? },
                2 => Task::Purge { viewer: reader.actor()?, author: reader.actor()? },
                _ => return Err(reader.bad()),
            });
        }
        let mut effects = Vec::new();
        while !reader.is_empty() {
            effects.push(Effect::read(&mut reader)?);
        }
        Ok(Self { former, moment, tasks, effects })
    }
}
