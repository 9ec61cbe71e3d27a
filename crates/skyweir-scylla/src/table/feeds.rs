//! The feed of each author, newest first: (`sortAt`, CID in the order of its text, hash of the URI), all falling. Two
//! versions of a record may have the same place; then the item's number tells the rows apart, and one of them has died.

use scylla::statement::prepared::PreparedStatement;
use skyweir_store::{FeedEntry, Result};
use skyweir_types::{ActorId, Position};

use crate::codec::{Reader, Writer, actor_column, item_column, item_of};
use crate::error::corrupt;
use crate::schema::Table;
use crate::session::{Db, Use};
use crate::table::{Life, Stamp};

pub(super) const TABLE: Table = Table {
    name: "feeds",
    columns: "author int, sort_at bigint, cid_key blob, uri_hash bigint, item bigint, born bigint, died bigint, \
              PRIMARY KEY (author, sort_at, cid_key, uri_hash, item)",
    order: "sort_at DESC, cid_key DESC, uri_hash DESC, item DESC",
    forgets: false,
};

/// An entry with the transactions that brought it and took it away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) author: ActorId,
    pub(crate) entry: FeedEntry,
    pub(crate) life: Life,
}

impl Row {
    pub(super) fn push(&self, out: &mut Writer) {
        let Position { sort_at, cid_key, uri_hash } = self.entry.position;
        self.life.push(out);
        out.actor(self.author).signed(sort_at).raw(&cid_key).raw(&uri_hash.to_be_bytes());
        out.number(self.entry.item.0);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let (life, author) = (Life::read(reader)?, reader.actor()?);
        let (sort_at, cid_key) = (reader.signed()?, reader.array()?);
        let position = Position { sort_at, cid_key, uri_hash: u64::from_be_bytes(reader.array()?) };
        Ok(Self { author, entry: FeedEntry { position, item: reader.item()? }, life })
    }
}

/// A hash as a column: signed, in the order of the hashes.
fn hash_column(hash: u64) -> i64 {
    (hash ^ 1 << 63) as i64
}

/// Strictly below which entries are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Below {
    /// All that stand at a place, and what is above.
    Place(Position),
    /// This entry.
    Entry(FeedEntry),
}

pub(crate) struct Feeds {
    below: PreparedStatement,
    at: PreparedStatement,
    put: PreparedStatement,
    pass: PreparedStatement,
}

impl Feeds {
    pub(super) async fn prepare(db: &Db) -> Result<Self> {
        let below = "SELECT sort_at, cid_key, uri_hash, item, born, died FROM {ks}.feeds \
                     WHERE author = ? AND (sort_at, cid_key, uri_hash, item) < (?, ?, ?, ?) LIMIT ?";
        let at = "SELECT sort_at, cid_key, uri_hash, item, born, died FROM {ks}.feeds \
                  WHERE author = ? AND sort_at = ? AND cid_key = ? AND uri_hash = ?";
        let put = "INSERT INTO {ks}.feeds (author, sort_at, cid_key, uri_hash, item, born) \
                   VALUES (?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";
        let pass = "INSERT INTO {ks}.feeds (author, sort_at, cid_key, uri_hash, item, born, died) \
                    VALUES (?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?";
        Ok(Self {
            below: db.prepare(Use::Read, below).await?,
            at: db.prepare(Use::Read, at).await?,
            put: db.prepare(Use::Write, put).await?,
            pass: db.prepare(Use::Write, pass).await?,
        })
    }

    /// Rows of a feed in order, at most `n`, dead ones with them.
    pub(crate) async fn below(&self, db: &Db, author: ActorId, below: Below, n: i32) -> Result<Vec<Row>> {
        let (place, item) = match below {
            // no item has so small a number
            Below::Place(place) => (place, i64::MIN),
            Below::Entry(entry) => (entry.position, item_column(entry.item)),
        };
        let values =
            (actor_column(author), place.sort_at, &place.cid_key[..], hash_column(place.uri_hash), item, n);
        read(author, db.all(&self.below, values).await?)
    }

    /// The rows of one place, dead ones with them.
    pub(crate) async fn at(&self, db: &Db, author: ActorId, place: &Position) -> Result<Vec<Row>> {
        let values = (actor_column(author), place.sort_at, &place.cid_key[..], hash_column(place.uri_hash));
        read(author, db.all(&self.at, values).await?)
    }

    pub(super) async fn write(&self, db: &Db, row: &Row, stamp: Stamp) -> Result<()> {
        let (author, place) = (actor_column(row.author), &row.entry.position);
        let (cid_key, hash) = (&place.cid_key[..], hash_column(place.uri_hash));
        let (item, Life { born, died }) = (item_column(row.entry.item), row.life);
        match died {
            None => db.write(&self.put, (author, place.sort_at, cid_key, hash, item, born, stamp.seq)).await,
            Some(died) => {
                let (sort_at, Stamp { seq, ttl }) = (place.sort_at, stamp);
                db.write(&self.pass, (author, sort_at, cid_key, hash, item, born, died, seq, ttl)).await
            }
        }
    }
}

type Columns = (i64, Vec<u8>, i64, i64, i64, Option<i64>);

fn read(author: ActorId, rows: Vec<Columns>) -> Result<Vec<Row>> {
    let row = |(sort_at, cid_key, hash, item, born, died): Columns| {
        let cid_key = cid_key.try_into().map_err(|_| corrupt("table feeds has a CID of another length"))?;
        let position = Position { sort_at, cid_key, uri_hash: hash as u64 ^ 1 << 63 };
        let entry = FeedEntry { position, item: item_of(item)? };
        Ok(Row { author, entry, life: Life { born, died } })
    };
    rows.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn columns_keep_the_order_of_hashes(a: u64, b: u64) {
            prop_assert_eq!(a.cmp(&b), hash_column(a).cmp(&hash_column(b)));
            prop_assert_eq!(hash_column(a) as u64 ^ 1 << 63, a);
        }
    }
}
