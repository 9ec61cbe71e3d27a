//! What changes about an account: its row, its counts, the time of its newest item.
//!
//! Table `heads`: key: number, u32 BE. Value: flags as varint (bits 0–1 status, 2 a resync is under way, 3 has a
//! newest, 4 was deleted once, 5 has blocks of followers, 6 its follows were folded, 7 it is known where loose ones
//! begin, 8 has bounds, 9 a post of it was wiped), varints `follows` and `followers`, signed varint `status_us`, then by
//! flags: `gone` u64 BE; `newest` as signed varint; of the bounds `key_us` as signed varint distance from the newest's
//! time if there is one, and `wiped` u64 BE; the resync's rev u64 BE and stream time as signed varint; of its follows
//! the loose rows as varint and the last packed record u64 BE, then where loose ones begin u64 BE; of the followers the
//! layer and its rows as varints, then nothing or how far the layer before is folded as varint. `newest` and `key_us`
//! may be up to a minute further than they are. An account without a value is active and has nothing.

use skyweir_store::{AccountInfo, AccountRow, Result, SyncMark};
use skyweir_types::{AccountStatus, Tid};

use crate::codec::{Reader, push_signed, push_varint};

const SYNCING: u64 = 4;
const HAS_NEWEST: u64 = 8;
const GONE: u64 = 16;
const PACKED: u64 = 32;
const FOLDED: u64 = 64;
const HAS_BELOW: u64 = 128;
const BOUNDED: u64 = 256;
const WIPED: u64 = 512;

/// How much further a row reaches than what it is written for, milliseconds: who posts again within it needs no row.
const AHEAD_MS: i64 = 60_000;

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

/// What no record of an account goes beyond, so that what does needs no look-up. Never lowered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// No record was ever put under a TID of a later time, microseconds since 1970.
    pub(crate) key_us: u64,
    /// No record ever had a greater `wiped`.
    pub(crate) wiped: Tid,
}

/// What the stored row says in place of `newest` and of the bounds' `key_us`: as much or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    newest: i64,
    key_us: u64,
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
    /// `None`: of a head that wasn't written from its account's beginning on.
    pub(crate) bounds: Option<Bounds>,
    pub(crate) reach: Reach,
}

impl Default for Head {
    fn default() -> Self {
        let row = AccountRow::default();
        let reach = Reach { newest: i64::MIN, key_us: 0 };
        Self {
            row,
            follows: 0,
            followers: 0,
            newest: i64::MIN,
            packed: None,
            folded: None,
            bounds: None,
            reach,
        }
    }
}

impl Head {
    /// The head of an account that nothing is stored of yet.
    pub(crate) fn of_new_account() -> Self {
        Self { bounds: Some(Bounds::default()), ..Self::default() }
    }

    /// Whether the row that is stored for `before` doesn't do for this one.
    pub(crate) fn needs_row(&self, before: &Self) -> bool {
        let mut within = *before;
        if self.newest <= within.reach.newest {
            within.newest = self.newest;
        }
        if let (Some(now), Some(bounds)) = (self.bounds, &mut within.bounds)
            && now.key_us <= within.reach.key_us
        {
            bounds.key_us = now.key_us;
        }
        *self != within
    }

    /// Lets the row that is about to be written reach further, where it isn't far enough.
    pub(crate) fn reach_ahead(&mut self) {
        if self.newest > self.reach.newest {
            self.reach.newest = self.newest.saturating_add(AHEAD_MS);
        }
        let key_us = self.bounds.map_or(0, |bounds| bounds.key_us);
        if key_us > self.reach.key_us {
            self.reach.key_us = key_us.saturating_add(AHEAD_MS as u64 * 1_000);
        }
    }

    /// Where the bound of the keys counts from.
    fn base_us(newest: i64) -> i64 {
        if newest > i64::MIN { newest.wrapping_mul(1_000) } else { 0 }
    }

    pub(crate) fn info(&self) -> AccountInfo {
        AccountInfo {
            status: self.row.status,
            newest: self.newest,
            follows: self.follows,
            followers: self.followers,
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let newest = self.newest.max(self.reach.newest);
        let mut flags = match self.row.status {
            AccountStatus::Active => 0,
            AccountStatus::Hidden => 1,
            AccountStatus::Deleted => 2,
        };
        flags |= if self.row.sync.is_some() { SYNCING } else { 0 };
        flags |= if newest > i64::MIN { HAS_NEWEST } else { 0 };
        flags |= if self.row.gone > Tid::ZERO { GONE } else { 0 };
        flags |= if self.packed.is_some() { PACKED } else { 0 };
        flags |= if self.folded.is_some() { FOLDED } else { 0 };
        let below = self.folded.and_then(|folded| folded.below);
        flags |= if below.is_some() { HAS_BELOW } else { 0 };
        flags |= if self.bounds.is_some() { BOUNDED } else { 0 };
        flags |= if self.bounds.is_some_and(|bounds| bounds.wiped > Tid::ZERO) { WIPED } else { 0 };
        let mut out = Vec::with_capacity(32);
        push_varint(&mut out, flags);
        push_varint(&mut out, self.follows.into());
        push_varint(&mut out, self.followers.into());
        push_signed(&mut out, self.row.status_us);
        if flags & GONE != 0 {
            out.extend_from_slice(&self.row.gone.0.to_be_bytes());
        }
        if flags & HAS_NEWEST != 0 {
            push_signed(&mut out, newest);
        }
        if let Some(bounds) = self.bounds {
            let key_us = bounds.key_us.max(self.reach.key_us) as i64;
            push_signed(&mut out, key_us.wrapping_sub(Self::base_us(newest)));
            if flags & WIPED != 0 {
                out.extend_from_slice(&bounds.wiped.0.to_be_bytes());
            }
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
        let flags = reader.varint()?;
        let status = match flags & 3 {
            0 => AccountStatus::Active,
            1 => AccountStatus::Hidden,
            2 => AccountStatus::Deleted,
            _ => return Err(reader.bad()),
        };
        let (follows, followers, status_us) = (reader.small()?, reader.small()?, reader.signed()?);
        let gone = if flags & GONE != 0 { Tid(reader.u64()?) } else { Tid::ZERO };
        let newest = if flags & HAS_NEWEST != 0 { reader.signed()? } else { i64::MIN };
        let bounds = match flags & BOUNDED {
            0 => None,
            _ => Some(Bounds {
                key_us: reader.signed()?.wrapping_add(Self::base_us(newest)) as u64,
                wiped: if flags & WIPED != 0 { Tid(reader.u64()?) } else { Tid::ZERO },
            }),
        };
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
        let reach = Reach { newest, key_us: bounds.map_or(0, |bounds| bounds.key_us) };
        Ok(Self { row, follows, followers, newest, packed, folded, bounds, reach })
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
            bounds in prop::option::of((any::<u64>(), prop_oneof![Just(Tid::ZERO), arb::tid()])),
        ) {
            let status = [AccountStatus::Active, AccountStatus::Hidden, AccountStatus::Deleted][status];
            let sync = sync.map(|(rev, since_ms)| SyncMark { rev, since_ms });
            let packed = packed.map(|(layer, rows, folding)| Packed { layer, rows, folding });
            let folded = folded.map(|(loose, last, below)| Folded { loose, last, below });
            let bounds = bounds.map(|(key_us, wiped)| Bounds { key_us, wiped });
            let row = AccountRow { status, status_us, gone, sync };
            let reach = Reach { newest, key_us: bounds.map_or(0, |bounds| bounds.key_us) };
            let head = Head { row, follows, followers, newest, packed, folded, bounds, reach };
            prop_assert_eq!(Head::decode(&head.encode()).unwrap(), head);
        }

        #[test]
        fn a_row_that_is_not_written_is_not_needed(
            steps in prop::collection::vec((-100_000..100_000i64, 0..200_000_000u64, 0..5u32), 1..20),
        ) {
            let (mut head, mut stored) = (Head::of_new_account(), None);
            for (newest, key_us, follows) in steps {
                let before = head;
                head.newest = head.newest.max(newest);
                head.bounds.as_mut().unwrap().key_us = before.bounds.unwrap().key_us.max(key_us);
                head.follows = follows / 4;
                if stored.is_none() || head.needs_row(&before) {
                    head.reach_ahead();
                    stored = Some(head.encode());
                }
                let read = Head::decode(stored.as_ref().unwrap()).unwrap();
                prop_assert!(read.newest >= head.newest && read.newest <= head.newest.saturating_add(AHEAD_MS));
                let (read_us, key_us) = (read.bounds.unwrap().key_us, head.bounds.unwrap().key_us);
                prop_assert!(read_us >= key_us && read_us <= key_us + AHEAD_MS as u64 * 1_000);
                prop_assert_eq!(read.follows, head.follows);
            }
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
