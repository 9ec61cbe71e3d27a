//! Whom an account follows, by the records that say so: of one edge the oldest record first, by arrival. A record that
//! comes back gets another row. Each row knows where the edge's row among the subject's followers is.

use scylla::statement::prepared::PreparedStatement;
use skyweir_store::Result;
use skyweir_types::{ActorId, RecordKey};

use crate::codec::{Reader, Writer, actor_column, actor_of};
use crate::error::corrupt;
use crate::schema::Table;
use crate::session::{Db, Use};
use crate::table::{Life, Stamp};

pub(super) const TABLE: Table = Table {
    name: "follows",
    columns: "follower int, subject int, born bigint, place int, rkey text, bucket int, since bigint, died bigint, \
              PRIMARY KEY (follower, subject, born, place)",
    order: "",
    forgets: false,
};

/// A record of an edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) follower: ActorId,
    pub(crate) subject: ActorId,
    pub(crate) life: Life,
    /// Where it stands among those of the same transaction.
    pub(crate) place: u32,
    pub(crate) rkey: RecordKey,
    /// The edge's row among the followers: its bucket, and the transaction that brought it.
    pub(crate) bucket: u32,
    pub(crate) since: i64,
}

impl Row {
    pub(super) fn push(&self, out: &mut Writer) {
        self.life.push(out);
        out.actor(self.follower).actor(self.subject).number(self.place.into()).text(self.rkey.as_str());
        out.number(self.bucket.into()).signed(self.since);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        Ok(Self {
            life: Life::read(reader)?,
            follower: reader.actor()?,
            subject: reader.actor()?,
            place: reader.small()?,
            rkey: reader.rkey()?,
            bucket: reader.small()?,
            since: reader.signed()?,
        })
    }
}

/// A row as far as paging needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) subject: ActorId,
    pub(crate) life: Life,
    pub(crate) place: u32,
}

pub(crate) struct Follows {
    edges: PreparedStatement,
    page: PreparedStatement,
    put: PreparedStatement,
    pass: PreparedStatement,
}

type Columns = (i32, i64, i32, String, i32, i64, Option<i64>);

impl Follows {
    pub(super) async fn prepare(db: &Db) -> Result<Self> {
        let edges = "SELECT subject, born, place, rkey, bucket, since, died FROM {ks}.follows \
                     WHERE follower = ? AND subject IN ?";
        let page = "SELECT subject, born, place, died FROM {ks}.follows \
                    WHERE follower = ? AND (subject, born, place) > (?, ?, ?) LIMIT ?";
        let put = "INSERT INTO {ks}.follows (follower, subject, born, place, rkey, bucket, since) \
                   VALUES (?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?";
        let pass = "INSERT INTO {ks}.follows (follower, subject, born, place, rkey, bucket, since, died) \
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ? AND TTL ?";
        Ok(Self {
            edges: db.prepare(Use::Read, edges).await?,
            page: db.prepare(Use::Read, page).await?,
            put: db.prepare(Use::Write, put).await?,
            pass: db.prepare(Use::Write, pass).await?,
        })
    }

    /// All rows of these edges of one account: by subject, the oldest first.
    pub(crate) async fn edges(&self, db: &Db, follower: ActorId, subjects: &[ActorId]) -> Result<Vec<Row>> {
        let subjects: Vec<i32> = subjects.iter().map(|subject| actor_column(*subject)).collect();
        let rows = db.all::<Columns>(&self.edges, (actor_column(follower), subjects)).await?;
        let row = |(subject, born, place, rkey, bucket, since, died): Columns| {
            let bad = || corrupt(format_args!("table follows has a bad row of {follower}"));
            let small = |n: i32| u32::try_from(n).map_err(|_| bad());
            Ok(Row {
                follower,
                subject: actor_of(subject)?,
                life: Life { born, died },
                place: small(place)?,
                rkey: RecordKey::parse(&rkey).map_err(|_| bad())?,
                bucket: small(bucket)?,
                since,
            })
        };
        rows.into_iter().map(row).collect()
    }

    /// Rows strictly after one of them, or of all subjects after one; at most `n`.
    pub(crate) async fn page(
        &self,
        db: &Db,
        follower: ActorId,
        after: Option<Entry>,
        n: i32,
    ) -> Result<Vec<Entry>> {
        let (subject, born, place) = after.map_or((-1, 0, 0), |after| {
            (actor_column(after.subject), after.life.born, i32::try_from(after.place).unwrap_or(i32::MAX))
        });
        let values = (actor_column(follower), subject, born, place, n);
        let rows = db.all::<(i32, i64, i32, Option<i64>)>(&self.page, values).await?;
        let entry = |(subject, born, place, died): (i32, i64, i32, Option<i64>)| {
            Ok(Entry { subject: actor_of(subject)?, life: Life { born, died }, place: place as u32 })
        };
        rows.into_iter().map(entry).collect()
    }

    pub(super) async fn write(&self, db: &Db, row: &Row, stamp: Stamp) -> Result<()> {
        let Life { born, died } = row.life;
        let (follower, subject) = (actor_column(row.follower), actor_column(row.subject));
        let (place, bucket) = (row.place as i32, row.bucket as i32);
        let (rkey, since) = (row.rkey.as_str(), row.since);
        let Stamp { seq, ttl } = stamp;
        match died {
            None => db.write(&self.put, (follower, subject, born, place, rkey, bucket, since, seq)).await,
            Some(died) => {
                let values = (follower, subject, born, place, rkey, bucket, since, died, seq, ttl);
                db.write(&self.pass, values).await
            }
        }
    }
}

impl Entry {
    /// After all rows of this subject.
    pub(crate) fn behind(subject: ActorId) -> Self {
        Self { subject, life: Life { born: i64::MAX, died: None }, place: u32::MAX }
    }
}
