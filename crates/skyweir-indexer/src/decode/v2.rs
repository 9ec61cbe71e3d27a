//! Messages of `network.bsky.jetstream.subscribeEvents`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use skyweir_types::{Body, Datetime, Did, Event, Tid};

use super::jetstream::{Account, Commit, account, object};
use super::straight::v2_commit;
use super::{Decoded, Notice, UNKNOWN_TIME};
use crate::Skip;

/// Sequence numbers are below this: as cursors, greater ones are times.
pub(super) const SEQ_END: u64 = 1_000_000_000_000_000;

#[derive(Deserialize)]
struct Outer<'a> {
    #[serde(borrow, rename = "$type", default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Cow<'a, str>,
    #[serde(borrow, default)]
    message: Cow<'a, str>,
}

/// What all payloads have; the commit's fields are read in a second pass, from the same text.
#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow, rename = "$type", default)]
    kind: Cow<'a, str>,
    #[serde(default)]
    seq: Option<u64>,
    #[serde(borrow, default)]
    did: Cow<'a, str>,
    #[serde(borrow, default)]
    time: Cow<'a, str>,
    #[serde(borrow, default)]
    account: Option<&'a RawValue>,
    #[serde(borrow, default)]
    sync: Option<&'a RawValue>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    message: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Sync<'a> {
    #[serde(borrow, default)]
    rev: Cow<'a, str>,
}

/// Decodes one message. Its position is its `seq`.
#[must_use]
pub fn v2_message(text: &[u8]) -> Decoded {
    v2_commit(text).unwrap_or_else(|| any_message(text))
}

pub(super) fn any_message(text: &[u8]) -> Decoded {
    let Ok(outer) = serde_json::from_slice::<Outer<'_>>(text) else {
        return Decoded::skip(None, UNKNOWN_TIME, Skip::Undecodable);
    };
    match &*outer.kind {
        "message" => {}
        "error" => return Decoded::notice(Notice::error(&outer.error, &outer.message)),
        _ => return Decoded::skip(None, UNKNOWN_TIME, Skip::UnknownKind),
    }
    let Ok(payload) = object::<Payload<'_>>(outer.payload) else {
        return Decoded::skip(None, UNKNOWN_TIME, Skip::Undecodable);
    };
    let kind = payload.kind.rsplit('#').next().unwrap_or_default();
    if kind == "info" {
        return Decoded::notice(Notice::info(&payload.name, &payload.message));
    }
    let Some(seq) = payload.seq.filter(|seq| *seq < SEQ_END) else {
        let skip = if is_known(kind) { Skip::Undecodable } else { Skip::UnknownKind };
        return Decoded::skip(None, UNKNOWN_TIME, skip);
    };
    let Ok(time_us) = Datetime::parse(&payload.time).map(Datetime::micros) else {
        return Decoded::skip(Some(seq), UNKNOWN_TIME, Skip::BadTime);
    };
    let event = match kind {
        "commit" => object::<Commit<'_>>(outer.payload).and_then(|body| body.event(&payload.did, time_us)),
        "account" => {
            object::<Account<'_>>(payload.account).and_then(|body| account(&payload.did, time_us, &body))
        }
        "sync" => object::<Sync<'_>>(payload.sync).and_then(|body| sync(&payload.did, time_us, &body)),
        "identity" => Ok(None),
        _ => Err(Skip::UnknownKind),
    };
    Decoded::of(Some(seq), time_us, event)
}

fn is_known(kind: &str) -> bool {
    matches!(kind, "commit" | "account" | "sync" | "identity")
}

fn sync(did: &str, time_us: i64, sync: &Sync<'_>) -> Result<Option<Event>, Skip> {
    let did = Did::parse(did).map_err(|_| Skip::BadDid)?;
    let rev = Tid::parse(&sync.rev).map_err(|_| Skip::BadRev)?;
    Ok(Some(Event { did, time_us, body: Body::Sync { rev, records_follow: true } }))
}
