//! The archive of a Jetstream v2: sealed segments of blocks of rows, read as the events that they tell of.
//!
//! A segment (`.jss`, little-endian throughout) is
//!
//! ```text
//! header, 256 bytes: "jss0" | u64 xxh3 of all that follows here and of the footer; 0: not sealed yet | u16 version
//!   | u32 blocks, events, accounts | u64 least, greatest seq | i64 least, greatest witnessed_at
//!   | u64 offsets: footer, two indexes of accounts, index of collections, index of blocks | zeros
//! blocks: u64 length | a zstd frame of that length, with its checksum
//! footer: the index of blocks (52 bytes each: u64 offset | u32 length, length unpacked, events | u64 least, greatest
//!   seq | i64 least, greatest witnessed_at) | the other indexes
//! ```
//!
//! and the rows of a block stand in columns, see [`Rows`]. Compaction takes rows away, so numbers have gaps, a block
//! may be empty, and an update or deletion may come without the record that it was for.

mod backfill;
mod block;
mod damage;
mod download;
mod fold;
pub(crate) mod http;
mod loader;
mod note;
mod plan;
mod row;
mod segment;
mod source;
mod wanted;

pub(crate) use backfill::give;
pub use backfill::{Backfill, BackfillError, check_url, has_archive};
pub use block::{BlockReader, Rows};
pub use damage::{BlockFault, Damage};
pub use loader::Loader;
pub use row::Row;
pub use segment::{Header, Piece, SegmentWalk};
pub use source::Archive;
pub(crate) use source::run;
pub use wanted::Wanted;
