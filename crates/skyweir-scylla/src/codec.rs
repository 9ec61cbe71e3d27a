//! The bytes of what is stored as one value: numbers of seven bits a byte, texts with their length.

use skyweir_store::{Error, Result};
use skyweir_types::{ActorId, Cid, Collection, Did, ItemId, RecordKey, RecordRef, Tid};

use crate::error::corrupt;

/// Takes values one after the other.
#[derive(Default)]
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn number(&mut self, n: u64) -> &mut Self {
        let mut rest = n;
        while rest >= 0x80 {
            self.0.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
        self
    }

    /// A number that may be negative; small ones are short.
    pub(crate) fn signed(&mut self, n: i64) -> &mut Self {
        self.number(((n << 1) ^ (n >> 63)) as u64)
    }

    pub(crate) fn flag(&mut self, flag: bool) -> &mut Self {
        self.number(flag.into())
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(text.as_bytes())
    }

    /// So many bytes as whoever reads them knows.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn actor(&mut self, actor: ActorId) -> &mut Self {
        self.number(actor.0.into())
    }

    pub(crate) fn place(&mut self, key: &RecordRef) -> &mut Self {
        self.actor(key.actor).number(collection_number(key.collection) as u64).text(key.rkey.as_str())
    }

    /// What was taken; nothing is left here.
    pub(crate) fn done(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

/// Gives the values that a [`Writer`] took.
pub(crate) struct Reader<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// `what` says in errors what the bytes are of.
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, rest: bytes }
    }

    pub(crate) fn bad(&self) -> Error {
        corrupt(format_args!("undecodable bytes of {}", self.what))
    }

    pub(crate) fn number(&mut self) -> Result<u64> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or_else(|| self.bad())?;
            self.rest = rest;
            n |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(n);
            }
        }
        Err(self.bad())
    }

    pub(crate) fn signed(&mut self) -> Result<i64> {
        let n = self.number()?;
        Ok((n >> 1) as i64 ^ -((n & 1) as i64))
    }

    pub(crate) fn small(&mut self) -> Result<u32> {
        u32::try_from(self.number()?).map_err(|_| self.bad())
    }

    pub(crate) fn flag(&mut self) -> Result<bool> {
        Ok(self.number()? != 0)
    }

    pub(crate) fn raw(&mut self, n: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or_else(|| self.bad())?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.raw(N)?.try_into().expect("took as many"))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8]> {
        let len = self.number()? as usize;
        self.raw(len)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| self.bad())
    }

    pub(crate) fn actor(&mut self) -> Result<ActorId> {
        Ok(ActorId(self.small()?))
    }

    pub(crate) fn item(&mut self) -> Result<ItemId> {
        Ok(ItemId(self.number()?))
    }

    pub(crate) fn tid(&mut self) -> Result<Tid> {
        Ok(Tid(self.number()?))
    }

    pub(crate) fn cid(&mut self) -> Result<Cid> {
        Ok(Cid::from_digest(self.array()?))
    }

    pub(crate) fn did(&mut self) -> Result<Did> {
        Did::parse(self.text()?).map_err(|_| self.bad())
    }

    pub(crate) fn rkey(&mut self) -> Result<RecordKey> {
        RecordKey::parse(self.text()?).map_err(|_| self.bad())
    }

    pub(crate) fn place(&mut self) -> Result<RecordRef> {
        let actor = self.actor()?;
        let number = self.number()?;
        let collection = i8::try_from(number).ok().and_then(collection_of).ok_or_else(|| self.bad())?;
        Ok(RecordRef { actor, collection, rkey: self.rkey()? })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Nothing may be left.
    pub(crate) fn end(self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.bad()) }
    }
}

/// A collection as a column.
pub(crate) fn collection_number(collection: Collection) -> i8 {
    match collection {
        Collection::Post => 0,
        Collection::Repost => 1,
        Collection::Follow => 2,
    }
}

/// Back from [`collection_number`].
pub(crate) fn collection_of(number: i8) -> Option<Collection> {
    Collection::ALL.into_iter().find(|collection| collection_number(*collection) == number)
}

/// An account as a column. Numbers that don't fit aren't given out.
pub(crate) fn actor_column(actor: ActorId) -> i32 {
    i32::try_from(actor.0).unwrap_or(i32::MAX)
}

/// Back from [`actor_column`].
pub(crate) fn actor_of(column: i32) -> Result<ActorId> {
    u32::try_from(column)
        .map(ActorId)
        .map_err(|_| corrupt(format_args!("{column} is no number of an account")))
}

/// An item as a column. Numbers that don't fit aren't given out.
pub(crate) fn item_column(item: ItemId) -> i64 {
    i64::try_from(item.0).unwrap_or(i64::MAX)
}

/// Back from [`item_column`].
pub(crate) fn item_of(column: i64) -> Result<ItemId> {
    u64::try_from(column).map(ItemId).map_err(|_| corrupt(format_args!("{column} is no number of an item")))
}

/// A record's place of columns.
pub(crate) fn place_of(actor: i32, collection: i8, rkey: &str) -> Result<RecordRef> {
    let bad = || corrupt(format_args!("{actor}, {collection}, {rkey:?} is no place of a record"));
    Ok(RecordRef {
        actor: actor_of(actor)?,
        collection: collection_of(collection).ok_or_else(bad)?,
        rkey: RecordKey::parse(rkey).map_err(|_| bad())?,
    })
}

/// Values for the round-trip properties.
#[cfg(test)]
pub(crate) mod arb {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn rkey() -> impl Strategy<Value = RecordKey> {
        "[a-zA-Z0-9_~:-]{1,40}".prop_map(|text| RecordKey::parse(&text).unwrap())
    }

    pub(crate) fn place() -> impl Strategy<Value = RecordRef> {
        let collection = prop::sample::select(Collection::ALL.to_vec());
        (0..1u32 << 31, collection, rkey()).prop_map(|(actor, collection, rkey)| RecordRef {
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
        fn values_round_trip(n: u64, i: i64, text in ".{0,20}", key in place(), cid in cid(), flag: bool) {
            let mut out = Writer::default();
            out.number(n).signed(i).text(&text).place(&key).raw(cid.digest()).flag(flag);
            let bytes = out.done();
            let mut reader = Reader::new("test", &bytes);
            prop_assert_eq!((reader.number().unwrap(), reader.signed().unwrap()), (n, i));
            prop_assert_eq!(reader.text().unwrap(), text);
            prop_assert_eq!(reader.place().unwrap(), key.clone());
            prop_assert_eq!((reader.cid().unwrap(), reader.flag().unwrap()), (cid, flag));
            reader.end().unwrap();
            let again = place_of(actor_column(key.actor), collection_number(key.collection), key.rkey.as_str());
            prop_assert_eq!(again.unwrap(), key);
        }
    }
}
