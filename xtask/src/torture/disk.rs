//! What a disk holds for sure, as the journal tells it, and what a power loss takes away.
//!
//! Contents are cut back to their last sync: appended bytes go, overwritten ones come back. Names (creations, renames,
//! removals) that no sync of their folder has made durable are undone by chance, and with one everything later on the
//! same names. A removed folder is taken as durable, as are names that the shim did not see change.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use super::journal::{Change, Old, Record};
use crate::run::Rng;

/// A file in the data folder, as it really is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Real {
    pub(crate) ino: u64,
    pub(crate) len: u64,
}

/// Real files by their path.
pub(crate) type Listing = BTreeMap<String, Real>;

/// One step of taking the power away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A creation didn't last.
    Remove(String),
    /// A folder's creation didn't last.
    RemoveDir(String),
    /// A rename didn't last.
    Rename { from: String, to: String },
    /// What a rename replaced, or what was removed, is back.
    Restore { backup: String, to: String },
    /// Old bytes come back.
    Patch { path: String, old: Old },
    /// The file has this length.
    Cut { path: String, len: u64 },
}

/// What has been noticed on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Noticed {
    /// Records read.
    pub(crate) records: usize,
    /// Writes over synced bytes.
    pub(crate) overwrites: usize,
    /// Renames that bypassed the shim: their names are taken as durable.
    pub(crate) unseen: usize,
    /// Calls that the shim can't follow.
    pub(crate) odd: usize,
    /// Operations on names that were undone.
    pub(crate) undone: usize,
    /// Bytes cut off.
    pub(crate) bytes_cut: u64,
    /// Overwrites taken back.
    pub(crate) patched: usize,
}

#[derive(Default)]
struct File {
    synced: u64,
    old: Vec<Old>,
}

/// The state of the disk.
pub(crate) struct Disk {
    names: BTreeMap<String, u64>,
    files: HashMap<u64, File>,
    /// Operations on names that are not durable yet, with the inode that moved.
    pending: Vec<(Change, u64)>,
    noticed: Noticed,
}

impl Disk {
    /// A disk on which all these files are durable as they are.
    pub(crate) fn new(listing: &Listing) -> Self {
        let names = listing.iter().map(|(path, real)| (path.clone(), real.ino)).collect();
        let file = |real: &Real| (real.ino, File { synced: real.len, old: Vec::new() });
        Self {
            names,
            files: listing.values().map(file).collect(),
            pending: Vec::new(),
            noticed: Noticed::default(),
        }
    }

    /// Reads the journal. `happened` tells of an operation during which the process died whether it took place.
    pub(crate) fn replay(&mut self, records: &[Record], happened: impl Fn(&Change) -> bool) {
        let mut outcomes: HashMap<u64, Option<u64>> = HashMap::new();
        for record in records {
            match record {
                Record::Done { id, ino } => outcomes.insert(*id, Some(*ino)),
                Record::Fail { id } => outcomes.insert(*id, None),
                _ => None,
            };
        }
        self.noticed.records += records.len();
        for record in records {
            match record {
                Record::Try { id, change } => match outcomes.get(id) {
                    Some(Some(ino)) => self.change(change, *ino),
                    Some(None) => {}
                    None if happened(change) => self.change(change, 0),
                    None => {}
                },
                Record::Done { .. } | Record::Fail { .. } => {}
                Record::Sync { len, ino } => {
                    let file = self.files.entry(*ino).or_default();
                    (file.synced, file.old) = (*len, Vec::new());
                }
                Record::SyncDir { path } => {
                    let inside = |name: &str| Path::new(name).parent() == Some(Path::new(path));
                    // a rename counts as durable once the folder that it went to is synced
                    self.pending
                        .retain(|(change, _)| !change.paths().last().is_some_and(|name| inside(name)));
                }
                Record::Over { old, ino } => {
                    self.noticed.overwrites += 1;
                    self.files.entry(*ino).or_default().old.push(*old);
                }
                Record::Odd { .. } => self.noticed.odd += 1,
            }
        }
    }

    fn change(&mut self, change: &Change, ino: u64) {
        let mut moved = ino;
        match change {
            Change::Create { path } => {
                self.files.insert(ino, File::default());
                self.names.insert(path.clone(), ino);
            }
            Change::Mkdir { .. } => {}
            Change::Link { from, to } => {
                moved = self.names.get(from).copied().unwrap_or(0);
                self.names.insert(to.clone(), moved);
            }
            Change::Rename { from, to, .. } => {
                self.rename_below(from, to);
                // a folder has no entry of its own
                let Some(ino) = self.names.remove(from) else {
                    self.pending.push((change.clone(), 0));
                    return;
                };
                moved = self.names.insert(to.clone(), ino).unwrap_or(0);
            }
            Change::Unlink { path, .. } => moved = self.names.remove(path).unwrap_or(0),
            Change::Rmdir { path } => {
                let inside = |name: &str| Path::new(name).starts_with(path);
                self.pending.retain(|(change, _)| !change.paths().iter().any(|name| inside(name)));
                return;
            }
        }
        self.pending.push((change.clone(), moved));
    }

    /// A renamed folder takes along what is in it.
    fn rename_below(&mut self, from: &str, to: &str) {
        let below = format!("{from}/");
        let names: Vec<String> = self.names.keys().filter(|name| name.starts_with(&below)).cloned().collect();
        for name in names {
            if let Some(ino) = self.names.remove(&name) {
                self.names.insert(format!("{to}/{}", &name[below.len()..]), ino);
            }
        }
    }

    /// Files whose inode stands under another name than the journal says: a rename bypassed the shim.
    fn reconcile(&mut self, listing: &Listing) {
        for (path, real) in listing {
            if self.names.get(path) == Some(&real.ino) {
                continue;
            }
            let known = self.files.contains_key(&real.ino);
            if known && self.names.values().any(|ino| *ino == real.ino) {
                self.noticed.unseen += 1;
                let stale: Vec<String> = self
                    .names
                    .iter()
                    .filter(|(_, ino)| **ino == real.ino)
                    .map(|(name, _)| name.clone())
                    .collect();
                self.names.retain(|_, ino| *ino != real.ino);
                self.pending.retain(|(change, ino)| {
                    *ino != real.ino && !change.paths().iter().any(|name| stale.iter().any(|old| old == name))
                });
            }
            self.names.insert(path.clone(), real.ino);
        }
        self.names.retain(|path, _| listing.contains_key(path));
    }

    /// Takes the power away. `torn`: of what was written since the last sync a part, drawn at random, is on the disk
    /// (else nothing is); also then nothing that was synced is touched.
    pub(crate) fn lose(mut self, listing: &Listing, rng: &mut Rng, torn: bool) -> (Vec<Step>, Noticed) {
        self.reconcile(listing);
        let mut steps = Vec::new();
        for (change, ino) in self.draw(rng).into_iter().rev() {
            self.noticed.undone += 1;
            self.undo(&change, ino, &mut steps);
        }
        let lengths: HashMap<u64, u64> = listing.values().map(|real| (real.ino, real.len)).collect();
        for (path, ino) in &self.names {
            let Some(file) = self.files.get(ino) else {
                // the process died before it could say that it created this
                steps.push(Step::Cut { path: path.clone(), len: 0 });
                continue;
            };
            let len = lengths.get(ino).copied().unwrap_or(file.synced);
            if torn && rng.per_mille(500) {
                let more = len.saturating_sub(file.synced);
                if more > 0 {
                    let kept = rng.below(more + 1);
                    self.noticed.bytes_cut += more - kept;
                    steps.push(Step::Cut { path: path.clone(), len: file.synced + kept });
                }
                // in the order of writing: what came first is on the disk, the rest is not
                let kept = rng.index(file.old.len() + 1);
                for old in file.old[kept..].iter().rev() {
                    self.noticed.patched += 1;
                    steps.push(Step::Patch { path: path.clone(), old: *old });
                }
                continue;
            }
            for old in file.old.iter().rev() {
                self.noticed.patched += 1;
                steps.push(Step::Patch { path: path.clone(), old: *old });
            }
            if len != file.synced {
                self.noticed.bytes_cut += len.saturating_sub(file.synced);
                steps.push(Step::Cut { path: path.clone(), len: file.synced });
            }
        }
        (steps, self.noticed)
    }

    /// Which pending operations don't last: in half of the cases all from some moment on, as a journaling file system
    /// loses them, else each by its own luck.
    fn draw(&mut self, rng: &mut Rng) -> Vec<(Change, u64)> {
        let pending = std::mem::take(&mut self.pending);
        let from = rng.per_mille(500).then(|| rng.index(pending.len() + 1));
        let mut tainted: HashSet<String> = HashSet::new();
        let mut gone = Vec::new();
        for (index, (change, ino)) in pending.into_iter().enumerate() {
            let unlucky = from.map_or_else(|| rng.per_mille(500), |from| index >= from);
            let follows = change
                .paths()
                .iter()
                .any(|path| tainted.iter().any(|name| Path::new(path).starts_with(name)));
            if unlucky || follows {
                tainted.extend(change.paths().into_iter().map(str::to_owned));
                gone.push((change, ino));
            }
        }
        gone
    }

    fn undo(&mut self, change: &Change, ino: u64, steps: &mut Vec<Step>) {
        match change {
            Change::Create { path } | Change::Link { to: path, .. } => {
                self.names.remove(path);
                steps.push(Step::Remove(path.clone()));
            }
            Change::Mkdir { path } => {
                self.names.retain(|name, _| !Path::new(name).starts_with(path));
                steps.push(Step::RemoveDir(path.clone()));
            }
            Change::Rename { from, to, backup } => {
                self.rename_below(to, from);
                if let Some(ino) = self.names.remove(to) {
                    self.names.insert(from.clone(), ino);
                }
                steps.push(Step::Rename { from: to.clone(), to: from.clone() });
                if let Some(backup) = backup {
                    self.names.insert(to.clone(), ino);
                    steps.push(Step::Restore { backup: backup.clone(), to: to.clone() });
                }
            }
            Change::Unlink { path, backup } => {
                if let Some(backup) = backup {
                    self.names.insert(path.clone(), ino);
                    steps.push(Step::Restore { backup: backup.clone(), to: path.clone() });
                }
            }
            Change::Rmdir { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests;
