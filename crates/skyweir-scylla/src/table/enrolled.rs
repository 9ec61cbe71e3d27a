//! Which timelines are enrolled, one row each. It outlives leaving, so that no generation comes twice.
//!
//! State and generation change by lightweight transactions only. When a timeline was read stands beside them, written
//! plainly by checkpoints, and counts for the generation that it names.

use skyweir_store::Result;
use skyweir_types::Generation;

use crate::error;
use crate::schema::Table;

pub(super) const TABLE: Table = Table {
    name: "enrolled",
    columns: "viewer int PRIMARY KEY, state tinyint, generation bigint, did_hash bigint, \
              read_generation bigint, last_read bigint, again tinyint",
    order: "",
    forgets: false,
};

pub(crate) const ALL: &str =
    "SELECT viewer, state, generation, did_hash, read_generation, last_read, again FROM {ks}.enrolled";
pub(crate) const GET: &str = "SELECT state, generation FROM {ks}.enrolled WHERE viewer = ?";
pub(crate) const FIRST: &str =
    "INSERT INTO {ks}.enrolled (viewer, state, generation, did_hash) VALUES (?, ?, ?, ?) IF NOT EXISTS";
pub(crate) const NEXT: &str = "UPDATE {ks}.enrolled SET state = ?, generation = ?, did_hash = ? WHERE viewer = ? \
                               IF generation = ?";
pub(crate) const MARK: &str =
    "UPDATE {ks}.enrolled SET state = ? WHERE viewer = ? IF generation = ? AND state < ?";
pub(crate) const READ: &str =
    "UPDATE {ks}.enrolled SET read_generation = ?, last_read = ?, again = ? WHERE viewer = ?";

/// Of [`ALL`].
pub(crate) type Row = (i32, i8, i64, i64, Option<i64>, Option<i64>, Option<i8>);

/// Where a timeline stands. Within a generation it only goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub(crate) enum State {
    /// Takes inserts, and isn't published.
    Filling = 0,
    /// Published.
    In = 1,
    /// Its rows are being removed, or that isn't told yet; whoever finds it so goes on with that.
    Leaving = 2,
    /// Not enrolled.
    Out = 3,
}

impl State {
    pub(crate) fn read(cell: i8) -> Result<Self> {
        [Self::Filling, Self::In, Self::Leaving, Self::Out]
            .into_iter()
            .find(|state| *state as i8 == cell)
            .ok_or_else(|| error::corrupt(format!("state {cell} of an enrolled timeline")))
    }
}

/// A generation from its cell.
pub(crate) fn generation(cell: i64) -> Result<Generation> {
    u64::try_from(cell)
        .map(Generation)
        .map_err(|_| error::corrupt(format!("generation {cell} of a timeline")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_come_back() {
        for state in [State::Filling, State::In, State::Leaving, State::Out] {
            assert_eq!(State::read(state as i8).unwrap(), state);
        }
        assert!(State::read(4).is_err() && State::read(-1).is_err() && generation(-1).is_err());
    }
}
