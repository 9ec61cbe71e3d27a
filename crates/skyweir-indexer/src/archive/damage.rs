//! What can be wrong with the bytes of an archive.

use thiserror::Error;

/// A segment that can't be used. Another download may help; else its server has it damaged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Damage {
    /// The header contradicts itself, or is none.
    #[error("the segment's header is wrong: {0}")]
    Header(&'static str),
    /// A block can't be read.
    #[error("block {block}: {fault}")]
    Block {
        /// Which one, from 0 on.
        block: u32,
        /// What is wrong with it.
        fault: BlockFault,
    },
    /// The footer says something else than what is there.
    #[error("the segment's footer is wrong: {0}")]
    Footer(&'static str),
    /// Header and footer aren't what they were when they were written.
    #[error(
        "the segment's checksum is wrong: its header says {told:016x}, header and footer make {found:016x}"
    )]
    Checksum {
        /// What the header says.
        told: u64,
        /// What is there.
        found: u64,
    },
}

/// A block that can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BlockFault {
    /// Its length reaches into the footer.
    #[error("it is longer than the segment")]
    Length,
    /// It would take more memory than a block may.
    #[error("it is larger than the {most} bytes that a block may have (archive_block_bytes)")]
    TooLarge {
        /// The limit, bytes.
        most: usize,
    },
    /// Nothing vouches for what is in the frame.
    #[error("its zstd frame has no checksum")]
    NoChecksum,
    /// The frame is damaged, or isn't all there is.
    #[error("its zstd frame is damaged")]
    Frame,
    /// It would become more events than memory is meant for.
    #[error("it has {rows} rows, and no block has more than {most}")]
    Rows {
        /// How many rows it says it has.
        rows: u32,
        /// The limit.
        most: u32,
    },
    /// The columns are longer or shorter than what is there.
    #[error("its {rows} rows don't make its {bytes} bytes")]
    Columns {
        /// How many rows it says it has.
        rows: u32,
        /// How many bytes there are.
        bytes: usize,
    },
    /// Its rows aren't in their order.
    #[error("its sequence numbers don't rise")]
    Order,
}
