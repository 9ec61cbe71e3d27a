//! Folding rows of followers into packed blocks, in the transaction that made them too many.
//!
//! What one transaction folds is bounded: an author with thousands of blocks is folded stretch by stretch, each
//! from where the one before ended, by the transactions that change its followers.

use std::ops::Bound;

use skyweir_store::Result;
use skyweir_types::ActorId;

use super::EmbeddedTxn;
use crate::error::db as db_error;
use crate::table::followers::{self, FIRST};
use crate::table::heads::{Head, Packed};
use crate::table::{Table, actors, after_prefix, follows};

/// So many rows over blocks are never worth a fold.
const FEW: u32 = 64;
/// Rows may be one to so many followers in blocks: a page of 10,000 then has some three hundred of them, and a row
/// costs the rewriting of as many followers.
const SHARE: u32 = 32;
/// A block with fewer followers is put together with the next one.
const SMALL: usize = 256;
/// What one transaction folds at most: a few milliseconds.
const ROWS: usize = 16_384;
const BLOCKS: usize = 64;

/// What is left to do in this transaction.
struct Budget {
    rows: usize,
    blocks: usize,
}

/// What is folded at once: neighbouring blocks, and the rows up to where the last of them ends.
struct Stretch {
    keys: Vec<Vec<u8>>,
    members: Vec<u32>,
    /// Where the next block begins; `None` when there is none.
    end: Option<u32>,
}

impl Stretch {
    fn take(&mut self, guard: fjall::Guard) -> Result<()> {
        let (key, value) = guard.into_inner().map_err(db_error)?;
        followers::decode_block(&key, &value, &mut self.members)?;
        self.keys.push(key.to_vec());
        Ok(())
    }
}

fn is_due(head: &Head) -> bool {
    match head.packed {
        None => head.followers > FIRST,
        Some(packed) => packed.rows > FEW.max(head.followers / SHARE),
    }
}

impl EmbeddedTxn {
    /// Folds the authors of this transaction that have too many rows.
    pub(super) fn fold_followers(&mut self) -> Result<()> {
        let due = |(author, (head, written)): (&ActorId, &(Head, bool))| {
            (*written && is_due(head)).then_some((*author, *head))
        };
        let authors: Vec<_> = self.heads.iter().filter_map(due).collect();
        let mut budget = Budget { rows: ROWS, blocks: BLOCKS };
        for (author, head) in authors {
            self.fold(author, head, &mut budget)?;
        }
        Ok(())
    }

    fn fold(&mut self, author: ActorId, mut head: Head, budget: &mut Budget) -> Result<()> {
        let mut packed = head.packed.unwrap_or(Packed { rows: head.followers, next: 0 });
        let start = packed.next;
        let mut from_start = start == 0;
        let done = loop {
            if budget.rows == 0 || budget.blocks == 0 {
                break false;
            }
            let first = followers::rows(&self.overlay, author, packed.next, None, 1)?;
            let Some((row, _)) = first.first().copied() else {
                if from_start {
                    break true;
                }
                (from_start, packed.next) = (true, 0);
                continue;
            };
            let stretch = self.stretch(author, row)?;
            // around once: the blocks from here on were written anew, and the moment doesn't know
            if from_start && start > 0 && stretch.end.is_none_or(|end| end > start) {
                packed.rows = 0;
                break false;
            }
            let end = self.fold_stretch(author, row, stretch, &mut packed, budget)?;
            match end {
                Some(next) => packed.next = next,
                None if from_start => break true,
                None => (from_start, packed.next) = (true, 0),
            }
        };
        if done {
            packed = Packed::default();
        }
        // then no block is left
        head.packed = (!done || head.followers > 0).then_some(packed);
        self.set_head(author, head);
        Ok(())
    }

    /// The block that this row belongs to, with those after it that it is put together with.
    fn stretch(&self, author: ActorId, row: u32) -> Result<Stretch> {
        let (from, to) = (follows::key(author, ActorId(row)), after_prefix(&actors::number(author)));
        let base = self.overlay.base();
        let mut blocks = base.range(Table::FollowerBlocks, Bound::Included(&from), to.as_deref());
        let mut stretch = Stretch { keys: Vec::new(), members: Vec::new(), end: None };
        if let Some(guard) = blocks.next() {
            stretch.take(guard)?;
        } else {
            // above all blocks: the last one grows
            let all = actors::number(author);
            let mut blocks = base.range(Table::FollowerBlocks, Bound::Included(&all), to.as_deref());
            if let Some(guard) = blocks.next_back() {
                stretch.take(guard)?;
            }
            return Ok(stretch);
        }
        while stretch.members.len() < SMALL {
            let Some(guard) = blocks.next() else { return Ok(stretch) };
            stretch.take(guard)?;
        }
        if blocks.next().is_some() {
            stretch.end = stretch.members.last().and_then(|last| last.checked_add(1));
        }
        Ok(stretch)
    }

    /// Writes a stretch's blocks anew with the rows from `row` on. Returns where to go on: `None` at the end.
    fn fold_stretch(
        &mut self,
        author: ActorId,
        row: u32,
        stretch: Stretch,
        packed: &mut Packed,
        budget: &mut Budget,
    ) -> Result<Option<u32>> {
        let mut rows = followers::rows(&self.overlay, author, row, stretch.end, budget.rows)?;
        rows.truncate(budget.rows);
        let end = match rows.last() {
            Some((last, _)) if rows.len() == budget.rows => last.checked_add(1),
            _ => stretch.end,
        };
        let mut members = Vec::with_capacity(stretch.members.len() + rows.len());
        followers::merge(&stretch.members, &rows, |some| members.extend_from_slice(some));
        for (row, _) in &rows {
            self.overlay.remove(Table::Followers, follows::key(author, ActorId(*row)).to_vec());
        }
        let taken = stretch.keys.len();
        for key in stretch.keys {
            self.overlay.remove(Table::FollowerBlocks, key);
        }
        let mut blocks = 0;
        for (key, block) in followers::blocks(author, &members) {
            self.overlay.put(Table::FollowerBlocks, key.to_vec(), block);
            blocks += 1;
        }
        packed.rows = packed.rows.saturating_sub(rows.len() as u32);
        budget.rows -= rows.len();
        budget.blocks = budget.blocks.saturating_sub(taken.max(blocks).max(1));
        Ok(end)
    }
}
