//! The last transactions, each written whole before it is committed: from here it is done to its end whatever happens,
//! and here tasks are found again that Redis has lost.
//!
//! An entry has a number that no other has, of this indexer or another; which of several entries with the same `seq`
//! was committed is said by the lease, or by the entry after it.

use scylla::statement::prepared::PreparedStatement;
use skyweir_store::Result;

use crate::error::corrupt;
use crate::schema::Table;
use crate::session::{Db, Use};

pub(super) const TABLE: Table = Table {
    name: "journal",
    columns: "slot int, seq bigint, entry bigint, chunk int, chunks int, body blob, \
              PRIMARY KEY (slot, seq, entry, chunk)",
    order: "",
    forgets: true,
};

/// How many transactions are kept: some 25 seconds of a busy stream, where Redis may lose two.
pub(crate) const KEPT: i64 = 1_024;
/// A mutation stays far below what servers refuse: 16 MiB, half a segment of the commit log.
const CHUNK: usize = 512 << 10;

pub(crate) struct Journal {
    read: PreparedStatement,
    put: PreparedStatement,
    cut: PreparedStatement,
}

impl Journal {
    pub(crate) async fn prepare(db: &Db) -> Result<Self> {
        let read = "SELECT chunk, chunks, body FROM {ks}.journal WHERE slot = ? AND seq = ? AND entry = ?";
        let put =
            "INSERT INTO {ks}.journal (slot, seq, entry, chunk, chunks, body) VALUES (?, ?, ?, ?, ?, ?)";
        let cut = "DELETE FROM {ks}.journal WHERE slot = ? AND seq < ?";
        Ok(Self {
            read: db.prepare(Use::Read, read).await?,
            put: db.prepare(Use::Write, put).await?,
            cut: db.prepare(Use::Write, cut).await?,
        })
    }

    /// Writes an entry, in the place of those before it.
    pub(crate) async fn put(&self, db: &Db, seq: i64, entry: i64, body: &[u8]) -> Result<()> {
        let slot = slot(seq);
        db.write(&self.cut, (slot, seq)).await?;
        let chunks: Vec<&[u8]> = body.chunks(CHUNK).collect();
        let n = chunks.len() as i32;
        db.each(chunks.len(), |at| db.write(&self.put, (slot, seq, entry, at as i32, n, chunks[at]))).await?;
        Ok(())
    }

    /// Reads an entry; `None`: it is too old.
    pub(crate) async fn get(&self, db: &Db, seq: i64, entry: i64) -> Result<Option<Vec<u8>>> {
        let rows = db.all::<(i32, i32, Vec<u8>)>(&self.read, (slot(seq), seq, entry)).await?;
        let Some((_, chunks, _)) = rows.first() else { return Ok(None) };
        let whole = *chunks as usize == rows.len()
            && rows.iter().enumerate().all(|(n, (chunk, ..))| n as i32 == *chunk);
        if !whole {
            return Err(corrupt(format_args!("the journal's entry {entry} of transaction {seq} has gaps")));
        }
        Ok(Some(rows.into_iter().flat_map(|(.., body)| body).collect()))
    }
}

fn slot(seq: i64) -> i32 {
    (seq % KEPT) as i32
}
