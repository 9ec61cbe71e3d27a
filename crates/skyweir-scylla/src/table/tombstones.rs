//! Tombstones of records by age, in partitions of five minutes, and which of these partitions there are. Only
//! transactions read them, so there are no versions.

use scylla::statement::prepared::PreparedStatement;
use skyweir_store::Result;
use skyweir_types::RecordRef;

use crate::codec::{Reader, Writer, actor_column, collection_number, place_of};
use crate::schema::Table;
use crate::session::{Db, Use};
use crate::table::Stamp;

pub(super) const TABLE: Table = Table {
    name: "tombstones",
    columns: "bucket bigint, at_ms bigint, actor int, collection tinyint, rkey text, \
              PRIMARY KEY (bucket, at_ms, actor, collection, rkey)",
    order: "",
    forgets: false,
};
pub(super) const BUCKETS: Table = Table {
    name: "tombstone_buckets",
    columns: "id int, bucket bigint, PRIMARY KEY (id, bucket)",
    order: "",
    forgets: false,
};

/// Milliseconds of one partition: some ten thousand deletes of the whole network.
const BUCKET_MS: i64 = 300_000;

/// The partition of a time.
pub(crate) fn bucket(at_ms: i64) -> i64 {
    at_ms.div_euclid(BUCKET_MS)
}

/// What a transaction writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// A tombstone came or went.
    At { at_ms: i64, key: RecordRef, is_there: bool },
    /// A partition holds its first tombstones, or none any more.
    Bucket { bucket: i64, is_there: bool },
}

impl Row {
    pub(super) fn push(&self, out: &mut Writer) {
        match self {
            Self::At { at_ms, key, is_there } => out.number(0).signed(*at_ms).place(key).flag(*is_there),
            Self::Bucket { bucket, is_there } => out.number(1).signed(*bucket).flag(*is_there),
        };
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(match reader.number()? {
            0 => Self::At { at_ms: reader.signed()?, key: reader.place()?, is_there: reader.flag()? },
            1 => Self::Bucket { bucket: reader.signed()?, is_there: reader.flag()? },
            _ => return Err(reader.bad()),
        })
    }
}

pub(crate) struct Tombstones {
    buckets: PreparedStatement,
    from: PreparedStatement,
    put: PreparedStatement,
    remove: PreparedStatement,
    put_bucket: PreparedStatement,
    remove_bucket: PreparedStatement,
}

impl Tombstones {
    pub(super) async fn prepare(db: &Db) -> Result<Self> {
        let buckets = "SELECT bucket FROM {ks}.tombstone_buckets \
                       WHERE id = 0 AND bucket >= ? AND bucket <= ? LIMIT ?";
        let from = "SELECT at_ms, actor, collection, rkey FROM {ks}.tombstones \
                    WHERE bucket = ? AND (at_ms, actor, collection, rkey) > (?, ?, ?, ?) LIMIT ?";
        let put = "INSERT INTO {ks}.tombstones (bucket, at_ms, actor, collection, rkey) VALUES (?, ?, ?, ?, ?) \
                   USING TIMESTAMP ?";
        let remove = "DELETE FROM {ks}.tombstones USING TIMESTAMP ? \
                      WHERE bucket = ? AND at_ms = ? AND actor = ? AND collection = ? AND rkey = ?";
        let put_bucket = "INSERT INTO {ks}.tombstone_buckets (id, bucket) VALUES (0, ?) USING TIMESTAMP ?";
        let remove_bucket =
            "DELETE FROM {ks}.tombstone_buckets USING TIMESTAMP ? WHERE id = 0 AND bucket = ?";
        Ok(Self {
            buckets: db.prepare(Use::Read, buckets).await?,
            from: db.prepare(Use::Read, from).await?,
            put: db.prepare(Use::Write, put).await?,
            remove: db.prepare(Use::Write, remove).await?,
            put_bucket: db.prepare(Use::Write, put_bucket).await?,
            remove_bucket: db.prepare(Use::Write, remove_bucket).await?,
        })
    }

    /// Partitions from one to another, both with it, rising, at most `n`.
    pub(crate) async fn buckets(&self, db: &Db, from: i64, to: i64, n: i32) -> Result<Vec<i64>> {
        let rows = db.all::<(i64,)>(&self.buckets, (from, to, n)).await?;
        Ok(rows.into_iter().map(|(bucket,)| bucket).collect())
    }

    /// Tombstones of a partition in order, strictly after one of them, or all from a time on; at most `n`.
    pub(crate) async fn page(
        &self,
        db: &Db,
        bucket: i64,
        from_ms: i64,
        after: Option<&(i64, RecordRef)>,
        n: i32,
    ) -> Result<Vec<(i64, RecordRef)>> {
        let (at_ms, actor, collection, rkey) = match after {
            Some((at_ms, key)) => {
                (*at_ms, actor_column(key.actor), collection_number(key.collection), key.rkey.as_str())
            }
            None => (from_ms, -1, -1, ""),
        };
        let values = (bucket, at_ms, actor, collection, rkey, n);
        let rows = db.all::<(i64, i32, i8, String)>(&self.from, values).await?;
        let read = |(at_ms, actor, collection, rkey): (i64, i32, i8, String)| {
            place_of(actor, collection, &rkey).map(|key| (at_ms, key))
        };
        rows.into_iter().map(read).collect()
    }

    pub(super) async fn write(&self, db: &Db, row: &Row, stamp: Stamp) -> Result<()> {
        match row {
            Row::At { at_ms, key, is_there } => {
                let (bucket, actor) = (bucket(*at_ms), actor_column(key.actor));
                let (collection, rkey) = (collection_number(key.collection), key.rkey.as_str());
                if *is_there {
                    db.write(&self.put, (bucket, at_ms, actor, collection, rkey, stamp.seq)).await
                } else {
                    db.write(&self.remove, (stamp.seq, bucket, at_ms, actor, collection, rkey)).await
                }
            }
            Row::Bucket { bucket, is_there: true } => db.write(&self.put_bucket, (bucket, stamp.seq)).await,
            Row::Bucket { bucket, is_there: false } => {
                db.write(&self.remove_bucket, (stamp.seq, bucket)).await
            }
        }
    }
}
