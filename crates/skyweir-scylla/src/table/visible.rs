//! What views of other processes show: the last transaction whose effects are all written. And below which task none is
//! needed any more.

use scylla::statement::prepared::PreparedStatement;
use skyweir_store::Result;
use skyweir_types::TaskId;

use crate::moment::Moment;
use crate::schema::Table;
use crate::session::{Db, Use};

pub(super) const TABLE: Table = Table {
    name: "visible",
    columns: "id int PRIMARY KEY, seq bigint, body blob, kept bigint",
    order: "",
    forgets: false,
};

pub(crate) struct Visible {
    read: PreparedStatement,
    show: PreparedStatement,
    keep: PreparedStatement,
}

impl Visible {
    pub(crate) async fn prepare(db: &Db) -> Result<Self> {
        let read = "SELECT body, kept FROM {ks}.visible WHERE id = 0";
        let show = "UPDATE {ks}.visible USING TIMESTAMP ? SET seq = ?, body = ? WHERE id = 0";
        let keep = "UPDATE {ks}.visible USING TIMESTAMP ? SET kept = ? WHERE id = 0";
        Ok(Self {
            read: db.prepare(Use::Read, read).await?,
            show: db.prepare(Use::Write, show).await?,
            keep: db.prepare(Use::Write, keep).await?,
        })
    }

    /// The moment that shows, and the task below which none is kept.
    pub(crate) async fn read(&self, db: &Db) -> Result<(Moment, TaskId)> {
        let row = db.first::<(Option<Vec<u8>>, Option<i64>)>(&self.read, ()).await?;
        let (body, kept) = row.unwrap_or((None, None));
        let moment = body.map_or_else(|| Ok(Moment::default()), |body| Moment::decode(&body))?;
        Ok((moment, TaskId(kept.unwrap_or(0).unsigned_abs())))
    }

    /// Shows a moment. The greatest number wins, whoever comes last.
    pub(crate) async fn show(&self, db: &Db, moment: &Moment) -> Result<()> {
        db.write(&self.show, (moment.seq, moment.seq, moment.encode())).await
    }

    /// Notes that tasks below this one aren't needed. The greatest number wins, whoever comes last.
    pub(crate) async fn keep(&self, db: &Db, kept: TaskId) -> Result<()> {
        let kept = i64::try_from(kept.0).unwrap_or(i64::MAX);
        db.write(&self.keep, (kept, kept)).await
    }
}
