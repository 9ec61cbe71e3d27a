//! The folder of a server: its data, its log, and a lock so that one command at a time changes it.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::wait_for;

/// How long another command may keep the folder: it may be fetching.
const PATIENCE: Duration = Duration::from_secs(600);

/// Makes the folder where it is missing and locks it until the answer is dropped.
pub(crate) fn hold(home: &Path) -> Result<File> {
    let name = home.display();
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(home).with_context(|| format!("cannot make {name}"))?;
    // anybody may make a folder in /tmp, and programs of this one are run
    ensure!(
        fs::metadata(home)?.uid() == fs::metadata("/proc/self")?.uid(),
        "{name} belongs to another user: name another folder with --home"
    );
    let path = home.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    wait_for(&format!("another command on {name}"), PATIENCE, || match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error.into()),
    })?;
    Ok(file)
}

/// What a file says; nothing if it isn't there.
pub(crate) fn read(file: &Path) -> Result<Option<String>> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_made_for_its_owner_alone_and_held_once() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("a/b");
        let held = hold(&home).unwrap();
        assert_eq!(fs::metadata(&home).unwrap().mode() & 0o777, 0o700);
        let other = File::create(home.join("lock")).unwrap();
        assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
        drop(held);
        other.try_lock().unwrap();
    }
}
