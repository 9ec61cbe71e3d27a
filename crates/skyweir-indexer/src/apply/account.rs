//! Account events: hiding is a flag that answers look at, deletion takes the account's own records for good.

use skyweir_store::{AccountRow, RecordRow, Result, Txn};
use skyweir_types::{AccountStatus, ActorId, Collection, Event, RecordKey, RecordRef, Tid};

use super::{Applier, Outcome, PAGE};

/// Whether a state at this time is no replay of what an account's row knows.
pub(crate) fn is_news(row: &AccountRow, status: AccountStatus, time_us: i64) -> bool {
    // the same deletion again is a replay: what a later one finds came after the first, and goes as well
    let is_known_deletion =
        row.status == AccountStatus::Deleted && status == AccountStatus::Deleted && time_us == row.status_us;
    time_us >= row.status_us && !is_known_deletion
}

impl Applier {
    pub(super) async fn account(
        &mut self,
        txn: &mut dyn Txn,
        event: &Event,
        status: AccountStatus,
    ) -> Result<Outcome> {
        let actor = txn.intern(&event.did).await?;
        let mut row = txn.account(actor).await?;
        if !is_news(&row, status, event.time_us) {
            return Ok(Outcome::Stale);
        }
        let before = row.status;
        (row.status, row.status_us) = (status, event.time_us);
        if status == AccountStatus::Deleted {
            let synced = row.sync.take().map_or(Tid::ZERO, |mark| mark.rev);
            row.gone = row.gone.max(synced).max(self.delete_records(txn, actor).await?);
            self.syncs.remove(actor);
        }
        txn.set_account(actor, row).await?;
        if status == AccountStatus::Active && before != status {
            self.mark_again(txn, event, actor).await?;
        }
        Ok(if before == status { Outcome::Unchanged } else { Outcome::Applied })
    }

    /// Removes all records of an account; returns the greatest rev among them. Reposts of its posts by others stay
    /// items, as reposts of unknown posts are.
    pub(super) async fn delete_records(&self, txn: &mut dyn Txn, actor: ActorId) -> Result<Tid> {
        let mut greatest = Tid::ZERO;
        loop {
            let (page, is_last) = self.page_of(txn, actor, None).await?;
            for (key, row) in &page {
                greatest = greatest.max(row.rev);
                self.undo(txn, key, &row.body).await?;
                txn.remove_record(key).await?;
            }
            if is_last {
                return Ok(greatest);
            }
        }
    }

    /// Some records of an account after a place, of those that are ours to change, and whether they are the last.
    pub(super) async fn page_of(
        &self,
        txn: &mut dyn Txn,
        actor: ActorId,
        after: Option<(Collection, RecordKey)>,
    ) -> Result<(Vec<(RecordRef, RecordRow)>, bool)> {
        let mut page = txn.records_of(actor, after, PAGE).await?;
        let is_last = page.len() < PAGE;
        if self.are_follows_loaded {
            // they come behind all others
            let ours = page.partition_point(|(key, _)| key.collection != Collection::Follow);
            let are_more = !is_last && ours == page.len();
            page.truncate(ours);
            return Ok((page, !are_more));
        }
        Ok((page, is_last))
    }
}
