//! Who follows an author: packed blocks, and over them layers of rows.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `followers` | subject u32 BE, layer u16 BE, follower u32 BE | nothing: follows; one byte 0: doesn't, whatever a block says |
//! | `follower_blocks` | subject u32 BE, the block's greatest follower u32 BE | its followers ([`crate::packed`]) |
//!
//! A block reaches from above the one before it up to its own greatest. An author without blocks has rows of the first
//! kind in layer 0 alone. Once it has blocks, its head names the layer that is written; folding begins the next layer
//! and brings the one before into the blocks, stretch by stretch, so that no page ever walks over rows that were removed.

use std::ops::Bound;

use skyweir_store::Result;
use skyweir_types::ActorId;

use super::heads::Packed;
use super::{Table, actors, after_prefix, follows};
use crate::codec::Reader;
use crate::db::Read;
use crate::packed;

/// How many followers a block holds at most.
pub(crate) const MOST: usize = 2_048;

/// An author with more followers than this gets its first block: below, rows are as good.
pub(crate) const FIRST: u32 = 128;

const GONE: u8 = 0;

/// The key of a row.
pub(crate) fn row_key(author: ActorId, layer: u16, follower: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(10);
    out.extend_from_slice(&author.0.to_be_bytes());
    out.extend_from_slice(&layer.to_be_bytes());
    out.extend_from_slice(&follower.to_be_bytes());
    out
}

/// Back from [`row_key`].
pub(crate) fn read_row_key(bytes: &[u8]) -> Result<(ActorId, u16, u32)> {
    let mut reader = Reader::new("followers", bytes);
    let row = (ActorId(reader.u32()?), reader.u16()?, reader.u32()?);
    reader.end().map(|()| row)
}

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

/// The follower of a layer's first row from `from` on, whatever it says.
pub(crate) fn first_row(read: &impl Read, author: ActorId, layer: u16, from: u32) -> Result<Option<u32>> {
    let (from, to) = (row_key(author, layer, from), after_prefix(&row_key(author, layer, 0)[..6]));
    let mut first = None;
    read.scan(Table::Followers, Bound::Included(&from), to.as_deref(), &mut |key, _| {
        first = Some(read_row_key(key)?.2);
        Ok(false)
    })?;
    Ok(first)
}

/// A layer's rows from `from` up to but without `to`, until so many of them say that somebody follows.
pub(crate) fn rows(
    read: &impl Read,
    author: ActorId,
    layer: u16,
    from: u32,
    to: Option<u32>,
    most: usize,
) -> Result<Vec<(u32, bool)>> {
    let mut rows = Vec::new();
    let mut there = 0;
    if to.is_some_and(|to| to <= from) {
        return Ok(rows);
    }
    let to = match to {
        Some(to) => Some(row_key(author, layer, to)),
        None => after_prefix(&row_key(author, layer, 0)[..6]),
    };
    let from = row_key(author, layer, from);
    read.scan(Table::Followers, Bound::Included(&from), to.as_deref(), &mut |key, value| {
        let row = (read_row_key(key)?.2, decode_row(value)?);
        there += usize::from(row.1);
        rows.push(row);
        Ok(there < most)
    })?;
    Ok(rows)
}

/// At most `n` followers of an author after `after`, by rising number. `packed` is what its head says.
pub(crate) fn page(
    read: &impl Read,
    author: ActorId,
    packed: Option<Packed>,
    after: Option<ActorId>,
    n: usize,
) -> Result<Vec<ActorId>> {
    let mut page = Vec::with_capacity(n.min(10_000));
    let mut from = after.map_or(Some(0), |after| after.0.checked_add(1));
    while let Some(low) = from.filter(|_| page.len() < n) {
        let want = n - page.len();
        let (members, end) = match packed {
            None => (Vec::new(), None),
            Some(_) => members(read, author, low, want)?,
        };
        let Packed { layer, folding, .. } = packed.unwrap_or_default();
        let mut above = rows(read, author, layer, low, end, want)?;
        if let Some(next) = folding {
            let below = rows(read, author, layer.wrapping_sub(1), low.max(next), end, usize::MAX)?;
            above = newer_first(&above, &below);
        }
        let members = &members[members.partition_point(|member| *member < low)..];
        merge(members, &above, |stretch| {
            let stretch = &stretch[..stretch.len().min(n - page.len())];
            page.extend(stretch.iter().map(|member| ActorId(*member)));
        });
        from = end;
    }
    Ok(page)
}

/// Two layers as one: where both have a row, the upper one's.
fn newer_first(above: &[(u32, bool)], below: &[(u32, bool)]) -> Vec<(u32, bool)> {
    let mut rows = [above, below].concat();
    // stable: of two with one number the upper one's stays first
    rows.sort_by_key(|(follower, _)| *follower);
    rows.dedup_by_key(|(follower, _)| *follower);
    rows
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
