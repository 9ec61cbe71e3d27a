//! CAR archives, version 1, as commits carry them: just enough to find records.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::Skip;

/// The blocks of an archive by their binary CIDs.
#[derive(Debug, Default)]
pub(crate) struct Blocks<'a> {
    blocks: HashMap<&'a [u8], &'a [u8]>,
    /// The archive is damaged behind these blocks.
    pub(crate) damaged: bool,
}

impl<'a> Blocks<'a> {
    /// Reads the archive. Blocks that come twice: the first one counts.
    pub(crate) fn read(bytes: &'a [u8]) -> Self {
        let mut found = Self::default();
        found.damaged = found.fill(bytes).is_none();
        found
    }

    fn fill(&mut self, bytes: &'a [u8]) -> Option<()> {
        // roots and version are of no interest: what counts is asked for by its hash
        let (_header, mut rest) = section(bytes)?;
        while !rest.is_empty() {
            let (block, behind) = section(rest)?;
            let length = cid_length(block)?;
            let (cid, data) = block.split_at_checked(length)?;
            self.blocks.entry(cid).or_insert(data);
            rest = behind;
        }
        Some(())
    }

    /// The bytes of a record, whose hash is checked.
    pub(crate) fn record(&self, cid: &[u8]) -> Result<&'a [u8], Skip> {
        let data = *self.blocks.get(cid).ok_or(Skip::MissingBlock)?;
        let digest = cid.get(4..).ok_or(Skip::BadCid)?;
        if Sha256::digest(data).as_slice() == digest { Ok(data) } else { Err(Skip::HashMismatch) }
    }
}

/// What a length stands before, and the rest.
fn section(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = varint(bytes)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}

pub(crate) fn cid_length(block: &[u8]) -> Option<usize> {
    if block.starts_with(&[0x12, 0x20]) {
        return Some(34);
    }
    let (version, rest) = varint(block)?;
    let (_codec, rest) = varint(rest)?;
    let (_hash, rest) = varint(rest)?;
    let (length, rest) = varint(rest)?;
    (version == 1).then_some(())?;
    (block.len() - rest.len()).checked_add(usize::try_from(length).ok()?)
}

pub(crate) fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (i, byte) in bytes.iter().enumerate().take(9) {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[i + 1..]));
        }
    }
    None
}
