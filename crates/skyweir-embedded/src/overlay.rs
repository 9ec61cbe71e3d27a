//! A transaction's own writes over the moment that it began at.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;

use fjall::Slice;
use skyweir_store::Result;

use crate::db::{Batch, Moment, Read, Visit};
use crate::error::db as db_error;
use crate::table::Table;

/// `None`: removed.
type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Reads see the writes made so far.
pub(crate) struct Overlay {
    base: Moment,
    writes: [Writes; Table::ALL.len()],
}

impl Overlay {
    pub(crate) fn new(base: Moment) -> Self {
        Self { base, writes: Default::default() }
    }

    pub(crate) fn put(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        self.writes[table as usize].insert(key, Some(value));
    }

    pub(crate) fn remove(&mut self, table: Table, key: Vec<u8>) {
        self.writes[table as usize].insert(key, None);
    }

    /// What lies under the writes.
    pub(crate) fn base(&self) -> &Moment {
        &self.base
    }

    /// How many keys were written.
    pub(crate) fn len(&self) -> usize {
        self.writes.iter().map(BTreeMap::len).sum()
    }

    /// Hands all writes to a batch.
    pub(crate) fn drain_into(&self, batch: &mut Batch<'_>) {
        for table in Table::ALL {
            for (key, value) in &self.writes[table as usize] {
                match value {
                    Some(value) => batch.put(table, key, value),
                    None => batch.remove(table, key),
                }
            }
        }
    }
}

impl Read for Overlay {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Slice>> {
        match self.writes[table as usize].get(key) {
            Some(written) => Ok(written.as_deref().map(Slice::from)),
            None => self.base.get(table, key),
        }
    }

    fn scan(&self, table: Table, from: Bound<&[u8]>, to: Option<&[u8]>, visit: &mut Visit<'_>) -> Result<()> {
        let upper = to.map_or(Bound::Unbounded, Bound::Excluded);
        if let (Bound::Included(low) | Bound::Excluded(low), Some(high)) = (from, to)
            && low >= high
        {
            return Ok(());
        }
        let mut own = self.writes[table as usize].range::<[u8], _>((from, upper)).peekable();
        let mut base = self.base.range(table, from, to);
        let mut stored = next(&mut base)?;
        loop {
            let order = match (own.peek(), &stored) {
                (None, None) => return Ok(()),
                (None, Some(_)) => Ordering::Greater,
                (Some(_), None) => Ordering::Less,
                (Some((key, _)), Some((stored_key, _))) => key.as_slice().cmp(stored_key),
            };
            let passed = if order.is_le() { None } else { stored.take() };
            if order.is_ge() {
                stored = next(&mut base)?;
            }
            let go_on = match passed {
                Some((key, value)) => visit(&key, &value)?,
                None => match own.next() {
                    Some((key, Some(value))) => visit(key, value)?,
                    _ => true,
                },
            };
            if !go_on {
                return Ok(());
            }
        }
    }
}

fn next(base: &mut fjall::Iter) -> Result<Option<fjall::KvPair>> {
    base.next().map(|guard| guard.into_inner().map_err(db_error)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use crate::db::Db;
    use proptest::prelude::*;

    type Steps = Vec<(u8, Option<u8>)>;

    fn steps() -> impl Strategy<Value = Steps> {
        prop::collection::vec((0..30u8, prop::option::of(any::<u8>())), 0..40)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn reads_see_both_layers(stored in steps(), own in steps(), low in 0..30u8, high in 0..30u8, stop in 1..20usize) {
            let dir = tempfile::tempdir().unwrap();
            let db = Db::open(&Config { data_dir: dir.path().to_owned(), ..Config::default() }).unwrap();
            let mut model = BTreeMap::new();
            let mut batch = db.lazy_batch();
            for (key, value) in &stored {
                batch.put(Table::Tasks, &[*key], &[value.unwrap_or(0)]);
                model.insert(*key, value.unwrap_or(0));
            }
            batch.commit().unwrap();
            let mut overlay = Overlay::new(db.snapshot());
            for (key, value) in &own {
                match value {
                    Some(value) => {
                        overlay.put(Table::Tasks, vec![*key], vec![*value]);
                        model.insert(*key, *value);
                    }
                    None => {
                        overlay.remove(Table::Tasks, vec![*key]);
                        model.remove(key);
                    }
                }
            }
            for key in 0..30 {
                let found = overlay.get(Table::Tasks, &[key]).unwrap().map(|value| value[0]);
                prop_assert_eq!(found, model.get(&key).copied());
            }
            let mut found = Vec::new();
            overlay.scan(Table::Tasks, Bound::Excluded(&[low]), Some(&[high]), &mut |key, value| {
                found.push((key[0], value[0]));
                Ok(found.len() < stop)
            }).unwrap();
            let inside = model.iter().filter(|(key, _)| **key > low && **key < high);
            prop_assert_eq!(found, inside.take(stop).map(|(k, v)| (*k, *v)).collect::<Vec<_>>());
        }
    }
}
