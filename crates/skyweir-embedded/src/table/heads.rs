//! What changes about an account: its row, its counts, the time of its newest item.
//!
//! Table `heads`: key: number, u32 BE. Value: flags (bits 0–1 status, 2 a resync is under way, 3 has a newest,
//! 4 was deleted once, 5 has blocks of followers, 6 its follows were folded, 7 it is known where loose ones begin),
//! varints `follows` and `followers`, signed varint `status_us`, then by flags: `gone` u64 BE; `newest` as signed
//! varint; the resync's rev u64 BE and stream time as signed varint; of its follows the loose rows as varint and the
//! last packed record u64 BE, then where loose ones begin u64 BE; of the followers the layer and its rows as varints,
//! then nothing or how far the layer before is folded as varint. An account without a value is active and has nothing.

use skyweir_store::{AccountInfo, AccountRow, Result, SyncMark};
use skyweir_types::{AccountStatus, Tid};

use crate::codec::{Reader, push_signed, push_varint};

const SYNCING: u8 = 4;
const HAS_NEWEST: u8 = 8;
const GONE: u8 = 16;
const PACKED: u8 = 32;
const FOLDED: u8 = 64;
const HAS_BELOW: u8 = 128;

/// Where the followers of an author with blocks are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Packed {
    /// The number of the layer of rows that is written now; it wraps.
    pub(crate) layer: u16,
    /// There are no more rows than this in it.
    pub(crate) rows: u32,
    /// The layer before is being folded into the blocks, and is so below this follower.
    pub(crate) folding: Option<u32>,
}

/// What became of an account's follow records when they were folded into blocks, and their edges with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Folded {
    /// No more rows than this could be folded now; `u32::MAX`: nobody has counted them.
    pub(crate) loose: u32,
    /// No record with a greater key is in a block.
    pub(crate) last: Tid,
    /// The records of such rows have greater keys than `last`, or none below this one.
    pub(crate) below: Option<Tid>,
}

impl Folded {
    /// Where the rows begin that can be folded.
    pub(crate) fn from(&self) -> Tid {
        self.below.unwrap_or(Tid(self.last.0.saturating_add(1)))
    }

    /// Counts a row that can be folded.
    pub(crate) fn loosen(&mut self, tid: Tid) {
        self.loose = self.loose.saturating_add(1);
        if tid < self.from() {
            self.below = Some(tid);
        }
    }
}

/// The value of one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) row: AccountRow,
    pub(crate) follows: u32,
    pub(crate) followers: u32,
    /// No item is newer; `i64::MIN`: never had one.
    pub(crate) newest: i64,
    /// `None`: its followers are all in rows.
    pub(crate) packed: Option<Packed>,
    /// `None`: its follows and their records are all in rows.
    pub(crate) folded: Option<Folded>,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            row: AccountRow::default(),
            follows: 0,
            followers: 0,
            newest: i64::MIN,
            packed: None,
            folded: None,
        }
    }
}

impl Head {
    pub(crate) fn info(&self) -> AccountInfo {
        AccountInfo {
            status: self.row.status,
            newest: self.newest,
            follows: self.follows,
            followers: self.followers,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut flags = match self.row.status {
            AccountStatus::Active => 0,
            AccountStatus::Hidden => 1,
            AccountStatus::Deleted => 2,
        };
        flags |= if self.row.sync.is_some() { SYNCING } else { 0 };
        flags |= if self.newest > i64::MIN { HAS_NEWEST } else { 0 };
        flags |= if self.row.gone > Tid::ZERO { GONE } else { 0 };
        flags |= if self.packed.is_some() { PACKED } else { 0 };
        flags |= if self.folded.is_some() { FOLDED } else { 0 };
        let below = self.folded.and_then(|folded| folded.below);
        flags |= if below.is_some() { HAS_BELOW } else { 0 };
        let mut out = Vec::with_capacity(32);
        out.push(flags);
        push_varint(&mut out, self.follows.into());
        push_varint(&mut out, self.followers.into());
        push_signed(&mut out, self.row.status_us);
        if flags & GONE != 0 {
            out.extend_from_slice(&self.row.gone.0.to_be_bytes());
        }
        if flags & HAS_NEWEST != 0 {
            push_signed(&mut out, self.newest);
        }
        if let Some(sync) = self.row.sync {
            out.extend_from_slice(&sync.rev.0.to_be_bytes());
            push_signed(&mut out, sync.since_ms);
        }
        if let Some(folded) = self.folded {
            push_varint(&mut out, folded.loose.into());
            out.extend_from_slice(&folded.last.0.to_be_bytes());
        }
        if let Some(below) = below {
            out.extend_from_slice(&below.0.to_be_bytes());
        }
        if let Some(packed) = self.packed {
            push_varint(&mut out, packed.layer.into());
            push_varint(&mut out, packed.rows.into());
            if let Some(next) = packed.folding {
                push_varint(&mut out, next.into());
            }
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new("heads", bytes);
        let flags = reader.u8()?;
        let status = match flags & 3 {
            0 => AccountStatus::Active,
            1 => AccountStatus::Hidden,
            2 => AccountStatus::Deleted,
            _ => return Err(reader.bad()),
        };
        let (follows, followers, status_us) = (reader.small()?, reader.small()?, reader.signed()?);
        let gone = if flags & GONE != 0 { Tid(reader.u64()?) } else { Tid::ZERO };
        let newest = if flags & HAS_NEWEST != 0 { reader.signed()? } else { i64::MIN };
        let sync = match flags & SYNCING {
            0 => None,
            _ => Some(SyncMark { rev: Tid(reader.u64()?), since_ms: reader.signed()? }),
        };
        let folded = match flags & (FOLDED | HAS_BELOW) {
            0 => None,
            HAS_BELOW => return Err(reader.bad()),
            with => Some(Folded {
                loose: reader.small()?,
                last: Tid(reader.u64()?),
                below: if with & HAS_BELOW == 0 { None } else { Some(Tid(reader.u64()?)) },
            }),
        };
        let packed = match flags & PACKED {
            0 => None,
            _ => Some(Packed {
                layer: u16::try_from(reader.small()?).map_err(|_| reader.bad())?,
                rows: reader.small()?,
                folding: if reader.is_empty() { None } else { Some(reader.small()?) },
            }),
        };
        reader.end()?;
        let row = AccountRow { status, status_us, gone, sync };
        Ok(Self { row, follows, followers, newest, packed, folded })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::arb;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(
            status in 0..3usize, status_us: i64, gone in arb::tid(), sync in prop::option::of((arb::tid(), any::<i64>())),
            follows: u32, followers: u32, newest: i64, packed in prop::option::of(any::<(u16, u32, Option<u32>)>()),
            folded in prop::option::of((any::<u32>(), arb::tid(), prop::option::of(arb::tid()))),
        ) {
            let status = [AccountStatus::Active, AccountStatus::Hidden, AccountStatus::Deleted][status];
            let sync = sync.map(|(rev, since_ms)| SyncMark { rev, since_ms });
            let packed = packed.map(|(layer, rows, folding)| Packed { layer, rows, folding });
            let folded = folded.map(|(loose, last, below)| Folded { loose, last, below });
            let row = AccountRow { status, status_us, gone, sync };
            let head = Head { row, follows, followers, newest, packed, folded };
            prop_assert_eq!(Head::decode(&head.encode()).unwrap(), head);
        }

        #[test]
        fn no_loose_row_is_forgotten(last in arb::tid(), loose in prop::collection::vec(arb::tid(), 0..9)) {
            let mut folded = Folded { last, ..Folded::default() };
            loose.iter().for_each(|tid| folded.loosen(*tid));
            prop_assert!(loose.iter().all(|tid| folded.from() <= *tid));
            prop_assert_eq!(folded.loose as usize, loose.len());
        }
    }
}
