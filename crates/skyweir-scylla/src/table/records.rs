//! What is known of each record: versions, the newest first. A version without a body says that the record was
//! forgotten; it passes after those that it hides.

use scylla::statement::prepared::PreparedStatement;
use skyweir_store::{RecordBody, RecordRow, Result};
use skyweir_types::{ActorId, Collection, RecordKey, RecordRef};

use crate::codec::{Reader, Writer, actor_column, collection_number, place_of};
use crate::schema::Table;
use crate::session::{Db, Use};
use crate::table::Stamp;

pub(super) const TABLE: Table = Table {
    name: "records",
    columns: "actor int, collection tinyint, rkey text, seq bigint, body blob, \
              PRIMARY KEY (actor, collection, rkey, seq)",
    order: "collection ASC, rkey ASC, seq DESC",
    forgets: false,
};

/// A record as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    /// The transaction that wrote this version.
    pub(crate) seq: i64,
    pub(crate) row: RecordRow,
}

/// A version that a transaction writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) key: RecordRef,
    pub(crate) seq: i64,
    /// `None`: the record is forgotten.
    pub(crate) row: Option<RecordRow>,
    /// It was replaced.
    pub(crate) passes: bool,
}

impl Row {
    pub(super) fn push(&self, out: &mut Writer) {
        out.place(&self.key).signed(self.seq).bytes(&encode(self.row.as_ref())).flag(self.passes);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            key: reader.place()?,
            seq: reader.signed()?,
            row: decode(reader.bytes()?)?,
            passes: reader.flag()?,
        })
    }
}

fn encode(row: Option<&RecordRow>) -> Vec<u8> {
    let mut out = Writer::default();
    let Some(RecordRow { rev, wiped, body }) = row else { return Vec::new() };
    out.number(rev.0).number(wiped.0);
    match body {
        RecordBody::Post { item, cid } => {
            out.number(0).number(item.0).raw(cid.digest());
        }
        RecordBody::Repost { item, cid, subject } => {
            out.number(1).raw(cid.digest()).flag(item.is_some());
            if let Some(item) = item {
                out.number(item.0);
            }
            out.flag(subject.is_some());
            if let Some(subject) = subject {
                out.place(subject);
            }
        }
        RecordBody::Follow { subject } => {
            out.number(2).actor(*subject);
        }
        RecordBody::Tombstone { at_ms } => {
            out.number(3).signed(*at_ms);
        }
    }
    out.done()
}

fn decode(bytes: &[u8]) -> Result<Option<RecordRow>> {
    let mut reader = Reader::new("table records", bytes);
    if reader.is_empty() {
        return Ok(None);
    }
    let (rev, wiped) = (reader.tid()?, reader.tid()?);
    let body = match reader.number()? {
        0 => RecordBody::Post { item: reader.item()?, cid: reader.cid()? },
        1 => {
            let cid = reader.cid()?;
            let item = if reader.flag()? { Some(reader.item()?) } else { None };
            let subject = if reader.flag()? { Some(reader.place()?) } else { None };
            RecordBody::Repost { item, cid, subject }
        }
        2 => RecordBody::Follow { subject: reader.actor()? },
        3 => RecordBody::Tombstone { at_ms: reader.signed()? },
        _ => return Err(reader.bad()),
    };
    reader.end()?;
    Ok(Some(RecordRow { rev, wiped, body }))
}

pub(crate) struct Records {
    at: PreparedStatement,
    page: PreparedStatement,
    put: PreparedStatement,
    pass: PreparedStatement,
}

impl Records {
    pub(super) async fn prepare(db: &Db) -> Result<Self> {
        let at = "SELECT seq, body FROM {ks}.records \
                  WHERE actor = ? AND collection = ? AND rkey = ? AND seq <= ? LIMIT 1";
        let page = "SELECT collection, rkey, seq, body FROM {ks}.records \
                    WHERE actor = ? AND (collection, rkey) > (?, ?) LIMIT ?";
        let put = "INSERT INTO {ks}.records (actor, collection, rkey, seq, body) VALUES (?, ?, ?, ?, ?) \
                   USING TIMESTAMP ?";
        Ok(Self {
            at: db.prepare(Use::Read, at).await?,
            page: db.prepare(Use::Read, page).await?,
            put: db.prepare(Use::Write, put).await?,
            pass: db.prepare(Use::Write, &format!("{put} AND TTL ?")).await?,
        })
    }

    /// The record as the transactions up to this one left it.
    pub(crate) async fn at(&self, db: &Db, key: &RecordRef, seq: i64) -> Result<Option<Stored>> {
        let values = (actor_column(key.actor), collection_number(key.collection), key.rkey.as_str(), seq);
        let Some((seq, body)) = db.first::<(i64, Vec<u8>)>(&self.at, values).await? else { return Ok(None) };
        Ok(decode(&body)?.map(|row| Stored { seq, row }))
    }

    /// The newest versions of an account's records after a place, in the order of their places, and where they end if
    /// there may be more. Fewer than `n`, if some of the rows read are older versions.
    pub(crate) async fn page(
        &self,
        db: &Db,
        actor: ActorId,
        after: Option<&(Collection, RecordKey)>,
        n: usize,
    ) -> Result<(Vec<(RecordRef, Stored)>, Option<RecordRef>)> {
        let (collection, rkey) =
            after.map_or((-1, ""), |(collection, rkey)| (collection_number(*collection), rkey.as_str()));
        let n = i32::try_from(n).unwrap_or(i32::MAX);
        let values = (actor_column(actor), collection, rkey, n);
        let rows = db.all::<(i8, String, i64, Vec<u8>)>(&self.page, values).await?;
        let is_full = rows.len() >= n as usize;
        let (mut found, mut last) = (Vec::with_capacity(rows.len()), None);
        for (collection, rkey, seq, body) in rows {
            let key = place_of(actor_column(actor), collection, &rkey)?;
            // the newest version comes first
            if last.as_ref() != Some(&key) {
                found.extend(decode(&body)?.map(|row| (key.clone(), Stored { seq, row })));
                last = Some(key);
            }
        }
        Ok((found, last.filter(|_| is_full)))
    }

    pub(super) async fn write(&self, db: &Db, row: &Row, stamp: Stamp) -> Result<()> {
        let Row { key, seq, row, passes } = row;
        let (actor, collection) = (actor_column(key.actor), collection_number(key.collection));
        let body = encode(row.as_ref());
        let rkey = key.rkey.as_str();
        if *passes {
            db.write(&self.pass, (actor, collection, rkey, seq, body, stamp.seq, stamp.ttl)).await
        } else if row.is_none() {
            let values = (actor, collection, rkey, seq, body, stamp.seq, stamp.ttl.saturating_mul(2));
            db.write(&self.pass, values).await
        } else {
            db.write(&self.put, (actor, collection, rkey, seq, body, stamp.seq)).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::arb;
    use proptest::prelude::*;
    use skyweir_types::{ItemId, Tid};

    proptest! {
        #[test]
        fn bodies_round_trip(rev: u64, wiped: u64, n in 0..1u64 << 47, cid in arb::cid(), place in arb::place(),
                             some: bool, at_ms: i64) {
            let (item, subject) = (some.then_some(ItemId(n)), (!some).then(|| place.clone()));
            for body in [
                RecordBody::Post { item: ItemId(n), cid },
                RecordBody::Repost { item, cid, subject },
                RecordBody::Follow { subject: place.actor },
                RecordBody::Tombstone { at_ms },
            ] {
                let row = Some(RecordRow { rev: Tid(rev), wiped: Tid(wiped), body });
                prop_assert_eq!(decode(&encode(row.as_ref())).unwrap(), row);
            }
            prop_assert_eq!(decode(&encode(None)).unwrap(), None);
        }
    }
}
