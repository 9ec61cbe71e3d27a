//! The records that `shim/powerloss.c` writes.

/// One record; `id` joins an operation on names with its outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Record {
    /// An operation on names is about to happen.
    Try { id: u64, change: Change },
    /// It happened; `ino` is the inode of a created file, else 0.
    Done { id: u64, ino: u64 },
    /// It didn't happen.
    Fail { id: u64 },
    /// A file was synced at this length.
    Sync { len: u64, ino: u64 },
    /// A folder was synced.
    SyncDir { path: String },
    /// Synced bytes are about to change or go; the old ones are in the side folder's file.
    Over { old: Old, ino: u64 },
    /// Something that the shim can't follow.
    Odd { what: String },
}

/// Bytes that were overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Old {
    /// Where in the file they were.
    pub(crate) at: u64,
    /// How many.
    pub(crate) len: u64,
    /// Where they are kept.
    pub(crate) kept: u64,
}

/// An operation on names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Create { path: String },
    Mkdir { path: String },
    Link { from: String, to: String },
    Rename { from: String, to: String, backup: Option<String> },
    Unlink { path: String, backup: Option<String> },
    Rmdir { path: String },
}

impl Change {
    /// The names that it changes.
    pub(crate) fn paths(&self) -> Vec<&str> {
        match self {
            Self::Create { path }
            | Self::Mkdir { path }
            | Self::Unlink { path, .. }
            | Self::Rmdir { path } => vec![path],
            Self::Link { to, .. } => vec![to],
            Self::Rename { from, to, .. } => vec![from, to],
        }
    }
}

/// Reads a line; `None` if it is none, as the last one may be.
pub(crate) fn parse(line: &str) -> Option<Record> {
    let fields: Vec<&str> = line.split('\t').collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let text = |index: usize| fields.get(index).map(|text| (*text).to_owned());
    let backup = |index: usize| text(index).map(|text| (text != "-").then_some(text));
    let change = match *fields.first()? {
        "create" => Change::Create { path: text(2)? },
        "mkdir" => Change::Mkdir { path: text(2)? },
        "link" => Change::Link { from: text(2)?, to: text(3)? },
        "rename" => Change::Rename { from: text(2)?, to: text(3)?, backup: backup(4)? },
        "unlink" => Change::Unlink { path: text(2)?, backup: backup(3)? },
        "rmdir" => Change::Rmdir { path: text(2)? },
        "done" => return Some(Record::Done { id: number(1)?, ino: number(2)? }),
        "fail" => return Some(Record::Fail { id: number(1)? }),
        "sync" => return Some(Record::Sync { len: number(1)?, ino: number(2)? }),
        "syncdir" => return Some(Record::SyncDir { path: text(1)? }),
        "over" => {
            let old = Old { at: number(1)?, len: number(2)?, kept: number(3)? };
            return Some(Record::Over { old, ino: number(4)? });
        }
        "odd" => return Some(Record::Odd { what: text(1)? }),
        _ => return None,
    };
    Some(Record::Try { id: number(1)?, change })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let rename = Change::Rename { from: "/d/a".into(), to: "/d/b".into(), backup: None };
        assert_eq!(parse("rename\t7\t/d/a\t/d/b\t-"), Some(Record::Try { id: 7, change: rename }));
        assert_eq!(parse("sync\t5\t99\t/d/a"), Some(Record::Sync { len: 5, ino: 99 }));
        let old = Old { at: 1, len: 2, kept: 3 };
        assert_eq!(parse("over\t1\t2\t3\t4\t/d/a"), Some(Record::Over { old, ino: 4 }));
        assert_eq!(parse("syncdi"), None);
        assert_eq!(parse("sync\t5"), None);
    }
}
