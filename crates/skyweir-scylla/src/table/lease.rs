//! The one row that says who may write, and how far the writing has come. It changes by lightweight transactions only.

use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlValue, Row as AnyRow};
use skyweir_store::Result;

use crate::error;
use crate::schema::Table;
use crate::session::{Db, Use};

pub(super) const TABLE: Table = Table {
    name: "lease",
    columns: "id int PRIMARY KEY, holder text, session text, epoch bigint, until_ms bigint, seq bigint, entry bigint",
    order: "",
    forgets: false,
};

/// The row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The configured name of who holds it, and one that nobody else has.
    pub(crate) holder: String,
    pub(crate) session: String,
    /// How often it was taken or given back.
    pub(crate) epoch: i64,
    /// When it is over unless it is renewed, milliseconds since 1970.
    pub(crate) until_ms: i64,
    /// The last committed transaction, 0 before the first, and its entry in the journal.
    pub(crate) seq: i64,
    pub(crate) entry: i64,
}

type Columns = (String, String, i64, i64, i64, i64);

pub(crate) struct Lease {
    read: PreparedStatement,
    committed: PreparedStatement,
    make: PreparedStatement,
    take: PreparedStatement,
    renew: PreparedStatement,
    give_back: PreparedStatement,
    commit: PreparedStatement,
}

impl Lease {
    pub(crate) async fn prepare(db: &Db) -> Result<Self> {
        let read = "SELECT holder, session, epoch, until_ms, seq, entry FROM {ks}.lease WHERE id = 0";
        let make = "INSERT INTO {ks}.lease (id, holder, session, epoch, until_ms, seq, entry) \
                    VALUES (0, ?, ?, 1, ?, 0, 0) IF NOT EXISTS";
        let take = "UPDATE {ks}.lease SET holder = ?, session = ?, epoch = ?, until_ms = ? \
                    WHERE id = 0 IF epoch = ?";
        let renew = "UPDATE {ks}.lease SET until_ms = ? WHERE id = 0 IF epoch = ?";
        let give_back = "UPDATE {ks}.lease SET epoch = ?, until_ms = 0 WHERE id = 0 IF epoch = ?";
        let commit = "UPDATE {ks}.lease SET seq = ?, entry = ?, until_ms = ? \
                      WHERE id = 0 IF epoch = ? AND seq = ?";
        let mut read = db.prepare(Use::Write, read).await?;
        // what is under way is finished or made void by such a read
        read.set_consistency(Consistency::LocalSerial);
        Ok(Self {
            read,
            committed: db.prepare(Use::Read, "SELECT seq FROM {ks}.lease WHERE id = 0").await?,
            make: db.prepare(Use::Conditional, make).await?,
            take: db.prepare(Use::Conditional, take).await?,
            renew: db.prepare(Use::Conditional, renew).await?,
            give_back: db.prepare(Use::Conditional, give_back).await?,
            commit: db.prepare(Use::Conditional, commit).await?,
        })
    }

    pub(crate) async fn read(&self, db: &Db) -> Result<Option<Row>> {
        let row = db.first::<Columns>(&self.read, ()).await?;
        Ok(row.map(|(holder, session, epoch, until_ms, seq, entry)| Row {
            holder,
            session,
            epoch,
            until_ms,
            seq,
            entry,
        }))
    }

    /// The last transaction of which whoever committed it knew that it is when this was asked, or a later one: a plain
    /// read, without the rounds of [`Lease::read`]. 0 before the first.
    pub(crate) async fn committed(&self, db: &Db) -> Result<i64> {
        Ok(db.first::<(i64,)>(&self.committed, ()).await?.map_or(0, |(seq,)| seq))
    }

    /// Writes the first row; false: there is one.
    pub(crate) async fn make(&self, db: &Db, holder: &str, session: &str, until_ms: i64) -> Result<bool> {
        applied(db, &self.make, (holder, session, until_ms)).await
    }

    /// Takes it from whoever had this epoch; false: somebody else did.
    pub(crate) async fn take(&self, db: &Db, new: &Row, from_epoch: i64) -> Result<bool> {
        let values = (new.holder.as_str(), new.session.as_str(), new.epoch, new.until_ms, from_epoch);
        applied(db, &self.take, values).await
    }

    /// Holds it longer; false: it was taken.
    pub(crate) async fn renew(&self, db: &Db, until_ms: i64, epoch: i64) -> Result<bool> {
        applied(db, &self.renew, (until_ms, epoch)).await
    }

    /// Ends it, whatever another machine's clock says; false: it was taken. What was asked for before and is still on
    /// its way fails by the epoch.
    pub(crate) async fn give_back(&self, db: &Db, epoch: i64) -> Result<bool> {
        applied(db, &self.give_back, (epoch + 1, epoch)).await
    }

    /// Commits a transaction; false: another came before, this one if the answer to a former call was lost.
    pub(crate) async fn commit(
        &self,
        db: &Db,
        seq: i64,
        entry: i64,
        until_ms: i64,
        epoch: i64,
    ) -> Result<bool> {
        applied(db, &self.commit, (seq, entry, until_ms, epoch, seq - 1)).await
    }
}

/// Runs a lightweight transaction. An error leaves open what became of it.
async fn applied(
    db: &Db,
    statement: &PreparedStatement,
    values: impl scylla::serialize::row::SerializeRow,
) -> Result<bool> {
    let row: Option<AnyRow> = db.first(statement, values).await?;
    // ScyllaDB answers with the row beside it, Cassandra only if the condition failed
    match row.as_ref().and_then(|row| row.columns.first()) {
        Some(Some(CqlValue::Boolean(applied))) => Ok(*applied),
        _ => Err(error::unreadable("lease", "a lightweight transaction doesn't say whether it was applied")),
    }
}
