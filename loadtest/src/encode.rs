//! Events as Jetstream writes them, version 1 (`/subscribe`) and version 2 (`subscribeEvents`).

use crate::event::{Body, Event};
use crate::{firehose, time};
use serde::Serialize;
use serde_json::{Value, value::RawValue};

impl Event {
    /// The text message of `/subscribe`, or nothing for what that wire never shows (`sync`).
    ///
    /// `cursor` is the sequence number that newer servers add to each event; legacy servers have none.
    /// As on the real wire `&`, `<` and `>` are escaped inside of strings.
    pub fn to_jetstream_v1_json(&self, cursor: Option<u64>) -> Option<String> {
        let (mut commit, mut identity, mut account) = (None, None, None);
        match &self.body {
            Body::Commit { rev, operation, collection, rkey, record, cid } => {
                let operation = operation.as_str();
                let cid = cid.as_deref();
                commit = Some(CommitV1 { rev, operation, collection, rkey, record: record.as_ref(), cid });
            }
            Body::Identity { handle } => identity = Some(self.upstream_identity(handle.as_deref())),
            Body::Account { active, status } => {
                account = Some(self.upstream_account(*active, status.as_deref()));
            }
            Body::Sync { .. } => return None,
        }
        let (did, time_us, kind) = (self.did.as_str(), self.time_us, self.kind());
        Some(escape_html(&text(&EventV1 { did, time_us, kind, commit, identity, account, cursor })))
    }

    /// The text message of `subscribeEvents` for the event at sequence number `seq`.
    pub fn to_jetstream_v2_json(&self, seq: u64) -> String {
        let time = time::rfc3339_micros(self.time_us);
        let did = self.did.as_str();
        match &self.body {
            Body::Commit { rev, operation, collection, rkey, record, cid } => message(&CommitV2 {
                r#type: "network.bsky.jetstream.subscribeEvents#commit",
                cid: cid.as_deref(),
                collection,
                did,
                operation: operation.as_str(),
                record: record.as_ref(),
                rev,
                rkey,
                seq,
                time,
            }),
            Body::Identity { handle } => {
                let identity = self.upstream_identity(handle.as_deref());
                let r#type = "network.bsky.jetstream.subscribeEvents#identity";
                message(&OtherV2 {
                    r#type,
                    account: None,
                    did,
                    identity: Some(identity),
                    seq,
                    sync: None,
                    time,
                })
            }
            Body::Account { active, status } => {
                let account = self.upstream_account(*active, status.as_deref());
                let r#type = "network.bsky.jetstream.subscribeEvents#account";
                message(&OtherV2 {
                    r#type,
                    account: Some(account),
                    did,
                    identity: None,
                    seq,
                    sync: None,
                    time,
                })
            }
            Body::Sync { rev } => {
                let sync = self.upstream_sync(rev);
                let r#type = "network.bsky.jetstream.subscribeEvents#sync";
                message(&OtherV2 { r#type, account: None, did, identity: None, seq, sync: Some(sync), time })
            }
        }
    }

    /// What the relay said, word for word, as Jetstream keeps it; a commit is kept operation by operation instead.
    pub(crate) fn upstream_object(&self) -> Option<Value> {
        let object = match &self.body {
            Body::Commit { .. } => return None,
            Body::Identity { handle } => serde_json::to_value(self.upstream_identity(handle.as_deref())),
            Body::Account { active, status } => {
                serde_json::to_value(self.upstream_account(*active, status.as_deref()))
            }
            Body::Sync { rev } => serde_json::to_value(self.upstream_sync(rev)),
        };
        Some(object.expect("strings and numbers always serialize"))
    }

    fn upstream_sync<'a>(&'a self, rev: &'a str) -> Sync<'a> {
        let blocks = Bytes { bytes: firehose::sync_blocks_base64(&self.did, rev) };
        Sync { blocks, did: &self.did, rev, seq: self.relay_seq(), time: self.relay_time() }
    }

    fn upstream_identity<'a>(&'a self, handle: Option<&'a str>) -> Identity<'a> {
        Identity { did: &self.did, handle, seq: self.relay_seq(), time: self.relay_time() }
    }

    fn upstream_account<'a>(&'a self, active: bool, status: Option<&'a str>) -> Account<'a> {
        Account { active, did: &self.did, seq: self.relay_seq(), status, time: self.relay_time() }
    }
}

/// The v2 notice that a cursor was clamped to the floor.
pub(crate) fn outdated_cursor_v2(seq: u64) -> String {
    let said = format!("cursor is older than the retention floor; resuming from seq {seq}");
    info_v2("OutdatedCursor", &said)
}

/// A v2 notice.
pub(crate) fn info_v2(name: &str, said: &str) -> String {
    message(&serde_json::json!({"$type": "network.bsky.jetstream.subscribeEvents#info",
        "message": said, "name": name}))
}

/// A terminal v2 error frame.
pub(crate) fn error_v2(error: &str, message: &str) -> String {
    #[derive(Serialize)]
    struct Frame<'a> {
        #[serde(rename = "$type")]
        r#type: &'a str,
        error: &'a str,
        message: &'a str,
    }
    text(&Frame { r#type: "error", error, message })
}

fn message(payload: &impl Serialize) -> String {
    #[derive(Serialize)]
    struct Frame<'a> {
        #[serde(rename = "$type")]
        r#type: &'a str,
        payload: &'a RawValue,
    }
    let payload = RawValue::from_string(text(payload)).expect("serialized JSON is valid JSON");
    text(&Frame { r#type: "message", payload: &payload })
}

fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings, numbers and JSON values always serialize")
}

/// These characters occur in JSON only inside of strings, so replacing them everywhere is right.
fn escape_html(json: &str) -> String {
    json.replace('&', "\\u0026").replace('<', "\\u003c").replace('>', "\\u003e")
}

#[derive(Serialize)]
struct EventV1<'a> {
    did: &'a str,
    time_us: u64,
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<CommitV1<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<Identity<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Account<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<u64>,
}

#[derive(Serialize)]
struct CommitV1<'a> {
    rev: &'a str,
    operation: &'a str,
    collection: &'a str,
    rkey: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cid: Option<&'a str>,
}

#[derive(Serialize)]
struct CommitV2<'a> {
    #[serde(rename = "$type")]
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cid: Option<&'a str>,
    collection: &'a str,
    did: &'a str,
    operation: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<&'a Value>,
    rev: &'a str,
    rkey: &'a str,
    seq: u64,
    time: String,
}

#[derive(Serialize)]
struct OtherV2<'a> {
    #[serde(rename = "$type")]
    r#type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Account<'a>>,
    did: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    identity: Option<Identity<'a>>,
    seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sync: Option<Sync<'a>>,
    time: String,
}

#[derive(Serialize)]
struct Identity<'a> {
    did: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    handle: Option<&'a str>,
    seq: u64,
    time: String,
}

#[derive(Serialize)]
struct Account<'a> {
    active: bool,
    did: &'a str,
    seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a str>,
    time: String,
}

#[derive(Serialize)]
struct Sync<'a> {
    blocks: Bytes,
    did: &'a str,
    rev: &'a str,
    seq: u64,
    time: String,
}

#[derive(Serialize)]
struct Bytes {
    #[serde(rename = "$bytes")]
    bytes: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const DID: &str = "did:plc:mxwlsvdgs6tn75lq6jrr2vp7";
    const TIME: u64 = 1_779_719_009_140_413;

    #[test]
    fn a_post_on_both_wires() {
        let record =
            json!({"$type": "app.bsky.feed.post", "createdAt": "2026-05-25T14:23:27.319Z", "text": "a & b"});
        let event = Event::create(DID, TIME, "app.bsky.feed.post", "3mmoojocxvr2s", record.clone());
        let cid = crate::cid_of(&crate::encode_dag_cbor(&record));
        let v1 = event.to_jetstream_v1_json(None).unwrap();
        assert!(
            v1.starts_with(&format!(
                r#"{{"did":"{DID}","time_us":{TIME},"kind":"commit","commit":{{"rev":""#
            ))
        );
        assert!(v1.contains(r"a \u0026 b"));
        let v1: Value = serde_json::from_str(&v1).unwrap();
        assert_eq!(v1["commit"]["record"], record);
        assert_eq!(v1["commit"]["cid"], cid);
        assert_eq!(v1.get("cursor"), None);
        assert!(event.to_jetstream_v1_json(Some(7)).unwrap().ends_with(r#","cursor":7}"#));
        let v2: Value = serde_json::from_str(&event.to_jetstream_v2_json(7)).unwrap();
        let rev = crate::tid(TIME, 0);
        assert_eq!(
            v2,
            json!({"$type": "message", "payload": {
                "$type": "network.bsky.jetstream.subscribeEvents#commit", "cid": cid,
                "collection": "app.bsky.feed.post", "did": DID, "operation": "create", "record": record,
                "rev": rev, "rkey": "3mmoojocxvr2s", "seq": 7, "time": "2026-05-25T14:23:29.140413Z"}})
        );
    }

    #[test]
    fn a_delete_has_neither_record_nor_cid() {
        let event = Event::delete(DID, TIME, "app.bsky.graph.follow", "3mmoojocxvr2s");
        let v1: Value = serde_json::from_str(&event.to_jetstream_v1_json(None).unwrap()).unwrap();
        let keys: Vec<_> = v1["commit"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys.len(), 4, "{keys:?}");
        let v2: Value = serde_json::from_str(&event.to_jetstream_v2_json(1)).unwrap();
        assert!(v2["payload"].get("cid").is_none() && v2["payload"].get("record").is_none());
    }

    #[test]
    fn account_identity_and_sync() {
        let v1 = Event::account(DID, TIME, true, None).to_jetstream_v1_json(None).unwrap();
        let (seq, time) = (TIME / 50_000, "2026-05-25T14:23:28.890Z");
        let account = format!(r#"{{"active":true,"did":"{DID}","seq":{seq},"time":"{time}"}}"#);
        assert_eq!(v1, format!(r#"{{"did":"{DID}","time_us":{TIME},"kind":"account","account":{account}}}"#));
        let v2 = Event::identity(DID, TIME, Some("a.example.com")).to_jetstream_v2_json(3);
        assert_eq!(
            serde_json::from_str::<Value>(&v2).unwrap()["payload"]["identity"],
            json!({"did": DID, "handle": "a.example.com", "seq": seq, "time": time})
        );
        let sync = Event::sync(DID, TIME);
        assert_eq!(sync.to_jetstream_v1_json(None), None);
        let v2: Value = serde_json::from_str(&sync.to_jetstream_v2_json(4)).unwrap();
        assert!(v2["payload"]["sync"]["blocks"]["$bytes"].is_string());
    }
}
