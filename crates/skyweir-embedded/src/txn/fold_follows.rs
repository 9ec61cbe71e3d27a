//! Folding rows of follow records, and the edges that they are of, into blocks, in the transactions that make them too
//! many.
//!
//! What one transaction looks at is bounded: for an account with more, those that change its edges next go on where it
//! ended. A fold begins at the first row that there may be to fold: for records that come in the order of their keys
//! that is above all that was ever folded, so it passes no removed rows but those that fjall hasn't dropped yet of the
//! stretch that it folds. Edges are looked up by the records' subjects, never scanned.

use std::ops::Bound;

use skyweir_store::Result;
use skyweir_types::{ActorId, Tid};

use super::{Change, EmbeddedTxn};
use crate::db::Read;
use crate::table::blocks::{self, FIRST};
use crate::table::follow_blocks::{self, FollowBlocks};
use crate::table::follows::{self, Edge};
use crate::table::heads::Head;
use crate::table::record_blocks::{self, RecordBlocks};
use crate::table::{Table, records};

/// So many loose rows are never worth a fold, ...
const FEW: u32 = 16;
/// ... so many always are, ...
const MANY: u32 = 1_024;
/// ... and else one for so many follows: each row then costs the rewriting of about as many entries in each table.
const SHARE: u32 = 16;
/// So many rows are looked at in one transaction, ...
const ROWS: usize = 4_096;
/// ... or so many for each key that it writes itself.
const ROWS_A_KEY: usize = 2;

fn is_due(head: &Head) -> bool {
    match head.folded {
        None => head.follows >= FIRST,
        Some(folded) => folded.loose >= (head.follows / SHARE).clamp(FEW, MANY),
    }
}

impl EmbeddedTxn {
    /// Folds the accounts of this transaction that have too many loose follows.
    pub(super) fn fold_follows(&mut self) -> Result<()> {
        let due = |(actor, (head, change)): (&ActorId, &(Head, Change))| {
            (*change == Change::Row && is_due(head)).then_some((*actor, *head))
        };
        let mut accounts: Vec<_> = self.heads.iter().filter_map(due).collect();
        accounts.sort_unstable_by_key(|(actor, _)| *actor);
        let mut budget = ROWS.max(self.overlay.len() * ROWS_A_KEY);
        for (actor, head) in accounts {
            if budget == 0 {
                break;
            }
            self.fold_follows_of(actor, head, &mut budget)?;
        }
        Ok(())
    }

    fn fold_follows_of(&mut self, actor: ActorId, mut head: Head, budget: &mut usize) -> Result<()> {
        let mut folded = head.folded.unwrap_or_default();
        let from = head.folded.map_or(Tid::ZERO, |folded| folded.from());
        let (loose, next) = self.loose_records(actor, from, budget)?;
        let mut edges = Vec::with_capacity(loose.len());
        for record in &loose {
            self.overlay.remove(Table::Records, records::follow_key(actor, record.tid));
            let key = follows::key(actor, record.subject);
            let Some(edge) = self.overlay.get(Table::Follows, &key)? else { continue };
            if let Edge::Hinted(hint) = follows::decode(&edge)? {
                self.overlay.remove(Table::Follows, key.to_vec());
                edges.push(follow_blocks::Entry { subject: record.subject, hint });
            }
        }
        edges.sort_unstable_by_key(|edge| edge.subject);
        blocks::add::<RecordBlocks>(&mut self.overlay, actor, &loose)?;
        blocks::add::<FollowBlocks>(&mut self.overlay, actor, &edges)?;
        folded.last = loose.last().map_or(folded.last, |record| record.tid.max(folded.last));
        folded.below = next;
        folded.loose = if next.is_some() { u32::MAX } else { 0 };
        head.folded = Some(folded);
        self.set_head(actor, head);
        Ok(())
    }

    /// An account's records from a key on that can be folded, and where to go on if there may be more of them.
    fn loose_records(
        &self,
        actor: ActorId,
        from: Tid,
        budget: &mut usize,
    ) -> Result<(Vec<record_blocks::Entry>, Option<Tid>)> {
        let (mut loose, mut next) = (Vec::new(), None);
        let (from, to) = (records::follow_key(actor, from), records::follow_end(actor));
        self.overlay.scan(Table::Records, Bound::Included(&from), to.as_deref(), &mut |key, value| {
            let (tid, row) = records::read_follow(key, value)?;
            if *budget == 0 {
                next = Some(tid);
                return Ok(false);
            }
            *budget -= 1;
            loose.extend(record_blocks::Entry::of(tid, &row));
            Ok(true)
        })?;
        Ok((loose, next))
    }
}

#[cfg(test)]
mod tests;
