//! The task log. A row holds tasks of one transaction that follow one another: a row a task would be a third of what a
//! post writes.
//!
//! Table `tasks`: key: number of the row's *last* task, u64 BE, so that the first row from a number on is the one that
//! has it. Value: the tasks in their order; each a tag, then: 0 fan-out: item as varint; 1 fill, 2 purge: viewer and
//! author, u32 BE each.

use skyweir_store::{Result, Task};
use skyweir_types::{ActorId, ItemId, TaskId};

use crate::codec::{Reader, push_varint};

/// No row holds more: a reader that asks for one task decodes a row.
pub(crate) const ROW_MOST: usize = 64;

/// The key of the row whose last task this is; also the bound of all rows that have none from this task on.
pub(crate) fn key(last: TaskId) -> [u8; 8] {
    last.0.to_be_bytes()
}

/// Back from [`key`].
pub(crate) fn last(key: &[u8]) -> Result<TaskId> {
    let mut reader = Reader::new("tasks", key);
    let last = TaskId(reader.u64()?);
    reader.end().map(|()| last)
}

/// The value of a row.
pub(crate) fn encode(row: &[Task]) -> Vec<u8> {
    let mut out = Vec::with_capacity(9 * row.len());
    for task in row {
        let (tag, viewer, author) = match *task {
            Task::FanOut { item } => {
                out.push(0);
                push_varint(&mut out, item.0);
                continue;
            }
            Task::Fill { viewer, author } => (1, viewer, author),
            Task::Purge { viewer, author } => (2, viewer, author),
        };
        out.push(tag);
        out.extend_from_slice(&viewer.0.to_be_bytes());
        out.extend_from_slice(&author.0.to_be_bytes());
    }
    out
}

/// A row's tasks with their numbers, in order, back from [`key`] and [`encode`].
pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<Vec<(TaskId, Task)>> {
    let last = last(key)?.0;
    let mut reader = Reader::new("tasks", value);
    let mut row = Vec::new();
    while !reader.is_empty() {
        row.push(match reader.u8()? {
            0 => Task::FanOut { item: ItemId(reader.varint()?) },
            1 => Task::Fill { viewer: ActorId(reader.u32()?), author: ActorId(reader.u32()?) },
            2 => Task::Purge { viewer: ActorId(reader.u32()?), author: ActorId(reader.u32()?) },
            _ => return Err(reader.bad()),
        });
    }
    // numbers begin at 1
    let before =
        last.checked_sub(row.len() as u64).filter(|_| !row.is_empty()).ok_or_else(|| reader.bad())?;
    Ok((before + 1..).map(TaskId).zip(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(before: u32, item in 0..1u64 << 47, viewer: u32, author: u32) {
            let (viewer, author) = (ActorId(viewer), ActorId(author));
            let row = [
                Task::FanOut { item: ItemId(item) }, Task::Fill { viewer, author }, Task::Purge { viewer, author },
            ];
            for n in 1..=row.len() {
                let last = u64::from(before) + n as u64;
                let read = decode(&key(TaskId(last)), &encode(&row[..n])).unwrap();
                let numbered = (u64::from(before) + 1..).map(TaskId).zip(row[..n].iter().copied());
                prop_assert_eq!(read, numbered.collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_row_without_tasks_is_damage() {
        let task = Task::FanOut { item: ItemId(1) };
        assert!(decode(&key(TaskId(5)), &[]).is_err());
        assert!(decode(&key(TaskId(1)), &encode(&[task, task])).is_err());
        assert!(decode(&key(TaskId(9)), &[3]).is_err());
    }
}
