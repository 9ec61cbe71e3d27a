//! A row of a block, and the event that it tells of.

use sha2::{Digest, Sha256};
use skyweir_types::{Action, Body, Cid, Collection, Did, Event, RecordKey, RecordOp, Tid};

use crate::Skip;
use crate::decode::{Value, account_status, put, whole_value};

const CREATE: u8 = 1;
const UPDATE: u8 = 2;
const DELETE: u8 = 3;
const IDENTITY: u8 = 4;
const ACCOUNT: u8 = 5;
const SYNC: u8 = 6;
/// A record that a resync brought. The format's description doesn't list it, servers write it all the same.
const RESYNCED: u8 = 7;

/// One row: something that happened in one repository. Texts are as they stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// The sequence number, that of the live stream.
    pub seq: u64,
    /// When the archive first saw it, microseconds since 1970.
    pub witnessed_at: i64,
    /// When another index had seen it first; 0: nobody says so.
    pub indexed_at: i64,
    /// 1 create, 2 update, 3 delete, 4 identity, 5 account, 6 sync, 7 create by a resync.
    pub kind: u8,
    /// NSID of the collection; empty when the row is about the account.
    pub collection: &'a [u8],
    /// The repository.
    pub did: &'a [u8],
    /// The record key.
    pub rkey: &'a [u8],
    /// Rev of the commit.
    pub rev: &'a [u8],
    /// The record, or the upstream event's object, as DAG-CBOR.
    pub payload: &'a [u8],
}

impl Row<'_> {
    /// When it was seen first, microseconds since 1970.
    #[must_use]
    pub fn time_us(&self) -> i64 {
        if self.indexed_at == 0 { self.witnessed_at } else { self.indexed_at }
    }

    /// Whether it replaces a record, going by what it says itself.
    pub(super) fn is_update(&self) -> bool {
        self.kind == UPDATE
    }

    /// The event, decoded and checked as those of the live stream; `None` for what is none of ours. No event is later
    /// than `latest_us`.
    ///
    /// A whole repository that was fetched stands in the archive as created at one time, its fetching, and one rev. So a
    /// created record's time is also no later than its key says, where that is a time: else posts that are dated ahead
    /// would all rise to the top.
    ///
    /// # Errors
    /// The [`Skip`] that says why it is left out.
    pub fn event(&self, latest_us: i64) -> Result<Option<Event>, Skip> {
        let mut time_us = self.time_us().min(latest_us);
        let body = match self.kind {
            CREATE | UPDATE | DELETE | RESYNCED => match self.operation()? {
                None => return Ok(None),
                Some(op) => {
                    if let CREATE | RESYNCED = self.kind
                        && let Ok(tid) = Tid::parse(op.rkey.as_str())
                    {
                        time_us = time_us.min(i64::try_from(tid.micros()).unwrap_or(i64::MAX));
                    }
                    Body::Record(op)
                }
            },
            IDENTITY => return Ok(None),
            ACCOUNT => Body::Account(account_status(&self.object()?)?),
            SYNC => Body::Sync { rev: self.rev()?, records_follow: true },
            _ => return Err(Skip::UnknownKind),
        };
        let did = Did::parse(text(self.did, Skip::BadDid)?).map_err(|_| Skip::BadDid)?;
        Ok(Some(Event { did, time_us, body }))
    }

    fn operation(&self) -> Result<Option<RecordOp>, Skip> {
        let nsid = text(self.collection, Skip::BadPath)?;
        let Some(collection) = Collection::from_nsid(nsid) else { return Ok(None) };
        let rev = self.rev()?;
        let rkey = RecordKey::parse(text(self.rkey, Skip::BadRkey)?).map_err(|_| Skip::BadRkey)?;
        let action = match self.kind {
            DELETE => Action::Delete,
            _ if self.payload.is_empty() => return Err(Skip::MissingRecord),
            _ => put(collection, Cid::from_digest(Sha256::digest(self.payload).into()), self.payload)?,
        };
        Ok(Some(RecordOp { rev, collection, rkey, action }))
    }

    fn rev(&self) -> Result<Tid, Skip> {
        Tid::parse(text(self.rev, Skip::BadRev)?).map_err(|_| Skip::BadRev)
    }

    fn object(&self) -> Result<Value<'_>, Skip> {
        whole_value(self.payload).map_err(|_| Skip::Undecodable)
    }
}

fn text(bytes: &[u8], skip: Skip) -> Result<&str, Skip> {
    std::str::from_utf8(bytes).map_err(|_| skip)
}
