//! Timelines in memory: slices of the actor space, each with its rings behind one lock.

pub(crate) mod checkpoint;
mod enrolled;
mod file;
mod memory;
mod ring;
mod slice;
mod timelines;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use skyweir_store::{Error, Result};
use skyweir_types::{ActorId, DrawKey, Generation, TaskId};

use self::enrolled::Enrolled;
use self::memory::Memory;
use self::ring::Ring;
use self::slice::Slice;
use crate::config::{Config, RingsConfig};
use crate::db::{Db, must_exist};
use crate::lock::DirLock;
use crate::store::{self, EmbeddedStore};
use crate::table::meta::Manifest;

/// The timelines of one machine. Cheap to clone.
#[derive(Clone)]
pub struct Rings {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    store: Arc<store::Inner>,
    data_dir: PathBuf,
    draw: DrawKey,
    cap: usize,
    slices: Vec<Mutex<Slice>>,
    enrolled: Enrolled,
    memory: Arc<Memory>,
    /// The turn to write a checkpoint, with what the last one wrote.
    last: Mutex<Option<Manifest>>,
    restored: TaskId,
    /// Where the next look for idle timelines begins.
    idle_from: AtomicUsize,
}

impl Rings {
    /// Brings back the rings of the last checkpoint. If any of its files is damaged or missing, or the key of the
    /// draw has changed, all rings are dropped: they are derived data and fill again.
    ///
    /// # Errors
    /// `Limit` for a setting out of its range; `Unavailable` or `Corrupt` when the records can't be read, `Unavailable`
    /// too when a file of the checkpoint is there but can't be read.
    pub fn open(store: &EmbeddedStore, config: &RingsConfig, draw: DrawKey) -> Result<Self> {
        if !(1..=65_536).contains(&config.slices) || !(1..=65_536).contains(&config.cap) {
            return Err(Error::Limit("slices and cap of the rings go from 1 to 65536".into()));
        }
        let moment = store.inner.db.snapshot();
        let next_task = *store.inner.next_task.borrow();
        let actors = store::Inner::actor_count(&moment)?;
        let blank = || Inner::blank(store, config, draw, next_task);
        let mut inner = blank();
        if let Some(manifest) = checkpoint::manifest(&moment)? {
            match checkpoint::restore(&inner, &manifest, actors, config.restore_threads) {
                Ok(()) => {
                    tracing::info!(
                        rings = inner.enrolled.count(),
                        task.kept = manifest.kept.0,
                        "rings restored"
                    );
                    inner.restored = manifest.kept;
                    let other_slices = manifest.files.len() != inner.slices.len();
                    for at in 0..inner.slices.len() {
                        inner.slice(at).dirty |= other_slices;
                    }
                    inner.last = Mutex::new(Some(manifest));
                }
                // files that can't be read now may be readable later
                Err(error @ (Error::Unavailable(_) | Error::Limit(_))) => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "checkpoint not usable; rings are dropped and will fill again");
                    ::metrics::counter!(crate::metrics::RINGS_DROPPED).increment(1);
                    inner = blank();
                    checkpoint::drop_all(&store.inner.db, &inner.data_dir)?;
                }
            }
        }
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Forgets the checkpoint in a data directory that no process has open: all timelines fill again.
    ///
    /// # Errors
    /// `Unavailable` when the directory is none of ours, in use, or the disk refuses.
    pub fn drop_all(data_dir: &Path) -> Result<()> {
        must_exist(data_dir)?;
        let _lock = DirLock::take(data_dir)?;
        let db = Db::open(&Config { data_dir: data_dir.to_owned(), ..Config::default() })?;
        checkpoint::drop_all(&db, data_dir)
    }

    /// Forgets the checkpoint of an open store that has no rings open: all timelines fill again.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses.
    pub fn forget(store: &EmbeddedStore) -> Result<()> {
        checkpoint::drop_all(&store.inner.db, &store.inner.config.data_dir)
    }

    /// Bytes that all timelines take in memory: what the budget is about, and a bit an account known, which no
    /// hibernation frees.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.inner.memory.bytes() + self.inner.enrolled.memory()
    }
}

impl Inner {
    /// No timeline is enrolled.
    fn blank(store: &EmbeddedStore, config: &RingsConfig, draw: DrawKey, next_task: TaskId) -> Self {
        let memory = Arc::new(Memory::new(usize::try_from(config.memory_bytes).unwrap_or(usize::MAX)));
        let slice = |_| Mutex::new(Slice::new(config.slices, Arc::clone(&memory)));
        Self {
            store: Arc::clone(&store.inner),
            data_dir: store.inner.config.data_dir.clone(),
            draw,
            cap: config.cap,
            slices: (0..config.slices).map(slice).collect(),
            enrolled: Enrolled::default(),
            memory,
            last: Mutex::new(None),
            restored: next_task,
            idle_from: AtomicUsize::new(0),
        }
    }

    fn slice(&self, at: usize) -> MutexGuard<'_, Slice> {
        self.slices[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slice of a timeline, and its place in there.
    #[inline]
    fn place(&self, viewer: ActorId) -> (usize, usize) {
        let slices = self.slices.len() as u32;
        ((viewer.0 % slices) as usize, (viewer.0 / slices) as usize)
    }

    fn slice_of(&self, viewer: ActorId) -> (MutexGuard<'_, Slice>, usize) {
        let (slice, place) = self.place(viewer);
        (self.slice(slice), place)
    }

    /// Notes the greatest generation that a slice had before the restart (`None`: any slice may have had it).
    fn note_generation(&self, generation: Generation, slice: Option<usize>) {
        for at in slice.map_or(0..self.slices.len(), |at| at..at + 1) {
            let mut slice = self.slice(at);
            slice.last_generation = slice.last_generation.max(generation);
        }
    }

    fn restore_ring(&self, ring: Ring) {
        let viewer = ring.viewer;
        let (mut slice, place) = self.slice_of(viewer);
        slice.put(place, ring);
        self.enrolled.add(viewer);
    }
}
