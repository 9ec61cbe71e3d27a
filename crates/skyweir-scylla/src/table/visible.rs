//! What views of other processes show: the last transaction whose effects are all written. And below which task none is
//! needed any more, and below which some are lost.

use scylla::statement::prepared::PreparedStatement;
use skyweir_store::Result;
use skyweir_types::TaskId;

use crate::moment::Moment;
use crate::schema::Table;
use crate::session::{Db, Use};

pub(super) const TABLE: Table = Table {
    name: "visible",
    columns: "id int PRIMARY KEY, seq bigint, body blob, kept bigint, lost_below bigint",
    order: "",
    forgets: false,
};

pub(crate) struct Visible {
    read: PreparedStatement,
    show: PreparedStatement,
    keep: PreparedStatement,
    lose: PreparedStatement,
}

/// What stands there of the task log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogRow {
    /// Tasks below this one aren't kept.
    pub(crate) kept: TaskId,
    /// Below this one some may be lost.
    pub(crate) lost_below: TaskId,
}

impl Visible {
    pub(crate) async fn prepare(db: &Db) -> Result<Self> {
        let read = "SELECT body, kept, lost_below FROM {ks}.visible WHERE id = 0";
        let show = "UPDATE {ks}.visible USING TIMESTAMP ? SET seq = ?, body = ? WHERE id = 0";
        let keep = "UPDATE {ks}.visible USING TIMESTAMP ? SET kept = ? WHERE id = 0";
        let lose = "UPDATE {ks}.visible USING TIMESTAMP ? SET lost_below = ? WHERE id = 0";
        Ok(Self {
            read: db.prepare(Use::Read, read).await?,
            show: db.prepare(Use::Write, show).await?,
            keep: db.prepare(Use::Write, keep).await?,
            lose: db.prepare(Use::Write, lose).await?,
        })
    }

    /// The moment that shows, and what there is of the task log.
    pub(crate) async fn read(&self, db: &Db) -> Result<(Moment, LogRow)> {
        let row = db.first::<(Option<Vec<u8>>, Option<i64>, Option<i64>)>(&self.read, ()).await?;
        let (body, kept, lost_below) = row.unwrap_or((None, None, None));
        let moment = body.map_or_else(|| Ok(Moment::default()), |body| Moment::decode(&body))?;
        let task = |number: Option<i64>| TaskId(number.unwrap_or(0).unsigned_abs());
        Ok((moment, LogRow { kept: task(kept), lost_below: task(lost_below) }))
    }

    /// Shows a moment. The greatest number wins, whoever comes last.
    pub(crate) async fn show(&self, db: &Db, moment: &Moment) -> Result<()> {
        db.write(&self.show, (moment.seq, moment.seq, moment.encode())).await
    }

    /// Notes that tasks below this one aren't needed. The greatest number wins, whoever comes last.
    pub(crate) async fn keep(&self, db: &Db, kept: TaskId) -> Result<()> {
        raise(db, &self.keep, kept).await
    }

    /// Notes that of the tasks below this one some are lost. The greatest number wins, whoever comes last.
    pub(crate) async fn lose(&self, db: &Db, below: TaskId) -> Result<()> {
        raise(db, &self.lose, below).await
    }
}

/// Writes a number at its own time, so that none is below it later.
async fn raise(db: &Db, statement: &PreparedStatement, to: TaskId) -> Result<()> {
    let to = i64::try_from(to.0).unwrap_or(i64::MAX);
    db.write(statement, (to, to)).await
}
