//! A block: a zstd frame of columns, read as rows.

use super::{BlockFault, Row};
use crate::Skip;
use crate::unzip::Unzip;

/// What the columns of fixed width take for a row.
const FIXED: u64 = 34;
/// Blocks are sealed with up to 4,096 rows. A row becomes an event that is several times as large, so what one block
/// can take in memory is bounded by its rows, not by its bytes: at sixteen times as many it is some 20 MB.
const MOST_ROWS: u32 = 65_536;

/// Reads blocks, one after the other, in the same memory.
pub struct BlockReader {
    unzip: Unzip,
    most: usize,
}

impl BlockReader {
    /// `most` is the limit of a block's length, packed or not.
    ///
    /// # Errors
    /// zstd has no memory for it.
    pub fn new(most: usize) -> std::io::Result<Self> {
        Ok(Self { unzip: Unzip::new(b"", most)?, most })
    }

    /// The rows of a block, from its zstd frame.
    ///
    /// # Errors
    /// [`BlockFault`].
    pub fn rows(&mut self, frame: &[u8]) -> Result<Rows<'_>, BlockFault> {
        // the bit of the frame's descriptor that says that a checksum follows the content (RFC 8878, 3.1.1.1.1)
        if frame.get(4).is_none_or(|descriptor| descriptor & 4 == 0) {
            return Err(BlockFault::NoChecksum);
        }
        // whatever stands behind it has no checksum that was looked at
        if !zstd::zstd_safe::find_frame_compressed_size(frame).is_ok_and(|length| length == frame.len()) {
            return Err(BlockFault::Frame);
        }
        let most = self.most;
        let bytes = self.unzip.read(frame).map_err(|skip| match skip {
            Skip::TooBig => BlockFault::TooLarge { most },
            _ => BlockFault::Frame,
        })?;
        Rows::read(bytes)
    }
}

/// The rows of a block, in the order of their sequence numbers.
///
/// The columns stand one behind the other: `u32` rows | `u64` seq | `i64` witnessed_at | `i64` indexed_at | `u8` kind |
/// lengths: `u8` collection, `u16` DID, `u8` record key, `u8` rev, `u32` payload | then all collections | DIDs | record
/// keys | revs | payloads.
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    left: usize,
    seq: Column<'a, 8>,
    witnessed_at: Column<'a, 8>,
    indexed_at: Column<'a, 8>,
    kind: Column<'a, 1>,
    collection: Texts<'a, 1>,
    did: Texts<'a, 2>,
    rkey: Texts<'a, 1>,
    rev: Texts<'a, 1>,
    payload: Texts<'a, 4>,
}

impl<'a> Rows<'a> {
    /// Takes the columns apart: whatever they claim is compared with what is there, so that nothing can fail later.
    fn read(bytes: &'a [u8]) -> Result<Self, BlockFault> {
        let (count, mut rest) = bytes.split_first_chunk::<4>().ok_or(BlockFault::Frame)?;
        let count = u32::from_le_bytes(*count);
        let wrong = BlockFault::Columns { rows: count, bytes: bytes.len() };
        if u64::from(count) * FIXED > rest.len() as u64 {
            return Err(wrong);
        }
        if count > MOST_ROWS {
            return Err(BlockFault::Rows { rows: count, most: MOST_ROWS });
        }
        let left = count as usize;
        let rows = Self {
            left,
            seq: Column::take(&mut rest, left),
            witnessed_at: Column::take(&mut rest, left),
            indexed_at: Column::take(&mut rest, left),
            kind: Column::take(&mut rest, left),
            collection: Texts::lengths(&mut rest, left),
            did: Texts::lengths(&mut rest, left),
            rkey: Texts::lengths(&mut rest, left),
            rev: Texts::lengths(&mut rest, left),
            payload: Texts::lengths(&mut rest, left),
        };
        rows.texts(rest).ok_or(wrong)?.in_order()
    }

    fn texts(mut self, mut rest: &'a [u8]) -> Option<Self> {
        self.collection.texts(&mut rest)?;
        self.did.texts(&mut rest)?;
        self.rkey.texts(&mut rest)?;
        self.rev.texts(&mut rest)?;
        self.payload.texts(&mut rest)?;
        rest.is_empty().then_some(self)
    }

    fn in_order(self) -> Result<Self, BlockFault> {
        let seqs = self.seq.clone().map(u64::from_le_bytes);
        if seqs.is_sorted_by(|before, after| before < after) { Ok(self) } else { Err(BlockFault::Order) }
    }
}

impl<'a> Iterator for Rows<'a> {
    type Item = Row<'a>;

    fn next(&mut self) -> Option<Row<'a>> {
        self.left = self.left.checked_sub(1)?;
        Some(Row {
            seq: u64::from_le_bytes(self.seq.next()?),
            witnessed_at: i64::from_le_bytes(self.witnessed_at.next()?),
            indexed_at: i64::from_le_bytes(self.indexed_at.next()?),
            kind: self.kind.next()?[0],
            collection: self.collection.next()?,
            did: self.did.next()?,
            rkey: self.rkey.next()?,
            rev: self.rev.next()?,
            payload: self.payload.next()?,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Rows<'_> {}

/// Values of `N` bytes.
#[derive(Clone, Debug)]
struct Column<'a, const N: usize>(&'a [u8]);

impl<'a, const N: usize> Column<'a, N> {
    /// Takes a column of so many values from what is known to hold it.
    fn take(rest: &mut &'a [u8], count: usize) -> Self {
        let (column, behind) = rest.split_at(count * N);
        *rest = behind;
        Self(column)
    }
}

impl<const N: usize> Iterator for Column<'_, N> {
    type Item = [u8; N];

    fn next(&mut self) -> Option<[u8; N]> {
        let (value, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*value)
    }
}

/// Values of any length, and their lengths, which are numbers of `N` bytes.
#[derive(Clone, Debug)]
struct Texts<'a, const N: usize> {
    lengths: Column<'a, N>,
    texts: &'a [u8],
}

impl<'a, const N: usize> Texts<'a, N> {
    fn lengths(rest: &mut &'a [u8], count: usize) -> Self {
        Self { lengths: Column::take(rest, count), texts: &[] }
    }

    /// Takes the values; `None` when they would be longer than what is there.
    fn texts(&mut self, rest: &mut &'a [u8]) -> Option<()> {
        // at most 4 GiB lengths of at most 4 GiB
        let sum: u64 = self.lengths.clone().map(length).sum();
        let (texts, behind) = rest.split_at_checked(usize::try_from(sum).ok()?)?;
        (self.texts, *rest) = (texts, behind);
        Some(())
    }
}

impl<'a, const N: usize> Iterator for Texts<'a, N> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let length = length(self.lengths.next()?) as usize;
        let (text, rest) = self.texts.split_at_checked(length)?;
        self.texts = rest;
        Some(text)
    }
}

fn length<const N: usize>(bytes: [u8; N]) -> u64 {
    bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}
