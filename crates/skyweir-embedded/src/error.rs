//! Private conversions into [`skyweir_store::Error`], and the one file operation that several files need.

use std::fmt::Display;
use std::fs::File;
use std::path::Path;

use skyweir_store::Error;

/// Something stored can't be what it is.
pub(crate) fn corrupt(what: impl Display) -> Error {
    Error::Corrupt(what.to_string())
}

/// The file system refused.
pub(crate) fn io(doing: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::Unavailable(format!("{doing} {}: {error}", path.display()))
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> skyweir_store::Result<()> {
    File::open(folder).and_then(|dir| dir.sync_all()).map_err(|e| io("cannot sync", folder, &e))
}

/// The database refused.
pub(crate) fn db(error: fjall::Error) -> Error {
    match error {
        fjall::Error::Io(error) => Error::Unavailable(format!("database: {error}")),
        fjall::Error::Poisoned => Error::Unavailable(
            "the database stopped after a failed write; free disk space or mend the disk, then restart"
                .into(),
        ),
        fjall::Error::Storage(inner) => match inner {
            fjall::LsmError::Io(error) => Error::Unavailable(format!("database: {error}")),
            other => Error::Corrupt(format!("database: {other:?}")),
        },
        fjall::Error::Locked => Error::Unavailable("the database is open in another process".into()),
        other => Error::Corrupt(format!("database: {other:?}")),
    }
}
