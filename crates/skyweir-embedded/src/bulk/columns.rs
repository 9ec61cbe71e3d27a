//! What a load knows of each account: 17 bytes in columns, more for the few that were deleted or are sent again.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, Read as _};
use std::path::Path;

use foldhash::fast::RandomState;
use skyweir_store::{AccountRow, Result, SyncMark};
use skyweir_types::{AccountStatus, ActorId, Tid};

use super::tail::{Extent, Tail};
use crate::codec::Reader;
use crate::error::io;

/// Bytes of a row in the file.
const ROW: usize = 38;

/// The rows of accounts, and the greatest rev of each. A file has the rows in the order of their changes.
pub(super) struct Columns {
    revs: Vec<Tid>,
    rows: Rows,
    file: Tail,
}

#[derive(Default)]
struct Rows {
    status_us: Vec<i64>,
    status: Vec<AccountStatus>,
    gone: HashMap<u32, Tid, RandomState>,
    syncs: BTreeMap<u32, SyncMark>,
}

impl Columns {
    /// Of so many accounts, with the rows that the file had when it had so much.
    pub(super) fn open(folder: &Path, accounts: usize, extent: Extent) -> Result<Self> {
        let file = Tail::summed(folder, "accounts", extent)?;
        let mut columns = Self { revs: Vec::new(), rows: Rows::default(), file };
        columns.grow(accounts);
        let mut rows = columns.file.read(0)?;
        let mut bytes = [0; ROW];
        let failed = |e| io("cannot read", columns.file.path(), &e);
        while !rows.fill_buf().map_err(failed)?.is_empty() {
            rows.read_exact(&mut bytes).map_err(failed)?;
            let (actor, row) = decode(&bytes, accounts)?;
            columns.rows.put(actor, row);
        }
        Ok(columns)
    }

    /// Takes accounts up to so many.
    pub(super) fn grow(&mut self, accounts: usize) {
        let AccountRow { status, status_us, .. } = AccountRow::default();
        self.revs.resize(accounts, Tid::ZERO);
        self.rows.status_us.resize(accounts, status_us);
        self.rows.status.resize(accounts, status);
    }

    pub(super) fn file(&mut self) -> &mut Tail {
        &mut self.file
    }

    pub(super) fn len(&self) -> usize {
        self.rows.status.len()
    }

    pub(super) fn rev(&self, actor: ActorId) -> Tid {
        self.revs[actor.0 as usize]
    }

    /// A step of an account that there is had this rev.
    pub(super) fn saw(&mut self, actor: ActorId, rev: Tid) {
        let greatest = &mut self.revs[actor.0 as usize];
        *greatest = rev.max(*greatest);
    }

    /// Revs are of no use any more.
    pub(super) fn forget_revs(&mut self) {
        self.revs = Vec::new();
    }

    pub(super) fn row(&self, actor: ActorId) -> AccountRow {
        self.rows.row(actor)
    }

    pub(super) fn set(&mut self, actor: ActorId, row: AccountRow) -> Result<()> {
        self.rows.put(actor, row);
        self.file.push(&encode(actor, row))
    }

    pub(super) fn syncs(&self) -> impl Iterator<Item = (ActorId, SyncMark)> {
        self.rows.syncs.iter().map(|(actor, mark)| (ActorId(*actor), *mark))
    }
}

impl Rows {
    fn row(&self, actor: ActorId) -> AccountRow {
        AccountRow {
            status: self.status[actor.0 as usize],
            status_us: self.status_us[actor.0 as usize],
            gone: self.gone.get(&actor.0).copied().unwrap_or_default(),
            sync: self.syncs.get(&actor.0).copied(),
        }
    }

    fn put(&mut self, actor: ActorId, row: AccountRow) {
        self.status[actor.0 as usize] = row.status;
        self.status_us[actor.0 as usize] = row.status_us;
        if row.gone > Tid::ZERO {
            self.gone.insert(actor.0, row.gone);
        }
        match row.sync {
            Some(mark) => self.syncs.insert(actor.0, mark),
            None => self.syncs.remove(&actor.0),
        };
    }
}

fn encode(actor: ActorId, row: AccountRow) -> [u8; ROW] {
    let mut out = [0; ROW];
    out[..4].copy_from_slice(&actor.0.to_be_bytes());
    out[4] = match row.status {
        AccountStatus::Active => 0,
        AccountStatus::Hidden => 1,
        AccountStatus::Deleted => 2,
    };
    out[5..13].copy_from_slice(&row.status_us.to_be_bytes());
    out[13..21].copy_from_slice(&row.gone.0.to_be_bytes());
    if let Some(mark) = row.sync {
        out[21] = 1;
        out[22..30].copy_from_slice(&mark.rev.0.to_be_bytes());
        out[30..].copy_from_slice(&mark.since_ms.to_be_bytes());
    }
    out
}

fn decode(bytes: &[u8], accounts: usize) -> Result<(ActorId, AccountRow)> {
    let mut reader = Reader::new("loading", bytes);
    let actor = ActorId(reader.u32()?);
    let status = match reader.u8()? {
        0 => AccountStatus::Active,
        1 => AccountStatus::Hidden,
        2 => AccountStatus::Deleted,
        _ => return Err(reader.bad()),
    };
    let (status_us, gone, syncs) = (reader.u64()? as i64, Tid(reader.u64()?), reader.u8()? == 1);
    let mark = SyncMark { rev: Tid(reader.u64()?), since_ms: reader.u64()? as i64 };
    if actor.0 as usize >= accounts {
        return Err(reader.bad());
    }
    Ok((actor, AccountRow { status, status_us, gone, sync: syncs.then_some(mark) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::arb;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn rows_are_as_they_were_when_the_file_was_so_long(
            rows in prop::collection::vec((
                0..5u32, 0..3usize, any::<i64>(), arb::tid(), prop::option::of((arb::tid(), any::<i64>())),
            ), 0..20),
            kept in 0..20usize,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut columns = Columns::open(dir.path(), 5, Extent::default()).unwrap();
            let all = |columns: &Columns| (0..5).map(|n| columns.row(ActorId(n))).collect::<Vec<_>>();
            let (mut wanted, mut extent) = (all(&columns), Extent::default());
            prop_assert_eq!(&wanted, &vec![AccountRow::default(); 5]);
            for (at, (actor, status, status_us, gone, sync)) in rows.into_iter().enumerate() {
                let status = [AccountStatus::Active, AccountStatus::Hidden, AccountStatus::Deleted][status];
                // a rev below which all is gone never falls
                let gone = gone.max(columns.row(ActorId(actor)).gone);
                let sync = sync.map(|(rev, since_ms)| SyncMark { rev, since_ms });
                let row = AccountRow { status, status_us, gone, sync };
                columns.set(ActorId(actor), row).unwrap();
                prop_assert_eq!(columns.row(ActorId(actor)), row);
                if at < kept {
                    (wanted, extent) = (all(&columns), columns.file().extent());
                }
            }
            columns.file().handle().unwrap();
            drop(columns);
            prop_assert_eq!(all(&Columns::open(dir.path(), 5, extent).unwrap()), wanted);
        }
    }
}
