//! Sealed segments of a Jetstream v2's archive (`.jss`), written from the description of their format.
//!
//! The two indexes of accounts are left empty: their form is that of a library which isn't described, and no client
//! reads them.

mod footer;

use crate::dagcbor::encode_dag_cbor;
use crate::event::{Body, Event, Operation};
use anyhow::{Context, ensure};
use std::collections::HashSet;
use std::ops::Range;
use xxhash_rust::xxh3::Xxh3;
use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

const HEADER: usize = 256;
const VERSION: u16 = 1;

/// One row of a block.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ArchiveRow {
    /// The sequence number.
    pub seq: u64,
    /// When the Jetstream saw it, microseconds since 1970.
    pub witnessed_at: i64,
    /// The time to show instead; 0 for none.
    pub indexed_at: i64,
    /// 1 create, 2 update, 3 delete, 4 identity, 5 account, 6 sync, 7 create by a resync.
    pub kind: u8,
    /// NSID of the collection; empty but for records. At most 255 bytes.
    pub collection: String,
    /// The repository. At most 65,535 bytes.
    pub did: String,
    /// The record key; empty but for records. At most 255 bytes.
    pub rkey: String,
    /// The revision of the repository, where there is one. At most 255 bytes.
    pub rev: String,
    /// The record, or the upstream object, as DAG-CBOR.
    pub payload: Vec<u8>,
}

/// A block of rows, and the range that it stands for: compaction takes rows, and leaves the range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveBlock {
    /// The rows, by rising sequence number.
    pub rows: Vec<ArchiveRow>,
    /// The least and the greatest sequence number that it has had.
    pub seqs: (u64, u64),
    /// The earliest and the latest time that it has had.
    pub times: (i64, i64),
}

/// A sealed segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveSegment {
    /// The file.
    pub bytes: Vec<u8>,
    /// The checksum in its header.
    pub checksum: u64,
    /// Where in it the zstd frames of its blocks are.
    pub frames: Vec<Range<usize>>,
}

impl ArchiveRow {
    /// The row of an event.
    pub fn of_event(seq: u64, event: &Event) -> Self {
        let mut row = Self {
            seq,
            witnessed_at: i64::try_from(event.time_us).unwrap_or(i64::MAX),
            did: event.did.clone(),
            ..Self::default()
        };
        match &event.body {
            Body::Commit { rev, operation, collection, rkey, record, .. } => {
                row.kind = match operation {
                    Operation::Create => 1,
                    Operation::Update => 2,
                    Operation::Delete => 3,
                };
                (row.collection, row.rkey, row.rev) = (collection.clone(), rkey.clone(), rev.clone());
                row.payload = record.as_ref().map(encode_dag_cbor).unwrap_or_default();
            }
            Body::Identity { .. } => row.kind = 4,
            Body::Account { .. } => row.kind = 5,
            Body::Sync { rev } => (row.kind, row.rev) = (6, rev.clone()),
        }
        if let Some(object) = event.upstream_object() {
            row.payload = encode_dag_cbor(&object);
        }
        row
    }

    /// The name under which the index of collections has it: markers have names of their own.
    pub fn indexed_as(&self) -> &str {
        match self.kind {
            4 => "$identity",
            5 => "$account",
            6 => "$sync",
            _ => &self.collection,
        }
    }
}

impl ArchiveBlock {
    /// A block of these rows.
    pub fn new(rows: Vec<ArchiveRow>) -> Self {
        let seqs = range(rows.iter().map(|row| row.seq));
        let times = range(rows.iter().map(|row| row.witnessed_at));
        Self { rows, seqs, times }
    }

    /// Its columns, not compressed.
    ///
    /// # Errors
    /// A value is longer than its column allows.
    pub fn columns(&self) -> anyhow::Result<Vec<u8>> {
        let rows = &self.rows;
        let mut out = u32::try_from(rows.len()).context("too many rows")?.to_le_bytes().to_vec();
        rows.iter().for_each(|row| out.extend(row.seq.to_le_bytes()));
        rows.iter().for_each(|row| out.extend(row.witnessed_at.to_le_bytes()));
        rows.iter().for_each(|row| out.extend(row.indexed_at.to_le_bytes()));
        out.extend(rows.iter().map(|row| row.kind));
        let texts: [fn(&ArchiveRow) -> &[u8]; 5] = [
            |row| row.collection.as_bytes(),
            |row| row.did.as_bytes(),
            |row| row.rkey.as_bytes(),
            |row| row.rev.as_bytes(),
            |row| &row.payload,
        ];
        for (text, width) in texts.iter().zip([1, 2, 1, 1, 4]) {
            for row in rows {
                let length = (text(row).len() as u64).to_le_bytes();
                ensure!(length[width..].iter().all(|byte| *byte == 0), "row {}: a text is too long", row.seq);
                out.extend(&length[..width]);
            }
        }
        texts.iter().for_each(|text| rows.iter().for_each(|row| out.extend(text(row))));
        Ok(out)
    }
}

impl ArchiveSegment {
    /// Writes a segment of these blocks.
    ///
    /// # Errors
    /// A value is longer than its column allows.
    pub fn of_blocks(blocks: &[ArchiveBlock]) -> anyhow::Result<Self> {
        let mut bytes = vec![0; HEADER];
        let mut frames = Vec::with_capacity(blocks.len());
        let mut index = Vec::new();
        for block in blocks {
            let columns = block.columns()?;
            let frame = compress(&columns)?;
            footer::entry(&mut index, bytes.len(), frame.len(), columns.len(), block)?;
            bytes.extend((frame.len() as u64).to_le_bytes());
            frames.push(bytes.len()..bytes.len() + frame.len());
            bytes.extend(frame);
        }
        let footer = bytes.len();
        bytes.extend(index);
        let accounts = bytes.len();
        let accounts_of_blocks = bytes.len();
        footer::no_accounts(&mut bytes, blocks.len())?;
        let collections = bytes.len();
        footer::collections(&mut bytes, blocks)?;
        header(&mut bytes, blocks, [footer, accounts, accounts_of_blocks, collections, footer])?;
        let mut hash = Xxh3::new();
        hash.update(&bytes[12..HEADER]);
        hash.update(&bytes[footer..]);
        let checksum = hash.digest();
        bytes[4..12].copy_from_slice(&checksum.to_le_bytes());
        Ok(Self { bytes, checksum, frames })
    }
}

fn header(bytes: &mut [u8], blocks: &[ArchiveBlock], offsets: [usize; 5]) -> anyhow::Result<()> {
    let rows = || blocks.iter().flat_map(|block| &block.rows);
    let accounts: HashSet<_> = rows().map(|row| &row.did).collect();
    let seqs = range(blocks.iter().flat_map(|block| [block.seqs.0, block.seqs.1]));
    let times = range(blocks.iter().flat_map(|block| [block.times.0, block.times.1]));
    let mut fields = Vec::with_capacity(HEADER);
    fields.extend(b"jss0");
    fields.extend([0_u8; 8]);
    fields.extend(VERSION.to_le_bytes());
    for count in [blocks.len(), rows().count(), accounts.len()] {
        fields.extend(u32::try_from(count).context("a count of the header")?.to_le_bytes());
    }
    fields.extend([seqs.0, seqs.1].iter().flat_map(|seq| seq.to_le_bytes()));
    fields.extend([times.0, times.1].iter().flat_map(|time| time.to_le_bytes()));
    fields.extend(offsets.iter().flat_map(|offset| (*offset as u64).to_le_bytes()));
    bytes[..fields.len()].copy_from_slice(&fields);
    Ok(())
}

/// One zstd frame, with the checksum of its content.
fn compress(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut compressor = Compressor::new(zstd::DEFAULT_COMPRESSION_LEVEL)?;
    compressor.set_parameter(CParameter::ChecksumFlag(true))?;
    Ok(compressor.compress(bytes)?)
}

fn range<T: Ord + Copy + Default>(values: impl Iterator<Item = T> + Clone) -> (T, T) {
    (values.clone().min().unwrap_or_default(), values.max().unwrap_or_default())
}

#[cfg(test)]
mod tests;
