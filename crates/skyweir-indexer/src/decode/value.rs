//! Records as values of the AT Protocol data model, alike from JSON and DAG-CBOR.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use data_encoding::{BASE32_NOPAD, BASE64_NOPAD};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::json;

use crate::Skip;

/// Deeper records are left out. Honest ones have some ten levels.
pub(crate) const DEEPEST: usize = 64;

/// A value of the data model; strings and bytes are borrowed from the message where that is possible.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Nothing.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number; there are no others.
    Int(i64),
    /// Bytes (`$bytes` in JSON).
    Bytes(Cow<'a, [u8]>),
    /// Text.
    Text(Cow<'a, str>),
    /// A link as binary CID (`$link` in JSON; from JSON it stays a map, as nothing that we read is a link).
    Link(&'a [u8]),
    /// A list.
    Array(Vec<Value<'a>>),
    /// A map, in the order of the message. Keys that come twice in JSON: the last one counts.
    Map(Vec<(Cow<'a, str>, Value<'a>)>),
}

impl<'a> Value<'a> {
    /// The value of a key, when this is a map that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        match self {
            Self::Map(entries) => entries.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text, when this is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number, when this is one.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// Reads a record from JSON.
    ///
    /// # Errors
    /// [`Skip::TooDeep`], and [`Skip::BadRecord`] for all else, also for numbers that the data model doesn't have.
    pub fn from_json(text: &'a str) -> Result<Self, Skip> {
        let too_deep = Cell::new(false);
        let mut reader = serde_json::Deserializer::from_str(text);
        let seed = Node { depth: 0, too_deep: &too_deep };
        match seed.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value)) {
            Ok(value) => Ok(value),
            Err(_) if too_deep.get() => Err(Skip::TooDeep),
            Err(_) => Err(Skip::BadRecord),
        }
    }

    /// The value in AT Protocol JSON.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(truth) => json!(truth),
            Self::Int(number) => json!(number),
            Self::Text(text) => json!(text),
            Self::Bytes(bytes) => json!({"$bytes": BASE64_NOPAD.encode(bytes)}),
            Self::Link(cid) => json!({"$link": cid_text(cid)}),
            Self::Array(items) => items.iter().map(Self::to_json).collect(),
            Self::Map(entries) => {
                let entries = entries.iter().map(|(key, value)| (key.to_string(), value.to_json()));
                serde_json::Value::Object(entries.collect())
            }
        }
    }
}

/// The text form of a binary CID of version 1.
#[must_use]
pub fn cid_text(cid: &[u8]) -> String {
    format!("b{}", BASE32_NOPAD.encode(cid).to_ascii_lowercase())
}

struct Node<'c> {
    depth: usize,
    too_deep: &'c Cell<bool>,
}

impl<'c> Node<'c> {
    fn child<E: serde::de::Error>(&self) -> Result<Node<'c>, E> {
        if self.depth >= DEEPEST {
            self.too_deep.set(true);
            return Err(E::custom("too deep"));
        }
        Ok(Node { depth: self.depth + 1, too_deep: self.too_deep })
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of the data model")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value<'de>, E> {
        Ok(Value::Int(number))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Value<'de>, E> {
        i64::try_from(number).map(Value::Int).map_err(|_| E::custom("out of range"))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value<'de>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self.child()?)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value<'de>, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key_seed(Key)? {
            map.push((key, entries.next_value_seed(self.child()?)?));
        }
        Ok(Value::Map(map))
    }
}

/// A key, borrowed if it has no escapes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}
