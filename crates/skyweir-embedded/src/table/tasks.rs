//! The task log.
//!
//! Table `tasks`: key: task number u64 BE. Value: tag, then: 0 fan-out: item as varint; 1 fill, 2 purge: viewer and
//! author, u32 BE each.

use skyweir_store::{Result, Task};
use skyweir_types::{ActorId, ItemId, TaskId};

use crate::codec::{Reader, push_varint};

/// The key of a task.
pub(crate) fn key(id: TaskId) -> [u8; 8] {
    id.0.to_be_bytes()
}

/// Back from [`key`].
pub(crate) fn read_key(bytes: &[u8]) -> Result<TaskId> {
    let mut reader = Reader::new("tasks", bytes);
    let id = TaskId(reader.u64()?);
    reader.end().map(|()| id)
}

/// The value of a task.
pub(crate) fn encode(task: Task) -> Vec<u8> {
    let mut out = Vec::with_capacity(9);
    let (tag, viewer, author) = match task {
        Task::FanOut { item } => {
            out.push(0);
            push_varint(&mut out, item.0);
            return out;
        }
        Task::Fill { viewer, author } => (1, viewer, author),
        Task::Purge { viewer, author } => (2, viewer, author),
    };
    out.push(tag);
    out.extend_from_slice(&viewer.0.to_be_bytes());
    out.extend_from_slice(&author.0.to_be_bytes());
    out
}

/// Back from [`encode`].
pub(crate) fn decode(bytes: &[u8]) -> Result<Task> {
    let mut reader = Reader::new("tasks", bytes);
    let task = match reader.u8()? {
        0 => Task::FanOut { item: ItemId(reader.varint()?) },
        1 => Task::Fill { viewer: ActorId(reader.u32()?), author: ActorId(reader.u32()?) },
        2 => Task::Purge { viewer: ActorId(reader.u32()?), author: ActorId(reader.u32()?) },
        _ => return Err(reader.bad()),
    };
    reader.end().map(|()| task)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(id: u64, item in 0..1u64 << 47, viewer: u32, author: u32) {
            prop_assert_eq!(read_key(&key(TaskId(id))).unwrap(), TaskId(id));
            let (viewer, author) = (ActorId(viewer), ActorId(author));
            for task in [
                Task::FanOut { item: ItemId(item) }, Task::Fill { viewer, author }, Task::Purge { viewer, author },
            ] {
                prop_assert_eq!(decode(&encode(task)).unwrap(), task);
            }
        }
    }
}
