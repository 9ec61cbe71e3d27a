//! Settings of the indexer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::apply::Horizons;
use crate::source::SourceConfig;

/// Settings of the indexer: `[indexer]` in `skyweir.toml`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// At most this many events are committed in one group.
    pub group_events: usize,
    /// Groups that aren't full close at least this many milliseconds apart: an event waits so long at most for company,
    /// and not at all after a pause.
    pub group_ms: u64,
    /// The cursor is saved after this many messages without an event of ours, ...
    pub cursor_messages: u64,
    /// ... or this many milliseconds after the last time, whichever comes first.
    pub cursor_ms: u64,
    /// Tombstones are kept this many hours of stream time, so that a late create loses against them.
    pub tombstone_hours: u32,
    /// A resync whose account stays quiet is over after this many seconds of stream time.
    pub sync_grace_seconds: u32,
    /// A commit that the store refuses is tried again after at most this many milliseconds.
    pub retry_most_ms: u64,
    /// Posts and reposts leave once they are older than so many hours of stream time; none: they stay. Set by
    /// `items.keep`.
    #[serde(skip)]
    pub keep_hours: Option<u32>,
    /// The upstream connection: `[indexer.source]`.
    pub source: SourceConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            group_events: 500,
            group_ms: 25,
            cursor_messages: 5_000,
            cursor_ms: 1_000,
            tombstone_hours: 7 * 24,
            sync_grace_seconds: 600,
            retry_most_ms: 5_000,
            keep_hours: None,
            source: SourceConfig::default(),
        }
    }
}

impl Config {
    pub(crate) fn horizons(&self) -> Horizons {
        Horizons {
            tombstones_ms: i64::from(self.tombstone_hours) * 3_600_000,
            sync_grace_ms: i64::from(self.sync_grace_seconds) * 1_000,
            keep_ms: self.keep_hours.map(|hours| i64::from(hours) * 3_600_000),
            ..Horizons::default()
        }
    }

    pub(crate) fn group_time(&self) -> Duration {
        Duration::from_millis(self.group_ms)
    }

    pub(crate) fn cursor_time(&self) -> Duration {
        Duration::from_millis(self.cursor_ms)
    }
}

/// Where to begin upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CursorChoice {
    /// With what happens from now on.
    Live,
    /// At the saved cursor, else live.
    #[default]
    Auto,
    /// At this number, at every start.
    At(u64),
}

impl std::str::FromStr for CursorChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "live" => Ok(Self::Live),
            "auto" => Ok(Self::Auto),
            number => number
                .parse()
                .map(Self::At)
                .map_err(|_| format!("cursor {number:?} is neither \"live\" nor \"auto\" nor a number")),
        }
    }
}
