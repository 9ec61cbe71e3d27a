//! The indexes at the end of a segment.

use super::{ArchiveBlock, compress};
use anyhow::Context;

/// Appends the entry of a block to the index of blocks.
pub(super) fn entry(
    out: &mut Vec<u8>,
    offset: usize,
    packed: usize,
    unpacked: usize,
    block: &ArchiveBlock,
) -> anyhow::Result<()> {
    out.extend((offset as u64).to_le_bytes());
    for count in [packed, unpacked, block.rows.len()] {
        out.extend(number(count)?);
    }
    out.extend([block.seqs.0, block.seqs.1].iter().flat_map(|seq| seq.to_le_bytes()));
    out.extend([block.times.0, block.times.1].iter().flat_map(|time| time.to_le_bytes()));
    Ok(())
}

/// Appends an index of the accounts of each block that has nothing for each.
pub(super) fn no_accounts(out: &mut Vec<u8>, blocks: usize) -> anyhow::Result<()> {
    out.extend(number(blocks)?);
    out.extend(number(0)?);
    Ok(())
}

/// Appends the index of collections: which there are, how many rows of each, and which block has which.
pub(super) fn collections(out: &mut Vec<u8>, blocks: &[ArchiveBlock]) -> anyhow::Result<()> {
    let mut names: Vec<(&str, usize)> = Vec::new();
    let mut masks: Vec<Vec<usize>> = Vec::new();
    for block in blocks {
        let mut mask = Vec::new();
        for row in &block.rows {
            let name = row.indexed_as();
            let at = names.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
                names.push((name, 0));
                names.len() - 1
            });
            names[at].1 += 1;
            mask.push(at);
        }
        masks.push(mask);
    }
    let width = names.len().div_ceil(8);
    let mut body = Vec::new();
    for (name, count) in &names {
        body.push(u8::try_from(name.len()).context("the name of a collection is too long")?);
        body.extend(number(*count)?);
        body.extend(name.as_bytes());
    }
    for mask in masks {
        let mut bits = vec![0_u8; width];
        mask.iter().for_each(|at| bits[at / 8] |= 1 << (at % 8));
        body.extend(bits);
    }
    for count in [names.len(), blocks.len(), width, body.len()] {
        out.extend(number(count)?);
    }
    out.extend(compress(&body)?);
    Ok(())
}

fn number(count: usize) -> anyhow::Result<[u8; 4]> {
    Ok(u32::try_from(count).context("a count of the footer")?.to_le_bytes())
}
