//! DAG-CBOR: definite lengths, string keys, no fractions, tag 42 only.

use std::borrow::Cow;

use minicbor::data::Type;
use minicbor::decode::Decoder;

use super::value::{DEEPEST, Value};
use crate::Skip;

/// Reads one value and tells what is behind it.
///
/// # Errors
/// [`Skip::TooDeep`], and [`Skip::BadRecord`] for everything that isn't DAG-CBOR.
pub fn first_value(bytes: &[u8]) -> Result<(Value<'_>, &[u8]), Skip> {
    let mut decoder = Decoder::new(bytes);
    let value = read(&mut decoder, 0)?;
    Ok((value, &bytes[decoder.position()..]))
}

/// Reads one value that fills all of the bytes.
///
/// # Errors
/// As [`first_value`], and [`Skip::BadRecord`] when something is behind it.
pub fn whole_value(bytes: &[u8]) -> Result<Value<'_>, Skip> {
    match first_value(bytes)? {
        (value, []) => Ok(value),
        _ => Err(Skip::BadRecord),
    }
}

fn read<'b>(decoder: &mut Decoder<'b>, depth: usize) -> Result<Value<'b>, Skip> {
    if depth > DEEPEST {
        return Err(Skip::TooDeep);
    }
    let bad = |_| Skip::BadRecord;
    Ok(match decoder.datatype().map_err(bad)? {
        Type::Null => {
            decoder.null().map_err(bad)?;
            Value::Null
        }
        Type::Bool => Value::Bool(decoder.bool().map_err(bad)?),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 | Type::I8 | Type::I16 | Type::I32 | Type::I64 => {
            Value::Int(decoder.i64().map_err(bad)?)
        }
        Type::Bytes => Value::Bytes(Cow::Borrowed(decoder.bytes().map_err(bad)?)),
        Type::String => Value::Text(Cow::Borrowed(decoder.str().map_err(bad)?)),
        Type::Array => {
            let count = decoder.array().map_err(bad)?.ok_or(Skip::BadRecord)?;
            let mut items = Vec::with_capacity(sane(decoder, count)?);
            for _ in 0..count {
                items.push(read(decoder, depth + 1)?);
            }
            Value::Array(items)
        }
        Type::Map => {
            let count = decoder.map().map_err(bad)?.ok_or(Skip::BadRecord)?;
            let mut entries: Vec<(Cow<'b, str>, Value<'b>)> = Vec::with_capacity(sane(decoder, count)?);
            for _ in 0..count {
                let key = decoder.str().map_err(bad)?;
                let value = read(decoder, depth + 1)?;
                entries.push((Cow::Borrowed(key), value));
            }
            unique(&entries)?;
            Value::Map(entries)
        }
        Type::Tag => {
            if decoder.tag().map_err(bad)?.as_u64() != 42 {
                return Err(Skip::BadRecord);
            }
            match decoder.bytes().map_err(bad)? {
                [0, cid @ ..] if !cid.is_empty() => Value::Link(cid),
                _ => return Err(Skip::BadRecord),
            }
        }
        _ => return Err(Skip::BadRecord),
    })
}

/// How much room to make: a claimed length that the rest can't hold is a lie, and room for many is made as they come.
fn sane(decoder: &Decoder<'_>, count: u64) -> Result<usize, Skip> {
    let left = decoder.input().len() - decoder.position();
    let count = usize::try_from(count).map_err(|_| Skip::BadRecord)?;
    if count > left { Err(Skip::BadRecord) } else { Ok(count.min(64)) }
}

fn unique(entries: &[(Cow<'_, str>, Value<'_>)]) -> Result<(), Skip> {
    let twice = if entries.len() <= 16 {
        entries.iter().enumerate().any(|(i, (key, _))| entries[..i].iter().any(|(other, _)| other == key))
    } else {
        let mut keys: Vec<&str> = entries.iter().map(|(key, _)| key.as_ref()).collect();
        keys.sort_unstable();
        keys.windows(2).any(|pair| pair[0] == pair[1])
    };
    if twice { Err(Skip::BadRecord) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_dag_cbor_is_refused() {
        for bytes in [
            &b""[..],
            b"\x18",
            b"\xf9\x3c\x00",                         // a fraction
            b"\x9f\x01\xff",                         // indefinite
            b"\xa1\x01\x02",                         // a key that is no text
            b"\xa2\x61a\x01\x61a\x02",               // a key twice
            b"\xc1\x01",                             // another tag
            b"\xd8\x2a\x41\x00",                     // an empty link
            b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff", // a length that is a lie
            b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff", // a number out of range
            b"\x61\xff",                             // no UTF-8
            b"\x01\x01",                             // two values
        ] {
            assert_eq!(whole_value(bytes), Err(Skip::BadRecord), "{bytes:02x?}");
        }
        assert_eq!(whole_value(&vec![0x81; 1_000_000]), Err(Skip::TooDeep));
        assert_eq!(whole_value(b"\x38\x18"), Ok(Value::Int(-25)));
    }
}
