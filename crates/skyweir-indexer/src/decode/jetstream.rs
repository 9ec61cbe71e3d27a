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

/// The texts of a commit.
#[derive(Clone, Copy, Default)]
pub(super) struct Parts<'a> {
    pub(super) did: &'a str,
    pub(super) rev: &'a str,
    pub(super) operation: &'a str,
    pub(super) collection: &'a str,
    pub(super) rkey: &'a str,
    pub(super) cid: &'a str,
}

impl<'a> Commit<'a> {
    /// The event of this commit; `None` for other collections.
    pub(super) fn event(&'a self, did: &'a str, time_us: i64) -> Result<Option<Event>, Skip> {
        let parts = Parts {
            did,
            rev: &self.rev,
            operation: &self.operation,
            collection: &self.collection,
            rkey: &self.rkey,
            cid: &self.cid,
        };
        parts.event(time_us, self.record.map(|raw| || Value::from_json(raw.get())))
    }
}

impl<'a> Parts<'a> {
    /// The event; `None` for other collections. The record is only asked for when it counts.
    pub(super) fn event(
        &self,
        time_us: i64,
        record: Option<impl FnOnce() -> Result<Value<'a>, Skip>>,
    ) -> Result<Option<Event>, Skip> {
        let Some(collection) = Collection::from_nsid(self.collection) else { return Ok(None) };
        let did = Did::parse(self.did).map_err(|_| Skip::BadDid)?;
        let rev = Tid::parse(self.rev).map_err(|_| Skip::BadRev)?;
        let rkey = RecordKey::parse(self.rkey).map_err(|_| Skip::BadRkey)?;
        let action = match self.operation {
            "create" | "update" => self.put(collection, record)?,
            "delete" => Action::Delete,
            _ => return Err(Skip::UnknownOperation),
        };
        Ok(Some(Event { did, time_us, body: Body::Record(RecordOp { rev, collection, rkey, action }) }))
    }

    fn put(
        &self,
        collection: Collection,
        record: Option<impl FnOnce() -> Result<Value<'a>, Skip>>,
    ) -> Result<Action, Skip> {
        let read = record.ok_or(Skip::MissingRecord)?;
        if self.cid.is_empty() {
            return Err(Skip::MissingRecord);
        }
        let cid = Cid::parse(self.cid).map_err(|_| Skip::BadCid)?;
        let record = check_record(collection, &read()?)?;
        Ok(Action::Put { cid, record })
    }
}

/// The event of an account's change.
pub(super) fn account(did: &str, time_us: i64, account: &Account<'_>) -> Result<Option<Event>, Skip> {
    let did = Did::parse(did).map_err(|_| Skip::BadDid)?;
    let status = AccountStatus::from_event(account.active, account.status.as_deref());
    Ok(Some(Event { did, time_us, body: Body::Account(status) }))
}
