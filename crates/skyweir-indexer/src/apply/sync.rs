//! Resyncs (`#sync` of Jetstream v2): the account's records come again under the new rev, and their end is not marked.
//! What still carries an older rev at the account's next rev, or after a grace of stream time, is swept. A repository
//! that is fetched as a whole says itself where it ends; cut off before, it takes nothing away.

use skyweir_store::{AccountRow, RecordBody, RecordRow, Result, SyncMark, Txn};
use skyweir_types::{AcrossAccounts, ActorId, Collection, Event, Tid};

use super::{Applier, Outcome, PAGE};

/// Whether a resync is no replay of what an account's row knows.
pub(crate) fn begins(row: &AccountRow, rev: Tid) -> bool {
    rev > row.gone && row.sync.is_none_or(|mark| rev > mark.rev)
}

impl Applier {
    pub(super) async fn sync(
        &mut self,
        txn: &mut dyn Txn,
        event: &Event,
        rev: Tid,
        records_follow: bool,
    ) -> Result<Outcome> {
        if !records_follow && !self.horizons.ends_told {
            return Ok(Outcome::Unchanged);
        }
        let actor = txn.intern(&event.did).await?;
        let mut row = txn.account(actor).await?;
        if !begins(&row, rev) {
            return Ok(Outcome::Stale);
        }
        if let Some(mark) = row.sync.filter(|_| !self.horizons.ends_told) {
            self.end_sync(txn, actor, mark).await?;
            row = txn.account(actor).await?;
        }
        self.make_room(txn, actor).await?;
        let mark = SyncMark { rev, since_ms: event.time_us.div_euclid(1000) };
        row.sync = Some(mark);
        txn.set_account(actor, row).await?;
        self.syncs.insert(actor, mark);
        Ok(Outcome::Applied)
    }

    /// Ends the oldest resync when there are too many for this account's.
    async fn make_room(&mut self, txn: &mut dyn Txn, actor: ActorId) -> Result<()> {
        match self.syncs.in_the_way_of(actor) {
            Some((oldest, _)) if self.horizons.ends_told => {
                self.forget_sync(txn, oldest).await?;
                self.dropped += 1;
            }
            Some((oldest, mark)) => self.end_sync(txn, oldest, mark).await?,
            None => {}
        }
        Ok(())
    }

    /// An account is back: what it did meanwhile, or all of it, may be unknown.
    pub(super) async fn mark_again(
        &mut self,
        txn: &mut dyn Txn,
        event: &Event,
        actor: ActorId,
    ) -> Result<()> {
        let mut row = txn.account(actor).await?;
        if !self.horizons.ends_told || row.sync.is_some() {
            return Ok(());
        }
        self.make_room(txn, actor).await?;
        // its repository stands there or above: that it has done nothing since is no fault
        let mark = SyncMark { rev: row.gone, since_ms: event.time_us.div_euclid(1000) };
        row.sync = Some(mark);
        txn.set_account(actor, row).await?;
        self.syncs.insert(actor, mark);
        Ok(())
    }

    /// The source says that nothing more comes of a resync.
    pub(super) async fn sync_end(
        &mut self,
        txn: &mut dyn Txn,
        event: &Event,
        rev: Tid,
        is_whole: bool,
    ) -> Result<Outcome> {
        let actor = txn.intern(&event.did).await?;
        // a mark above what was read is of something that the reading doesn't have
        let is_over = |mark: &SyncMark| if is_whole { mark.rev == rev } else { mark.rev <= rev };
        let Some(mark) = txn.account(actor).await?.sync.filter(is_over) else {
            return Ok(Outcome::Stale);
        };
        if is_whole {
            self.sweep(txn, actor, mark).await?;
            self.forget_sync(txn, actor).await?;
            // what the live stream tells again of before is in it, or isn't there any more
            let mut row = txn.account(actor).await?;
            row.gone = row.gone.max(rev);
            txn.set_account(actor, row).await?;
        } else {
            self.forget_sync(txn, actor).await?;
        }
        Ok(Outcome::Applied)
    }

    /// Ends a resync of which nothing more will come: sweeps what did not come again. The tombstones keep the old revs,
    /// so that a replacement row that comes after all brings its record back.
    pub(super) async fn end_sync(&mut self, txn: &mut dyn Txn, actor: ActorId, mark: SyncMark) -> Result<()> {
        // a firehose has none: a backfill from repositories was cut off in one, whose rest nobody has told
        if self.across != AcrossAccounts::Upstream {
            self.sweep(txn, actor, mark).await?;
        }
        self.forget_sync(txn, actor).await
    }

    /// Deletes what did not come again.
    pub(super) async fn sweep(&self, txn: &mut dyn Txn, actor: ActorId, mark: SyncMark) -> Result<()> {
        let mut after = None;
        loop {
            let (page, is_last) = self.page_of(txn, actor, after).await?;
            let last = page.last().map(|(key, _)| (key.collection, key.rkey.clone()));
            for (key, row) in page {
                if row.rev >= mark.rev || matches!(row.body, RecordBody::Tombstone { .. }) {
                    continue;
                }
                if self.has_left(txn, &row.body).await? {
                    continue;
                }
                self.undo(txn, &key, &row.body).await?;
                let mut wiped = row.wiped;
                if key.collection == Collection::Post {
                    self.wipe_reposts(txn, &key, mark.rev, false).await?;
                    wiped = wiped.max(mark.rev);
                }
                let body = RecordBody::Tombstone { at_ms: mark.since_ms };
                txn.put_record(&key, RecordRow { rev: row.rev, wiped, body }).await?;
            }
            if is_last {
                return Ok(());
            }
            after = last;
        }
    }

    async fn forget_sync(&mut self, txn: &mut dyn Txn, actor: ActorId) -> Result<()> {
        let mut row = txn.account(actor).await?;
        row.sync = None;
        txn.set_account(actor, row).await?;
        self.syncs.remove(actor);
        Ok(())
    }

    pub(super) async fn end_quiet_syncs(&mut self, txn: &mut dyn Txn, stream_ms: i64) -> Result<()> {
        if self.horizons.ends_told {
            return Ok(());
        }
        let over = stream_ms - self.horizons.sync_grace_ms;
        let quiet = self.syncs.in_order().take_while(|(_, mark)| mark.since_ms < over);
        let quiet: Vec<_> = quiet.take(PAGE).collect();
        for (actor, mark) in quiet {
            self.end_sync(txn, actor, mark).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use skyweir_store::{MemoryStore, Store};
    use skyweir_types::{Body, Did};

    use super::super::{Horizons, SYNCS_MOST};
    use super::*;

    fn breaks(account: usize, at: u64) -> Event {
        let did = Did::parse(&format!("did:plc:a{account}")).unwrap();
        let body = Body::Sync { rev: Tid(at), records_follow: false };
        Event { did, time_us: at as i64 * 1_000, body }
    }

    #[tokio::test]
    async fn who_has_to_make_room_is_counted() {
        let store = MemoryStore::new();
        let horizons = Horizons { ends_told: true, ..Horizons::default() };
        let view = store.view().await.unwrap();
        let mut applier = Applier::load(view.as_ref(), AcrossAccounts::Upstream, horizons).await.unwrap();
        let all: Vec<_> = (0..SYNCS_MOST).map(|n| breaks(n, n as u64 + 1)).collect();
        let (mut txn, mut outcomes) = (store.begin().await.unwrap(), Vec::new());
        applier.frame(txn.as_mut(), &all, &mut outcomes).await.unwrap();
        assert_eq!((applier.take_dropped(), applier.syncs.len()), (0, SYNCS_MOST));
        // the oldest once more: it has room
        let later = SYNCS_MOST as u64 + 1;
        applier.frame(txn.as_mut(), &[breaks(0, later)], &mut outcomes).await.unwrap();
        assert_eq!((applier.take_dropped(), applier.syncs.len()), (0, SYNCS_MOST));
        applier.frame(txn.as_mut(), &[breaks(SYNCS_MOST, later)], &mut outcomes).await.unwrap();
        assert_eq!((applier.take_dropped(), applier.take_dropped()), (1, 0));
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Applied));
        let mut marks = Vec::new();
        for account in [0, 1, 2] {
            let actor = txn.intern(&breaks(account, 1).did).await.unwrap();
            marks.push(txn.account(actor).await.unwrap().sync.map(|mark| mark.rev));
        }
        assert_eq!(marks, [Some(Tid(later)), None, Some(Tid(3))]);
    }
}
