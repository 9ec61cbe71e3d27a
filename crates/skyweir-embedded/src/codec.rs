//! Bytes of keys and values: big-endian fixed numbers where order counts, varints where it doesn't.

use skyweir_store::Result;
use skyweir_types::{Cid, RecordKey, Tid};

use crate::error::corrupt;

const RKEY_TID: u8 = 0;
const RKEY_TEXT: u8 = 1;

/// Appends a number of seven bits a byte, low first.
pub(crate) fn push_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Appends a signed number, small ones short.
pub(crate) fn push_signed(out: &mut Vec<u8>, n: i64) {
    push_varint(out, ((n << 1) ^ (n >> 63)) as u64);
}

/// Appends a text with its length.
pub(crate) fn push_text(out: &mut Vec<u8>, text: &str) {
    push_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// The TID that a record key is, if it is one. No TID has two texts.
pub(crate) fn rkey_tid(rkey: &RecordKey) -> Option<Tid> {
    Tid::parse(rkey.as_str()).ok()
}

/// The record key that a TID is.
pub(crate) fn tid_rkey(tid: Tid) -> Result<RecordKey> {
    RecordKey::parse(&tid.to_string()).map_err(|_| corrupt("a TID is no record key"))
}

/// Appends the record key that a TID is.
pub(crate) fn push_tid(out: &mut Vec<u8>, tid: Tid) {
    out.push(RKEY_TID);
    out.extend_from_slice(&tid.0.to_be_bytes());
}

/// Appends a record key: a TID as tag 0 and its 8 bytes, any other as tag 1, length (u16) and text. Tells
/// its own end, so that more can follow in a key.
pub(crate) fn push_rkey(out: &mut Vec<u8>, rkey: &RecordKey) {
    if let Some(tid) = rkey_tid(rkey) {
        push_tid(out, tid);
    } else {
        let text = rkey.as_str().as_bytes();
        out.push(RKEY_TEXT);
        out.extend_from_slice(&(text.len() as u16).to_be_bytes());
        out.extend_from_slice(text);
    }
}

/// A time so that rising bytes are rising times.
pub(crate) fn ordered(time: i64) -> u64 {
    (time as u64) ^ (1 << 63)
}

/// Back from [`ordered`].
pub(crate) fn unordered(bits: u64) -> i64 {
    (bits ^ (1 << 63)) as i64
}

/// Reads what the `push` functions wrote.
pub(crate) struct Reader<'a> {
    table: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(table: &'static str, bytes: &'a [u8]) -> Self {
        Self { table, rest: bytes }
    }

    pub(crate) fn bad(&self) -> skyweir_store::Error {
        corrupt(format_args!("undecodable bytes in table {}", self.table))
    }

    pub(crate) fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or_else(|| self.bad())?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("took as many"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub(crate) fn varint(&mut self) -> Result<u64> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            n |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err(self.bad())
    }

    pub(crate) fn small(&mut self) -> Result<u32> {
        u32::try_from(self.varint()?).map_err(|_| self.bad())
    }

    pub(crate) fn signed(&mut self) -> Result<i64> {
        let n = self.varint()?;
        Ok((n >> 1) as i64 ^ -((n & 1) as i64))
    }

    pub(crate) fn text(&mut self) -> Result<&'a str> {
        let len = self.varint()? as usize;
        std::str::from_utf8(self.take(len)?).map_err(|_| self.bad())
    }

    pub(crate) fn cid(&mut self) -> Result<Cid> {
        Ok(Cid::from_digest(self.array()?))
    }

    /// What [`push_tid`] wrote; `None` for any other record key, of which the rest stays.
    pub(crate) fn tid_key(&mut self) -> Result<Option<Tid>> {
        Ok(if self.u8()? == RKEY_TID { Some(Tid(self.u64()?)) } else { None })
    }

    pub(crate) fn rkey(&mut self) -> Result<RecordKey> {
        match self.u8()? {
            RKEY_TID => tid_rkey(Tid(self.u64()?)),
            RKEY_TEXT => {
                let len = self.u16()?;
                let text = std::str::from_utf8(self.take(len.into())?).map_err(|_| self.bad())?;
                RecordKey::parse(text).map_err(|_| self.bad())
            }
            _ => Err(self.bad()),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// All that is left.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Nothing may be left.
    pub(crate) fn end(self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.bad()) }
    }
}

/// Values for the round-trip properties of the tables.
#[cfg(test)]
pub(crate) mod arb {
    use super::*;
    use proptest::prelude::*;
    use skyweir_types::{ActorId, Collection, RecordRef};

    pub(crate) fn tid() -> impl Strategy<Value = Tid> {
        (0..1u64 << 63).prop_map(Tid)
    }

    pub(crate) fn rkey() -> impl Strategy<Value = RecordKey> {
        prop_oneof![tid().prop_map(|tid| tid.to_string()), "[a-zA-Z0-9_~:-]{1,40}", Just("self".to_owned())]
            .prop_map(|text| RecordKey::parse(&text).unwrap())
    }

    pub(crate) fn collection() -> impl Strategy<Value = Collection> {
        prop::sample::select(Collection::ALL.to_vec())
    }

    pub(crate) fn record_ref() -> impl Strategy<Value = RecordRef> {
        (any::<u32>(), collection(), rkey()).prop_map(|(actor, collection, rkey)| RecordRef {
            actor: ActorId(actor),
            collection,
            rkey,
        })
    }

    pub(crate) fn cid() -> impl Strategy<Value = Cid> {
        any::<[u8; 32]>().prop_map(Cid::from_digest)
    }

    proptest! {
        #[test]
        fn numbers_and_keys_round_trip(n: u64, i: i64, text in ".{0,20}", key in rkey()) {
            let mut out = Vec::new();
            push_varint(&mut out, n);
            push_signed(&mut out, i);
            push_text(&mut out, &text);
            push_rkey(&mut out, &key);
            let mut reader = Reader::new("test", &out);
            prop_assert_eq!(reader.varint().unwrap(), n);
            prop_assert_eq!(reader.signed().unwrap(), i);
            prop_assert_eq!(reader.text().unwrap(), text);
            prop_assert_eq!(reader.rkey().unwrap(), key);
            reader.end().unwrap();
        }

        #[test]
        fn times_keep_their_order(a: i64, b: i64) {
            prop_assert_eq!(a.cmp(&b), ordered(a).cmp(&ordered(b)));
            prop_assert_eq!(unordered(ordered(a)), a);
        }
    }
}
