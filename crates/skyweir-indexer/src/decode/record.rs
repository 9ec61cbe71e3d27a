//! From a record's value to what a timeline needs of it.
//!
//! The one place that knows the lexicons of our collections, and so far only a part of them: types, dates, subjects,
//! strong references, the length of a text in bytes. Not yet looked at: graphemes, facets, langs, tags, labels, and
//! the insides of embeds. So it lets through records that contract rule 5 leaves out.
//!
//! A record that doesn't pass is left out, also when it replaces one that did: the stored one stays, as in the
//! official AppView.

use skyweir_types::{Collection, Did, Record, RecordKey};

use super::time;
use super::value::Value;
use crate::Skip;

/// Checks a record.
///
/// # Errors
/// The [`Skip`] that says what is wrong with it.
pub fn check_record(collection: Collection, record: &Value<'_>) -> Result<Record, Skip> {
    if record.get("$type").and_then(Value::as_str) != Some(collection.nsid()) {
        return Err(Skip::BadType);
    }
    let created_at = record.get("createdAt").and_then(Value::as_str).and_then(time::micros);
    let created_at = created_at.ok_or(Skip::BadCreatedAt)?.div_euclid(1_000);
    optional(record, "via", strong_ref)?;
    match collection {
        Collection::Post => post(record, created_at),
        Collection::Repost => {
            let subject = record.get("subject").ok_or(Skip::BadSubject)?;
            let uri = subject.get("uri").and_then(Value::as_str).ok_or(Skip::BadSubject)?;
            let cid = subject.get("cid").and_then(Value::as_str).filter(|cid| is_cid(cid));
            let cid = cid.ok_or(Skip::BadSubject)?;
            match authority(uri).ok_or(Skip::BadSubject)? {
                Authority::Did => Ok(Record::Repost { created_at, uri: uri.to_owned(), cid: cid.to_owned() }),
                Authority::Handle => Err(Skip::SubjectHandleAuthority),
            }
        }
        Collection::Follow => {
            let subject = record.get("subject").and_then(Value::as_str).ok_or(Skip::BadSubject)?;
            Ok(Record::Follow { subject: Did::parse(subject).map_err(|_| Skip::BadSubject)? })
        }
    }
}

fn post(record: &Value<'_>, created_at: i64) -> Result<Record, Skip> {
    let text = record.get("text").and_then(Value::as_str).ok_or(Skip::Lexicon)?;
    if text.len() > 3_000 {
        return Err(Skip::Lexicon);
    }
    let reply = optional(record, "reply", |reply| {
        strong_ref(reply.get("root").ok_or(Skip::Lexicon)?)?;
        strong_ref(reply.get("parent").ok_or(Skip::Lexicon)?)
    })?;
    let mut is_quote = false;
    optional(record, "embed", |embed| {
        match embed.get("$type").and_then(Value::as_str).ok_or(Skip::Lexicon)? {
            "app.bsky.embed.record" => {
                is_quote = true;
                strong_ref(embed.get("record").ok_or(Skip::Lexicon)?)
            }
            "app.bsky.embed.recordWithMedia" => {
                is_quote = true;
                strong_ref(embed.get("record").and_then(|record| record.get("record")).ok_or(Skip::Lexicon)?)
            }
            _ => Ok(()),
        }
    })?;
    Ok(Record::Post { created_at, is_reply: reply, is_quote })
}

/// Whether the key is there; what is there has to pass.
fn optional<'v>(
    record: &'v Value<'v>,
    key: &str,
    check: impl FnOnce(&'v Value<'v>) -> Result<(), Skip>,
) -> Result<bool, Skip> {
    match record.get(key) {
        None => Ok(false),
        Some(value) => check(value).map(|()| true),
    }
}

fn strong_ref(value: &Value<'_>) -> Result<(), Skip> {
    let uri = value.get("uri").and_then(Value::as_str).is_some_and(|uri| authority(uri).is_some());
    let cid = value.get("cid").and_then(Value::as_str).is_some_and(is_cid);
    if uri && cid { Ok(()) } else { Err(Skip::Lexicon) }
}

/// CIDs in strong references may be of any kind: versions 0 and 1, blobs as well as records.
fn is_cid(text: &str) -> bool {
    (8..=256).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+=".contains(&byte))
}

enum Authority {
    Did,
    Handle,
}

/// What stands at the head of an AT-URI; `None` when it is none.
fn authority(uri: &str) -> Option<Authority> {
    let rest = uri.strip_prefix("at://").filter(|_| uri.len() <= 8_192)?;
    let mut parts = rest.split('/');
    let head = parts.next()?;
    let head = if head.starts_with("did:") {
        Did::parse(head).ok().map(|_| Authority::Did)
    } else {
        is_handle(head).then_some(Authority::Handle)
    }?;
    if let Some(collection) = parts.next() {
        is_nsid(collection).then_some(())?;
    }
    if let Some(rkey) = parts.next() {
        RecordKey::parse(rkey).ok()?;
    }
    parts.next().is_none().then_some(head)
}

fn is_handle(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253
        && text.contains('.')
        && text.split('.').all(label)
        && last.starts_with(|c: char| c.is_ascii_alphabetic())
}

/// Whether this is the NSID of a collection.
pub(crate) fn is_nsid(text: &str) -> bool {
    let Some((domain, name)) = text.rsplit_once('.') else { return false };
    text.len() <= 317
        && domain.len() <= 253
        && is_handle_like(domain)
        && name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_handle_like(domain: &str) -> bool {
    domain.contains('.')
        && domain.starts_with(|c: char| c.is_ascii_alphabetic())
        && domain.split('.').all(|part| {
            (1..=63).contains(&part.len())
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !part.starts_with('-')
                && !part.ends_with('-')
        })
}
