//! Accounts that are looked for: by how many others they follow, and those with a resync under way. 262,144 numbers of
//! accounts share a partition of each mark.

use scylla::statement::prepared::PreparedStatement;
use skyweir_store::Result;
use skyweir_types::ActorId;

use crate::codec::{Reader, Writer, actor_column, actor_of};
use crate::error::corrupt;
use crate::schema::Table;
use crate::session::{Db, Use};
use crate::table::{Life, Stamp};

pub(super) const TABLE: Table = Table {
    name: "marks",
    columns: "mark tinyint, slice int, actor int, born bigint, died bigint, \
              PRIMARY KEY ((mark, slice), actor, born)",
    order: "",
    forgets: false,
};

const SLICE_BITS: u32 = 18;

/// What an account is looked for by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// It follows at least 2 to the power of this many others, and fewer than twice as many.
    Follows(u8),
    /// A resync is under way.
    Sync,
}

impl Mark {
    /// From here on, the counts aren't told apart.
    pub(crate) const MOST: u8 = 16;

    /// Of an account that follows so many; none of one that follows nobody.
    pub(crate) fn of_follows(follows: u32) -> Option<Self> {
        follows.checked_ilog2().map(|power| Self::Follows((power as u8).min(Self::MOST)))
    }

    fn column(self) -> i8 {
        match self {
            Self::Follows(power) => power as i8,
            Self::Sync => -1,
        }
    }

    fn of_column(column: i8) -> Result<Self> {
        match column {
            -1 => Ok(Self::Sync),
            power if (0..=Self::MOST as i8).contains(&power) => Ok(Self::Follows(power as u8)),
            _ => Err(corrupt(format_args!("there is no mark {column}"))),
        }
    }
}

/// The partition of an account.
fn slice(actor: ActorId) -> i32 {
    actor_column(actor) >> SLICE_BITS
}

/// The partitions of so many accounts.
pub(crate) fn slices(actors: u32) -> std::ops::Range<i32> {
    0..actors.div_ceil(1 << SLICE_BITS) as i32
}

/// A marked account with the transactions that marked it and took the mark away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) mark: Mark,
    pub(crate) actor: ActorId,
    pub(crate) life: Life,
}

impl Row {
    pub(super) fn push(&self, out: &mut Writer) {
        self.life.push(out);
        out.signed(self.mark.column().into()).actor(self.actor);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let life = Life::read(reader)?;
        let column = i8::try_from(reader.signed()?).map_err(|_| reader.bad())?;
        Ok(Self { mark: Mark::of_column(column)?, actor: reader.actor()?, life })
    }
}

pub(crate) struct Marks {
    page: PreparedStatement,
    put: PreparedStatement,
    pass: PreparedStatement,
}

impl Marks {
    pub(super) async fn prepare(db: &Db) -> Result<Self> {
        let page = "SELECT actor, born, died FROM {ks}.marks \
                    WHERE mark = ? AND slice = ? AND (actor, born) > (?, ?) LIMIT ?";
        let put = "INSERT INTO {ks}.marks (mark, slice, actor, born) VALUES (?, ?, ?, ?) USING TIMESTAMP ?";
        let pass = "INSERT INTO {ks}.marks (mark, slice, actor, born, died) VALUES (?, ?, ?, ?, ?) \
                    USING TIMESTAMP ? AND TTL ?";
        Ok(Self {
            page: db.prepare(Use::Read, page).await?,
            put: db.prepare(Use::Write, put).await?,
            pass: db.prepare(Use::Write, pass).await?,
        })
    }

    /// Accounts of a partition with a mark, strictly after this one and transaction; at most `n`.
    pub(crate) async fn page(
        &self,
        db: &Db,
        mark: Mark,
        slice: i32,
        after: (i32, i64),
        n: i32,
    ) -> Result<Vec<(ActorId, Life)>> {
        let values = (mark.column(), slice, after.0, after.1, n);
        let rows = db.all::<(i32, i64, Option<i64>)>(&self.page, values).await?;
        rows.into_iter().map(|(actor, born, died)| Ok((actor_of(actor)?, Life { born, died }))).collect()
    }

    pub(super) async fn write(&self, db: &Db, row: &Row, stamp: Stamp) -> Result<()> {
        let (mark, slice, actor) = (row.mark.column(), slice(row.actor), actor_column(row.actor));
        let Life { born, died } = row.life;
        match died {
            None => db.write(&self.put, (mark, slice, actor, born, stamp.seq)).await,
            Some(died) => db.write(&self.pass, (mark, slice, actor, born, died, stamp.seq, stamp.ttl)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_powers_of_two() {
        let of = |follows| Mark::of_follows(follows);
        assert_eq!((of(0), of(1), of(2), of(3)), (None, Some(Mark::Follows(0)), of(3), of(2)));
        assert_eq!((of(1 << 16), of(u32::MAX)), (Some(Mark::Follows(16)), Some(Mark::Follows(16))));
        for mark in (0..=Mark::MOST).map(Mark::Follows).chain([Mark::Sync]) {
            assert_eq!(Mark::of_column(mark.column()).unwrap(), mark);
        }
    }

    #[test]
    fn slices_hold_all_accounts() {
        assert!(slices(0).is_empty());
        for actors in [1, 1 << SLICE_BITS, (1 << SLICE_BITS) + 1] {
            assert!(slices(actors).contains(&slice(ActorId(actors - 1))));
            assert!(!slices(actors).contains(&(slice(ActorId(actors - 1)) + 1)));
        }
    }
}
