//! The references of timelines, one partition each, newest first; floor, rate and generation stand once in it.
//!
//! Everything is written at the generation's own time, and at equal times the greater bytes win, a removal over all.
//! So a floor only rises, a rate only falls, and what comes late for a generation that has ended changes nothing.
//! Only a publication makes the cells that stand once, but for the floor's: while a generation fills, whoever has to
//! raise its floor writes that, and the publication's counts only where it is higher. Where there are none, or that one
//! alone, the floor is above everything. Author and hash of the URI are not read by a page: a copy to another store has
//! to draw again.

use scylla::serialize::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::writers::RowWriter;
use skyweir_store::Result;
use skyweir_types::{ActorId, Generation, Reference};

use crate::error;
use crate::schema::Table;

pub(super) const TABLE: Table = Table {
    name: "timeline",
    columns: "viewer int, sort_at bigint, item bigint, uri_hash bigint, author int, \
              floor blob static, rate blob static, generation bigint static, published_at bigint static, \
              PRIMARY KEY ((viewer), sort_at, item)",
    order: "sort_at DESC, item DESC",
    forgets: false,
};

pub(crate) const INSERT: &str = "INSERT INTO {ks}.timeline (viewer, sort_at, item, uri_hash, author) \
                                 VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?";
pub(crate) const PUBLISH: &str = "UPDATE {ks}.timeline USING TIMESTAMP ? \
                                  SET floor = ?, rate = ?, generation = ?, published_at = ? WHERE viewer = ?";
pub(crate) const RAISE: &str = "UPDATE {ks}.timeline USING TIMESTAMP ? SET floor = ? WHERE viewer = ?";
pub(crate) const LOWER: &str = "UPDATE {ks}.timeline USING TIMESTAMP ? SET rate = ? WHERE viewer = ?";
pub(crate) const CUT: &str = "DELETE FROM {ks}.timeline USING TIMESTAMP ? WHERE viewer = ? AND sort_at <= ?";
pub(crate) const WIPE: &str = "DELETE FROM {ks}.timeline USING TIMESTAMP ? WHERE viewer = ?";
pub(crate) const PAGE: &str = "SELECT sort_at, item, floor, rate, generation, published_at FROM {ks}.timeline \
                               WHERE viewer = ? AND (sort_at, item) < (?, ?) AND (sort_at, item) > (?, ?) LIMIT ?";
pub(crate) const HEAD: &str = "SELECT DISTINCT viewer, floor, rate, generation, published_at FROM {ks}.timeline \
                               WHERE viewer = ?";
pub(crate) const HEADS: &str =
    "SELECT DISTINCT viewer, floor, rate, generation, published_at FROM {ks}.timeline";

/// Of an [`INSERT`], in the order of its marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NewRow(
    pub(crate) i32,
    pub(crate) i64,
    pub(crate) i64,
    pub(crate) i64,
    pub(crate) i32,
    pub(crate) i64,
);
/// Of a [`PAGE`].
pub(crate) type Row = (i64, i64, Option<Vec<u8>>, Option<Vec<u8>>, Option<i64>, Option<i64>);
/// Of [`HEAD`] and [`HEADS`].
pub(crate) type HeadRow = (i32, Option<Vec<u8>>, Option<Vec<u8>>, Option<i64>, Option<i64>);

/// What stands once in a partition.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Head {
    pub(crate) floor: i64,
    pub(crate) rate: f32,
    pub(crate) generation: Generation,
    pub(crate) published_at: i64,
}

/// The key of a partition.
pub(crate) fn key(viewer: ActorId) -> i32 {
    viewer.0.cast_signed()
}

/// The account of a key.
pub(crate) fn viewer(key: i32) -> ActorId {
    ActorId(key.cast_unsigned())
}

/// A generation as the time of its writes, microseconds.
pub(crate) fn time(generation: Generation) -> i64 {
    i64::try_from(generation.0).unwrap_or(i64::MAX)
}

/// A reference as a row.
pub(crate) fn new_row(viewer: ActorId, reference: &Reference, generation: Generation) -> NewRow {
    let Reference { item, sort_at, uri_hash, author } = reference;
    let item = item.0.cast_signed();
    NewRow(key(viewer), *sort_at, item, uri_hash.0.cast_signed(), key(*author), time(generation))
}

/// Straight from the numbers: the driver's own way compares each with its column's type, which takes longer than to
/// write it. A server refuses a number that has another length than its column's.
impl SerializeRow for NewRow {
    fn serialize(
        &self,
        _: &RowSerializationContext<'_>,
        writer: &mut RowWriter<'_>,
    ) -> std::result::Result<(), SerializationError> {
        let mut cell = |bytes: &[u8]| {
            writer.make_cell_writer().set_value(bytes).map(|_| ()).map_err(SerializationError::new)
        };
        let Self(viewer, sort_at, item, uri_hash, author, at) = self;
        cell(&viewer.to_be_bytes())?;
        cell(&sort_at.to_be_bytes())?;
        cell(&item.to_be_bytes())?;
        cell(&uri_hash.to_be_bytes())?;
        cell(&author.to_be_bytes())?;
        cell(&at.to_be_bytes())
    }

    fn is_empty(&self) -> bool {
        false
    }
}

/// A floor, the higher the greater.
pub(crate) fn floor_cell(floor: i64) -> [u8; 8] {
    (floor.cast_unsigned() ^ 1 << 63).to_be_bytes()
}

/// A rate, the lower the greater. Rates are never negative.
pub(crate) fn rate_cell(rate: f32) -> [u8; 4] {
    (!rate.to_bits()).to_be_bytes()
}

impl Head {
    /// Reads the cells; `None` if they aren't there, or the floor alone.
    pub(crate) fn read(
        floor: Option<&[u8]>,
        rate: Option<&[u8]>,
        generation: Option<i64>,
        published_at: Option<i64>,
    ) -> Result<Option<Self>> {
        let (floor, rate, generation, published_at) = match (floor, rate, generation, published_at) {
            (Some(floor), Some(rate), Some(generation), Some(at)) => (floor, rate, generation, at),
            (_, None, None, None) => return Ok(None),
            _ => return Err(error::corrupt("a timeline has some of floor, rate, generation and not others")),
        };
        let (Ok(floor), Ok(rate)) = (<[u8; 8]>::try_from(floor), <[u8; 4]>::try_from(rate)) else {
            return Err(error::corrupt("floor or rate of a timeline has another length than 8 and 4 bytes"));
        };
        Ok(Some(Self {
            floor: (u64::from_be_bytes(floor) ^ 1 << 63).cast_signed(),
            rate: f32::from_bits(!u32::from_be_bytes(rate)),
            generation: Generation(u64::try_from(generation).unwrap_or(0)),
            published_at,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use scylla::cluster::metadata::ColumnType;
    use scylla::cluster::metadata::NativeType::{BigInt, Int};
    use scylla::frame::response::result::{ColumnSpec, TableSpec};

    proptest! {
        #[test]
        fn cells_come_back_and_keep_order(floors: [i64; 2], rates in [0.0..1.0f32, 0.0..1.0f32]) {
            let head = |at: usize| {
                let (floor, rate) = (floor_cell(floors[at]), rate_cell(rates[at]));
                Head::read(Some(&floor), Some(&rate), Some(7), Some(-9)).unwrap().unwrap()
            };
            for at in 0..2 {
                let wanted =
                    Head { floor: floors[at], rate: rates[at], generation: Generation(7), published_at: -9 };
                prop_assert_eq!(head(at), wanted);
            }
            prop_assert_eq!(floor_cell(floors[0]).cmp(&floor_cell(floors[1])), floors[0].cmp(&floors[1]));
            prop_assert_eq!(rate_cell(rates[1]).cmp(&rate_cell(rates[0])), rates[0].total_cmp(&rates[1]));
        }

        /// The bytes that the driver would write.
        #[test]
        fn a_row_is_its_numbers(viewer: i32, sort_at: i64, item: i64, uri_hash: i64, author: i32, at: i64) {
            let specs = [Int, BigInt, BigInt, BigInt, Int, BigInt].map(|typ| {
                ColumnSpec::borrowed("", ColumnType::Native(typ), TableSpec::borrowed("", ""))
            });
            let context = RowSerializationContext::from_specs(&specs);
            let written = |row: &dyn SerializeRow| {
                let mut bytes = Vec::new();
                let mut writer = RowWriter::new(&mut bytes);
                row.serialize(&context, &mut writer).unwrap();
                (writer.value_count(), bytes)
            };
            let row = NewRow(viewer, sort_at, item, uri_hash, author, at);
            prop_assert_eq!(written(&row), written(&(viewer, sort_at, item, uri_hash, author, at)));
            prop_assert!(!row.is_empty());
        }

        #[test]
        fn accounts_come_back(actor: u32) {
            prop_assert_eq!(viewer(key(ActorId(actor))), ActorId(actor));
        }
    }

    #[test]
    fn half_a_head_is_corrupt_and_none_is_none() {
        assert_eq!(Head::read(None, None, None, None).unwrap(), None);
        assert_eq!(Head::read(Some(&[0; 8]), None, None, None).unwrap(), None);
        assert!(Head::read(Some(&[0; 8]), None, Some(1), Some(1)).is_err());
        assert!(Head::read(Some(&[0; 7]), Some(&[0; 4]), Some(1), Some(1)).is_err());
    }
}
