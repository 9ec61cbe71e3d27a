//! Checkpoints: a file a slice, then a manifest row that names them. Whatever fails leaves the former one valid.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use skyweir_store::Result;
use skyweir_types::{DidHash, DrawKey, TaskId, UriHash};
use tokio::time::Instant;

use super::{Inner, file};
use crate::db::{Db, Read};
use crate::error::{corrupt, io, sync_folder};
use crate::metrics;
use crate::table::{Table, meta};

/// A slice of which nothing changed but when its timelines were read is written again once its file is this many
/// checkpoints old.
const TOUCHED_EVERY: u64 = 16;

/// What stands for a key of the draw: rings kept by another key are of no use.
pub(super) fn fingerprint(key: &DrawKey) -> u64 {
    key.draw(UriHash(1), DidHash(2)).to_bits()
}

/// The folder of the files.
pub(super) fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("rings")
}

fn path(folder: &Path, number: u64, slice: usize) -> PathBuf {
    folder.join(format!("{number}-{slice}.ring"))
}

/// The manifest of the last complete checkpoint.
pub(crate) fn manifest(read: &impl Read) -> Result<Option<meta::Manifest>> {
    read.get(Table::Meta, meta::KEY_RINGS)?.map(|bytes| meta::Manifest::decode(&bytes)).transpose()
}

/// The files that a manifest names, with their slices.
pub(crate) fn files(data_dir: &Path, manifest: &meta::Manifest) -> Vec<(u32, PathBuf)> {
    let folder = folder(data_dir);
    let named = manifest.files.iter().enumerate().filter(|(_, number)| **number > 0);
    named.map(|(slice, number)| (slice as u32, path(&folder, *number, slice))).collect()
}

/// Reads a checkpoint file's checksum and structure; for `check`.
pub(crate) fn verify(path: &Path, slice: u32) -> Result<usize> {
    let contents = file::read(path)?;
    if contents.slice == slice {
        Ok(contents.rings.len())
    } else {
        Err(corrupt(format_args!("{} holds slice {}", path.display(), contents.slice)))
    }
}

/// Writes all published rings. One at a time: the caller holds the turn. One that was given up may get it after a later
/// one, and then holds all that this held: so *kept* stays, as the log is cut below it.
pub(super) fn write(inner: &Inner, last: &mut Option<meta::Manifest>, kept: TaskId) -> Result<()> {
    let begun = Instant::now();
    let folder = folder(&inner.data_dir);
    std::fs::create_dir_all(&folder).map_err(|e| io("cannot make", &folder, &e))?;
    let number = last.as_ref().map_or(0, |manifest| manifest.number) + 1;
    let kept = last.as_ref().map_or(kept, |manifest| manifest.kept.max(kept));
    let mut next =
        meta::Manifest { number, kept, draw: fingerprint(&inner.draw), files: vec![0; inner.slices.len()] };
    let portion_most = file::portion_most(inner.cap);
    let mut buffer = Vec::with_capacity(portion_most);
    inner.memory.add(portion_most);
    let (mut written, mut bytes_written) = (Vec::new(), 0);
    let outcome = (|| {
        for at in 0..inner.slices.len() {
            let old = last.as_ref().and_then(|manifest| manifest.files.get(at)).copied();
            if !begins(inner, at, number, old) {
                next.files[at] = old.unwrap_or(0);
                continue;
            }
            written.push(at);
            let portion =
                |walk: &mut file::Walk, buffer: &mut Vec<u8>| walk.portion(&inner.slice(at), buffer);
            bytes_written += file::write(&path(&folder, number, at), at as u32, &mut buffer, portion)?;
            next.files[at] = number;
        }
        sync_folder(&folder)?;
        // the folder's own name, which the first checkpoint makes
        sync_folder(&inner.data_dir)?;
        let mut batch = inner.store.db.synced_batch(1);
        batch.put(Table::Meta, meta::KEY_RINGS, next.encode());
        batch.commit()
    })();
    inner.memory.sub(portion_most);
    if let Err(error) = outcome {
        for at in written {
            inner.slice(at).dirty = true;
        }
        return Err(error);
    }
    *last = Some(next);
    sweep(&inner.data_dir, last.as_ref());
    ::metrics::counter!(metrics::CHECKPOINT_BYTES).increment(bytes_written);
    ::metrics::histogram!(metrics::CHECKPOINT_SECONDS).record(begun.elapsed());
    ::metrics::gauge!(metrics::RINGS_ENROLLED).set(inner.enrolled.count() as f64);
    Ok(())
}

/// Whether a slice has to be written. What changes from now on is for the next checkpoint.
fn begins(inner: &Inner, at: usize, number: u64, old: Option<u64>) -> bool {
    let mut slice = inner.slice(at);
    let touched = slice.touched && old.is_none_or(|old| number - old >= TOUCHED_EVERY);
    if old.is_some() && !slice.dirty && !touched {
        return false;
    }
    (slice.dirty, slice.touched) = (false, false);
    slice.len() > 0 || slice.last_generation.0 > 0
}

/// Deletes files that the manifest doesn't name. What can't be deleted is tried again next time.
fn sweep(data_dir: &Path, manifest: Option<&meta::Manifest>) {
    let named: HashSet<PathBuf> = manifest
        .map(|manifest| files(data_dir, manifest))
        .unwrap_or_default()
        .into_iter()
        .map(|f| f.1)
        .collect();
    let Ok(entries) = std::fs::read_dir(folder(data_dir)) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let ours = path.extension().is_some_and(|end| end == "ring" || end == "tmp");
        if ours && !named.contains(&path) {
            std::fs::remove_file(&path).ok();
        }
    }
}

/// Brings the last checkpoint's rings back, as many as the budget has room for: the others hibernate. An error leaves
/// `inner` to be thrown away.
pub(super) fn restore(inner: &Inner, manifest: &meta::Manifest, actors: u32, threads: usize) -> Result<()> {
    if manifest.draw != fingerprint(&inner.draw) {
        return Err(corrupt("the key of the draw is another one"));
    }
    let files = files(&inner.data_dir, manifest);
    let same = manifest.files.len() == inner.slices.len();
    let load = |files: &[(u32, PathBuf)]| -> Result<()> {
        for (number, path) in files {
            let contents = file::read(path)?;
            if contents.slice != *number {
                return Err(corrupt(format_args!("{} holds another slice", path.display())));
            }
            inner.note_generation(contents.last_generation, same.then_some(*number as usize));
            for (mut ring, entries) in contents.rings {
                if ring.viewer.0 >= actors {
                    return Err(corrupt(format_args!("a ring of account {}, never interned", ring.viewer)));
                }
                if inner.memory.bytes() >= inner.memory.budget() {
                    // it is still in the file, which from the next checkpoint on would be too old for it
                    inner.slice_of(ring.viewer).0.dirty = true;
                    continue;
                }
                let floor = ring.floor;
                ring.replace(&entries, floor, inner.cap, &inner.memory);
                inner.restore_ring(ring);
            }
        }
        Ok(())
    };
    let share = files.len().div_ceil(threads.max(1)).max(1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = files.chunks(share).map(|part| scope.spawn(move || load(part))).collect();
        let mut outcome = Ok(());
        for worker in workers {
            let loaded =
                worker.join().unwrap_or_else(|_| Err(corrupt("a checkpoint file that can't be read")));
            outcome = outcome.and(loaded);
        }
        outcome
    })
}

/// Forgets the last checkpoint and deletes its files.
pub(super) fn drop_all(db: &Db, data_dir: &Path) -> Result<()> {
    let mut batch = db.synced_batch(1);
    batch.remove(Table::Meta, meta::KEY_RINGS);
    batch.commit()?;
    sweep(data_dir, None);
    Ok(())
}
