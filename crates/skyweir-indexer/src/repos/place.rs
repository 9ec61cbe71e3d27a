//! How far a backfill from repositories is: saved with its effects, as the name and the number of a cursor.
//!
//! ```text
//! name:   repositories of LIVE SEQ TIME DONE MISSING SINCE AFTER
//! number: of the page behind AFTER: 44 bits of a hash of the accounts that are done | how many of those are missing |
//!         how many are done
//! ```

use std::fmt;
use std::sync::Arc;

use skyweir_types::{AccountStatus, Did};
use xxhash_rust::xxh3::Xxh3;

use super::hosts::{Gates, Kept};
use crate::source::Stream;

/// What the name of a place among repositories begins with; the live stream's follows.
pub(crate) const REPOSITORIES_OF: &str = "repositories of ";

/// Instead of a time.
const UNKNOWN: &str = "-";

/// How many bits of the number count accounts: a page has a thousand at most.
const COUNT_BITS: u32 = 10;
const COUNT: u64 = (1 << COUNT_BITS) - 1;

/// A place between two pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The firehose of the same host.
    pub(super) live: String,
    /// Where it stood before the first repository was read: it goes on there.
    pub(super) seq: u64,
    /// When that was by its own clock, microseconds since 1970; by ours, if it told nothing.
    pub(super) time_us: i64,
    /// How many accounts were named before.
    pub(super) done: u64,
    /// How many of them couldn't be had.
    pub(super) missing: u64,
    /// From when on all posts were taken of whoever was read whole, microseconds since 1970, if that is known.
    pub(super) taken_since_us: Option<i64>,
    /// The cursor that asks for the next page; empty for the first.
    pub(super) after: String,
}

/// An account of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) did: Did,
    pub(super) status: AccountStatus,
}

/// What all downloads share, of whichever page they are.
#[derive(Clone, Debug, Default)]
pub(super) struct Common {
    /// The pauses that hosts have asked for.
    pub(super) gates: Gates,
    /// Connections to hosts of accounts.
    pub(super) kept: Kept,
}

impl PartialEq for Common {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Common {}

/// A page of accounts, as a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub(super) common: Common,
    pub(super) stream: Stream,
    pub(super) place: Place,
    pub(super) accounts: Arc<[Account]>,
    /// How many more rows named none.
    pub(super) nameless: usize,
    /// How many of those are active. What is in their repositories isn't known, so they are missing as well.
    pub(super) unknown: usize,
}

/// How far a page is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// So many accounts are done.
    pub(super) done: usize,
    /// So many of them couldn't be had.
    pub(super) missing: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { live, seq, time_us, done, missing, taken_since_us, after } = self;
        let since = taken_since_us.map_or(UNKNOWN.to_owned(), |since| since.to_string());
        write!(f, "{REPOSITORIES_OF}{live} {seq} {time_us} {done} {missing} {since} {after}")
    }
}

impl Place {
    /// Reads the name of a saved place among the repositories of this stream's host.
    pub(super) fn parse(name: &str, live: &str) -> Option<Self> {
        let rest = name.strip_prefix(REPOSITORIES_OF)?.strip_prefix(live)?.strip_prefix(' ')?;
        let mut parts = rest.splitn(6, ' ');
        let mut next = || parts.next();
        let (seq, time_us) = (next()?.parse().ok()?, next()?.parse().ok()?);
        let (done, missing) = (next()?.parse().ok()?, next()?.parse().ok()?);
        let taken_since_us = match next()? {
            UNKNOWN => None,
            since => Some(since.parse().ok()?),
        };
        let (live, after) = (live.to_owned(), next()?.to_owned());
        Some(Self { live, seq, time_us, done, missing, taken_since_us, after })
    }
}

impl Page {
    /// The name under which a place in it is saved.
    pub(crate) fn id(&self) -> String {
        self.place.to_string()
    }

    /// The number of the place behind so many accounts, of which so many couldn't be had.
    pub(super) fn position(&self, Progress { done, missing }: Progress) -> u64 {
        let mut hash = Xxh3::new();
        for account in &self.accounts[..done] {
            hash.update(account.did.as_str().as_bytes());
            hash.update(b" ");
        }
        (hash.digest() << (2 * COUNT_BITS)) | ((missing as u64) << COUNT_BITS) | done as u64
    }

    /// What is done at a saved place; nothing, if the page has become another one since: then all of it is read again,
    /// which changes nothing that is right.
    pub(super) fn progress(&self, position: u64) -> Progress {
        let (done, missing) = (position & COUNT, (position >> COUNT_BITS) & COUNT);
        let progress = Progress { done: done as usize, missing: missing as usize };
        let is_ours = progress.done <= self.accounts.len() && self.position(progress) == position;
        if is_ours { progress } else { Progress::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{SourceKind, parse};

    const LIVE: &str = "ws://h/xrpc/com.atproto.sync.subscribeRepos";

    fn place(after: &str) -> Place {
        let (live, after) = (LIVE.to_owned(), after.to_owned());
        Place { live, seq: 7, time_us: -5, done: 3, missing: 2, taken_since_us: None, after }
    }

    fn page(dids: &[&str]) -> Page {
        let SourceKind::Stream(stream) = parse(LIVE).unwrap() else { panic!("it is a stream") };
        let account = |did: &&str| Account { did: Did::parse(did).unwrap(), status: AccountStatus::Active };
        let common = Common::default();
        Page {
            common,
            stream,
            place: place(""),
            accounts: dids.iter().map(account).collect(),
            nameless: 0,
            unknown: 0,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let afters = ["", "1699::did:plc:a", "with a blank"];
        for (after, taken_since_us) in afters.into_iter().zip([None, Some(i64::MIN), Some(7)]) {
            let place = Place { taken_since_us, ..place(after) };
            assert_eq!(Place::parse(&place.to_string(), LIVE), Some(place.clone()));
            assert_eq!(Place::parse(&place.to_string(), "ws://h"), None, "another host");
        }
        assert_eq!(Place::parse("repositories of ws://h 1 2", "ws://h"), None);
    }

    #[test]
    fn a_page_that_became_another_is_read_again() {
        let before = page(&["did:plc:a", "did:plc:b", "did:plc:c"]);
        let progress = |done| Progress { done, missing: done / 2 };
        for done in 0..=3 {
            assert_eq!(before.progress(before.position(progress(done))), progress(done));
        }
        let after = page(&["did:plc:a", "did:plc:c"]);
        let none = Progress::default();
        let found = [1, 2, 3].map(|done| after.progress(before.position(progress(done))));
        assert_eq!(found, [progress(1), none, none]);
        assert_eq!(before.progress(0), none, "the begin");
        let all = vec!["did:plc:a"; 1_000];
        let (all, end) = (page(&all), Progress { done: 1_000, missing: 1_000 });
        assert_eq!(all.progress(all.position(end)), end, "no page is too long for the number");
    }
}
