//! Who follows an account, one row an edge. A new one goes to the subject's newest bucket, and when that is full to
//! another; none ever moves.

use scylla::statement::prepared::PreparedStatement;
use skyweir_store::Result;
use skyweir_types::ActorId;

use crate::codec::{Reader, Writer, actor_column, actor_of};
use crate::schema::Table;
use crate::session::{Db, Use};
use crate::table::{Life, Stamp};

pub(super) const TABLE: Table = Table {
    name: "followers",
    columns: "subject int, bucket int, follower int, born bigint, died bigint, \
              PRIMARY KEY ((subject, bucket), follower, born)",
    order: "",
    forgets: false,
};

/// A follower with the transactions that brought it and took it away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) subject: ActorId,
    pub(crate) bucket: u32,
    pub(crate) follower: ActorId,
    pub(crate) life: Life,
}

impl Row {
    pub(super) fn push(&self, out: &mut Writer) {
        self.life.push(out);
        out.actor(self.subject).number(self.bucket.into()).actor(self.follower);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            life: Life::read(reader)?,
            subject: reader.actor()?,
            bucket: reader.small()?,
            follower: reader.actor()?,
        })
    }
}

pub(crate) struct Followers {
    page: PreparedStatement,
    put: PreparedStatement,
    pass: PreparedStatement,
}

impl Followers {
    pub(super) async fn prepare(db: &Db) -> Result<Self> {
        let page = "SELECT follower, born, died FROM {ks}.followers \
                    WHERE subject = ? AND bucket = ? AND (follower, born) > (?, ?) LIMIT ?";
        let put = "INSERT INTO {ks}.followers (subject, bucket, follower, born) VALUES (?, ?, ?, ?) \
                   USING TIMESTAMP ?";
        let pass = "INSERT INTO {ks}.followers (subject, bucket, follower, born, died) VALUES (?, ?, ?, ?, ?) \
                    USING TIMESTAMP ? AND TTL ?";
        Ok(Self {
            page: db.prepare(Use::Read, page).await?,
            put: db.prepare(Use::Write, put).await?,
            pass: db.prepare(Use::Write, pass).await?,
        })
    }

    /// Rows of a bucket strictly after this follower and transaction, dead ones with them; at most `n`.
    pub(crate) async fn page(
        &self,
        db: &Db,
        subject: ActorId,
        bucket: u32,
        after: (i32, i64),
        n: i32,
    ) -> Result<Vec<(ActorId, Life)>> {
        let values = (actor_column(subject), bucket as i32, after.0, after.1, n);
        let rows = db.all::<(i32, i64, Option<i64>)>(&self.page, values).await?;
        rows.into_iter()
            .map(|(follower, born, died)| Ok((actor_of(follower)?, Life { born, died })))
            .collect()
    }

    pub(super) async fn write(&self, db: &Db, row: &Row, stamp: Stamp) -> Result<()> {
        let (subject, bucket) = (actor_column(row.subject), row.bucket as i32);
        let (follower, Life { born, died }) = (actor_column(row.follower), row.life);
        match died {
            None => db.write(&self.put, (subject, bucket, follower, born, stamp.seq)).await,
            Some(died) => {
                let values = (subject, bucket, follower, born, died, stamp.seq, stamp.ttl);
                db.write(&self.pass, values).await
            }
        }
    }
}
