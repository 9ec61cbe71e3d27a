//! Events as frames of the raw firehose (`com.atproto.sync.subscribeRepos`).
//!
//! Blocks hold the commit and the record, no tree nodes; signatures and roots are made up. That is all that a consumer
//! who trusts its relay looks at.

use crate::dagcbor::{self, base64, car, cid_bytes, cid_text, encode_dag_cbor};
use crate::event::{Body, Event};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

impl Event {
    /// The binary frame of `subscribeRepos` at sequence number `seq`; commits have one operation each, and name the rev
    /// before theirs.
    pub fn to_firehose_frame(&self, seq: u64, since: Option<&str>) -> Vec<u8> {
        let (did, time) = (self.did.as_str(), self.relay_time());
        match &self.body {
            Body::Commit { rev, operation, collection, rkey, record, cid } => {
                let path = format!("{collection}/{rkey}");
                let (commit_cid, commit) = commit_block(did, rev);
                let record = record.as_ref().map(encode_dag_cbor);
                // the event's own CID stays in the operation: where a test made it a wrong one, it shall be seen
                let stored = record.as_ref().map(|bytes| (cid_bytes(bytes), bytes.as_slice()));
                let blocks: Vec<_> = [(commit_cid, commit.as_slice())].into_iter().chain(stored).collect();
                let mut op =
                    json!({"action": operation.as_str(), "cid": cid.as_deref().map(link), "path": path});
                if operation.as_str() != "create" {
                    op["prev"] = link(&made_up_cid(&["prev", did, &path]));
                }
                let body = json!({"blobs": [], "blocks": {"$bytes": base64(&car(Some(&commit_cid), &blocks))},
                    "commit": link(&cid_text(&commit_cid)), "ops": [op],
                    "prevData": link(&made_up_cid(&["prevData", did, rev])), "rebase": false, "repo": did, "rev": rev,
                    "seq": seq, "since": since, "time": time, "tooBig": false});
                frame("#commit", &body)
            }
            Body::Identity { handle } => {
                let mut body = json!({"did": did, "seq": seq, "time": time});
                if let Some(handle) = handle {
                    body["handle"] = json!(handle);
                }
                frame("#identity", &body)
            }
            Body::Account { active, status } => {
                let mut body = json!({"active": active, "did": did, "seq": seq, "time": time});
                if let Some(status) = status {
                    body["status"] = json!(status);
                }
                frame("#account", &body)
            }
            Body::Sync { rev } => {
                let blocks = sync_blocks_base64(did, rev);
                let body =
                    json!({"blocks": {"$bytes": blocks}, "did": did, "rev": rev, "seq": seq, "time": time});
                frame("#sync", &body)
            }
        }
    }
}

/// The `#info` frame of the firehose, for example `OutdatedCursor`.
pub fn firehose_info(name: &str, message: &str) -> Vec<u8> {
    frame("#info", &json!({"message": message, "name": name}))
}

/// The terminal error frame of the firehose, for example `FutureCursor`.
pub fn firehose_error(error: &str, message: &str) -> Vec<u8> {
    let mut bytes = encode_dag_cbor(&json!({"op": -1}));
    bytes.extend_from_slice(&encode_dag_cbor(&json!({"error": error, "message": message})));
    bytes
}

/// The archive of a `#sync`: the commit block alone.
pub(crate) fn sync_blocks_base64(did: &str, rev: &str) -> String {
    let (cid, commit) = commit_block(did, rev);
    base64(&car(Some(&cid), &[(cid, &commit)]))
}

fn frame(kind: &str, body: &Value) -> Vec<u8> {
    let mut bytes = encode_dag_cbor(&json!({"op": 1, "t": kind}));
    bytes.extend_from_slice(&encode_dag_cbor(body));
    bytes
}

fn commit_block(did: &str, rev: &str) -> ([u8; 36], Vec<u8>) {
    let half = Sha256::digest(rev.as_bytes());
    let signature = [half.as_slice(), half.as_slice()].concat();
    let data = link(&made_up_cid(&["data", did, rev]));
    let block = encode_dag_cbor(&json!({"data": data, "did": did, "prev": null, "rev": rev,
        "sig": {"$bytes": base64(&signature)}, "version": 3}));
    (cid_bytes(&block), block)
}

fn made_up_cid(parts: &[&str]) -> String {
    dagcbor::cid_of(parts.join(" ").as_bytes())
}

fn link(cid: &str) -> Value {
    json!({"$link": cid})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_frame_byte_for_byte() {
        let mut event = Event::account("did:plc:hqvhxrowqbemo5e4wjnj6zao", 0, true, None);
        event.time_us = 1_783_175_888_127_000;
        let expected = concat!(
            "a2617468236163636f756e74626f7001a46364696478206469643a706c633a6871766878726f777162656d6f356534776a",
            "6e6a367a616f637365711b000000075728142f6474696d657818323032362d30372d30345431343a33383a30372e383737",
            "5a66616374697665f5"
        );
        let frame = event.to_firehose_frame(31_527_015_471, None);
        assert_eq!(data_encoding::HEXLOWER.encode(&frame), expected);
    }

    #[test]
    fn a_commit_holds_its_record() {
        let record =
            json!({"$type": "app.bsky.feed.post", "createdAt": "2026-05-25T14:23:27.319Z", "text": "x"});
        let event =
            Event::create("did:plc:a", 1_783_175_888_127_000, "app.bsky.feed.post", "k", record.clone());
        let frame = event.to_firehose_frame(5, Some("3mptbwv4pn32u"));
        let block = encode_dag_cbor(&record);
        let mut needle = cid_bytes(&block).to_vec();
        needle.extend_from_slice(&block);
        assert!(frame.windows(needle.len()).any(|window| window == needle));
        assert!(frame.windows(20).any(|window| window == b"\x65since\x6d3mptbwv4pn32u"));
        assert!(frame.starts_with(b"\xa2\x61t\x67#commit\x62op\x01"));
    }
}
