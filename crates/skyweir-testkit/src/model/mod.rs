//! The definition of timelines: contract, rules 1–12, over plain maps.
//!
//! Written from the contract, not from the indexer. Where both have to agree on something that the contract leaves
//! open (which replays are told by their rev, when a resync ends), `design.md` and the issue are followed.

mod records;
#[cfg(test)]
mod tests;
mod timeline;

use std::collections::{BTreeMap, BTreeSet};

use skyweir_types::{
    AccountStatus, AcrossAccounts, Body, Cid, Collection, Did, Event, Record, RecordKey, Tid, UriHash,
};

pub use timeline::{Expected, Without};

/// How long things are remembered, in stream time.
#[derive(Clone, Copy, Debug)]
pub struct ModelHorizons {
    /// A deleted record's rev is remembered for this long, milliseconds.
    pub tombstones_ms: i64,
    /// A resync whose account stays quiet ends after this, milliseconds.
    pub sync_grace_ms: i64,
    /// Items older than this leave, milliseconds; `None`: they stay.
    pub keep_ms: Option<i64>,
}

/// All records of the network as one service has seen them, and the timelines that follow from them.
#[derive(Clone, Debug)]
pub struct Model {
    across: AcrossAccounts,
    horizons: ModelHorizons,
    /// Greatest event time seen, microseconds.
    stream_us: Option<i64>,
    /// Items before this have left, and their records are as unknown; it never falls.
    horizon: Option<i64>,
    accounts: BTreeMap<Did, Account>,
    records: BTreeMap<Key, Row>,
    /// The commit under way: of a Jetstream, each of its operations is a message of its own.
    commit: Option<(Did, Tid)>,
    /// Keys that the commit under way has touched.
    touched: BTreeSet<Key>,
}

/// A record's place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    did: Did,
    collection: Collection,
    rkey: RecordKey,
}

impl Key {
    fn uri(&self) -> String {
        format!("at://{}/{}/{}", self.did, self.collection.nsid(), self.rkey)
    }

    fn uri_hash(&self) -> UriHash {
        UriHash::of(self.did.as_str(), self.collection.nsid(), self.rkey.as_str())
    }

    /// The place of the post that an AT-URI names; `None` when it names something else.
    fn post(uri: &str) -> Option<Self> {
        let parts: Vec<&str> = uri.split('/').collect();
        let ["at:", "", did, "app.bsky.feed.post", rkey] = parts[..] else { return None };
        let (did, rkey) = (Did::parse(did).ok()?, RecordKey::parse(rkey).ok()?);
        Some(Self { did, collection: Collection::Post, rkey })
    }
}

#[derive(Clone, Debug, Default)]
struct Account {
    status: AccountStatus,
    status_us: i64,
    /// What has a rev up to this one went with the account, or is as its whole repository had it.
    gone: Tid,
    /// A resync under way: its rev and when it began, milliseconds of stream time.
    sync: Option<(Tid, i64)>,
}

#[derive(Clone, Debug)]
struct Row {
    rev: Tid,
    /// Of a post: the last rev at which a version of it ended. Reposts from before that went with that version.
    ended: Option<Tid>,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    Living(Version),
    /// Deleted at this stream time in milliseconds.
    Deleted(i64),
}

/// What a record says now.
#[derive(Clone, Debug)]
struct Version {
    cid: Cid,
    record: Record,
    sort_at: i64,
    /// A repost whose post was deleted or replaced is a record still, but no item.
    is_item: bool,
}

impl Model {
    /// A network of which nothing is known.
    #[must_use]
    pub fn new(across: AcrossAccounts, horizons: ModelHorizons) -> Self {
        Self {
            across,
            horizons,
            stream_us: None,
            horizon: None,
            accounts: BTreeMap::new(),
            records: BTreeMap::new(),
            commit: None,
            touched: BTreeSet::new(),
        }
    }

    /// Takes the events of one upstream message, in order.
    pub fn message(&mut self, events: &[Event]) {
        if self.across == AcrossAccounts::Upstream {
            self.commit = None;
        }
        for event in events {
            self.stream_us = self.stream_us.max(Some(event.time_us));
            let now_ms = self.stream_us.map(|us| us.div_euclid(1000));
            let horizon = now_ms.zip(self.horizons.keep_ms).map(|(now, keep)| now.saturating_sub(keep));
            self.horizon = self.horizon.max(horizon);
            match &event.body {
                Body::Record(op) => self.operation(&event.did, event.time_us, op),
                Body::Account(status) => self.account_event(&event.did, event.time_us, *status),
                Body::Sync { rev, records_follow: true } => self.sync(&event.did, event.time_us, *rev),
                // The firehose's resync brings no records, and takes none away.
                Body::Sync { records_follow: false, .. } => {}
                Body::SyncEnd { rev, is_whole } => self.sync_end(&event.did, *rev, *is_whole),
            }
        }
    }

    /// The service was restarted: which commit is under way is not remembered. The source has to send it again.
    pub fn restarted(&mut self) {
        self.commit = None;
    }

    /// Ends a group of messages: what is over by the stream's clock ends here.
    pub fn end_group(&mut self) {
        let Some(stream_us) = self.stream_us else { return };
        let stream_ms = stream_us.div_euclid(1000);
        let over = |began: i64, lasts: i64| began < stream_ms - lasts;
        let quiet: Vec<(Did, Tid, i64)> = self
            .accounts
            .iter()
            .filter_map(|(did, account)| account.sync.map(|(rev, since)| (did.clone(), rev, since)))
            .filter(|(_, _, since)| over(*since, self.horizons.sync_grace_ms))
            .collect();
        for (did, rev, since) in quiet {
            self.sweep(&did, rev, since);
        }
        let lasts = self.horizons.tombstones_ms;
        let is_over = |row: &Row| matches!(row.state, State::Deleted(at) if over(at, lasts));
        let forgotten: Vec<Key> =
            self.records.iter().filter(|(_, row)| is_over(row)).map(|(key, _)| key.clone()).collect();
        for key in forgotten {
            self.records.remove(&key);
            self.forget_reposts(&key);
        }
    }

    /// Rule 9. Events older than the last one, and a deletion told twice, change nothing.
    fn account_event(&mut self, did: &Did, time_us: i64, status: AccountStatus) {
        let account = self.accounts.entry(did.clone()).or_default();
        let told_twice = status == account.status && time_us == account.status_us;
        if time_us < account.status_us || told_twice {
            return;
        }
        (account.status, account.status_us) = (status, time_us);
        if status == AccountStatus::Deleted {
            let resync = account.sync.take().map(|(rev, _)| rev);
            let newest = self.records.iter().filter(|(key, _)| key.did == *did).map(|(_, row)| row.rev).max();
            account.gone = account.gone.max(newest.max(resync).unwrap_or_default());
            self.records.retain(|key, _| key.did != *did);
        }
    }

    /// Marks an account: what isn't sent again by its next rev is gone.
    fn sync(&mut self, did: &Did, time_us: i64, rev: Tid) {
        let account = self.accounts.entry(did.clone()).or_default().clone();
        if rev <= account.gone || account.sync.is_some_and(|(marked, _)| rev <= marked) {
            return;
        }
        if let Some((marked, since)) = account.sync {
            self.sweep(did, marked, since);
        }
        self.accounts.entry(did.clone()).or_default().sync = Some((rev, time_us.div_euclid(1000)));
    }

    /// Nothing more comes of a resync: if all came, what didn't is gone.
    fn sync_end(&mut self, did: &Did, rev: Tid, is_whole: bool) {
        let account = self.accounts.entry(did.clone()).or_default();
        match account.sync.filter(|(marked, _)| *marked == rev || (!is_whole && *marked < rev)) {
            Some((_, since)) if is_whole => {
                // whatever is told again of before is in it, or isn't there any more
                account.gone = account.gone.max(rev);
                self.sweep(did, rev, since);
            }
            Some(_) => account.sync = None,
            None => {}
        }
    }

    /// Ends a resync: records with an older rev did not come again. They keep their rev, so that one that comes after
    /// all is back.
    fn sweep(&mut self, did: &Did, rev: Tid, since_ms: i64) {
        let swept: Vec<Key> = self
            .records
            .iter()
            .filter(|(key, row)| key.did == *did && row.rev < rev && matches!(row.state, State::Living(_)))
            .filter(|(_, row)| !self.has_left(row))
            .map(|(key, _)| key.clone())
            .collect();
        for key in swept {
            self.end_version(&key, rev, false);
            let row = self.records.get_mut(&key).expect("found above");
            row.state = State::Deleted(since_ms);
        }
        self.accounts.entry(did.clone()).or_default().sync = None;
    }
}
