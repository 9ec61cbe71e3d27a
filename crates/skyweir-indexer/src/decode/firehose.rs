//! Frames of `com.atproto.sync.subscribeRepos`: two DAG-CBOR values, and records in an archive.

use skyweir_types::{
    AccountStatus, Action, Body, Cid, Collection, Datetime, Did, Event, RecordKey, RecordOp, Tid, is_nsid,
};

use super::car::Blocks;
use super::record::check_record;
use super::value::Value;
use super::{Decoded, Link, Notice, UNKNOWN_TIME, cbor};
use crate::Skip;

/// More operations than the protocol allows are left out.
const MOST_OPS: usize = 200;
/// Larger records are left out; the protocol allows 1 MB.
const MOST_RECORD_BYTES: usize = 1 << 20;
/// Sequence numbers are below this; greater ones are lies that would send the cursor out of reach.
const SEQ_END: u64 = 1 << 53;
/// How far a rev may be ahead of its event, microseconds.
pub(crate) const AHEAD_US: i64 = 300_000_000;

/// A frame taken apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Message<'a> {
    /// The kind with its `#`, or `error`.
    pub kind: String,
    /// The payload.
    pub body: Value<'a>,
}

/// One operation of a commit, of any collection.
#[derive(Clone, Debug, PartialEq)]
pub struct Op<'a> {
    /// `create`, `update` or `delete`.
    pub action: &'a str,
    /// NSID of the collection.
    pub collection: &'a str,
    /// The record key.
    pub rkey: &'a str,
    /// The record's binary CID; none on a delete.
    pub cid: Option<&'a [u8]>,
    /// The bytes of the record, their hash checked; none on a delete.
    pub record: Option<&'a [u8]>,
}

/// Takes a frame apart.
///
/// # Errors
/// [`Skip`]: it can't be read.
pub fn firehose_message(frame: &[u8]) -> Result<Message<'_>, Skip> {
    let undecodable = |skip| if skip == Skip::TooDeep { skip } else { Skip::Undecodable };
    let (header, rest) = cbor::first_value(frame).map_err(undecodable)?;
    let op = header.get("op").and_then(Value::as_int).ok_or(Skip::Undecodable)?;
    let kind = match (op, header.get("t").and_then(Value::as_str)) {
        (1, Some(kind)) => kind.to_owned(),
        (1, None) => return Err(Skip::Undecodable),
        (-1, _) => "error".to_owned(),
        _ => return Err(Skip::UnknownKind),
    };
    let (body, rest) = cbor::first_value(rest).map_err(undecodable)?;
    if rest.is_empty() { Ok(Message { kind, body }) } else { Err(Skip::TrailingBytes) }
}

/// Decodes a frame. Its position is its `seq`.
#[must_use]
pub fn firehose_frame(frame: &[u8]) -> Decoded {
    let message = match firehose_message(frame) {
        Ok(message) => message,
        Err(skip) => return Decoded::skip(None, UNKNOWN_TIME, skip),
    };
    let text = |key| message.body.get(key).and_then(Value::as_str).unwrap_or_default();
    match message.kind.as_str() {
        "error" => return Decoded::notice(Notice::error(text("error"), text("message"))),
        "#info" => return Decoded::notice(Notice::info(text("name"), text("message"))),
        _ => {}
    }
    let seq = message.body.get("seq").and_then(Value::as_int).and_then(|seq| u64::try_from(seq).ok());
    let seq = seq.filter(|seq| *seq < SEQ_END);
    let known = matches!(message.kind.as_str(), "#commit" | "#sync" | "#account" | "#identity");
    if !known {
        return Decoded::skip(seq, UNKNOWN_TIME, Skip::UnknownKind);
    }
    let Some(seq) = seq else { return Decoded::skip(None, UNKNOWN_TIME, Skip::Undecodable) };
    let Ok(time_us) = Datetime::parse(text("time")).map(Datetime::micros) else {
        return Decoded::skip(Some(seq), UNKNOWN_TIME, Skip::BadTime);
    };
    let mut decoded = Decoded::of(Some(seq), time_us, Ok(None));
    if let Err(skip) = message.events(time_us, &mut decoded) {
        decoded.skipped.push(skip);
    }
    decoded
}

impl<'a> Message<'a> {
    fn events(&self, time_us: i64, into: &mut Decoded) -> Result<(), Skip> {
        let did = self.body.get("repo").or_else(|| self.body.get("did")).and_then(Value::as_str);
        let did = did.and_then(|did| Did::parse(did).ok()).ok_or(Skip::BadDid)?;
        let body = match self.kind.as_str() {
            "#account" => Body::Account(account_status(&self.body)?),
            "#sync" => {
                let rev = self.rev(time_us)?;
                into.link = Some(Link { did: did.clone(), since: None, rev, is_marked: true });
                Body::Sync { rev, records_follow: false }
            }
            "#commit" => return self.commit(did, time_us, into),
            _ => return Ok(()),
        };
        into.events.push(Event { did, time_us, body });
        Ok(())
    }

    fn commit(&self, did: Did, time_us: i64, into: &mut Decoded) -> Result<(), Skip> {
        let rev = self.rev(time_us)?;
        let is = |flag| self.body.get(flag) == Some(&Value::Bool(true));
        // both are of before: now they are `#sync`
        let (is_too_big, is_rebase) = (is("tooBig"), is("rebase"));
        if (is_too_big || is_rebase) && self.is_bare() {
            let body = Body::Sync { rev, records_follow: false };
            into.events.push(Event { did: did.clone(), time_us, body });
            into.link = Some(Link { did, since: None, rev, is_marked: true });
            return if is_too_big { Err(Skip::TooBigCommit) } else { Ok(()) };
        }
        let mut seen: Vec<(&str, &str)> = Vec::new();
        let before = into.skipped.len();
        let ops = self.ops_of(&mut into.skipped, |nsid| Collection::from_nsid(nsid).is_some());
        // the repository knows what these were; a record that is none is none there, too
        let is_lost = |skip: &Skip| !matches!(skip, Skip::BadPath | Skip::BadCar);
        let is_whole = !into.skipped[before..].iter().any(is_lost);
        for op in ops {
            if seen.contains(&(op.collection, op.rkey)) {
                into.skipped.push(Skip::DuplicatePath);
            }
            seen.push((op.collection, op.rkey));
            match record_op(&op, rev) {
                Ok(op) => into.events.push(Event { did: did.clone(), time_us, body: Body::Record(op) }),
                Err(skip) => into.skipped.push(skip),
            }
        }
        let since = self.body.get("since").and_then(Value::as_str).and_then(|rev| Tid::parse(rev).ok());
        into.link = is_whole.then_some(Link { did, since, rev, is_marked: false });
        Ok(())
    }

    /// Whether a commit comes without records: an empty archive, or the commit's own block alone.
    fn is_bare(&self) -> bool {
        self.blocks().is_empty() || self.body.get("ops") == Some(&Value::Array(Vec::new()))
    }

    fn rev(&self, time_us: i64) -> Result<Tid, Skip> {
        let rev = self.body.get("rev").and_then(Value::as_str).ok_or(Skip::BadRev)?;
        let rev = Tid::parse(rev).map_err(|_| Skip::BadRev)?;
        // 54 bits of microseconds always fit
        let ahead = i64::try_from(rev.micros()).unwrap_or(i64::MAX).saturating_sub(time_us);
        if ahead > AHEAD_US { Err(Skip::FutureRev) } else { Ok(rev) }
    }

    fn blocks(&self) -> &[u8] {
        match self.body.get("blocks") {
            Some(Value::Bytes(bytes)) => bytes,
            _ => &[],
        }
    }

    /// The operations of a commit, of all collections, in order. What can't be read is added to `skipped`.
    #[must_use]
    pub fn ops(&self, skipped: &mut Vec<Skip>) -> Vec<Op<'_>> {
        self.ops_of(skipped, |_| true)
    }

    fn ops_of(&self, skipped: &mut Vec<Skip>, wanted: impl Fn(&str) -> bool) -> Vec<Op<'_>> {
        let Some(Value::Array(items)) = self.body.get("ops") else {
            skipped.push(Skip::Undecodable);
            return Vec::new();
        };
        if items.len() > MOST_OPS {
            skipped.push(Skip::TooManyOps);
        }
        // most commits hold nothing of ours: their archives stay closed
        let mut blocks = None;
        let mut ops = Vec::new();
        for item in items.iter().take(MOST_OPS) {
            match self.op(item, &wanted, &mut blocks) {
                Ok(op) => ops.extend(op),
                Err(skip) => skipped.push(skip),
            }
        }
        if blocks.is_some_and(|blocks| blocks.damaged) {
            skipped.push(Skip::BadCar);
        }
        ops
    }

    fn op<'m>(
        &'m self,
        item: &'m Value<'a>,
        wanted: impl Fn(&str) -> bool,
        blocks: &mut Option<Blocks<'m>>,
    ) -> Result<Option<Op<'m>>, Skip> {
        let path = item.get("path").and_then(Value::as_str).ok_or(Skip::BadPath)?;
        let (collection, rkey) = path.split_once('/').ok_or(Skip::BadPath)?;
        if !is_nsid(collection) || rkey.contains('/') {
            return Err(Skip::BadPath);
        }
        if !wanted(collection) {
            return Ok(None);
        }
        let action = item.get("action").and_then(Value::as_str).ok_or(Skip::UnknownOperation)?;
        let (cid, record) = match action {
            "delete" => (None, None),
            "create" | "update" => {
                let cid = match item.get("cid") {
                    Some(Value::Link(cid)) => *cid,
                    None | Some(Value::Null) => return Err(Skip::MissingRecord),
                    Some(_) => return Err(Skip::BadCid),
                };
                Cid::from_bytes(cid).ok_or(Skip::BadCid)?;
                let blocks = blocks.get_or_insert_with(|| Blocks::read(self.blocks()));
                (Some(cid), Some(blocks.record(cid)?))
            }
            _ => return Err(Skip::UnknownOperation),
        };
        Ok(Some(Op { action, collection, rkey, cid, record }))
    }
}

fn record_op(op: &Op<'_>, rev: Tid) -> Result<RecordOp, Skip> {
    let collection = Collection::from_nsid(op.collection).ok_or(Skip::BadPath)?;
    let rkey = RecordKey::parse(op.rkey).map_err(|_| Skip::BadRkey)?;
    let action = match (op.cid, op.record) {
        (Some(cid), Some(bytes)) => put(collection, Cid::from_bytes(cid).ok_or(Skip::BadCid)?, bytes)?,
        _ => Action::Delete,
    };
    Ok(RecordOp { rev, collection, rkey, action })
}

/// What the bytes of a record say, whose hash is known to be that of the CID.
pub(crate) fn put(collection: Collection, cid: Cid, bytes: &[u8]) -> Result<Action, Skip> {
    if bytes.len() > MOST_RECORD_BYTES {
        return Err(Skip::TooBig);
    }
    Ok(Action::Put { cid, record: check_record(collection, &cbor::whole_value(bytes)?)? })
}

/// What an upstream account object says.
pub(crate) fn account_status(account: &Value<'_>) -> Result<AccountStatus, Skip> {
    let Some(Value::Bool(active)) = account.get("active") else { return Err(Skip::Undecodable) };
    Ok(AccountStatus::from_event(*active, account.get("status").and_then(Value::as_str)))
}
