//! Account events: hiding is a flag that answers look at, deletion takes the account's own records for good.

use skyweir_store::{Result, Txn};
use skyweir_types::{AccountStatus, ActorId, Event, Tid};

use super::{Applier, Outcome, PAGE};

impl Applier {
    pub(super) async fn account(
        &mut self,
        txn: &mut dyn Txn,
        event: &Event,
        status: AccountStatus,
    ) -> Result<Outcome> {
        let actor = txn.intern(&event.did).await?;
        let mut row = txn.account(actor).await?;
        // the same deletion again is a replay: what a later one finds came after the first, and goes as well
        let is_known_deletion = row.status == AccountStatus::Deleted
            && status == AccountStatus::Deleted
            && event.time_us == row.status_us;
        if event.time_us < row.status_us || is_known_deletion {
            return Ok(Outcome::Stale);
        }
        let before = row.status;
        (row.status, row.status_us) = (status, event.time_us);
        if status == AccountStatus::Deleted {
            let synced = row.sync.take().map_or(Tid::ZERO, |mark| mark.rev);
            row.gone = row.gone.max(synced).max(self.delete_records(txn, actor).await?);
            self.syncs.remove(&actor);
        }
        txn.set_account(actor, row).await?;
        Ok(if before == status { Outcome::Unchanged } else { Outcome::Applied })
    }

    /// Removes all records of an account; returns the greatest rev among them. Reposts of its posts by others stay
    /// items, as reposts of unknown posts are.
    async fn delete_records(&self, txn: &mut dyn Txn, actor: ActorId) -> Result<Tid> {
        let mut greatest = Tid::ZERO;
        loop {
            let page = txn.records_of(actor, None, PAGE).await?;
            for (key, row) in &page {
                greatest = greatest.max(row.rev);
                self.undo(txn, key, &row.body).await?;
                txn.remove_record(key).await?;
            }
            if page.len() < PAGE {
                return Ok(greatest);
            }
        }
    }
}
