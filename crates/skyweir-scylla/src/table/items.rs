//! Items, 256 numbers a partition: pages of timelines find neighbours together, and the sweep goes from one to the
//! next. A row never changes; it is written once more, to pass, when its item is removed.

use scylla::statement::prepared::PreparedStatement;
use skyweir_store::Result;
use skyweir_types::{Item, ItemId, ItemKind, UriHash};

use crate::codec::{Reader, Writer, item_column, item_of};
use crate::schema::Table;
use crate::session::{Db, Use};
use crate::table::{Life, Stamp};

pub(super) const TABLE: Table = Table {
    name: "items",
    columns: "bucket bigint, item bigint, body blob, born bigint, died bigint, PRIMARY KEY (bucket, item)",
    order: "",
    forgets: false,
};

const BUCKET_BITS: u32 = 8;

/// The partition of an item.
pub(crate) fn bucket(item: ItemId) -> i64 {
    item_column(item) >> BUCKET_BITS
}

/// An item with the transactions that brought it and took it away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) item: Item,
    pub(crate) life: Life,
}

impl Row {
    pub(super) fn push(&self, out: &mut Writer) {
        self.life.push(out);
        out.number(self.item.id.0).bytes(&encode(&self.item));
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let life = Life::read(reader)?;
        let id = reader.item()?;
        Ok(Self { item: decode(id, reader.bytes()?)?, life })
    }
}

fn encode(item: &Item) -> Vec<u8> {
    let mut out = Writer::default();
    out.actor(item.author).text(item.rkey.as_str()).raw(item.cid.digest());
    out.signed(item.sort_at).raw(&item.uri_hash.0.to_be_bytes());
    match &item.kind {
        ItemKind::Post { is_reply, is_quote } => {
            out.number(u64::from(*is_reply) | u64::from(*is_quote) << 1);
        }
        ItemKind::Repost { uri, cid } => {
            out.number(4).text(uri).text(cid);
        }
    }
    out.done()
}

fn decode(id: ItemId, bytes: &[u8]) -> Result<Item> {
    let mut reader = Reader::new("table items", bytes);
    let (author, rkey, cid) = (reader.actor()?, reader.rkey()?, reader.cid()?);
    let (sort_at, uri_hash) = (reader.signed()?, UriHash(u64::from_be_bytes(reader.array()?)));
    let kind = match reader.number()? {
        flags @ 0..4 => ItemKind::Post { is_reply: flags & 1 != 0, is_quote: flags & 2 != 0 },
        4 => ItemKind::Repost { uri: reader.text()?.to_owned(), cid: reader.text()?.to_owned() },
        _ => return Err(reader.bad()),
    };
    reader.end()?;
    Ok(Item { id, author, rkey, cid, sort_at, uri_hash, kind })
}

pub(crate) struct Items {
    of: PreparedStatement,
    from: PreparedStatement,
    put: PreparedStatement,
    pass: PreparedStatement,
}

type Columns = (i64, Vec<u8>, i64, Option<i64>);

impl Items {
    pub(super) async fn prepare(db: &Db) -> Result<Self> {
        let of = "SELECT item, body, born, died FROM {ks}.items WHERE bucket = ? AND item IN ?";
        let from = "SELECT item, body, born, died FROM {ks}.items WHERE bucket = ? AND item >= ?";
        let put = "INSERT INTO {ks}.items (bucket, item, body, born) VALUES (?, ?, ?, ?) USING TIMESTAMP ?";
        let pass = "INSERT INTO {ks}.items (bucket, item, body, born, died) VALUES (?, ?, ?, ?, ?) \
                    USING TIMESTAMP ? AND TTL ?";
        Ok(Self {
            of: db.prepare(Use::Read, of).await?,
            from: db.prepare(Use::Read, from).await?,
            put: db.prepare(Use::Write, put).await?,
            pass: db.prepare(Use::Write, pass).await?,
        })
    }

    /// The stored ones of these, all of one partition, in any order.
    pub(crate) async fn of(&self, db: &Db, bucket: i64, ids: &[ItemId]) -> Result<Vec<Row>> {
        let ids: Vec<i64> = ids.iter().map(|id| item_column(*id)).collect();
        read(db.all(&self.of, (bucket, ids)).await?)
    }

    /// All of a partition from this number on, in order.
    pub(crate) async fn from(&self, db: &Db, bucket: i64, from: ItemId) -> Result<Vec<Row>> {
        read(db.all(&self.from, (bucket, item_column(from))).await?)
    }

    pub(super) async fn write(&self, db: &Db, row: &Row, stamp: Stamp) -> Result<()> {
        let id = row.item.id;
        let (bucket, item, body) = (bucket(id), item_column(id), encode(&row.item));
        let Life { born, died } = row.life;
        match died {
            None => db.write(&self.put, (bucket, item, body, born, stamp.seq)).await,
            Some(died) => db.write(&self.pass, (bucket, item, body, born, died, stamp.seq, stamp.ttl)).await,
        }
    }
}

fn read(rows: Vec<Columns>) -> Result<Vec<Row>> {
    let row = |(item, body, born, died): Columns| {
        Ok(Row { item: decode(item_of(item)?, &body)?, life: Life { born, died } })
    };
    rows.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::arb;
    use proptest::prelude::*;
    use skyweir_types::ActorId;

    proptest! {
        #[test]
        fn items_round_trip(author: u32, rkey in arb::rkey(), cid in arb::cid(), sort_at: i64, hash: u64,
                            flags in 0..4u8, uri in ".{0,30}") {
            let post = ItemKind::Post { is_reply: flags & 1 != 0, is_quote: flags & 2 != 0 };
            for kind in [post, ItemKind::Repost { uri: uri.clone(), cid: uri.clone() }] {
                let (author, uri_hash) = (ActorId(author), UriHash(hash));
                let item = Item { id: ItemId(7), author, rkey: rkey.clone(), cid, sort_at, uri_hash, kind };
                prop_assert_eq!(decode(ItemId(7), &encode(&item)).unwrap(), item);
            }
        }
    }
}
