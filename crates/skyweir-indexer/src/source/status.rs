//! What a source tells about itself while it runs: the admin port shows it.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use skyweir_store::{Complete, Completeness};

use crate::metrics;

/// The state of a source, shared between it and whoever shows it.
#[derive(Debug, Default)]
pub struct SourceStatus {
    connected: AtomicBool,
    connections: AtomicU64,
    gaps: AtomicU64,
    last_gap: Mutex<Option<Gap>>,
    last_failure: Mutex<Option<String>>,
    /// 0: none yet.
    last_frame_us: AtomicI64,
    archive: Mutex<Option<ArchiveProgress>>,
    whole: AtomicBool,
    missing: AtomicU64,
}

/// How far an archive is read, or a host's repositories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArchiveProgress {
    /// Up to which sequence number; so many repositories.
    pub reached: u64,
    /// The last one that there is; 0 when nobody knows, as with repositories.
    pub tip: u64,
    /// Events that it had for us so far.
    pub events: u64,
}

impl ArchiveProgress {
    /// The share of it that is read, from 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        if self.tip == 0 { 0.0 } else { (self.reached as f64 / self.tip as f64).min(1.0) }
    }
}

impl Complete for SourceStatus {
    fn completeness(&self) -> Completeness {
        let archive = *self.archive.lock().unwrap_or_else(PoisonError::into_inner);
        match archive {
            Some(progress) => Completeness::Loading(progress.share()),
            None if self.whole.load(Relaxed) => Completeness::Whole,
            None => Completeness::Partial,
        }
    }
}

/// Events may have been lost upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// `CursorTooOld`, `OutdatedCursor`, `FutureCursor`; `AnotherSequence` and `LostCommits` are our own words.
    pub reason: String,
    /// The server's explanation.
    pub message: String,
}

/// The state at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusSnapshot {
    /// Whether the stream is open; for a file, whether it is being read.
    pub connected: bool,
    /// Connections opened after the first one.
    pub reconnects: u64,
    /// Gaps since the start.
    pub gaps: u64,
    /// The last gap.
    pub last_gap: Option<Gap>,
    /// Why the last connection failed or ended.
    pub last_failure: Option<String>,
    /// When the last frame came, by our clock, microseconds since 1970.
    pub last_frame_us: Option<i64>,
    /// How far an archive or a host's repositories are read, if it is one.
    pub archive: Option<ArchiveProgress>,
}

impl SourceStatus {
    /// The state now.
    #[must_use]
    pub fn snapshot(&self) -> StatusSnapshot {
        let last_frame_us = self.last_frame_us.load(Relaxed);
        StatusSnapshot {
            connected: self.connected.load(Relaxed),
            reconnects: self.connections.load(Relaxed).saturating_sub(1),
            gaps: self.gaps.load(Relaxed),
            last_gap: self.last_gap.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            last_failure: self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            last_frame_us: (last_frame_us != 0).then_some(last_frame_us),
            archive: *self.archive.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    pub(crate) fn connected(&self) {
        self.connections.fetch_add(1, Relaxed);
        self.connected.store(true, Relaxed);
    }

    pub(super) fn disconnected(&self) {
        self.connected.store(false, Relaxed);
    }

    pub(super) fn failed(&self, why: &str) {
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
    }

    /// Gaps so far. Whoever has a frame from behind a gap sees it counted.
    pub(crate) fn gaps(&self) -> u64 {
        self.gaps.load(Relaxed)
    }

    pub(crate) fn whole(&self, whole: bool) {
        self.whole.store(whole, Relaxed);
        self.tell();
    }

    /// The metric is what clients are told.
    fn tell(&self) {
        metrics::whole(self.completeness() == Completeness::Whole);
    }

    /// How many of a host's repositories couldn't be had, once all others are read.
    #[must_use]
    pub fn repositories_missing(&self) -> u64 {
        self.missing.load(Relaxed)
    }

    pub(crate) fn missing(&self, repositories: u64) {
        self.missing.store(repositories, Relaxed);
    }

    pub(crate) fn gap(&self, reason: &str, message: &str) {
        self.gaps.fetch_add(1, Relaxed);
        let gap = Gap { reason: reason.to_owned(), message: message.to_owned() };
        *self.last_gap.lock().unwrap_or_else(PoisonError::into_inner) = Some(gap);
    }

    pub(crate) fn archive(&self, progress: ArchiveProgress) {
        *self.archive.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
        self.tell();
    }

    /// No archive is read any more.
    pub(crate) fn archive_ended(&self) {
        *self.archive.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.tell();
    }

    pub(crate) fn frame(&self, now_us: i64) {
        self.last_frame_us.store(now_us, Relaxed);
    }
}
