//! The check of a value against its schema, as the official `lex-schema` does it in strict mode.

use std::borrow::Cow;

use skyweir_types::{graphemes_within, is_raw_cid, is_raw_cid_bytes};

use super::schema::{Object, Schema};
use crate::decode::value::Value;

impl Object {
    /// The first field that offends against the schema; `None` when the value passes.
    ///
    /// The `$type` isn't looked at.
    pub(crate) fn offence(&self, value: &Value<'_>) -> Option<&'static str> {
        let offends = |field: &&super::schema::Field| match value.get(field.name) {
            None => field.required,
            Some(value) => !field.schema.passes(value),
        };
        self.fields.iter().find(offends).map(|field| field.name)
    }

    fn passes(&self, value: &Value<'_>) -> bool {
        let named = match value.get("$type") {
            None => matches!(value, Value::Map(_)),
            Some(name) => name.as_str() == Some(self.name),
        };
        named && self.offence(value).is_none()
    }
}

impl Schema {
    fn passes(&self, value: &Value<'_>) -> bool {
        match self {
            Self::Integer { least, most } => {
                value.as_int().is_some_and(|number| (*least..=*most).contains(&number))
            }
            Self::Text { bytes, graphemes, format } => value.as_str().is_some_and(|text| {
                text.len() <= *bytes
                    && graphemes_within(text, *graphemes)
                    && format.is_none_or(|format| format.accepts(text))
            }),
            Self::Blob { accept, size } => is_blob(value, accept, *size),
            Self::Array { items, most } => {
                matches!(value, Value::Array(list) if list.len() <= *most && list.iter().all(|item| items.passes(item)))
            }
            Self::Object(object) => object.passes(value),
            Self::OpenUnion(members) => value.get("$type").and_then(Value::as_str).is_some_and(|name| {
                members.iter().find(|member| member.name == name).is_none_or(|member| member.passes(value))
            }),
        }
    }
}

/// Blobs are checked as records state them; nobody looks whether the blob exists. The older form, `cid` and `mimeType`
/// without a `$type`, doesn't tell the size and is refused.
fn is_blob(value: &Value<'_>, accept: &[&str], most: i64) -> bool {
    let Value::Map(entries) = value else { return false };
    let text = |key| value.get(key).and_then(Value::as_str);
    text("$type") == Some("blob")
        && text("mimeType")
            .is_some_and(|mime| mime.contains('/') && accept.iter().any(|known| accepts(known, mime)))
        && value.get("size").and_then(Value::as_int).is_some_and(|size| (0..=most).contains(&size))
        && value.get("ref").is_some_and(is_raw_link)
        && entries.iter().all(|(key, _)| matches!(key.as_ref(), "$type" | "mimeType" | "size" | "ref"))
}

fn accepts(known: &str, mime: &str) -> bool {
    match known.strip_suffix('*') {
        Some("*/") => true,
        Some(kind) if kind.ends_with('/') => mime.starts_with(kind),
        _ => mime == known,
    }
}

/// Links are maps still where they come from JSON.
fn is_raw_link(value: &Value<'_>) -> bool {
    match value {
        Value::Link(cid) => is_raw_cid_bytes(cid),
        Value::Map(entries) => matches!(
            entries.as_slice(),
            [(Cow::Borrowed("$link"), Value::Text(cid))] if is_raw_cid(cid)
        ),
        _ => false,
    }
}
