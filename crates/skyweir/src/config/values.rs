//! Values that TOML has no type for.

use std::fmt;

use serde::Deserializer;
use serde::de::{Error, Visitor};
use skyweir_indexer::CursorChoice;
use skyweir_types::DrawKey;

use crate::cli::Age;

/// `"live"`, `"auto"`, or a number, quoted or not.
pub(super) fn cursor<'de, D: Deserializer<'de>>(from: D) -> Result<CursorChoice, D::Error> {
    struct Cursor;
    impl Visitor<'_> for Cursor {
        type Value = CursorChoice;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("\"live\", \"auto\" or a number from 0 on")
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<CursorChoice, E> {
            let wrong = |_| E::invalid_value(serde::de::Unexpected::Signed(number), &self);
            u64::try_from(number).map(CursorChoice::At).map_err(wrong)
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<CursorChoice, E> {
            Ok(CursorChoice::At(number))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<CursorChoice, E> {
            text.parse().map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
        }
    }
    from.deserialize_any(Cursor)
}

/// `"365d"`, `"36h"` or `"all"`.
pub(super) fn age<'de, D: Deserializer<'de>>(from: D) -> Result<Age, D::Error> {
    struct Words;
    impl Visitor<'_> for Words {
        type Value = Age;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an age in quotes, for example \"365d\", \"36h\" or \"all\"")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Age, E> {
            text.parse().map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
        }
    }
    from.deserialize_any(Words)
}

/// 32 hexadecimal digits.
pub(super) fn draw_key<'de, D: Deserializer<'de>>(from: D) -> Result<DrawKey, D::Error> {
    struct Key;
    impl Visitor<'_> for Key {
        type Value = DrawKey;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("32 hexadecimal digits")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<DrawKey, E> {
            let plain = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
            match u128::from_str_radix(text, 16) {
                Ok(key) if plain => Ok(DrawKey::new(key)),
                // the key itself stays out of messages
                _ => Err(E::custom("invalid value, expected 32 hexadecimal digits")),
            }
        }
    }
    from.deserialize_str(Key)
}
