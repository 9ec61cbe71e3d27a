//! Messages of the legacy Jetstream stream, `/subscribe`; also the lines of a replay file.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::jetstream::{Account, Commit, account, object};
use super::straight::v1_commit;
use super::{Decoded, UNKNOWN_TIME};
use crate::Skip;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    did: Cow<'a, str>,
    #[serde(default)]
    time_us: i64,
    #[serde(borrow, default)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    commit: Option<&'a RawValue>,
    #[serde(borrow, default)]
    account: Option<&'a RawValue>,
}

/// Decodes one event. Its position is its `time_us`.
#[must_use]
pub fn v1_message(text: &[u8]) -> Decoded {
    v1_commit(text).unwrap_or_else(|| any_message(text))
}

pub(super) fn any_message(text: &[u8]) -> Decoded {
    let Ok(envelope) = serde_json::from_slice::<Envelope<'_>>(text) else {
        return Decoded::skip(None, UNKNOWN_TIME, Skip::Undecodable);
    };
    let time_us = envelope.time_us;
    let Some(position) = u64::try_from(time_us).ok().filter(|time| *time > 0) else {
        return Decoded::skip(None, UNKNOWN_TIME, Skip::BadTime);
    };
    let event = match &*envelope.kind {
        "commit" => object::<Commit<'_>>(envelope.commit).and_then(|body| body.event(&envelope.did, time_us)),
        "account" => {
            object::<Account<'_>>(envelope.account).and_then(|body| account(&envelope.did, time_us, &body))
        }
        "identity" => Ok(None),
        _ => Err(Skip::UnknownKind),
    };
    Decoded::of(Some(position), time_us, event)
}
