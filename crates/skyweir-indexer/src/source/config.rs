//! Settings of the upstream connection.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Error;

/// Settings of the upstream connection: `[indexer.source]` in `skyweir.toml`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceConfig {
    /// Frames between the socket and their application; at least 1, default 4,096. When it is full, upstream waits.
    pub queue: usize,
    /// Bytes of these frames, from 1,024 on; default 33,554,432. When it is full, upstream waits, too.
    pub queue_bytes: u32,
    /// A ping is sent after this many milliseconds; default 15,000.
    pub ping_ms: u64,
    /// A connection that is silent for this many milliseconds, pongs included, is opened anew; default 60,000.
    pub liveness_ms: u64,
    /// Connecting, TLS and the upgrade may take this many milliseconds together; default 15,000.
    pub connect_ms: u64,
    /// The first pause before connecting again, in milliseconds; it doubles, and a random half of it is taken off.
    /// Default 250.
    pub backoff_least_ms: u64,
    /// The longest pause before connecting again, in milliseconds; default 30,000.
    pub backoff_most_ms: u64,
    /// Jetstream v1, and v2 when it resumes by time, resume this many milliseconds before the saved cursor; default
    /// 5,000.
    pub overlap_ms: u64,
    /// Larger messages are left out, compressed or not; default 10,000,000.
    pub max_message_bytes: usize,
    /// Whether to ask a Jetstream for zstd; default true.
    pub compress: bool,
    /// How we call ourselves; default `skyweir/VERSION`.
    pub user_agent: String,
    /// So many segments of an archive are downloaded side by side, 1 to 64; default 4.
    pub archive_downloads: usize,
    /// A larger block of an archive, packed or not, is refused; from 65,536 bytes on, default 67,108,864. Each download
    /// holds up to four of them.
    pub archive_block_bytes: usize,
    /// After so many downloads in a row that came damaged a part of an archive is given up, and so is one that is
    /// planned so often and isn't there; a repository is asked for so often, and as often again at the end of its page.
    /// A host of accounts that has no answer so often in a row isn't waited for. At least 1, default 5.
    pub archive_attempts: u32,
    /// A download of an archive, a repository or a list of them that brings fewer bytes a second, while we wait for it,
    /// is cut after `liveness_ms`; one of an archive goes on over another connection, the others begin anew. Default
    /// 1,024, 0 takes any.
    pub archive_least_rate: u32,
    /// What a stream had no longer isn't waited for when an archive that is asked again and again brings nothing for so
    /// many milliseconds: it becomes a gap, and the stream goes on. At least 1, default 3,600,000. The first reading of
    /// an archive waits for ever. A backfill from repositories waits so long, twice a page, for nothing but hosts of
    /// accounts that want to be left alone, until it passes over what they have.
    pub archive_patience_ms: u64,
    /// So many repositories are downloaded side by side, 1 to 64; default 8.
    pub repo_downloads: usize,
    /// With a firehose as source, so many repositories are fetched anew side by side when it says that they have
    /// changed as a whole (`#sync`) or has lost commits of them, up to 64; 0: none, and what changed isn't known. A
    /// host to which a relay sends on gets one less, if that leaves any. Default 2.
    pub resync_downloads: usize,
    /// With a firehose as source, no account is fetched anew sooner than so many milliseconds after it was last; at
    /// most 86,400,000, 0: at once. Default 600,000.
    pub resync_pause_ms: u64,
    /// With a firehose as source, the last revs of about so many accounts are kept in memory, of those that committed
    /// last, 16 bytes each: a commit that doesn't follow on them shows that others were lost. At most 100,000,000; 0:
    /// none, and what is lost isn't seen. Default 1,000,000.
    pub chain_accounts: usize,
    /// About how many bytes of a repository may be held until its blocks are in order, from 65,536 on; default
    /// 67,108,864. One that takes more is read twice, first its tree, and given up if that doesn't help: some
    /// 200 bytes for each follow, post and repost.
    pub repo_held_bytes: usize,
    /// A longer repository is given up; from 65,536 bytes on, default 4,294,967,296.
    pub repo_bytes: u64,
    /// When a host's firehose says nothing for so many milliseconds, it counts as quiet, and a backfill notes the first
    /// event that it has kept as the place to go on from; at least 1, default 15,000.
    pub repo_quiet_ms: u64,
    /// A file is replayed at this many lines a second; default 0: as fast as it can be applied.
    pub file_rate: f64,
    /// A file is replayed at the pace of its events' times; default false. Not together with `file_rate`.
    pub file_realtime: bool,
}

impl Default for SourceConfig {
    fn default() -> Self {
        Self {
            queue: 4_096,
            queue_bytes: 32 << 20,
            ping_ms: 15_000,
            liveness_ms: 60_000,
            connect_ms: 15_000,
            backoff_least_ms: 250,
            backoff_most_ms: 30_000,
            overlap_ms: 5_000,
            max_message_bytes: 10_000_000,
            compress: true,
            user_agent: concat!("skyweir/", env!("CARGO_PKG_VERSION")).to_owned(),
            archive_downloads: 4,
            archive_block_bytes: 64 << 20,
            archive_attempts: 5,
            archive_least_rate: 1_024,
            archive_patience_ms: 3_600_000,
            repo_downloads: 8,
            resync_downloads: 2,
            resync_pause_ms: 600_000,
            chain_accounts: 1_000_000,
            repo_held_bytes: 64 << 20,
            repo_bytes: 4 << 30,
            repo_quiet_ms: 15_000,
            file_rate: 0.0,
            file_realtime: false,
        }
    }
}

impl SourceConfig {
    pub(super) fn check(&self) -> Result<(), Error> {
        let wrong = |why| Err(Error::Setting(why));
        if self.queue == 0 {
            return wrong("queue: has to be at least 1");
        }
        if self.queue_bytes < 1_024 {
            return wrong("queue_bytes: has to be at least 1,024");
        }
        if self.ping_ms == 0 || self.liveness_ms <= self.ping_ms {
            return wrong("liveness_ms: has to be greater than ping_ms, and that greater than 0");
        }
        if self.backoff_least_ms == 0 || self.backoff_most_ms < self.backoff_least_ms {
            return wrong("backoff_most_ms: has to be at least backoff_least_ms, and that greater than 0");
        }
        if self.max_message_bytes < 1_024 || u32::try_from(self.max_message_bytes).is_err() {
            return wrong("max_message_bytes: has to be from 1,024 to 4,294,967,295");
        }
        if !(1..=64).contains(&self.archive_downloads) {
            return wrong("archive_downloads: has to be from 1 to 64");
        }
        if self.archive_block_bytes < 65_536 || u32::try_from(self.archive_block_bytes).is_err() {
            return wrong("archive_block_bytes: has to be from 65,536 to 4,294,967,295");
        }
        if self.archive_attempts == 0 {
            return wrong("archive_attempts: has to be at least 1");
        }
        if self.archive_patience_ms == 0 {
            return wrong("archive_patience_ms: has to be at least 1");
        }
        if !(1..=64).contains(&self.repo_downloads) {
            return wrong("repo_downloads: has to be from 1 to 64");
        }
        if self.resync_downloads > 64 {
            return wrong("resync_downloads: has to be at most 64");
        }
        if self.resync_pause_ms > 86_400_000 {
            return wrong("resync_pause_ms: has to be at most 86,400,000");
        }
        if self.chain_accounts > 100_000_000 {
            return wrong("chain_accounts: has to be at most 100,000,000");
        }
        if self.repo_held_bytes < 65_536 || self.repo_bytes < 65_536 {
            return wrong("repo_held_bytes, repo_bytes: have to be at least 65,536");
        }
        if self.repo_quiet_ms == 0 {
            return wrong("repo_quiet_ms: has to be at least 1");
        }
        if !self.file_rate.is_finite() || self.file_rate < 0.0 {
            return wrong("file_rate: has to be 0 or more");
        }
        if self.file_realtime && self.file_rate > 0.0 {
            return wrong("file_realtime: not together with file_rate");
        }
        if http::HeaderValue::from_str(&self.user_agent).is_err() {
            return wrong("user_agent: is no header value");
        }
        Ok(())
    }

    pub(super) fn ping(&self) -> Duration {
        Duration::from_millis(self.ping_ms)
    }

    pub(crate) fn liveness(&self) -> Duration {
        Duration::from_millis(self.liveness_ms)
    }

    pub(crate) fn archive_patience(&self) -> Duration {
        Duration::from_millis(self.archive_patience_ms)
    }

    pub(crate) fn resync_pause(&self) -> Duration {
        Duration::from_millis(self.resync_pause_ms)
    }

    pub(crate) fn backoff_least(&self) -> Duration {
        Duration::from_millis(self.backoff_least_ms)
    }

    pub(crate) fn backoff_most(&self) -> Duration {
        Duration::from_millis(self.backoff_most_ms)
    }

    pub(crate) fn repo_quiet(&self) -> Duration {
        Duration::from_millis(self.repo_quiet_ms)
    }

    pub(crate) fn connect(&self) -> Duration {
        Duration::from_millis(self.connect_ms)
    }

    pub(super) fn overlap_us(&self) -> u64 {
        self.overlap_ms.saturating_mul(1_000)
    }
}
