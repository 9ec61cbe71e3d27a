//! Single values.
//!
//! Table `meta`, keys as text: `format` u32 BE; `actors`, `items`, `tasks`: the next numbers, u64 BE; `cursor`:
//! position and time as u64 BE, then the source as text; `rings`: the manifest of the last complete checkpoint
//! (number, kept, draw fingerprint as u64 BE, slices u32 BE, then for each slice the number of the checkpoint that
//! wrote its file, u64 BE, zero for none); `whole`, empty: all follows up to the cursor's place are known; `horizon`:
//! the `sortAt` before which items have left, i64 BE.

use skyweir_store::{Error, Result, SavedCursor};
use skyweir_types::TaskId;

use super::Table;
use crate::codec::Reader;
use crate::db::{Db, Read};

/// The format that this program reads and writes.
pub(crate) const FORMAT: u32 = 3;
/// A format whose tables are read as they are: it lacks blocks of follows and of their records, all are rows, and heads
/// have no bounds.
const OLDER: u32 = 2;

pub(crate) const KEY_FORMAT: &[u8] = b"format";
pub(crate) const KEY_ACTORS: &[u8] = b"actors";
pub(crate) const KEY_ITEMS: &[u8] = b"items";
pub(crate) const KEY_TASKS: &[u8] = b"tasks";
pub(crate) const KEY_CURSOR: &[u8] = b"cursor";
pub(crate) const KEY_RINGS: &[u8] = b"rings";
pub(crate) const KEY_WHOLE: &[u8] = b"whole";
pub(crate) const KEY_HORIZON: &[u8] = b"horizon";

/// Refuses a format that isn't ours, nor one that we read as it is.
pub(crate) fn check_format(bytes: &[u8]) -> Result<()> {
    let mut reader = Reader::new("meta", bytes);
    let found = reader.u32()?;
    if found == FORMAT || found == OLDER {
        return Ok(());
    }
    Err(Error::Unavailable(format!(
        "the data directory has format {found}, this program reads formats {OLDER} and {FORMAT}; run the version \
         that wrote it, or index again into an empty directory"
    )))
}

/// Sets our format in a directory of one that is read as it is: programs that know only that refuse it from now on.
pub(crate) fn raise_format(db: &Db) -> Result<()> {
    let format = FORMAT.to_be_bytes();
    if db.snapshot().get(Table::Meta, KEY_FORMAT)?.is_some_and(|found| *found == format[..]) {
        return Ok(());
    }
    let mut mark = db.synced_batch(1);
    mark.put(Table::Meta, KEY_FORMAT, format);
    mark.commit()
}

/// Reads a counter.
pub(crate) fn read_number(bytes: &[u8]) -> Result<u64> {
    let mut reader = Reader::new("meta", bytes);
    let n = reader.u64()?;
    reader.end().map(|()| n)
}

/// Reads the horizon; `i64::MIN` where there is none.
pub(crate) fn horizon(read: &impl Read) -> Result<i64> {
    let Some(bytes) = read.get(Table::Meta, KEY_HORIZON)? else { return Ok(i64::MIN) };
    read_number(&bytes).map(|bits| bits as i64)
}

/// Value of the upstream cursor.
pub(crate) fn encode_cursor(cursor: &SavedCursor) -> Vec<u8> {
    let mut out = cursor.position.to_be_bytes().to_vec();
    out.extend_from_slice(&cursor.time_us.to_be_bytes());
    out.extend_from_slice(cursor.source.as_bytes());
    out
}

/// Back from [`encode_cursor`].
pub(crate) fn decode_cursor(bytes: &[u8]) -> Result<SavedCursor> {
    let mut reader = Reader::new("meta", bytes);
    let (position, time_us) = (reader.u64()?, reader.u64()? as i64);
    let source = std::str::from_utf8(&bytes[16..]).map_err(|_| reader.bad())?.to_owned();
    Ok(SavedCursor { source, position, time_us })
}

/// Which files make up the last complete checkpoint of the rings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    /// Number of the checkpoint.
    pub(crate) number: u64,
    /// The rings hold all that tasks below this one brought.
    pub(crate) kept: TaskId,
    /// Stands for the key of the draw that the rings were kept by.
    pub(crate) draw: u64,
    /// For each slice the checkpoint that wrote its file; zero: it had no rings.
    pub(crate) files: Vec<u64>,
}

impl Manifest {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(28 + 8 * self.files.len());
        for n in [self.number, self.kept.0, self.draw] {
            out.extend_from_slice(&n.to_be_bytes());
        }
        out.extend_from_slice(&(self.files.len() as u32).to_be_bytes());
        for n in &self.files {
            out.extend_from_slice(&n.to_be_bytes());
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new("meta", bytes);
        let (number, kept, draw) = (reader.u64()?, TaskId(reader.u64()?), reader.u64()?);
        let slices = reader.u32()?;
        let files = (0..slices).map(|_| reader.u64()).collect::<Result<_>>()?;
        reader.end()?;
        Ok(Self { number, kept, draw, files })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(
            number: u64, kept: u64, draw: u64, time_us: i64, files in prop::collection::vec(any::<u64>(), 0..9),
            source in ".{0,20}",
        ) {
            let manifest = Manifest { number, kept: TaskId(kept), draw, files };
            prop_assert_eq!(Manifest::decode(&manifest.encode()).unwrap(), manifest);
            let cursor = SavedCursor { source, position: number, time_us };
            prop_assert_eq!(decode_cursor(&encode_cursor(&cursor)).unwrap(), cursor);
        }
    }

    #[test]
    fn another_format_is_refused_by_name() {
        check_format(&FORMAT.to_be_bytes()).unwrap();
        check_format(&OLDER.to_be_bytes()).unwrap();
        let text = check_format(&9u32.to_be_bytes()).unwrap_err().to_string();
        assert!(text.contains("format 9") && text.contains(&format!("{OLDER} and {FORMAT}")), "{text}");
    }
}
