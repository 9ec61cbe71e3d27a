//! The rows that say which timelines are enrolled: their lightweight transactions.

use std::sync::Arc;

use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::{CqlValue, Row};
use skyweir_store::{Error, Result};
use skyweir_types::{ActorId, DidHash, DrawKey, Generation, TaskId, UriHash};

use super::line::Visits;
use crate::error;
use crate::session::{Db, Use};
use crate::table::enrolled::{self, State};
use crate::table::kept;
use crate::table::timeline::{key, time, viewer};

/// How often a generation is tried to be begun while others begin some.
const TRIES: usize = 8;

/// Which timelines are enrolled, and from where the writer begins.
pub(super) struct Enrolments {
    db: Arc<Db>,
    all: PreparedStatement,
    get: PreparedStatement,
    first: PreparedStatement,
    next: PreparedStatement,
    mark: PreparedStatement,
    read: PreparedStatement,
    kept_get: PreparedStatement,
    kept_set: PreparedStatement,
}

/// One row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Enrolled {
    pub(super) viewer: ActorId,
    pub(super) state: State,
    pub(super) generation: Generation,
    pub(super) did_hash: DidHash,
    /// What a checkpoint of this generation knew.
    pub(super) visits: Option<Visits>,
}

/// What tells one key of the draw from another.
fn fingerprint(draw: &DrawKey) -> i64 {
    draw.draw(UriHash(1), DidHash(1)).to_bits().cast_signed()
}

impl Enrolments {
    pub(super) async fn prepare(db: &Arc<Db>) -> Result<Self> {
        Ok(Self {
            db: Arc::clone(db),
            all: db.prepare(Use::Read, enrolled::ALL).await?,
            get: db.prepare(Use::Read, enrolled::GET).await?,
            first: db.prepare(Use::Conditional, enrolled::FIRST).await?,
            next: db.prepare(Use::Conditional, enrolled::NEXT).await?,
            mark: db.prepare(Use::Conditional, enrolled::MARK).await?,
            read: db.prepare(Use::Write, enrolled::READ).await?,
            kept_get: db.prepare(Use::Read, kept::GET).await?,
            kept_set: db.prepare(Use::Write, kept::SET).await?,
        })
    }

    /// All rows.
    pub(super) async fn all(&self) -> Result<Vec<Enrolled>> {
        let rows = self.db.scan::<enrolled::Row>(&self.all).await?;
        let read = |(key, state, generation, did_hash, of, last_read, again): enrolled::Row| {
            let visits = |last_read: i64| Visits {
                last_read: u32::try_from(last_read).unwrap_or(0),
                again: again.unwrap_or(0).cast_unsigned(),
                saved: true,
            };
            Ok(Enrolled {
                viewer: viewer(key),
                state: State::read(state)?,
                generation: enrolled::generation(generation)?,
                did_hash: DidHash(did_hash.cast_unsigned()),
                visits: last_read.filter(|_| of == Some(generation)).map(visits),
            })
        };
        rows.into_iter().map(read).collect()
    }

    /// Begins a generation above all former ones of this timeline, at `now_us` if that is above them. Tells where the
    /// timeline stood.
    pub(super) async fn begin(
        &self,
        viewer: ActorId,
        did_hash: DidHash,
        now_us: i64,
    ) -> Result<(Generation, Option<State>)> {
        let (state, did_hash) = (State::Filling as i8, did_hash.0.cast_signed());
        for _ in 0..TRIES {
            let known = self.db.first::<(i8, i64)>(&self.get, (key(viewer),)).await?;
            let (next, former, applied) = match known {
                None => {
                    let next = now_us.max(1);
                    let values = (key(viewer), state, next, did_hash);
                    (next, None, self.conditional(&self.first, values).await?)
                }
                Some((former, last)) => {
                    let next = now_us.max(last.saturating_add(1));
                    let values = (state, next, did_hash, key(viewer), last);
                    (next, Some(State::read(former)?), self.conditional(&self.next, values).await?)
                }
            };
            if applied {
                return Ok((enrolled::generation(next)?, former));
            }
        }
        Err(Error::Unavailable(format!("{TRIES} others began generations of timeline {viewer} meanwhile")))
    }

    /// Lets a timeline go on to a state of this generation. False when another generation has begun or it is past that.
    pub(super) async fn mark(&self, viewer: ActorId, generation: Generation, to: State) -> Result<bool> {
        let values = (to as i8, key(viewer), time(generation), to as i8);
        if self.conditional(&self.mark, values).await? {
            return Ok(true);
        }
        // an answer that was lost: it is there already
        let known = self.db.first::<(i8, i64)>(&self.get, (key(viewer),)).await?;
        Ok(known == Some((to as i8, time(generation))))
    }

    /// Where a timeline stands.
    pub(super) async fn row(&self, viewer: ActorId) -> Result<Option<(State, Generation)>> {
        let known = self.db.first::<(i8, i64)>(&self.get, (key(viewer),)).await?;
        known
            .map(|(state, generation)| Ok((State::read(state)?, enrolled::generation(generation)?)))
            .transpose()
    }

    /// Whether the condition held.
    async fn conditional(&self, statement: &PreparedStatement, values: impl SerializeRow) -> Result<bool> {
        let row = self.db.first::<Row>(statement, values).await?;
        match row.as_ref().and_then(|row| row.columns.first()) {
            Some(Some(CqlValue::Boolean(applied))) => Ok(*applied),
            _ => Err(error::unreadable("enrolled", "a condition without an answer")),
        }
    }

    /// Notes when timelines were read.
    pub(super) async fn save(&self, visits: &[(ActorId, Generation, Visits)]) -> Result<()> {
        let write = |at: usize| {
            let (viewer, generation, visits) = visits[at];
            let again = visits.again.min(i8::MAX as u8).cast_signed();
            let values = (time(generation), i64::from(visits.last_read), again, key(viewer));
            self.db.write(&self.read, values)
        };
        self.db.each(visits.len(), write).await.map(|_| ())
    }

    /// The task from which the writer begins, if the timelines are of this key of the draw.
    pub(super) async fn kept(&self, draw: &DrawKey) -> Result<Option<TaskId>> {
        let known = self.db.first::<(i64, i64)>(&self.kept_get, ()).await?;
        Ok(known.filter(|(_, of)| *of == fingerprint(draw)).map(|(task, _)| TaskId(task.cast_unsigned())))
    }

    /// Notes up to where all tasks are done. The greatest number wins, whoever comes last.
    pub(super) async fn set_kept(&self, kept: TaskId, draw: &DrawKey) -> Result<()> {
        self.write_kept(kept, draw, 2 * kept.0).await
    }

    /// Notes that the timelines begin anew with this task: what those of before noted up to it counts no more.
    pub(super) async fn begin_anew(&self, next: TaskId, draw: &DrawKey) -> Result<()> {
        self.write_kept(next, draw, 2 * next.0 + 1).await
    }

    async fn write_kept(&self, task: TaskId, draw: &DrawKey, time: u64) -> Result<()> {
        self.db.write(&self.kept_set, (task.0.cast_signed(), fingerprint(draw), time.cast_signed())).await
    }
}
