//! Where events come from: Jetstream of both generations and the archive of one, the firehose and the repositories of
//! its host, and files.

mod backoff;
mod chains;
mod config;
mod dictionary;
mod file;
mod handshake;
mod http;
mod kind;
mod place;
mod queue;
mod session;
mod socket;
mod status;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;

use skyweir_store::Store;
use skyweir_types::{AcrossAccounts, Clock, Event};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::repos::{Asker, Resync};
use crate::{Skip, archive, repos};

pub(crate) use backoff::Backoff;
pub use config::SourceConfig;
pub(crate) use handshake::{connector, open};
pub use kind::{SourceKind, Stream, parse, parse_archive, unfinished};
pub(crate) use kind::{is_beginning, missed, parse_repositories};
pub use queue::{FrameReceiver, FrameSender, queue};
pub use status::{ArchiveProgress, Gap, SourceStatus, StatusSnapshot};

/// What a source hands on: the events of one upstream message, and where upstream stands after it.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Sequence number, microseconds (Jetstream v1), or line number (file); `None` doesn't move the cursor.
    pub position: Option<u64>,
    /// Time of the message in microseconds since 1970; [`crate::decode::UNKNOWN_TIME`] when it doesn't tell one.
    pub time_us: i64,
    /// The events, in order.
    pub events: Vec<Event>,
    /// What was left out of it.
    pub skipped: Vec<Skip>,
}

/// The cursor as it was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedPosition {
    /// [`Frame::position`] of the last applied frame.
    pub position: u64,
    /// Greatest event time seen by then, microseconds since 1970.
    pub time_us: i64,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// With what happens from now on; a file: with its first line.
    Live,
    /// At this number of the operator's, which is sent as it stands; a file: after that many lines.
    From(u64),
    /// Behind what was applied; slightly before where the protocol advises it.
    Resume(SavedPosition),
}

impl StartAt {
    /// How much is behind us where nothing is sent before it is asked for; 0 at the begin.
    pub(crate) fn done(self) -> u64 {
        match self {
            Self::Live => 0,
            Self::From(number) => number,
            Self::Resume(saved) => saved.position,
        }
    }
}

/// Why a source ended without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to, or nobody takes its frames any more.
    Stopped,
    /// The file, archive or page of repositories has been read to its end.
    EndOfFile,
    /// The stream no longer has our place: its archive may, see [`Source::with_archive`].
    PlaceGone,
}

/// A source that can't work as it is configured. Whatever may pass by itself is tried again instead.
#[derive(Debug, Error)]
pub enum Error {
    /// The URL names no source.
    #[error("{url:?} is no source: {why}; known are {}", kind::KNOWN)]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The file can't be read.
    #[error("reading {}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The archive can't be read.
    #[error("the archive of {host}: {why}")]
    Archive {
        /// Whose archive.
        host: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The repositories can't be read.
    #[error("the repositories of {host}: {why}")]
    Repositories {
        /// Whose.
        host: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// No TLS provider is installed, or TLS can't be set up.
    #[error("TLS can't be set up: {0}")]
    Tls(String),
    /// A setting that can't work.
    #[error("source setting {0}")]
    Setting(&'static str),
}

/// One source, ready to run.
#[derive(Clone, Debug)]
pub struct Source {
    kind: SourceKind,
    config: SourceConfig,
    clock: Clock,
    archive: Option<Behind>,
}

/// Whoever runs a source reads its archive when the place is gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Behind {
    /// Behind this place the archive has nothing.
    exhausted: Option<u64>,
}

impl Source {
    /// A source of this kind. The clock tells the firehose's future from its past, and readiness the last frame's age.
    ///
    /// # Errors
    /// [`Error::Setting`] when a setting can't work.
    pub fn new(kind: SourceKind, config: SourceConfig, clock: Clock) -> Result<Self, Error> {
        config.check()?;
        Ok(Self { kind, config, clock, archive: None })
    }

    /// Ends with [`Ended::PlaceGone`] when the stream no longer has our place, instead of losing events: its archive
    /// has them, but for those behind an `exhausted` place. Of no effect on a source without an archive.
    #[must_use]
    pub fn with_archive(self, exhausted: Option<u64>) -> Self {
        let archive = self.kind.archive(i64::MIN).map(|_| Behind { exhausted });
        Self { archive, ..self }
    }

    /// The name under which its cursor is saved: the URL without query.
    #[must_use]
    pub fn id(&self) -> String {
        self.kind.id()
    }

    pub(crate) fn kind(&self) -> &SourceKind {
        &self.kind
    }

    /// Which order across accounts it keeps.
    #[must_use]
    pub fn across_accounts(&self) -> AcrossAccounts {
        self.kind.across_accounts()
    }

    /// Whether it tells where each resync ends, or what does is fetched.
    pub(crate) fn ends_told(&self) -> bool {
        matches!(self.kind, SourceKind::Repositories(_)) || self.resyncing().is_some()
    }

    /// What fetches the repositories that it says have changed, if it is a source that only says so.
    pub(crate) fn resync(&self, store: Arc<dyn Store>, out: &FrameSender) -> Option<(Asker, Resync)> {
        let stream = self.resyncing()?.clone();
        Some(Resync::new(store, stream, self.config.clone(), self.clock.clone(), out.clone()))
    }

    fn resyncing(&self) -> Option<&Stream> {
        match &self.kind {
            SourceKind::Stream(stream) if stream.has_repositories() => {
                Some(stream).filter(|_| self.config.resync_downloads > 0)
            }
            _ => None,
        }
    }

    /// Hands on frames until stopped. Connections are opened again for ever; a file or archive ends. When `out` is full
    /// nothing is read: upstream waits.
    ///
    /// # Errors
    /// [`enum@Error`]: nothing that trying again could mend.
    pub async fn run(
        self,
        start: StartAt,
        out: FrameSender,
        status: Arc<SourceStatus>,
        stop: CancellationToken,
    ) -> Result<Ended, Error> {
        let work = async {
            match &self.kind {
                SourceKind::File(path) => {
                    file::run(path, &self.config, &self.clock, start, &out, &status).await
                }
                SourceKind::Stream(stream) => {
                    let archive = self.archive;
                    socket::run(stream, archive, &self.config, &self.clock, start, &out, &status).await
                }
                SourceKind::Archive(from) => {
                    archive::run(from, &self.config, &self.clock, start, &out, &status).await
                }
                SourceKind::Repositories(page) => {
                    repos::run(page, &self.config, &self.clock, start, &out, &status).await
                }
            }
        };
        let ended = stop.run_until_cancelled(work).await.unwrap_or(Ok(Ended::Stopped));
        status.disconnected();
        ended
    }
}
