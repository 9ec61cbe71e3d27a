//! Follow records of accounts that follow many, in blocks.
//!
//! Table `record_blocks`: key: account u32 BE, the block's bound as TID u64 BE ([`super::blocks`]). Value: format (1),
//! how many records beyond the first, the code's orders for times and for distances, the widths of record keys' clock
//! ids, of revs' clock ids and of subjects, a byte each; the first record's key u64 BE; then for each record as bits
//! ([`crate::bits`]): but for the first one, the time since the record before, coded, and the key's clock id; from the
//! key's time to the rev's, coded with its sign as lowest bit; the rev's clock id; the subject.
//!
//! A record is here or in `records`, never in both. Here are only living follows with a TID as key and `wiped` zero.

use skyweir_store::{RecordBody, RecordRow, Result};
use skyweir_types::{ActorId, Collection, RecordRef, Tid};

use super::blocks::{self, Packed};
use super::{Table, records};
use crate::bits::{BitReader, BitWriter, golomb_order};
use crate::codec::{Reader, rkey_tid};
use crate::db::Read;

const FORMAT: u8 = 1;
const CLOCK_BITS: u32 = 10;
const TIME_BITS: u32 = 54;

/// The table.
pub(crate) enum RecordBlocks {}

/// A follow record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its key.
    pub(crate) tid: Tid,
    pub(crate) rev: Tid,
    pub(crate) subject: ActorId,
}

impl Entry {
    /// A record that a block may hold.
    pub(crate) fn of(tid: Tid, row: &RecordRow) -> Option<Self> {
        match row.body {
            // the greatest TID has no place after it, where a page could end
            RecordBody::Follow { subject } if row.wiped == Tid::ZERO && tid < Tid(u64::MAX) => {
                Some(Self { tid, rev: row.rev, subject })
            }
            _ => None,
        }
    }

    pub(crate) fn row(&self) -> RecordRow {
        let body = RecordBody::Follow { subject: self.subject };
        RecordRow { rev: self.rev, wiped: Tid::ZERO, body }
    }

    /// From the key's time to the rev's, the sign as lowest bit.
    fn distance(&self) -> u64 {
        let distance = time(self.rev) as i64 - time(self.tid) as i64;
        ((distance << 1) ^ (distance >> 63)) as u64
    }
}

fn time(tid: Tid) -> u64 {
    tid.0 >> CLOCK_BITS
}

fn clock(tid: Tid) -> u64 {
    tid.0 & ((1 << CLOCK_BITS) - 1)
}

fn width(numbers: impl Iterator<Item = u64>) -> u32 {
    u64::BITS - numbers.fold(0, |all, n| all | n).leading_zeros()
}

impl Packed for RecordBlocks {
    type Entry = Entry;
    const TABLE: Table = Table::RecordBlocks;
    const LAST: u64 = u64::MAX;

    fn place(entry: &Entry) -> u64 {
        entry.tid.0
    }

    fn key(actor: ActorId, bound: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(12);
        out.extend_from_slice(&actor.0.to_be_bytes());
        out.extend_from_slice(&bound.to_be_bytes());
        out
    }

    fn read_key(key: &[u8]) -> Result<(ActorId, u64)> {
        let mut reader = Reader::new("record_blocks", key);
        let block = (ActorId(reader.u32()?), reader.u64()?);
        reader.end().map(|()| block)
    }

    fn encode(entries: &[Entry]) -> Vec<u8> {
        let (Some(first), later) = (entries.first(), entries.get(1..).unwrap_or_default()) else {
            return Vec::new();
        };
        let gaps = entries.windows(2).map(|pair| time(pair[1].tid) - time(pair[0].tid));
        let times = golomb_order(gaps);
        let distances = golomb_order(entries.iter().map(Entry::distance));
        let clocks = width(later.iter().map(|entry| clock(entry.tid)));
        let rev_clocks = width(entries.iter().map(|entry| clock(entry.rev)));
        let subjects = width(entries.iter().map(|entry| entry.subject.0.into()));
        let mut out = Vec::with_capacity(16 + entries.len() * 15);
        let head = [later.len() as u32, times, distances, clocks, rev_clocks, subjects];
        out.push(FORMAT);
        out.extend(head.map(|n| n as u8));
        out.extend_from_slice(&first.tid.0.to_be_bytes());
        let mut bits = BitWriter::after(out);
        let mut before = None;
        for entry in entries {
            if let Some(before) = before.replace(time(entry.tid)) {
                bits.push_golomb(time(entry.tid) - before, times);
                bits.push(clock(entry.tid), clocks);
            }
            bits.push_golomb(entry.distance(), distances);
            bits.push(clock(entry.rev), rev_clocks);
            bits.push(entry.subject.0.into(), subjects);
        }
        bits.finish()
    }

    fn decode(value: &[u8]) -> Result<Vec<Entry>> {
        let mut reader = Reader::new("record_blocks", value);
        let bad = || Reader::new("record_blocks", value).bad();
        let format = reader.u8()?;
        let later = usize::from(reader.u8()?);
        let mut number = |most: u32| match u32::from(reader.u8()?) {
            n if n <= most => Ok(n),
            _ => Err(bad()),
        };
        let (times, distances) = (number(56)?, number(56)?);
        let (clocks, rev_clocks, subjects) = (number(CLOCK_BITS)?, number(CLOCK_BITS)?, number(32)?);
        let mut tid = Tid(reader.u64()?);
        if format != FORMAT || later >= blocks::MOST {
            return Err(bad());
        }
        let mut bits = BitReader::new(reader.rest());
        let mut entries = Vec::with_capacity(later + 1);
        for n in 0..=later {
            if n > 0 {
                let Some(gap) = bits.take_golomb(times) else { return Err(bad()) };
                let next = time(tid) + gap;
                let next = Tid(next << CLOCK_BITS | bits.take(clocks));
                if next <= tid || time(next) != time(tid) + gap {
                    return Err(bad());
                }
                tid = next;
            }
            let Some(distance) = bits.take_golomb(distances) else { return Err(bad()) };
            let distance = (distance >> 1) as i64 ^ -((distance & 1) as i64);
            let rev = (time(tid) as i64 + distance) as u64;
            if rev >> TIME_BITS != 0 {
                return Err(bad());
            }
            let rev = Tid(rev << CLOCK_BITS | bits.take(rev_clocks));
            entries.push(Entry { tid, rev, subject: ActorId(bits.take(subjects) as u32) });
        }
        if bits.is_at_end() { Ok(entries) } else { Err(bad()) }
    }
}

/// The record of this key, from its row or its block.
pub(crate) fn record(read: &impl Read, key: &RecordRef) -> Result<Option<RecordRow>> {
    if let Some(bytes) = read.get(Table::Records, &records::key(key))? {
        return records::decode(&key.rkey, &bytes).map(Some);
    }
    let (Collection::Follow, Some(tid)) = (key.collection, rkey_tid(&key.rkey)) else { return Ok(None) };
    Ok(blocks::find::<RecordBlocks>(read, key.actor, tid.0)?.map(|entry| entry.row()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tid() -> impl Strategy<Value = u64> {
        let usual = 1_577_836_800_000_000u64..1_900_000_000_000_000;
        prop_oneof![any::<u64>(), (usual, 0..1_024u64).prop_map(|(time, clock)| time << CLOCK_BITS | clock)]
    }

    fn entry(tid: u64, (far, rev, distance, subject, bits): (bool, u64, i64, u32, u32)) -> Entry {
        let near = (time(Tid(tid)) as i64 + distance).clamp(0, (1 << TIME_BITS) - 1) as u64;
        let rev = if far { rev } else { near << CLOCK_BITS | clock(Tid(rev)) };
        let subject = u64::from(subject) & ((1 << bits) - 1);
        Entry { tid: Tid(tid), rev: Tid(rev), subject: ActorId(subject as u32) }
    }

    fn entries() -> impl Strategy<Value = Vec<Entry>> {
        let rest = (any::<bool>(), tid(), -5_000_000..5_000_000i64, any::<u32>(), 0..33u32);
        prop::collection::btree_map(tid(), rest, 1..=blocks::MOST)
            .prop_map(|records| records.into_iter().map(|(tid, rest)| entry(tid, rest)).collect())
    }

    proptest! {
        #[test]
        fn round_trip(entries in entries(), actor: u32, bound: u64) {
            let bytes = RecordBlocks::encode(&entries);
            prop_assert_eq!(RecordBlocks::decode(&bytes).unwrap(), entries);
            // neither less nor more
            prop_assert!(RecordBlocks::decode(&bytes[..bytes.len() - 1]).is_err());
            prop_assert!(RecordBlocks::decode(&[&bytes[..], &[0]].concat()).is_err());
            let key = RecordBlocks::key(ActorId(actor), bound);
            prop_assert_eq!(RecordBlocks::read_key(&key).unwrap(), (ActorId(actor), bound));
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            head in (0..3u8, any::<u8>(), 0..60u8, 0..60u8, 0..12u8, 0..12u8, 0..34u8),
            rest in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let (format, later, times, distances, clocks, rev_clocks, subjects) = head;
            let head = [format, later % 20, times, distances, clocks, rev_clocks, subjects];
            if let Ok(entries) = RecordBlocks::decode(&[&head[..], &rest].concat()) {
                prop_assert!(entries.is_sorted_by(|a, b| a.tid < b.tid) && !entries.is_empty());
            }
        }
    }

    /// What an edge of the network's takes: 39 bits between records, 20 to the rev, two clock ids, 22 of subject.
    #[test]
    fn sixty_follows_of_three_years_take_fourteen_bytes_each() {
        let mut seed = 1u64;
        let mut draw = |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 11) % below
        };
        let mut entries: Vec<_> = (0..60)
            .map(|_| {
                let time = 1_672_531_200_000_000 + draw(94_608_000_000_000);
                let tid = Tid(time << CLOCK_BITS | draw(1_024));
                let rev = Tid((time + draw(1_000_000)) << CLOCK_BITS | draw(1_024));
                Entry { tid, rev, subject: ActorId(draw(1 << 22) as u32) }
            })
            .collect();
        entries.sort_by_key(|entry| entry.tid);
        let bytes = RecordBlocks::encode(&entries).len() as f64 / 60.0;
        assert!(bytes < 14.0, "{bytes}");
        // one record that is made long after its key's time costs the others next to nothing
        entries[30].rev = Tid(u64::MAX >> 1);
        let more = RecordBlocks::encode(&entries).len() as f64 / 60.0;
        assert!(more < bytes + 0.5, "{bytes} {more}");
    }
}
