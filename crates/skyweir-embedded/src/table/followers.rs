//! Who follows an author: packed blocks, and over them the rows written since.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `followers` | subject u32 BE, follower u32 BE | nothing: follows; one byte 0: doesn't, whatever a block says |
//! | `follower_blocks` | subject u32 BE, the block's greatest follower u32 BE | its followers ([`crate::packed`]) |
//!
//! A block reaches from above the one before it up to its own greatest. An author without blocks has no rows of the
//! second kind; its head says whether it has blocks.

use std::ops::Bound;

use skyweir_store::Result;
use skyweir_types::ActorId;

use super::{Table, actors, after_prefix, follows};
use crate::codec::Reader;
use crate::db::Read;
use crate::packed;

/// How many followers a block holds at most.
pub(crate) const MOST: usize = 2_048;

/// An author with more followers than this gets its first block: below, rows are as good.
pub(crate) const FIRST: u32 = 128;

const GONE: u8 = 0;

/// The value of a row.
pub(crate) fn encode_row(there: bool) -> Vec<u8> {
    if there { Vec::new() } else { vec![GONE] }
}

/// Back from [`encode_row`].
pub(crate) fn decode_row(bytes: &[u8]) -> Result<bool> {
    match bytes {
        [] => Ok(true),
        [GONE] => Ok(false),
        _ => Err(Reader::new("followers", bytes).bad()),
    }
}

/// The blocks, keys and values, of an author's rising followers: as few as possible, of about the same length.
pub(crate) fn blocks(author: ActorId, members: &[u32]) -> impl Iterator<Item = ([u8; 8], Vec<u8>)> {
    let blocks = members.len().div_ceil(MOST).max(1);
    let size = members.len().div_ceil(blocks).max(1);
    members.chunks(size).filter_map(move |block| {
        let greatest = ActorId(*block.last()?);
        Some((follows::key(author, greatest), packed::encode(block)))
    })
}

/// Appends the followers of a block to `out`. Returns whose they are.
pub(crate) fn decode_block(key: &[u8], value: &[u8], out: &mut Vec<u32>) -> Result<ActorId> {
    let (author, greatest) = follows::read_key(key)?;
    packed::decode("follower_blocks", value, greatest.0, out)?;
    Ok(author)
}

/// The rows of an author from `from` up to but without `to`, until so many of them say that somebody follows.
pub(crate) fn rows(
    read: &impl Read,
    author: ActorId,
    from: u32,
    to: Option<u32>,
    most: usize,
) -> Result<Vec<(u32, bool)>> {
    let mut rows = Vec::new();
    let mut there = 0;
    let from = follows::key(author, ActorId(from));
    let to = match to {
        Some(to) => Some(follows::key(author, ActorId(to)).to_vec()),
        None => after_prefix(&actors::number(author)),
    };
    read.scan(Table::Followers, Bound::Included(&from), to.as_deref(), &mut |key, value| {
        let row = (follows::read_key(key)?.1.0, decode_row(value)?);
        there += usize::from(row.1);
        rows.push(row);
        Ok(there < most)
    })?;
    Ok(rows)
}

/// At most `n` followers of an author after `after`, by rising number.
pub(crate) fn page(
    read: &impl Read,
    author: ActorId,
    after: Option<ActorId>,
    n: usize,
) -> Result<Vec<ActorId>> {
    let mut page = Vec::with_capacity(n.min(10_000));
    let mut from = after.map_or(Some(0), |after| after.0.checked_add(1));
    while let Some(low) = from.filter(|_| page.len() < n) {
        let want = n - page.len();
        let (members, end) = members(read, author, low, want)?;
        let rows = rows(read, author, low, end, want)?;
        let members = &members[members.partition_point(|member| *member < low)..];
        merge(members, &rows, |stretch| {
            let stretch = &stretch[..stretch.len().min(n - page.len())];
            page.extend(stretch.iter().map(|member| ActorId(*member)));
        });
        from = end;
    }
    Ok(page)
}

/// What the blocks say from `low` on (and of the first block what is below), until there are so many; and where
/// the next block may begin: `None` after the last.
fn members(read: &impl Read, author: ActorId, low: u32, want: usize) -> Result<(Vec<u32>, Option<u32>)> {
    let mut members = Vec::new();
    let mut below = None;
    let mut end = None;
    let from = follows::key(author, ActorId(low));
    let to = after_prefix(&actors::number(author));
    read.scan(Table::FollowerBlocks, Bound::Included(&from), to.as_deref(), &mut |key, value| {
        decode_block(key, value, &mut members)?;
        let below = *below.get_or_insert_with(|| members.partition_point(|member| *member < low));
        if members.len() - below < want {
            return Ok(true);
        }
        end = members.last().and_then(|last| last.checked_add(1));
        Ok(false)
    })?;
    Ok((members, end))
}

/// Those of `members` that no row takes away and those that rows add, in order, as stretches.
pub(crate) fn merge(members: &[u32], rows: &[(u32, bool)], mut take: impl FnMut(&[u32])) {
    let mut rest = members;
    for (row, there) in rows {
        let (before, from) = rest.split_at(rest.partition_point(|member| member < row));
        take(before);
        if *there {
            take(&[*row]);
        }
        rest = from.strip_prefix(&[*row]).unwrap_or(from);
    }
    take(rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    proptest! {
        #[test]
        fn rows_win_over_blocks(
            members in prop::collection::btree_set(0..60u32, 0..40),
            rows in prop::collection::btree_map(0..60u32, any::<bool>(), 0..40),
        ) {
            let rows: BTreeMap<u32, bool> = rows;
            let mut wanted: BTreeSet<u32> = members.clone();
            wanted.retain(|member| rows.get(member) != Some(&false));
            wanted.extend(rows.iter().filter(|(_, there)| **there).map(|(row, _)| *row));
            let (members, rows): (Vec<_>, Vec<_>) = (members.into_iter().collect(), rows.into_iter().collect());
            let mut merged = Vec::new();
            merge(&members, &rows, |stretch| merged.extend_from_slice(stretch));
            prop_assert_eq!(merged, wanted.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_row_is_one_of_two() {
        for there in [true, false] {
            assert_eq!(decode_row(&encode_row(there)).unwrap(), there);
        }
        decode_row(&[1]).unwrap_err();
        decode_row(&[0, 0]).unwrap_err();
    }
}
