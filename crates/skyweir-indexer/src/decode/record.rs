//! From a record's value to what a timeline needs of it.
//!
//! A record that doesn't pass its lexicon is left out, also when it replaces one that did: the stored one stays, as in
//! the official AppView.

use skyweir_types::{AtUri, Collection, Datetime, Did, Record};

use super::lexicon::{APP_BSKY_FEED_POST, APP_BSKY_FEED_REPOST, APP_BSKY_GRAPH_FOLLOW};
use super::value::Value;
use crate::Skip;

/// Checks a record.
///
/// # Errors
/// The [`Skip`] that says what is wrong with it.
pub fn check_record(collection: Collection, record: &Value<'_>) -> Result<Record, Skip> {
    if text(record, &["$type"]) != Some(collection.nsid()) {
        return Err(Skip::BadType);
    }
    let lexicon = match collection {
        Collection::Post => &APP_BSKY_FEED_POST,
        Collection::Repost => &APP_BSKY_FEED_REPOST,
        Collection::Follow => &APP_BSKY_GRAPH_FOLLOW,
    };
    match lexicon.offence(record) {
        None => {}
        Some("createdAt") => return Err(Skip::BadCreatedAt),
        Some("subject") => return Err(Skip::BadSubject),
        Some(_) => return Err(Skip::Lexicon),
    }
    match collection {
        Collection::Post => Ok(Record::Post {
            created_at: created_at(record)?,
            is_reply: record.get("reply").is_some(),
            is_quote: matches!(
                text(record, &["embed", "$type"]),
                Some("app.bsky.embed.record" | "app.bsky.embed.recordWithMedia")
            ),
        }),
        Collection::Repost => {
            let uri = text(record, &["subject", "uri"]).ok_or(Skip::BadSubject)?;
            let cid = text(record, &["subject", "cid"]).ok_or(Skip::BadSubject)?;
            if !AtUri::parse(uri).map_err(|_| Skip::BadSubject)?.has_did() {
                return Err(Skip::SubjectHandleAuthority);
            }
            Ok(Record::Repost { created_at: created_at(record)?, uri: uri.to_owned(), cid: cid.to_owned() })
        }
        Collection::Follow => {
            let subject = text(record, &["subject"]).ok_or(Skip::BadSubject)?;
            Ok(Record::Follow { subject: Did::parse(subject).map_err(|_| Skip::BadSubject)? })
        }
    }
}

fn created_at(record: &Value<'_>) -> Result<i64, Skip> {
    let text = text(record, &["createdAt"]).ok_or(Skip::BadCreatedAt)?;
    Datetime::parse(text).map(Datetime::millis).map_err(|_| Skip::BadCreatedAt)
}

/// The text at the end of a path of keys.
fn text<'v>(value: &'v Value<'_>, path: &[&str]) -> Option<&'v str> {
    path.iter().try_fold(value, |value, key| value.get(key))?.as_str()
}
