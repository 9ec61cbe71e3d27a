//! Decoding against recordings of the production network, and against what others made of them.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use std::collections::BTreeMap;

use common::{frames, lines};
use serde_json::{Value as Json, json};
use skyweir_indexer::Skip;
use skyweir_indexer::decode::{self, Value, cid_text, firehose_frame, firehose_message, v1_message};
use skyweir_loadtest::{Network, NetworkSpec};
use skyweir_types::{Action, Body, Collection, Event, Record};

/// A frame as the Jetstream of the first generation tells it, less the time.
fn as_v1(frame: &[u8]) -> Vec<Json> {
    let message = firehose_message(frame).unwrap();
    let body = message.body.to_json();
    match message.kind.as_str() {
        "#commit" => {
            let mut skipped = Vec::new();
            let ops = message.ops(&mut skipped);
            let events = ops.iter().map(|op| {
                let mut commit = json!({"rev": body["rev"], "operation": op.action, "collection": op.collection,
                    "rkey": op.rkey});
                if let (Some(cid), Some(record)) = (op.cid, op.record) {
                    commit["cid"] = json!(cid_text(cid));
                    commit["record"] = decode::whole_value(record).unwrap().to_json();
                }
                json!({"did": body["repo"], "kind": "commit", "commit": commit})
            });
            let events = events.collect();
            assert_eq!(skipped, []);
            events
        }
        kind => {
            let kind = kind.trim_start_matches('#');
            vec![json!({"did": body["did"], "kind": kind, kind: body})]
        }
    }
}

#[test]
fn all_operations_of_the_recorded_frames() {
    let (Some(frames), Some(lines)) = (frames(), lines("jetstream-v2-corpus/expected_v1.jsonl")) else {
        return;
    };
    let found: Vec<Json> = frames.iter().flat_map(|frame| as_v1(frame)).collect();
    let expected: Vec<Json> = lines
        .iter()
        .map(|line| {
            let mut event: Json = serde_json::from_str(line).unwrap();
            event.as_object_mut().unwrap().remove("time_us");
            event
        })
        .collect();
    assert_eq!((frames.len(), found.len(), expected.len()), (150, 152, 152));
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_eq!(found, expected, "event {i}");
    }
}

#[test]
fn both_wires_come_to_the_same_events() {
    let (Some(frames), Some(lines)) = (frames(), lines("jetstream-v2-corpus/expected_v1.jsonl")) else {
        return;
    };
    let timeless =
        |events: Vec<Event>| events.into_iter().map(|event| (event.did, event.body)).collect::<Vec<_>>();
    let decoded: Vec<_> = frames.iter().map(|frame| firehose_frame(frame)).collect();
    let seqs: Vec<_> = decoded.iter().map(|decoded| decoded.position.unwrap()).collect();
    assert_eq!(seqs, (31_527_015_322..=31_527_015_471).collect::<Vec<_>>());
    assert!(decoded.iter().all(|decoded| decoded.skipped.is_empty() && decoded.notice.is_none()));
    let firehose: Vec<_> = decoded.into_iter().flat_map(|decoded| timeless(decoded.events)).collect();
    let jetstream: Vec<_> =
        lines.iter().flat_map(|line| timeless(v1_message(line.as_bytes()).events)).collect();
    // 17 posts, 15 reposts, 6 follows, 4 deletes, 1 account
    assert_eq!(firehose.len(), 43);
    assert_eq!(firehose, jetstream);
}

#[test]
fn frames_as_another_decoder_reads_them() {
    let (Some(frames), Some(lines)) = (frames(), lines("derived/frames_decoded.jsonl.zst")) else { return };
    assert_eq!(frames.len(), lines.len());
    for (frame, line) in frames.iter().zip(&lines) {
        let oracle: Json = serde_json::from_str(line).unwrap();
        let message = firehose_message(frame).unwrap();
        assert_eq!(json!(message.kind), oracle["header"]["t"]);
        let mut body = message.body.to_json();
        body.as_object_mut().unwrap().remove("blocks");
        assert_eq!(body, oracle["body"]);
        if message.kind != "#commit" {
            continue;
        }
        let link = firehose_frame(frame).link.unwrap();
        let since = link.since.map(|since| since.to_string());
        let told = [Some(link.did.to_string()), Some(link.rev.to_string()), since];
        assert_eq!(told.map(Json::from), ["repo", "rev", "since"].map(|key| oracle["body"][key].clone()));
        for op in message.ops(&mut Vec::new()).iter().filter(|op| op.record.is_some()) {
            let record = decode::whole_value(op.record.unwrap()).unwrap();
            assert_eq!(record.to_json(), oracle["records"][cid_text(op.cid.unwrap())]);
        }
    }
}

#[test]
fn one_event_of_each_shape() {
    let Some(lines) = lines("jetstream-v2-corpus/golden_v1.jsonl") else { return };
    let mut kinds = BTreeMap::new();
    for line in &lines {
        let decoded = v1_message(line.as_bytes());
        assert_eq!(decoded.skipped, []);
        assert_eq!(decoded.position.map(|position| position as i64), Some(decoded.time_us));
        for event in decoded.events {
            let kind = match event.body {
                Body::Account(status) => format!("{status:?}"),
                Body::Record(op) => match op.action {
                    Action::Put { record, .. } => format!("{record:?}").split(' ').next().unwrap().to_owned(),
                    Action::Delete => "Delete".to_owned(),
                },
                Body::Sync { .. } | Body::SyncEnd { .. } => "Sync".to_owned(),
            };
            *kinds.entry(kind).or_insert(0) += 1;
        }
    }
    let expected = [("Active", 1), ("Follow", 1), ("Post", 1), ("Repost", 1)];
    assert_eq!(kinds, expected.map(|(kind, count)| (kind.to_owned(), count)).into());
}

#[test]
fn every_masked_record_passes_or_is_left_out_for_a_reason() {
    let Some(lines) = lines("derived/car_records_as_jetstream_v1.masked.jsonl.zst") else { return };
    assert_eq!(lines.len(), 11_871);
    let mut counts: BTreeMap<(Collection, Option<Skip>), u32> = BTreeMap::new();
    let mut others = 0;
    for line in &lines {
        let raw: Json = serde_json::from_str(line).unwrap();
        let Some(collection) = Collection::from_nsid(raw["commit"]["collection"].as_str().unwrap()) else {
            assert_eq!(v1_message(line.as_bytes()).events, []);
            others += 1;
            continue;
        };
        let decoded = v1_message(line.as_bytes());
        assert_eq!(decoded.events.len() + decoded.skipped.len(), 1, "{line}");
        let count = counts.entry((collection, decoded.skipped.first().copied())).or_default();
        *count += 1;
        // the value survives its two readings
        let record = raw["commit"]["record"].to_string();
        assert_eq!(Value::from_json(&record).unwrap().to_json(), raw["commit"]["record"]);
    }
    assert_eq!(others, 7_613);
    // as masked, one post has 302 graphemes; the official check leaves it out, too
    let expected = [
        ((Collection::Post, None), 3_108),
        ((Collection::Post, Some(Skip::Lexicon)), 1),
        ((Collection::Repost, None), 727),
        ((Collection::Follow, None), 422),
    ];
    assert_eq!(counts, expected.into());
}

#[test]
fn the_generated_network_speaks_the_lexicons() {
    let network = Network::new(NetworkSpec::default()).unwrap();
    let (mut posts, mut reposts, mut follows) = (0, 0, 0);
    let events = network.traffic().take(5_000).chain(network.events().take(1_000));
    for line in events.filter_map(|event| event.to_jetstream_v1_json(None)) {
        let decoded = v1_message(line.as_bytes());
        assert_eq!(decoded.skipped, [], "{line}");
        for event in decoded.events {
            let Body::Record(op) = event.body else { continue };
            match op.action {
                Action::Put { record: Record::Post { .. }, .. } => posts += 1,
                Action::Put { record: Record::Repost { .. }, .. } => reposts += 1,
                Action::Put { record: Record::Follow { .. }, .. } => follows += 1,
                Action::Delete => {}
            }
        }
    }
    assert!(posts > 100 && reposts > 100 && follows > 100, "{posts}, {reposts}, {follows}");
}
