//! Operations on records: rules 5–8, and which of them are replays.

use skyweir_types::{AcrossAccounts, Action, Cid, Collection, Did, Record, RecordOp, Tid};

use super::{Key, Model, Row, State, Version};

impl State {
    /// Whether this is what an operation makes of a record.
    fn is_left_by(&self, action: &Action) -> bool {
        match (self, action) {
            (Self::Deleted(_), Action::Delete) => true,
            (Self::Living(version), Action::Put { cid, record }) => version.says(*cid, record),
            _ => false,
        }
    }
}

impl Version {
    /// Whether it is this record. Of a follow only its subject counts.
    fn says(&self, cid: Cid, record: &Record) -> bool {
        match (&self.record, record) {
            (Record::Follow { subject: ours }, Record::Follow { subject }) => ours == subject,
            _ => self.cid == cid,
        }
    }
}

impl Model {
    /// One operation on one record, witnessed at this time.
    pub(super) fn operation(&mut self, did: &Did, time_us: i64, op: &RecordOp) {
        let account = self.accounts.entry(did.clone()).or_default().clone();
        if op.rev <= account.gone {
            return;
        }
        if let Some((rev, since)) = account.sync.filter(|(rev, _)| op.rev > *rev) {
            self.sweep(did, rev, since);
        }
        let key = Key { did: did.clone(), collection: op.collection, rkey: op.rkey.clone() };
        let commit = Some((did.clone(), op.rev));
        if self.commit != commit {
            self.commit = commit;
            self.touched.clear();
        }
        if let Some(row) = self.records.get(&key)
            && op.rev <= row.rev
            && !self.touched.contains(&key)
        {
            // A replay. Of a commit that was cut off it leads up to the operation that was stored last.
            if op.rev == row.rev && row.state.is_left_by(&op.action) {
                self.touched.insert(key);
            }
            return;
        }
        self.touched.insert(key.clone());
        match &op.action {
            Action::Delete => self.delete(key, op.rev, time_us),
            Action::Put { cid, record } => self.put(key, op.rev, time_us, *cid, record),
        }
    }

    fn delete(&mut self, key: Key, rev: Tid, time_us: i64) {
        if self.records.get(&key).is_some_and(|row| self.has_left(row)) {
            self.forget_reposts(&key);
        }
        self.end_version(&key, rev, self.by_arrival(time_us));
        let ended = self.records.get(&key).and_then(|row| row.ended);
        let ended = if key.collection == Collection::Post { ended.max(Some(rev)) } else { ended };
        self.records.insert(key, Row { rev, ended, state: State::Deleted(time_us.div_euclid(1000)) });
    }

    fn put(&mut self, key: Key, rev: Tid, time_us: i64, cid: Cid, record: &Record) {
        let has_left = self.records.get(&key).is_some_and(|row| self.has_left(row));
        if has_left {
            // it is as if it were gone: this is a new record, not a new version
            self.forget_reposts(&key);
        } else if let Some(Row { rev: known, state: State::Living(version), .. }) = self.records.get_mut(&key)
        {
            if version.says(cid, record) {
                *known = rev;
                return;
            }
            if key.collection == Collection::Post {
                self.end_version(&key, rev, self.by_arrival(time_us));
            }
        }
        let (sort_at, is_item) = match record {
            Record::Post { created_at, .. } => (*created_at, true),
            Record::Repost { created_at, uri, .. } => (*created_at, !self.came_too_late(uri, rev)),
            Record::Follow { .. } => (0, false),
        };
        let sort_at = sort_at.min(time_us.div_euclid(1000));
        let ended = self.records.get(&key).and_then(|row| row.ended);
        let state = State::Living(Version { cid, record: record.clone(), sort_at, is_item });
        self.records.insert(key, Row { rev, ended, state });
    }

    /// Where the order across accounts slips, a repost may come after the end of the version that it reposted.
    fn came_too_late(&self, post_uri: &str, rev: Tid) -> bool {
        let ended = Key::post(post_uri).and_then(|post| self.records.get(&post)?.ended);
        self.across == AcrossAccounts::Slips && ended.is_some_and(|ended| rev < ended)
    }

    /// Whether what was told before an event of this time happened before it: in upstream's order, unless the event is
    /// so old that its replay may not be known for one.
    pub(super) fn by_arrival(&self, time_us: i64) -> bool {
        let stream_ms = self.stream_us.unwrap_or(time_us).div_euclid(1000);
        let is_recent = time_us.div_euclid(1000) >= stream_ms - self.horizons.tombstones_ms;
        self.across == AcrossAccounts::Upstream && is_recent
    }

    /// A version of a post ends at this rev, and with it the items of its reposts: all that are known, or else those
    /// with no newer rev (an equal one is of the same commit: its order is known).
    pub(super) fn end_version(&mut self, key: &Key, rev: Tid, by_arrival: bool) {
        if key.collection != Collection::Post {
            return;
        }
        let (post, horizon) = (key.uri(), self.horizon);
        for row in self.records.values_mut() {
            let older = by_arrival || row.rev <= rev;
            if let State::Living(version) = &mut row.state
                && matches!(&version.record, Record::Repost { uri, .. } if *uri == post)
                && older
                && horizon.is_none_or(|horizon| version.sort_at >= horizon)
            {
                version.is_item = false;
            }
        }
        if let Some(row) = self.records.get_mut(key) {
            row.ended = row.ended.max(Some(rev));
        }
    }

    /// Whether a record's item is older than is kept; a repost without an item goes with its post.
    pub(super) fn has_left(&self, row: &Row) -> bool {
        let (Some(horizon), State::Living(version)) = (self.horizon, &row.state) else { return false };
        match &version.record {
            Record::Follow { .. } => false,
            Record::Repost { uri, .. } if !version.is_item => {
                let post = Key::post(uri).and_then(|post| self.records.get(&post));
                post.is_none_or(|post| self.has_left(post))
            }
            _ => version.sort_at < horizon,
        }
    }

    /// A post is forgotten, and with it those of its reposts whose items went with it, unless they may be replayed.
    pub(super) fn forget_reposts(&mut self, key: &Key) {
        let Some(stream_us) = self.stream_us.filter(|_| self.horizon.is_some()) else { return };
        let lasts = self.horizons.tombstones_ms;
        let post = key.uri();
        self.records.retain(|_, row| {
            let State::Living(Version { record: Record::Repost { uri, .. }, is_item: false, .. }) =
                &row.state
            else {
                return true;
            };
            let made_ms = (row.rev.micros() / 1000) as i64;
            *uri != post || stream_us.div_euclid(1000) < made_ms.saturating_add(lasts)
        });
    }
}
