//! How far a move is, as the cursor of its target says it until it is through.

use skyweir_types::{Collection, RecordKey, TaskId};

use crate::{MoveProgress, SavedCursor};

const MOVE_OF: &str = "a move of ";
/// Stands between what is copied and the last record of an account that has more.
const BEHIND: &str = ", behind ";

/// What is copied, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Stage {
    #[default]
    Accounts,
    /// Items, with their records.
    Items,
    /// All other records.
    Records,
    /// What is known of the whole store.
    Ending,
    Ended,
}

impl Stage {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Accounts => MoveProgress::FIRST,
            Self::Items => "posts and reposts",
            Self::Records => "other records, by accounts",
            Self::Ending | Self::Ended => "the end",
        }
    }
}

/// Where a move goes on.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Place {
    pub(super) stage: Stage,
    /// The next account, item, or account whose records are next.
    pub(super) next: u64,
    /// The last of its records that is copied, if not all are.
    pub(super) after: Option<(Collection, RecordKey)>,
}

impl Place {
    pub(super) const END: Self = Self { stage: Stage::Ended, next: 0, after: None };

    /// The begin of a stage.
    pub(super) fn of(stage: Stage) -> Self {
        Self { stage, ..Self::default() }
    }

    /// As the cursor of a move of this name says it.
    pub(super) fn read(saved: &SavedCursor, name: &str) -> Option<Self> {
        let said = saved.source.strip_prefix(name)?.strip_prefix(": ")?;
        let (word, after) = match said.split_once(BEHIND) {
            None => (said, None),
            Some((word, key)) => {
                let (nsid, rkey) = key.split_once('/')?;
                (word, Some((Collection::from_nsid(nsid)?, RecordKey::parse(rkey).ok()?)))
            }
        };
        let stages = [Stage::Accounts, Stage::Items, Stage::Records, Stage::Ending];
        let stage = stages.into_iter().find(|stage| stage.word() == word)?;
        Some(Self { stage, next: saved.position, after })
    }

    /// As a cursor, with the source's time.
    pub(super) fn saved(&self, name: &str, cursor: &SavedCursor) -> SavedCursor {
        let after = self.after.as_ref();
        let after = after.map(|(collection, rkey)| format!("{BEHIND}{}/{rkey}", collection.nsid()));
        let source = format!("{name}: {}{}", self.stage.word(), after.unwrap_or_default());
        SavedCursor { source, position: self.next, time_us: cursor.time_us }
    }
}

pub(super) fn is_move(source: &str) -> bool {
    source.starts_with(MOVE_OF)
}

/// The name of a source as it stands: whatever is applied to it changes one of these.
pub(super) fn name(cursor: &SavedCursor, actors: u32, next_task: TaskId) -> String {
    let SavedCursor { source, position, time_us } = cursor;
    format!("{MOVE_OF}{source} at {position} of {time_us}, {actors} accounts, task {next_task}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_back_by_the_same_name_only() {
        let cursor = SavedCursor { source: "wss://host.example/x".into(), position: 7, time_us: 9 };
        let names = [(3, 5), (4, 5), (3, 6)].map(|(actors, task)| name(&cursor, actors, TaskId(task)));
        for stage in [Stage::Accounts, Stage::Items, Stage::Records, Stage::Ending] {
            let key = |rkey| (Collection::Follow, RecordKey::parse(rkey).unwrap());
            for after in [None, Some(key("3k")), Some(key("a:b~c_d-e.f"))] {
                let place = Place { stage, next: 1 << 40, after };
                let saved = place.saved(&names[0], &cursor);
                assert!(is_move(&saved.source) && saved.time_us == 9);
                assert_eq!(Place::read(&saved, &names[0]), Some(place));
                assert_eq!((Place::read(&saved, &names[1]), Place::read(&saved, &names[2])), (None, None));
            }
        }
        assert!(!is_move(&cursor.source) && Place::read(&cursor, &names[0]).is_none());
    }
}
