//! A CAR archive, version 1, as it comes: block after block, each checked against its CID.

use bytes::{Buf, Bytes, BytesMut};
use sha2::{Digest as _, Sha256};
use skyweir_types::Cid;

use super::RepoFault;
use crate::decode::{Value, cid_length, varint, whole_value};

/// No honest block is larger: a record has 1 MiB at most, and nodes are small.
const MOST_BLOCK: usize = 4 << 20;
/// What the binary CID of a record or node begins with: version 1, DAG-CBOR, SHA-256 of 32 bytes.
const OURS: [u8; 4] = [0x01, 0x71, 0x12, 0x20];
/// Varints are longer only in lies.
const MOST_VARINT: usize = 9;

/// Takes an archive apart. What is fed and not taken yet is held: a block at most, and what was fed last.
#[derive(Debug, Default)]
pub struct CarReader {
    buffer: BytesMut,
    root: Option<Cid>,
}

impl CarReader {
    /// The next bytes of the archive.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The first root, as soon as the header has come: it comes before the first block.
    #[must_use]
    pub fn root(&self) -> Option<Cid> {
        self.root
    }

    /// The next block that a repository can point to; `None` when more has to be fed.
    ///
    /// # Errors
    /// [`RepoFault`]: nothing behind it can be read.
    pub fn next_block(&mut self) -> Result<Option<(Cid, Bytes)>, RepoFault> {
        loop {
            let Some(mut section) = self.section()? else { return Ok(None) };
            if self.root.is_none() {
                self.root = Some(root(&section)?);
                continue;
            }
            let length = cid_length(&section).filter(|length| *length <= section.len());
            let cid = section.split_to(length.ok_or(RepoFault::Car("a block has no CID"))?);
            // a blob's hash is of the same kind
            let is_sha256 = cid.len() == 36 && cid[0] == OURS[0] && cid[2..4] == OURS[2..];
            if !is_sha256 {
                continue;
            }
            if Sha256::digest(&section).as_slice() != &cid[4..] {
                return Err(RepoFault::Hash);
            }
            if let Some(cid) = link(&cid) {
                return Ok(Some((cid, section)));
            }
        }
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// It ends in the middle of a block, or before the first.
    pub fn end(self) -> Result<(), RepoFault> {
        match self.root {
            Some(_) if self.buffer.is_empty() => Ok(()),
            _ => Err(RepoFault::Car("it ends too early")),
        }
    }

    /// What the next length stands before.
    fn section(&mut self) -> Result<Option<Bytes>, RepoFault> {
        let Some((length, rest)) = varint(&self.buffer) else {
            let is_wrong = self.buffer.len() >= MOST_VARINT;
            return if is_wrong { Err(RepoFault::Car("a length is none")) } else { Ok(None) };
        };
        let length = usize::try_from(length).ok().filter(|length| (1..=MOST_BLOCK).contains(length));
        let length = length.ok_or(RepoFault::Car("a block is empty, or has more than 4 MiB"))?;
        if rest.len() < length {
            return Ok(None);
        }
        let before = self.buffer.len() - rest.len();
        self.buffer.advance(before);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

/// The CID that a link names, if it is of a kind that repositories are made of.
pub(super) fn link(cid: &[u8]) -> Option<Cid> {
    cid.strip_prefix(&OURS)?.try_into().ok().map(Cid::from_digest)
}

fn root(header: &[u8]) -> Result<Cid, RepoFault> {
    let wrong = RepoFault::Car("its header is none");
    let header = whole_value(header).map_err(|_| wrong)?;
    match (header.get("version"), header.get("roots")) {
        (Some(Value::Int(1)), Some(Value::Array(roots))) => match roots.first() {
            Some(Value::Link(cid)) => link(cid).ok_or(wrong),
            _ => Err(wrong),
        },
        _ => Err(wrong),
    }
}
