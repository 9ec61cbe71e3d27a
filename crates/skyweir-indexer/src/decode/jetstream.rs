//! What both Jetstream streams have in common: one operation an event, records in JSON.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use skyweir_types::{AccountStatus, Action, Body, Cid, Collection, Did, Event, RecordKey, RecordOp, Tid};

use super::record::check_record;
use super::value::Value;
use crate::Skip;

/// The fields of a commit, whichever envelope they come in.
#[derive(Deserialize)]
pub(super) struct Commit<'a> {
    #[serde(borrow, default)]
    pub(super) rev: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) operation: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) collection: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) rkey: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(super) record: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) cid: Cow<'a, str>,
}

/// The fields of an upstream account object that count.
#[derive(Deserialize)]
pub(super) struct Account<'a> {
    active: bool,
    #[serde(borrow, default)]
    status: Option<Cow<'a, str>>,
}

/// An upstream object, parsed only when its kind is known.
pub(super) fn object<'a, T: Deserialize<'a>>(raw: Option<&'a RawValue>) -> Result<T, Skip> {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).ok_or(Skip::Undecodable)
}

/// The event of a commit; `None` for other collections.
pub(super) fn commit(did: &str, time_us: i64, commit: &Commit<'_>) -> Result<Option<Event>, Skip> {
    let Some(collection) = Collection::from_nsid(&commit.collection) else { return Ok(None) };
    let did = Did::parse(did).map_err(|_| Skip::BadDid)?;
    let rev = Tid::parse(&commit.rev).map_err(|_| Skip::BadRev)?;
    let rkey = RecordKey::parse(&commit.rkey).map_err(|_| Skip::BadRkey)?;
    let action = match &*commit.operation {
        "create" | "update" => {
            let raw = commit.record.ok_or(Skip::MissingRecord)?;
            if commit.cid.is_empty() {
                return Err(Skip::MissingRecord);
            }
            let cid = Cid::parse(&commit.cid).map_err(|_| Skip::BadCid)?;
            let record = check_record(collection, &Value::from_json(raw.get())?)?;
            Action::Put { cid, record }
        }
        "delete" => Action::Delete,
        _ => return Err(Skip::UnknownOperation),
    };
    Ok(Some(Event { did, time_us, body: Body::Record(RecordOp { rev, collection, rkey, action }) }))
}

/// The event of an account's change.
pub(super) fn account(did: &str, time_us: i64, account: &Account<'_>) -> Result<Option<Event>, Skip> {
    let did = Did::parse(did).map_err(|_| Skip::BadDid)?;
    let status = AccountStatus::from_event(account.active, account.status.as_deref());
    Ok(Some(Event { did, time_us, body: Body::Account(status) }))
}
