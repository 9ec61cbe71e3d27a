//! Folding rows of followers into packed blocks, in the transactions that make them too many.
//!
//! An author with too many rows begins a new layer, and the one before is folded. What one transaction folds is
//! bounded: for an author with thousands of blocks those that change its followers next go on where it ended.

use std::ops::Bound;

use skyweir_store::Result;
use skyweir_types::ActorId;

use super::{Change, EmbeddedTxn};
use crate::error::db as db_error;
use crate::table::followers::{self, FIRST};
use crate::table::heads::Head;
use crate::table::{Table, actors, after_prefix, follows};

/// So many rows over blocks are never worth a fold.
const FEW: u32 = 64;
/// Rows may be one to so many followers in blocks: a page of 10,000 then has some three hundred of them, and a row
/// costs the rewriting of as many followers.
const SHARE: u32 = 32;
/// A block with fewer followers is put together with the next one.
const SMALL: usize = 256;
/// What one transaction folds at most: a few milliseconds, ...
const ROWS: usize = 16_384;
const BLOCKS: usize = 64;
/// ... or so many rows for each key that it writes itself, and a block for so many of these: else rows would outgrow
/// the folding when transactions are large.
const ROWS_A_KEY: usize = 2;
const KEYS_A_BLOCK: usize = 32;

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
        Some(packed) => packed.folding.is_some() || packed.rows > FEW.max(head.followers / SHARE),
    }
}

impl EmbeddedTxn {
    /// Folds the authors of this transaction that have too many rows.
    pub(super) fn fold_followers(&mut self) -> Result<()> {
        let due = |(author, (head, change)): (&ActorId, &(Head, Change))| {
            (*change == Change::Row && is_due(head)).then_some((*author, *head))
        };
        let mut authors: Vec<_> = self.heads.iter().filter_map(due).collect();
        authors.sort_unstable_by_key(|(author, _)| *author);
        let keys = self.overlay.len();
        let mut budget =
            Budget { rows: ROWS.max(keys * ROWS_A_KEY), blocks: BLOCKS.max(keys / KEYS_A_BLOCK) };
        for (author, head) in authors {
            self.fold(author, head, &mut budget)?;
        }
        Ok(())
    }

    fn fold(&mut self, author: ActorId, mut head: Head, budget: &mut Budget) -> Result<()> {
        let mut packed = head.packed.unwrap_or_default();
        let mut next = packed.folding;
        if next.is_none() {
            (packed.layer, packed.rows, next) = (packed.layer.wrapping_add(1), 0, Some(0));
        }
        let layer = packed.layer.wrapping_sub(1);
        while let Some(from) = next.filter(|_| budget.rows > 0 && budget.blocks > 0) {
            next = match followers::first_row(&self.overlay, author, layer, from)? {
                Some(row) => self.fold_stretch(author, layer, row, budget)?,
                None => None,
            };
        }
        packed.folding = next;
        head.packed = Some(packed);
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

    /// Writes blocks anew with the rows from `row` on. Returns where to go on: `None` at the end.
    fn fold_stretch(
        &mut self,
        author: ActorId,
        layer: u16,
        row: u32,
        budget: &mut Budget,
    ) -> Result<Option<u32>> {
        let stretch = self.stretch(author, row)?;
        let mut rows = followers::rows(&self.overlay, author, layer, row, stretch.end, budget.rows)?;
        rows.truncate(budget.rows);
        let end = match rows.last() {
            Some((last, _)) if rows.len() == budget.rows => last.checked_add(1),
            _ => stretch.end,
        };
        let mut members = Vec::with_capacity(stretch.members.len() + rows.len());
        followers::merge(&stretch.members, &rows, |some| members.extend_from_slice(some));
        for (row, _) in &rows {
            self.overlay.remove(Table::Followers, followers::row_key(author, layer, *row));
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
        budget.rows -= rows.len();
        budget.blocks = budget.blocks.saturating_sub(taken.max(blocks).max(1));
        Ok(end)
    }
}
