//! What is malformed is left out, with a reason.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use skyweir_indexer::Skip;
use skyweir_indexer::decode::{Decoded, UNKNOWN_TIME, firehose_frame, v1_message, v2_message};
use skyweir_loadtest::{Event as Sent, encode_dag_cbor, firehose_error, firehose_info};
use skyweir_types::{Action, Body, Event, Record, Tid};

const DID: &str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
const CID: &str = "bafyreib25swk3a6waplk2ie75u4a3qfejnkoiezfowuz7sa74i7tief3di";
const TIME: u64 = 1_783_175_888_000_000;

fn post() -> Json {
    json!({"$type": "app.bsky.feed.post", "createdAt": "2026-07-04T14:38:08.999Z", "text": "x"})
}

fn repost(uri: &str) -> Json {
    json!({"$type": "app.bsky.feed.repost", "createdAt": "2026-07-04T14:38:08.999Z",
        "subject": {"uri": uri, "cid": CID}})
}

fn follow(subject: &str) -> Json {
    json!({"$type": "app.bsky.graph.follow", "createdAt": "2026-07-04T14:38:08.999Z", "subject": subject})
}

/// Creates a record on both Jetstream wires and on the firehose; all three have to come to the same.
fn create(record: &Json) -> Result<Record, Skip> {
    let collection = record["$type"].as_str().unwrap_or("app.bsky.feed.post");
    create_in(collection, record)
}

fn create_in(collection: &str, record: &Json) -> Result<Record, Skip> {
    let event = Sent::create(DID, TIME, collection, "3mptbyplj5d2a", record.clone());
    let all = [
        v1_message(event.to_jetstream_v1_json(None).unwrap().as_bytes()),
        v2_message(event.to_jetstream_v2_json(5).as_bytes()),
        firehose_frame(&event.to_firehose_frame(5, None)),
    ];
    let outcomes = all.map(|decoded| {
        assert!(decoded.position.is_some(), "the cursor moves past it");
        match decoded.events.first().map(|event| &event.body) {
            Some(Body::Record(op)) => match &op.action {
                Action::Put { record, .. } => Ok(record.clone()),
                Action::Delete => panic!("a create became a delete"),
            },
            Some(other) => panic!("{other:?}"),
            None => Err(decoded.skipped[0]),
        }
    });
    assert_eq!(outcomes[0], outcomes[1]);
    assert_eq!(outcomes[0], outcomes[2]);
    outcomes[0].clone()
}

fn with(mut record: Json, key: &str, value: Json) -> Json {
    record[key] = value;
    record
}

fn created_at(text: &str) -> Result<i64, Skip> {
    create(&with(post(), "createdAt", json!(text))).map(|record| match record {
        Record::Post { created_at, .. } => created_at,
        other => panic!("{other:?}"),
    })
}

#[test]
fn dates_of_the_wild() {
    assert_eq!(created_at("2023-08-09T09:44:46.189371"), Err(Skip::BadCreatedAt));
    assert_eq!(created_at("2023-08-09t09:44:46z"), Err(Skip::BadCreatedAt));
    assert_eq!(created_at(""), Err(Skip::BadCreatedAt));
    assert_eq!(created_at("0000-01-01T00:00:00Z"), Ok(-62_167_219_200_000));
    assert_eq!(created_at("9999-12-31T23:59:59.999Z"), Ok(253_402_300_799_999));
    assert_eq!(created_at("1969-12-31T23:59:59.9999999Z"), Ok(-1));
    assert_eq!(created_at("2023-08-09T11:44:46.189371999+02:00"), Ok(1_691_574_286_189));
    let mut none = post();
    none.as_object_mut().unwrap().remove("createdAt");
    assert_eq!(create(&none), Err(Skip::BadCreatedAt));
}

#[test]
fn records_that_break_their_lexicon() {
    assert!(create(&post()).is_ok());
    assert_eq!(
        create_in("app.bsky.feed.post", &repost("at://did:plc:a/app.bsky.feed.post/1")),
        Err(Skip::BadType)
    );
    assert_eq!(create_in("app.bsky.feed.post", &json!({})), Err(Skip::BadType));
    assert!(create(&with(post(), "text", json!(5))).is_err());
    assert!(create(&with(post(), "text", json!("x".repeat(3_001)))).is_err());
    assert!(create(&with(post(), "reply", json!({"root": {}}))).is_err());
    assert!(create(&with(post(), "bridgyOriginalText", json!({"any": ["thing", null, true]}))).is_ok());
    let reference = json!({"uri": "at://did:plc:a/app.bsky.feed.post/1", "cid": CID});
    let reply = create(&with(post(), "reply", json!({"root": reference, "parent": reference})));
    assert!(matches!(reply, Ok(Record::Post { is_reply: true, is_quote: false, .. })), "{reply:?}");
    let quote = with(post(), "embed", json!({"$type": "app.bsky.embed.record", "record": reference}));
    assert!(matches!(create(&quote), Ok(Record::Post { is_reply: false, is_quote: true, .. })));
}

#[test]
fn subjects() {
    assert!(create(&repost("at://did:plc:a/app.bsky.feed.generator/x")).is_ok(), "also of what is no post");
    assert!(
        create(&repost("at://alice.example.com/app.bsky.feed.post/1")).is_err(),
        "a handle can't be keyed"
    );
    for uri in ["", "https://x.y/z", "at://", "at://did:plc:a/nsid", "at://did:plc:a/app.bsky.feed.post/1/2"]
    {
        assert!(create(&repost(uri)).is_err(), "{uri}");
    }
    assert_eq!(
        create(&follow(DID)).map(|record| matches!(record, Record::Follow { .. })),
        Ok(true),
        "a follow of oneself is for the graph to ignore"
    );
    for subject in ["", "alice.example.com", "did:plc:", "did:PLC:a", "at://did:plc:a"] {
        assert!(create(&follow(subject)).is_err(), "{subject}");
    }
}

#[test]
fn nested_and_odd_records() {
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    assert_eq!(create(&with(post(), "extra", deep)), Err(Skip::TooDeep));
    let nul = create(&with(post(), "text", json!("a\u{0}b \"quoted\" \u{1F600}")));
    assert!(nul.is_ok());
    // numbers that the data model doesn't have come by JSON only
    for number in ["1.5", "9223372036854775808", "1e3"] {
        let text = format!(
            r#"{{"did":"{DID}","time_us":{TIME},"kind":"commit","commit":{{"rev":"3mptbypluud2a","operation":"create",
            "collection":"app.bsky.feed.post","rkey":"a","cid":"{CID}","record":{{"$type":"app.bsky.feed.post",
            "createdAt":"2026-07-04T14:38:08Z","text":"","n":{number}}}}}}}"#
        );
        assert_eq!(v1_message(text.as_bytes()).skipped, [Skip::BadRecord], "{number}");
    }
}

/// A Jetstream v1 commit with one field changed.
fn v1_commit(change: impl FnOnce(&mut Json)) -> Decoded {
    let mut event = json!({"did": DID, "time_us": TIME, "kind": "commit", "unknown": [1], "commit": {
        "rev": "3mptbypluud2a", "operation": "update", "collection": "app.bsky.feed.post", "rkey": "a", "cid": CID,
        "record": post()}});
    change(&mut event);
    v1_message(event.to_string().as_bytes())
}

#[test]
fn jetstream_envelopes() {
    assert_eq!(v1_commit(|_| {}).events.len(), 1);
    type Change = fn(&mut Json);
    let cases: [(Change, Skip); 14] = [
        (|e| e["did"] = json!("x"), Skip::BadDid),
        (|e| e["did"] = json!(1), Skip::Undecodable),
        (|e| e["time_us"] = json!(-1), Skip::BadTime),
        (|e| e["time_us"] = json!("1"), Skip::Undecodable),
        (|e| e["kind"] = json!("heartbeat"), Skip::UnknownKind),
        (|e| e["commit"] = json!(null), Skip::Undecodable),
        (|e| e["commit"]["rev"] = json!("now"), Skip::BadRev),
        (|e| e["commit"]["rkey"] = json!("a/b"), Skip::BadRkey),
        (|e| e["commit"]["rkey"] = json!(".."), Skip::BadRkey),
        (|e| e["commit"]["operation"] = json!("merge"), Skip::UnknownOperation),
        (|e| e["commit"]["cid"] = json!("bafy"), Skip::BadCid),
        (|e| e["commit"]["cid"] = json!(""), Skip::MissingRecord),
        (|e| e["commit"]["record"] = json!(null), Skip::MissingRecord),
        (|e| e["commit"]["record"] = json!("text"), Skip::BadType),
    ];
    for (i, (change, skip)) in cases.into_iter().enumerate() {
        let decoded = v1_commit(change);
        assert_eq!((decoded.events.len(), decoded.skipped), (0, vec![skip]), "case {i}");
    }
    let other = v1_commit(|e| e["commit"]["collection"] = json!("app.bsky.feed.like"));
    assert_eq!((other.events.len(), other.skipped.len()), (0, 0), "not ours is no fault");
    let odd = v1_commit(|e| e["commit"]["rkey"] = json!("did:plc:abc::did:web:prod-sea0.stream.place"));
    assert_eq!(odd.events.len(), 1, "keys need not be TIDs");
    for text in [&b""[..], b"{", b"[]", b"null", b"\xff", b"{\"did\":\"\xff\"}", b"{} {}"] {
        assert_eq!(v1_message(text).position, None, "{text:?}");
        assert_eq!(v2_message(text).position, None, "{text:?}");
    }
    let deep = format!("{{\"kind\":{}", "[".repeat(1_000_000));
    assert_eq!(v1_message(deep.as_bytes()).skipped, [Skip::Undecodable]);
}

#[test]
fn v2_messages() {
    let payload =
        |payload: Json| v2_message(json!({"$type": "message", "payload": payload}).to_string().as_bytes());
    let kind = |name: &str| format!("network.bsky.jetstream.subscribeEvents#{name}");
    let base =
        json!({"$type": kind("identity"), "seq": 7, "did": DID, "time": "2026-07-04T14:38:08.085434Z"});
    let identity = payload(base.clone());
    assert_eq!((identity.position, identity.time_us), (Some(7), 1_783_175_888_085_434));
    assert_eq!((identity.events.len(), identity.skipped.len()), (0, 0));

    let future = payload(with(base.clone(), "$type", json!(kind("labels"))));
    assert_eq!((future.position, future.skipped), (Some(7), vec![Skip::UnknownKind]));
    assert_eq!(payload(with(base.clone(), "time", json!("now"))).skipped, [Skip::BadTime]);
    for seq in [json!(null), json!(1_000_000_000_000_000u64), json!(-1), json!("7")] {
        let without = payload(with(base.clone(), "seq", seq));
        assert_eq!((without.position, without.skipped), (None, vec![Skip::Undecodable]));
    }
    assert_eq!(v2_message(br#"{"$type":"poem"}"#).skipped, [Skip::UnknownKind]);

    let sync = with(base.clone(), "$type", json!(kind("sync")));
    let good = payload(with(sync.clone(), "sync", json!({"rev": "3mptbypluud2a"})));
    assert!(matches!(good.events[0].body, Body::Sync { records_follow: true, .. }));
    assert_eq!(payload(with(sync.clone(), "sync", json!({"rev": "x"}))).skipped, [Skip::BadRev]);
    assert_eq!(payload(sync).skipped, [Skip::Undecodable]);

    let info = payload(json!({"$type": kind("info"), "name": "OutdatedCursor"}));
    assert_eq!((info.position, info.time_us), (None, UNKNOWN_TIME));
    let notice = info.notice.unwrap();
    assert!(!notice.is_error && notice.name == "OutdatedCursor");
    let error =
        v2_message(br#"{"$type":"error","error":"ConsumerTooSlow","message":"a\u0000b"}"#).notice.unwrap();
    assert_eq!(
        (error.is_error, error.name.as_str(), error.message.as_str()),
        (true, "ConsumerTooSlow", "a b")
    );
}

fn car(blocks: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut archive = vec![1, 0xa0];
    for (cid, data) in blocks {
        let mut length = cid.len() + data.len();
        while length > 0x7f {
            archive.push(length as u8 | 0x80);
            length >>= 7;
        }
        archive.push(length as u8);
        archive.extend_from_slice(cid);
        archive.extend_from_slice(data);
    }
    archive
}

fn cid_of(data: &[u8]) -> Vec<u8> {
    [&[0x01, 0x71, 0x12, 0x20][..], &Sha256::digest(data)].concat()
}

fn text_of(cid: &[u8]) -> String {
    skyweir_indexer::decode::cid_text(cid)
}

/// A commit with these operations; the archive holds these blocks.
fn commit(ops: &[Json], blocks: &[(Vec<u8>, Vec<u8>)], change: impl FnOnce(&mut Json)) -> Decoded {
    let bytes = data_encoding::BASE64_NOPAD.encode(&car(blocks));
    let mut body = json!({"repo": DID, "seq": 9, "rev": "3mptbypluud2a", "time": "2026-07-04T14:38:07.517Z",
        "ops": ops, "blocks": {"$bytes": bytes}, "tooBig": false});
    change(&mut body);
    let mut frame = encode_dag_cbor(&json!({"op": 1, "t": "#commit"}));
    frame.extend_from_slice(&encode_dag_cbor(&body));
    firehose_frame(&frame)
}

fn op(path: &str, cid: &[u8]) -> Json {
    json!({"action": "create", "path": path, "cid": {"$link": text_of(cid)}})
}

#[test]
fn firehose_commits() {
    let data = encode_dag_cbor(&post());
    let (cid, good) = (cid_of(&data), op("app.bsky.feed.post/a", &cid_of(&data)));
    let blocks = [(cid.clone(), data.clone())];
    let run = |ops: &[Json], blocks: &[(Vec<u8>, Vec<u8>)], change: fn(&mut Json)| {
        let decoded = commit(ops, blocks, change);
        assert_eq!(decoded.position, Some(9));
        (decoded.events.len(), decoded.skipped)
    };
    let keep: fn(&mut Json) = |_| {};
    assert_eq!(run(std::slice::from_ref(&good), &blocks, keep), (1, vec![]));
    assert_eq!(run(&[], &[], keep), (0, vec![]), "empty commits are legal");
    assert_eq!(run(&[good.clone(), good.clone()], &blocks, keep), (2, vec![Skip::DuplicatePath]));

    // only the operation is lost, the others of its commit count
    let missing = op("app.bsky.feed.post/b", &cid_of(b"elsewhere"));
    assert_eq!(run(&[missing, good.clone()], &blocks, keep), (1, vec![Skip::MissingBlock]));
    let mut forged = data.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(
        run(std::slice::from_ref(&good), &[(cid.clone(), forged)], keep),
        (0, vec![Skip::HashMismatch])
    );
    for (path, skip) in [
        ("app.bsky.feed.post", Skip::BadPath),
        ("app.bsky.feed.post/a/b", Skip::BadPath),
        ("/a", Skip::BadPath),
        ("not an nsid/a", Skip::BadPath),
        ("app.bsky.feed.post/", Skip::BadRkey),
        ("app.bsky.feed.post/.", Skip::BadRkey),
        ("app.bsky.feed.post/ä", Skip::BadRkey),
    ] {
        assert_eq!(run(&[op(path, &cid), good.clone()], &blocks, keep), (1, vec![skip]), "{path}");
    }
    let nulled = json!({"action": "create", "path": "app.bsky.feed.post/a", "cid": null});
    assert_eq!(run(&[nulled], &blocks, keep), (0, vec![Skip::MissingRecord]));
    let merged = json!({"action": "merge", "path": "app.bsky.feed.post/a", "cid": null});
    assert_eq!(run(&[merged], &blocks, keep), (0, vec![Skip::UnknownOperation]));
    let raw = [&[0x01, 0x55, 0x12, 0x20][..], &[7; 32]].concat();
    assert_eq!(run(&[op("app.bsky.feed.post/a", &raw)], &blocks, keep), (0, vec![Skip::BadCid]));
    let noise = b"\xff\xff".to_vec();
    let noisy = op("app.bsky.feed.post/a", &cid_of(&noise));
    assert_eq!(run(&[noisy], &[(cid_of(&noise), noise)], keep), (0, vec![Skip::BadRecord]));
    let large = encode_dag_cbor(&with(post(), "extra", json!("x".repeat(1 << 20))));
    let op_large = op("app.bsky.feed.post/a", &cid_of(&large));
    assert_eq!(run(&[op_large], &[(cid_of(&large), large)], keep), (0, vec![Skip::TooBig]));
    let delete =
        |i: usize| json!({"action": "delete", "path": format!("app.bsky.feed.post/{i}"), "cid": null});
    let many: Vec<_> = (0..201).map(delete).collect();
    assert_eq!(run(&many, &[], keep), (200, vec![Skip::TooManyOps]));
}

#[test]
fn firehose_envelopes() {
    let data = encode_dag_cbor(&post());
    let (good, blocks) = (op("app.bsky.feed.post/a", &cid_of(&data)), [(cid_of(&data), data)]);
    type Change = fn(&mut Json);
    let cases: [(Change, Skip); 9] = [
        (|b| b["rev"] = json!("now"), Skip::BadRev),
        // seven minutes ahead
        (|b| b["time"] = json!("2026-07-04T14:31:07.517Z"), Skip::FutureRev),
        (|b| b["time"] = json!("2026-07-04"), Skip::BadTime),
        (|b| b["repo"] = json!("alice"), Skip::BadDid),
        (|b| b["ops"] = json!(null), Skip::Undecodable),
        (|b| b["seq"] = json!(null), Skip::Undecodable),
        (|b| b["seq"] = json!(-1), Skip::Undecodable),
        (|b| b["seq"] = json!(1u64 << 53), Skip::Undecodable),
        (|b| b["blocks"] = json!(null), Skip::MissingBlock),
    ];
    for (i, (change, skip)) in cases.into_iter().enumerate() {
        let decoded = commit(std::slice::from_ref(&good), &blocks, change);
        assert_eq!(decoded.events.len(), 0, "case {i}");
        assert_eq!(decoded.skipped[0], skip, "case {i}");
    }
    let renamed = commit(std::slice::from_ref(&good), &blocks, |b| {
        let repo = b.as_object_mut().unwrap().remove("repo").unwrap();
        b["did"] = repo;
        b["other"] = json!({"x": 1});
    });
    assert_eq!((renamed.events.len(), renamed.skipped.len()), (1, 0));
    let too_big = commit(&[], &[], |b| {
        b["tooBig"] = json!(true);
        b["blocks"] = json!({"$bytes": ""});
    });
    assert!(matches!(too_big.events[0].body, Body::Sync { records_follow: false, .. }));
    assert_eq!(too_big.skipped, [Skip::TooBigCommit]);
    // as they came before there was `#sync`: with the commit's own block alone
    for (flag, skipped) in [("tooBig", vec![Skip::TooBigCommit]), ("rebase", vec![])] {
        let bare = commit(&[], &[], |b| b[flag] = json!(true));
        assert!(matches!(bare.events[0].body, Body::Sync { records_follow: false, .. }));
        assert_eq!((bare.events.len(), bare.skipped), (1, skipped));
        assert!(bare.link.is_some_and(|link| link.since.is_none()));
        let flagged = commit(std::slice::from_ref(&good), &blocks, |b| b[flag] = json!(true));
        assert!(matches!(flagged.events[..], [Event { body: Body::Record(_), .. }]));
    }
    let since = |since: Json| commit(&[], &[], |b| b["since"] = since).link.unwrap().since;
    assert_eq!(since(json!("3mptbwv4pn32u")), Tid::parse("3mptbwv4pn32u").ok());
    assert!([json!(null), json!(7), json!("before")].into_iter().all(|odd| since(odd).is_none()));

    let frame = Sent::sync(DID, TIME).to_firehose_frame(3, None);
    assert!(matches!(firehose_frame(&frame).events[0].body, Body::Sync { records_follow: false, .. }));
    assert_eq!(firehose_frame(&[frame.clone(), vec![0]].concat()).skipped, [Skip::TrailingBytes]);
    assert_eq!(firehose_frame(&frame[..frame.len() - 1]).skipped, [Skip::Undecodable]);
    assert_eq!(firehose_frame(b"").skipped, [Skip::Undecodable]);
    assert_eq!(firehose_frame(&encode_dag_cbor(&json!({"op": 7, "t": "#x"}))).skipped, [Skip::UnknownKind]);
    let unknown =
        [encode_dag_cbor(&json!({"op": 1, "t": "#x"})), encode_dag_cbor(&json!({"seq": 4}))].concat();
    let unknown = firehose_frame(&unknown);
    assert_eq!((unknown.position, unknown.skipped), (Some(4), vec![Skip::UnknownKind]));
    let notice = firehose_frame(&firehose_error("FutureCursor", "no")).notice.unwrap();
    assert!(notice.is_error && notice.name == "FutureCursor");
    let notice = firehose_frame(&firehose_info("OutdatedCursor", "old")).notice.unwrap();
    assert!(!notice.is_error && notice.name == "OutdatedCursor");
}
