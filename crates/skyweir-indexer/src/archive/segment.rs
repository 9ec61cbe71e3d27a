//! A segment, taken apart as it comes: no more than a block of it is held at a time.

use bytes::{Buf, Bytes, BytesMut};
use xxhash_rust::xxh3::Xxh3;

use super::{BlockFault, Damage};

const HEADER: usize = 256;
/// Behind the magic and the checksum.
const CHECKED: usize = 12;
/// An entry of the index of blocks.
const ENTRY: usize = 52;
/// A segment has some 256 MB, and a block some hundred kB: it has a few thousand of them. This many take 4 MB to be
/// remembered, until the index at the segment's end is compared with them.
pub(super) const MOST_BLOCKS: u32 = 65_536;
/// No offset is beyond this, so that sums stay within a number.
const MOST_OFFSET: u64 = 1 << 56;

/// What a sealed segment's header says, as far as it counts here. All of it is checked by the checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The checksum, which names this state of the segment: compaction changes it.
    pub checksum: u64,
    /// Number of blocks.
    pub blocks: u32,
    /// Number of rows in all of them.
    pub events: u32,
    /// No row has a smaller sequence number; the one that has it may be compacted away.
    pub min_seq: u64,
    /// No row has a greater one.
    pub max_seq: u64,
    /// Where the footer begins.
    pub footer: u64,
    /// Where the index of blocks begins.
    pub index: u64,
}

/// A piece of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// It comes first.
    Header(Header),
    /// The zstd frame of a block.
    Block {
        /// Which one, from 0 on.
        block: u32,
        /// The frame.
        frame: Bytes,
    },
}

/// Takes a segment apart. Whoever has its bytes feeds them, takes the pieces, and ends it.
pub struct SegmentWalk {
    most: usize,
    /// What isn't taken yet.
    bytes: BytesMut,
    /// Where in the segment that begins.
    at: u64,
    header: Option<Header>,
    /// Offset and length of each block met.
    blocks: Vec<(u64, u32)>,
    /// Of the checked part of the header, then of the footer.
    hash: Xxh3,
    /// The index of blocks.
    index: Vec<u8>,
}

impl SegmentWalk {
    /// At the begin of a segment. `most` is the limit of a block's length.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            most,
            bytes: BytesMut::new(),
            at: 0,
            header: None,
            blocks: Vec::new(),
            hash: Xxh3::new(),
            index: Vec::new(),
        }
    }

    /// Takes the next bytes. Take all pieces before the next ones: that keeps it as small as a block.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Where in the segment the next bytes are expected to be from.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }

    /// The next piece; `None` while it isn't whole.
    ///
    /// # Errors
    /// [`Damage`]; the walk is over then.
    pub fn next_piece(&mut self) -> Result<Option<Piece>, Damage> {
        let Some(header) = self.header else { return self.header() };
        let block = self.blocks.len() as u32;
        if block == header.blocks {
            self.footer(&header)?;
            return Ok(None);
        }
        let wrong = |fault| Damage::Block { block, fault };
        let Some(length) = self.bytes.first_chunk::<8>() else { return Ok(None) };
        let length = u64::from_le_bytes(*length);
        let end = (self.at + 8).checked_add(length).filter(|end| *end <= header.footer);
        let end = end.ok_or_else(|| wrong(BlockFault::Length))?;
        let length = usize::try_from(length).ok().filter(|length| *length <= self.most);
        let length = length.ok_or_else(|| wrong(BlockFault::TooLarge { most: self.most }))?;
        if self.bytes.len() < 8 + length {
            return Ok(None);
        }
        self.bytes.advance(8);
        let frame = self.bytes.split_to(length).freeze();
        // a length above 4 GiB can't be in the index
        self.blocks.push((self.at, u32::try_from(length).unwrap_or(u32::MAX)));
        self.at = end;
        Ok(Some(Piece::Block { block, frame }))
    }

    fn header(&mut self) -> Result<Option<Piece>, Damage> {
        let Some(bytes) = self.bytes.first_chunk::<HEADER>() else { return Ok(None) };
        let header = Header::read(bytes)?;
        self.hash.update(&bytes[CHECKED..]);
        self.bytes.advance(HEADER);
        self.at = HEADER as u64;
        self.header = Some(header);
        Ok(Some(Piece::Header(header)))
    }

    /// Takes what has come of the footer.
    fn footer(&mut self, header: &Header) -> Result<(), Damage> {
        if self.at < header.footer {
            return Err(Damage::Footer("it begins later than the blocks end"));
        }
        let index = header.index..header.index + u64::from(header.blocks) * ENTRY as u64;
        let here = self.at..self.offset();
        let (from, to) = (index.start.max(here.start), index.end.min(here.end));
        if from < to {
            let within = (from - here.start) as usize..(to - here.start) as usize;
            self.index.extend_from_slice(&self.bytes[within]);
        }
        self.hash.update(&self.bytes);
        self.at = here.end;
        self.bytes.clear();
        Ok(())
    }

    /// Ends it: all bytes are fed, all pieces taken.
    ///
    /// # Errors
    /// [`Damage`]: something is missing, or not what was written.
    pub fn end(mut self) -> Result<Header, Damage> {
        let header = self.header.ok_or(Damage::Header("it isn't whole"))?;
        let block = self.blocks.len() as u32;
        if block < header.blocks {
            return Err(Damage::Block { block, fault: BlockFault::Length });
        }
        self.footer(&header)?;
        let found = self.hash.digest();
        if found != header.checksum {
            return Err(Damage::Checksum { told: header.checksum, found });
        }
        let entries = self.index.chunks_exact(ENTRY);
        let entries =
            entries.map(|entry| (u64::from_le_bytes(number(entry, 0)), u32::from_le_bytes(number(entry, 8))));
        if entries.eq(self.blocks.iter().copied()) {
            Ok(header)
        } else {
            Err(Damage::Footer("its index tells of other blocks"))
        }
    }
}

impl Header {
    fn read(bytes: &[u8; HEADER]) -> Result<Self, Damage> {
        let wrong = |why| Err(Damage::Header(why));
        if !bytes.starts_with(b"jss0") {
            return wrong("it doesn't begin with jss0");
        }
        let checksum = u64::from_le_bytes(number(bytes, 4));
        if checksum == 0 {
            return wrong("the segment isn't sealed");
        }
        if u16::from_le_bytes(number(bytes, 12)) != 1 {
            return wrong("its version is another one than 1: a newer Skyweir may know it");
        }
        let header = Self {
            checksum,
            blocks: u32::from_le_bytes(number(bytes, 14)),
            events: u32::from_le_bytes(number(bytes, 18)),
            min_seq: u64::from_le_bytes(number(bytes, 26)),
            max_seq: u64::from_le_bytes(number(bytes, 34)),
            footer: u64::from_le_bytes(number(bytes, 58)),
            index: u64::from_le_bytes(number(bytes, 90)),
        };
        if header.footer < HEADER as u64 || header.footer > header.index || header.index > MOST_OFFSET {
            return wrong("its offsets are out of order");
        }
        if header.blocks > MOST_BLOCKS {
            return wrong("it has more blocks than a segment may have");
        }
        Ok(header)
    }
}

/// Bytes of a number, which the caller knows to be there.
fn number<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("within the header or entry")
}
