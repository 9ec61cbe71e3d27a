//! What is known of each record: the index that tells a create from an update and a replay from news.
//!
//! Table `records`: key: account u32 BE, collection u8, record key (packed). Value: tag (bits 0–2: 0 post, 1 repost,
//! 2 follow, 3 tombstone; bit 3: `wiped` is there; bit 4: the repost has an item; bit 5: it has a subject; bits 6–7:
//! the upper two of the rev's clock id), the other eight bits of that clock id, the rev's time as signed varint distance
//! in microseconds from the record key's if that is a TID, `wiped` u64 BE, then the body: post: item varint and CID;
//! repost: item varint, CID, subject as account, collection and packed key; follow: subject varint; tombstone: stream
//! time as signed varint. A follow may be in [`super::record_blocks`] instead.

use skyweir_store::{RecordBody, RecordRow, Result};
use skyweir_types::{ActorId, Collection, ItemId, RecordKey, RecordRef, Tid};

use super::after_prefix;
use crate::codec::{Reader, push_rkey, push_signed, push_tid, push_varint, rkey_tid};

const FOLLOW: u8 = 2;

const WIPED: u8 = 8;
const HAS_ITEM: u8 = 16;
const HAS_SUBJECT: u8 = 32;

/// Appends a record's place.
pub(crate) fn push_ref(out: &mut Vec<u8>, key: &RecordRef) {
    out.extend_from_slice(&key.actor.0.to_be_bytes());
    out.push(match key.collection {
        Collection::Post => 0,
        Collection::Repost => 1,
        Collection::Follow => FOLLOW,
    });
    push_rkey(out, &key.rkey);
}

/// Reads a record's place.
pub(crate) fn read_ref(reader: &mut Reader<'_>) -> Result<RecordRef> {
    let actor = ActorId(reader.u32()?);
    let collection = *Collection::ALL.get(usize::from(reader.u8()?)).ok_or_else(|| reader.bad())?;
    Ok(RecordRef { actor, collection, rkey: reader.rkey()? })
}

/// The key of a record.
pub(crate) fn key(record: &RecordRef) -> Vec<u8> {
    let mut out = Vec::with_capacity(14);
    push_ref(&mut out, record);
    out
}

/// Back from [`key`].
pub(crate) fn read_key(bytes: &[u8]) -> Result<RecordRef> {
    let mut reader = Reader::new("records", bytes);
    let record = read_ref(&mut reader)?;
    reader.end().map(|()| record)
}

/// The key of a follow record that is named by a TID.
pub(crate) fn follow_key(actor: ActorId, tid: Tid) -> Vec<u8> {
    let mut out = Vec::with_capacity(14);
    out.extend_from_slice(&actor.0.to_be_bytes());
    out.push(FOLLOW);
    push_tid(&mut out, tid);
    out
}

/// The end of all keys that [`follow_key`] gives for an account.
pub(crate) fn follow_end(actor: ActorId) -> Option<Vec<u8>> {
    let mut keys = follow_key(actor, Tid::ZERO);
    keys.truncate(keys.len() - size_of::<Tid>());
    after_prefix(&keys)
}

/// A row under a key that [`follow_key`] gave: a living follow or a tombstone.
pub(crate) fn read_follow(key: &[u8], value: &[u8]) -> Result<(Tid, RecordRow)> {
    let mut reader = Reader::new("records", key);
    reader.take(4)?;
    let is_follow = reader.u8()? == FOLLOW;
    let tid = reader.tid_key()?.filter(|_| is_follow).ok_or_else(|| reader.bad())?;
    reader.end()?;
    decode_from(tid.0 >> CLOCK_BITS, value).map(|row| (tid, row))
}

/// Clock ids are the low bits of a TID, its time the others.
const CLOCK_BITS: u32 = 10;

fn base(rkey: &RecordKey) -> u64 {
    rkey_tid(rkey).map_or(0, |tid| tid.0 >> CLOCK_BITS)
}

/// The value of a record under this key.
pub(crate) fn encode(rkey: &RecordKey, row: &RecordRow) -> Vec<u8> {
    encode_from(base(rkey), row)
}

/// The value of a row under a key that [`follow_key`] gave.
pub(crate) fn encode_follow(tid: Tid, row: &RecordRow) -> Vec<u8> {
    encode_from(tid.0 >> CLOCK_BITS, row)
}

fn encode_from(base: u64, row: &RecordRow) -> Vec<u8> {
    let mut tag = match &row.body {
        RecordBody::Post { .. } => 0,
        RecordBody::Repost { item, subject, .. } => {
            1 | if item.is_some() { HAS_ITEM } else { 0 } | if subject.is_some() { HAS_SUBJECT } else { 0 }
        }
        RecordBody::Follow { .. } => 2,
        RecordBody::Tombstone { .. } => 3,
    };
    if row.wiped > Tid::ZERO {
        tag |= WIPED;
    }
    // a rev has its repository's clock, a key its client's: their distance is short only without clock ids
    let (time, clock) = (row.rev.0 >> CLOCK_BITS, row.rev.0 & ((1 << CLOCK_BITS) - 1));
    let mut out = Vec::with_capacity(48);
    out.push(tag | ((clock >> 8) as u8) << 6);
    out.push(clock as u8);
    push_signed(&mut out, time.wrapping_sub(base) as i64);
    if tag & WIPED != 0 {
        out.extend_from_slice(&row.wiped.0.to_be_bytes());
    }
    match &row.body {
        RecordBody::Post { item, cid } => {
            push_varint(&mut out, item.0);
            out.extend_from_slice(cid.digest());
        }
        RecordBody::Repost { item, cid, subject } => {
            if let Some(item) = item {
                push_varint(&mut out, item.0);
            }
            out.extend_from_slice(cid.digest());
            if let Some(subject) = subject {
                push_ref(&mut out, subject);
            }
        }
        RecordBody::Follow { subject } => push_varint(&mut out, subject.0.into()),
        RecordBody::Tombstone { at_ms } => push_signed(&mut out, *at_ms),
    }
    out
}

/// Back from [`encode`].
pub(crate) fn decode(rkey: &RecordKey, bytes: &[u8]) -> Result<RecordRow> {
    decode_from(base(rkey), bytes)
}

fn decode_from(base: u64, bytes: &[u8]) -> Result<RecordRow> {
    let mut reader = Reader::new("records", bytes);
    let tag = reader.u8()?;
    let clock = u64::from(tag >> 6) << 8 | u64::from(reader.u8()?);
    let time = base.wrapping_add(reader.signed()? as u64);
    let rev = Tid(time << CLOCK_BITS | clock);
    let wiped = if tag & WIPED != 0 { Tid(reader.u64()?) } else { Tid::ZERO };
    let body = match tag & 7 {
        0 => RecordBody::Post { item: ItemId(reader.varint()?), cid: reader.cid()? },
        1 => {
            let item = if tag & HAS_ITEM != 0 { Some(ItemId(reader.varint()?)) } else { None };
            let cid = reader.cid()?;
            let subject = if tag & HAS_SUBJECT != 0 { Some(read_ref(&mut reader)?) } else { None };
            RecordBody::Repost { item, cid, subject }
        }
        2 => RecordBody::Follow { subject: ActorId(reader.small()?) },
        3 => RecordBody::Tombstone { at_ms: reader.signed()? },
        _ => return Err(reader.bad()),
    };
    reader.end()?;
    Ok(RecordRow { rev, wiped, body })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::arb;
    use proptest::prelude::*;

    fn body() -> impl Strategy<Value = RecordBody> {
        let item = || (0..1u64 << 47).prop_map(ItemId);
        prop_oneof![
            (item(), arb::cid()).prop_map(|(item, cid)| RecordBody::Post { item, cid }),
            (prop::option::of(item()), arb::cid(), prop::option::of(arb::record_ref()))
                .prop_map(|(item, cid, subject)| RecordBody::Repost { item, cid, subject }),
            any::<u32>().prop_map(|n| RecordBody::Follow { subject: ActorId(n) }),
            any::<i64>().prop_map(|at_ms| RecordBody::Tombstone { at_ms }),
        ]
    }

    proptest! {
        #[test]
        fn round_trip(place in arb::record_ref(), rev in arb::tid(), wiped in arb::tid(), body in body()) {
            prop_assert_eq!(&read_key(&key(&place)).unwrap(), &place);
            let row = RecordRow { rev, wiped, body };
            prop_assert_eq!(decode(&place.rkey, &encode(&place.rkey, &row)).unwrap(), row);
        }
    }
}
