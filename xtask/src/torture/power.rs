//! Power loss for real files: the shim's library, and a data folder brought to what a disk would hold.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::disk::{Disk, Listing, Noticed, Real, Step};
use super::journal::{Change, parse};
use crate::run::{Rng, root};

/// Compiles the shim into a folder; `None` where there is no C compiler.
pub(crate) fn compile(into: &Path) -> Result<Option<PathBuf>> {
    let library = into.join("powerloss.so");
    let mut cc = Command::new("cc");
    cc.args(["-Wall", "-shared", "-fPIC", "-O2", "-o"]).arg(&library);
    cc.arg(root().join("xtask/shim/powerloss.c")).arg("-ldl");
    match cc.status() {
        Ok(status) => {
            ensure!(status.success(), "cc cannot compile xtask/shim/powerloss.c");
            Ok(Some(library))
        }
        Err(_) => Ok(None),
    }
}

/// A data folder whose next power loss is being recorded.
pub(crate) struct Recording {
    data: PathBuf,
    side: PathBuf,
    log: PathBuf,
    before: Listing,
}

impl Recording {
    /// Begins: what the folder holds now is durable. `side` has to be on the same file system.
    pub(crate) fn begin(data: &Path, side: &Path) -> Result<Self> {
        if side.exists() {
            fs::remove_dir_all(side)?;
        }
        fs::create_dir_all(side)?;
        fs::create_dir_all(data)?;
        let data = data.canonicalize()?;
        let side = side.canonicalize()?;
        let before = list(&data)?;
        Ok(Self { log: side.join("journal"), data, side, before })
    }

    /// The environment of a process that is recorded.
    pub(crate) fn env(&self, library: &Path) -> Vec<(String, String)> {
        let text = |path: &Path| path.display().to_string();
        vec![
            ("LD_PRELOAD".into(), text(library)),
            ("POWERLOSS_LOG".into(), text(&self.log)),
            ("POWERLOSS_DIR".into(), text(&self.data)),
            ("POWERLOSS_SIDE".into(), text(&self.side)),
        ]
    }

    /// After the process was killed: takes from the folder what a power loss would take.
    pub(crate) fn lose_power(self, rng: &mut Rng, torn: bool) -> Result<Noticed> {
        let journal = fs::read_to_string(&self.log).unwrap_or_default();
        let records: Vec<_> = journal.lines().filter_map(parse).collect();
        let after = list(&self.data)?;
        let mut disk = Disk::new(&self.before);
        disk.replay(&records, happened);
        let (steps, noticed) = disk.lose(&after, rng, torn);
        for step in &steps {
            self.perform(step).with_context(|| format!("cannot perform {step:?}"))?;
        }
        Ok(noticed)
    }

    fn perform(&self, step: &Step) -> Result<()> {
        match step {
            Step::Remove(path) => gone(fs::remove_file(path)),
            Step::RemoveDir(path) => gone(fs::remove_dir_all(path)),
            Step::Rename { from, to } => gone(fs::rename(from, to)),
            Step::Restore { backup, to } => {
                if let Some(parent) = Path::new(to).parent() {
                    fs::create_dir_all(parent)?;
                }
                gone(fs::rename(backup, to))
            }
            Step::Patch { path, old } => {
                let mut bytes = vec![0; usize::try_from(old.len)?];
                fs::File::open(self.side.join("undo"))?.read_exact_at(&mut bytes, old.kept)?;
                Ok(OpenOptions::new().write(true).open(path)?.write_all_at(&bytes, old.at)?)
            }
            Step::Cut { path, len } => Ok(OpenOptions::new().write(true).open(path)?.set_len(*len)?),
        }
    }
}

/// What is gone already need not go again.
fn gone(result: std::io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => Ok(result?),
    }
}

/// Whether an operation took place during which the process died.
fn happened(change: &Change) -> bool {
    let there = |path: &str| Path::new(path).symlink_metadata().is_ok();
    match change {
        // without its inode a new file is not followed: the listing finds it and it is cut to nothing
        Change::Create { .. } => false,
        Change::Mkdir { path } => there(path),
        Change::Link { to, .. } => there(to),
        Change::Rename { from, to, .. } => !there(from) && there(to),
        Change::Unlink { path, .. } | Change::Rmdir { path } => !there(path),
    }
}

fn list(dir: &Path) -> Result<Listing> {
    let mut listing = Listing::new();
    let mut ahead = vec![dir.to_path_buf()];
    while let Some(dir) = ahead.pop() {
        for entry in fs::read_dir(&dir)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            if meta.is_dir() {
                ahead.push(entry.path());
            } else if meta.is_file() {
                listing.insert(entry.path().display().to_string(), Real { ino: meta.ino(), len: meta.len() });
            }
        }
    }
    Ok(listing)
}

#[cfg(test)]
mod tests;
