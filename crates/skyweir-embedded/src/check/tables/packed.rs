//! The invariants of blocks of follows and of their records, and walks over what is in rows and in blocks.

use std::ops::Bound;

use skyweir_store::{RecordRow, Result};
use skyweir_types::{ActorId, Collection, RecordRef, Tid};

use super::{Finding, Report, Tables};
use crate::codec::tid_rkey;
use crate::db::Read;
use crate::table::blocks::Packed;
use crate::table::follow_blocks::FollowBlocks;
use crate::table::follows::{self, Edge};
use crate::table::heads::Head;
use crate::table::record_blocks::{Entry, RecordBlocks};
use crate::table::{Table, actors, records};

impl Tables<'_> {
    /// Visits all records: rows, then those in blocks.
    pub(super) fn all_records(
        &self,
        visit: &mut (dyn FnMut(&RecordRef, &RecordRow) -> Result<()> + Send),
    ) -> Result<()> {
        self.all(Table::Records, &mut |key, value| {
            let record = records::read_key(key)?;
            visit(&record, &records::decode(&record.rkey, value)?).map(|()| true)
        })?;
        self.all(Table::RecordBlocks, &mut |key, value| {
            let (actor, _) = RecordBlocks::read_key(key)?;
            for entry in RecordBlocks::decode(value)? {
                let rkey = tid_rkey(entry.tid)?;
                visit(&RecordRef { actor, collection: Collection::Follow, rkey }, &entry.row())?;
            }
            Ok(true)
        })
    }

    /// Visits all edges: rows, then those in blocks.
    pub(super) fn all_edges(
        &self,
        visit: &mut (dyn FnMut(ActorId, ActorId, &Edge) -> Result<()> + Send),
    ) -> Result<()> {
        self.all(Table::Follows, &mut |key, value| {
            let (follower, subject) = follows::read_key(key)?;
            visit(follower, subject, &follows::decode(value)?).map(|()| true)
        })?;
        self.all(Table::FollowBlocks, &mut |key, value| {
            let (follower, _) = FollowBlocks::read_key(key)?;
            for entry in FollowBlocks::decode(value)? {
                visit(follower, entry.subject, &Edge::Hinted(entry.hint))?;
            }
            Ok(true)
        })
    }

    pub(super) fn check_packed(&self, report: &mut Report) -> Result<()> {
        let mut packed = Finding::new("what is in a block is in its place, and in no row");
        self.check_blocks_of::<RecordBlocks>(&mut packed, |head, entry, actor| {
            let is_row = self.has(Table::Records, &records::follow_key(actor, entry.tid))?;
            Ok(!is_row && head.folded.is_some_and(|folded| entry.tid <= folded.last))
        })?;
        self.check_blocks_of::<FollowBlocks>(&mut packed, |head, entry, actor| {
            Ok(!self.has(Table::Follows, &follows::key(actor, entry.subject))? && head.folded.is_some())
        })?;
        let mut loose = Finding::new("rows that can be folded are as their accounts' heads say");
        self.all(Table::Heads, &mut |key, value| {
            let (actor, head) = (actors::read_number(key)?, Head::decode(value)?);
            let Some(folded) = head.folded else { return Ok(true) };
            let mut count = 0;
            let (from, to) = (records::follow_key(actor, Tid::ZERO), records::follow_end(actor));
            self.0.scan(Table::Records, Bound::Included(&from), to.as_deref(), &mut |key, value| {
                let (tid, row) = records::read_follow(key, value)?;
                if Entry::of(tid, &row).is_some() {
                    count += 1;
                    loose.expect(tid >= folded.from(), || format!("account {actor}, {folded:?}: row {tid}"));
                }
                Ok(true)
            })?;
            loose.expect(count <= folded.loose, || format!("account {actor}, {folded:?}: {count} rows"));
            Ok(true)
        })?;
        report.findings.extend([packed, loose]);
        Ok(())
    }

    /// Blocks of an account follow each other, with entries that belong there.
    fn check_blocks_of<P: Packed>(
        &self,
        packed: &mut Finding,
        mut holds: impl FnMut(&Head, &P::Entry, ActorId) -> Result<bool> + Send,
    ) -> Result<()> {
        let mut before: Option<(ActorId, u64)> = None;
        self.all(P::TABLE, &mut |key, value| {
            let (actor, bound) = P::read_key(key)?;
            let above = before.filter(|(other, _)| *other == actor).map(|(_, bound)| bound);
            before = Some((actor, bound));
            let head = self.head(actor)?;
            for entry in P::decode(value)? {
                let place = P::place(&entry);
                let is_here = place <= bound && above.is_none_or(|above| place > above);
                let is_right = is_here && holds(&head, &entry, actor)?;
                packed
                    .expect(is_right, || format!("account {actor}, {:?}, up to {bound}: {place}", P::TABLE));
            }
            Ok(true)
        })
    }
}
