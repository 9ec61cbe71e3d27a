//! One process a data directory.

use std::fs::{File, TryLockError};
use std::path::Path;

use skyweir_store::{Error, Result};

use crate::error::io;

/// Held as long as the data directory is open; the system lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct DirLock(#[expect(dead_code, reason = "the lock lasts as long as the open file")] File);

impl DirLock {
    /// Makes the directory if need be and locks it.
    pub(crate) fn take(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir).map_err(|e| io("cannot make the data directory", dir, &e))?;
        let path = dir.join("LOCK");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|e| io("cannot open", &path, &e))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(Error::Unavailable(format!(
                "data directory {} is in use by another process; stop that one, or choose another directory",
                dir.display()
            ))),
            Err(TryLockError::Error(e)) => Err(io("cannot lock", &path, &e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirLock::take(dir.path()).unwrap();
        let refused = DirLock::take(dir.path()).unwrap_err().to_string();
        assert!(refused.contains(&dir.path().display().to_string()), "{refused}");
        drop(first);
        DirLock::take(dir.path()).unwrap();
    }
}
