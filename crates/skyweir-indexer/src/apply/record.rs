//! One operation on one record: the rev guard, and what a post, repost or follow brings and takes away.

use skyweir_store::{NewItem, RecordBody, RecordRow, Result, Task, Txn};
use skyweir_types::{
    AcrossAccounts, Action, ActorId, AtUri, Cid, Collection, Event, ItemKind, Record, RecordOp, RecordRef,
    Tid, UriHash,
};

use super::keep::Walk;
use super::{Applier, COMMIT_MOST, Outcome, PAGE};

impl Applier {
    pub(super) async fn record(
        &mut self,
        txn: &mut dyn Txn,
        event: &Event,
        op: &RecordOp,
    ) -> Result<Outcome> {
        let actor = txn.intern(&event.did).await?;
        let account = txn.account(actor).await?;
        if op.rev <= account.gone {
            return Ok(Outcome::Stale);
        }
        if let Some(mark) = account.sync.filter(|mark| op.rev > mark.rev && !self.horizons.ends_told) {
            self.end_sync(txn, actor, mark).await?;
        }
        self.operate(txn, actor, event, op).await
    }

    /// Applies an operation that nothing about its account hinders.
    pub(super) async fn operate(
        &mut self,
        txn: &mut dyn Txn,
        actor: ActorId,
        event: &Event,
        op: &RecordOp,
    ) -> Result<Outcome> {
        let key = RecordRef { actor, collection: op.collection, rkey: op.rkey.clone() };
        let stored = txn.record(&key).await?;
        // a resync brings a whole repository under one rev, in which no key comes twice
        let is_full = self.written.len() >= COMMIT_MOST && !self.written.contains(&key);
        if self.commit != Some((actor, op.rev)) || is_full {
            self.commit = Some((actor, op.rev));
            self.written.clear();
        }
        if let Some(row) = &stored
            && op.rev <= row.rev
            && !self.written.contains(&key)
        {
            // a crash may have come between two operations of a commit on one key: behind the stored one it goes on
            if op.rev == row.rev && is_stored(txn, &row.body, &op.action).await? {
                self.written.insert(key);
            }
            return Ok(Outcome::Stale);
        }
        self.written.insert(key.clone());
        match &op.action {
            Action::Delete => {
                self.delete(txn, &key, stored, op.rev, event.time_us.div_euclid(1000)).await?;
                Ok(Outcome::Applied)
            }
            Action::Put { .. } if self.is_unwanted(event, op, stored.as_ref()) => Ok(Outcome::Stale),
            Action::Put { cid, record } => self.put(txn, event, &key, stored, op.rev, *cid, record).await,
        }
    }

    /// Whether this is a post or repost that is too old to begin with.
    fn is_unwanted(&self, event: &Event, op: &RecordOp, stored: Option<&RecordRow>) -> bool {
        let lives = stored.is_some_and(|row| !matches!(row.body, RecordBody::Tombstone { .. }));
        op.collection != Collection::Follow && event.time_us < self.horizons.items_since_us && !lives
    }

    /// Takes a record away. A post's reposts go with it, also when the post itself was never seen.
    async fn delete(
        &mut self,
        txn: &mut dyn Txn,
        key: &RecordRef,
        stored: Option<RecordRow>,
        rev: Tid,
        at_ms: i64,
    ) -> Result<()> {
        let mut wiped = stored.as_ref().map_or(Tid::ZERO, |row| row.wiped);
        if let Some(row) = &stored {
            let has_left = self.has_left(txn, &row.body).await?;
            self.undo(txn, key, &row.body).await?;
            if has_left && key.collection == Collection::Post {
                self.forget_wiped(txn, key, &mut Walk::all()).await?;
            }
        }
        if key.collection == Collection::Post {
            self.wipe_reposts(txn, key, rev, self.by_arrival(at_ms)).await?;
            wiped = wiped.max(rev);
        }
        txn.put_record(key, RecordRow { rev, wiped, body: RecordBody::Tombstone { at_ms } }).await
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one operation, each used once")]
    async fn put(
        &mut self,
        txn: &mut dyn Txn,
        event: &Event,
        key: &RecordRef,
        stored: Option<RecordRow>,
        rev: Tid,
        cid: Cid,
        record: &Record,
    ) -> Result<Outcome> {
        let mut wiped = Tid::ZERO;
        if let Some(row) = stored {
            let has_left = self.has_left(txn, &row.body).await?;
            if !has_left && is_content(txn, &row.body, cid, record).await? {
                txn.put_record(key, RecordRow { rev, ..row }).await?;
                return Ok(Outcome::Unchanged);
            }
            wiped = row.wiped;
            self.undo(txn, key, &row.body).await?;
            if has_left && key.collection == Collection::Post {
                self.forget_wiped(txn, key, &mut Walk::all()).await?;
            } else if matches!(row.body, RecordBody::Post { .. }) {
                let by_arrival = self.by_arrival(event.time_us.div_euclid(1000));
                self.wipe_reposts(txn, key, rev, by_arrival).await?;
                wiped = wiped.max(rev);
            }
        }
        let body = match record {
            Record::Post { created_at, is_reply, is_quote } => {
                let kind = ItemKind::Post { is_reply: *is_reply, is_quote: *is_quote };
                let item = new_item(event, key, cid, *created_at, kind);
                let item = txn.add_item(item).await?;
                self.append(txn, Task::FanOut { item }).await?;
                RecordBody::Post { item, cid }
            }
            Record::Repost { created_at, uri, cid: subject_cid } => {
                let subject = subject_post(txn, uri).await?;
                let mut item = None;
                if !self.came_too_late(txn, subject.as_ref(), rev).await? {
                    let kind = ItemKind::Repost { uri: uri.clone(), cid: subject_cid.clone() };
                    let new = new_item(event, key, cid, *created_at, kind);
                    let id = txn.add_item(new).await?;
                    self.append(txn, Task::FanOut { item: id }).await?;
                    item = Some(id);
                }
                if let Some(post) = &subject {
                    txn.link_repost(post, key).await?;
                }
                RecordBody::Repost { item, cid, subject }
            }
            Record::Follow { subject } => {
                let subject = txn.intern(subject).await?;
                if txn.add_follow(key.actor, subject, &key.rkey).await? && subject != key.actor {
                    self.append(txn, Task::Fill { viewer: key.actor, author: subject }).await?;
                }
                RecordBody::Follow { subject }
            }
        };
        txn.put_record(key, RecordRow { rev, wiped, body }).await?;
        Ok(Outcome::Applied)
    }

    /// On a source whose order across accounts slips, a repost may come after the deletion or update that took its
    /// item away upstream: revs tell.
    async fn came_too_late(&self, txn: &mut dyn Txn, post: Option<&RecordRef>, rev: Tid) -> Result<bool> {
        let (AcrossAccounts::Slips, Some(post)) = (self.across, post) else { return Ok(false) };
        txn.is_wiped(post, rev).await
    }

    /// Whether what is applied before an event of this time in milliseconds happened before it: where order is
    /// upstream's own, and the event is no replay from before the time that tombstones are kept.
    fn by_arrival(&self, at_ms: i64) -> bool {
        let stream_ms = self.stream_ms();
        self.across == AcrossAccounts::Upstream && at_ms >= stream_ms - self.horizons.tombstones_ms
    }

    /// Takes away the items of all reposts of a post known so far, or, if not `by_arrival`, of those with no newer rev:
    /// an equal one is of the same commit, where order never slips.
    pub(super) async fn wipe_reposts(
        &self,
        txn: &mut dyn Txn,
        post: &RecordRef,
        rev: Tid,
        by_arrival: bool,
    ) -> Result<()> {
        let mut after: Option<RecordRef> = None;
        loop {
            let page = txn.reposts_of(post, after.as_ref(), PAGE).await?;
            for repost in &page {
                let Some(row) = txn.record(repost).await? else { continue };
                let older = by_arrival || row.rev <= rev;
                // what has left is as good as gone
                if !older || self.has_left(txn, &row.body).await? {
                    continue;
                }
                if let RecordBody::Repost { item: Some(item), cid, subject } = row.body {
                    txn.remove_item(item).await?;
                    let body = RecordBody::Repost { item: None, cid, subject };
                    txn.put_record(repost, RecordRow { body, ..row }).await?;
                }
            }
            if page.len() < PAGE {
                return Ok(());
            }
            after = page.into_iter().next_back();
        }
    }

    /// Takes away what a living record brought.
    pub(super) async fn undo(&self, txn: &mut dyn Txn, key: &RecordRef, body: &RecordBody) -> Result<()> {
        match body {
            RecordBody::Post { item, .. } => txn.remove_item(*item).await,
            RecordBody::Repost { item, subject, .. } => {
                if let Some(item) = item {
                    txn.remove_item(*item).await?;
                }
                match subject {
                    Some(post) => txn.unlink_repost(post, key).await,
                    None => Ok(()),
                }
            }
            RecordBody::Follow { subject } => {
                if txn.remove_follow(key.actor, *subject, &key.rkey).await? && *subject != key.actor {
                    self.append(txn, Task::Purge { viewer: key.actor, author: *subject }).await?;
                }
                Ok(())
            }
            RecordBody::Tombstone { .. } => Ok(()),
        }
    }
}

/// Whether an operation left exactly what is stored.
async fn is_stored(txn: &mut dyn Txn, body: &RecordBody, action: &Action) -> Result<bool> {
    match action {
        Action::Delete => Ok(matches!(body, RecordBody::Tombstone { .. })),
        Action::Put { cid, record } => is_content(txn, body, *cid, record).await,
    }
}

/// Whether the stored record has this content.
async fn is_content(txn: &mut dyn Txn, body: &RecordBody, cid: Cid, record: &Record) -> Result<bool> {
    Ok(match (body, record) {
        (RecordBody::Follow { subject: ours }, Record::Follow { subject }) => {
            *ours == txn.intern(subject).await?
        }
        (RecordBody::Post { cid: ours, .. } | RecordBody::Repost { cid: ours, .. }, _) => *ours == cid,
        _ => false,
    })
}

/// `sortAt` is the smaller of `createdAt` and the event's time, in milliseconds (contract, rule 12).
fn new_item(event: &Event, key: &RecordRef, cid: Cid, created_at: i64, kind: ItemKind) -> NewItem {
    NewItem {
        author: key.actor,
        rkey: key.rkey.clone(),
        cid,
        sort_at: created_at.min(event.time_us.div_euclid(1000)),
        uri_hash: UriHash::of(event.did.as_str(), key.collection.nsid(), key.rkey.as_str()),
        kind,
    }
}

/// The post that a repost points at; `None` when the subject is no post.
async fn subject_post(txn: &mut dyn Txn, uri: &str) -> Result<Option<RecordRef>> {
    let Some((did, Collection::Post, rkey)) = AtUri::parse(uri).ok().and_then(|uri| uri.record()) else {
        return Ok(None);
    };
    let actor: ActorId = txn.intern(&did).await?;
    Ok(Some(RecordRef { actor, collection: Collection::Post, rkey }))
}
