//! Which records count: the lexicons, each rule from both sides, in JSON and in DAG-CBOR.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value as Json, json};
use skyweir_indexer::Skip;
use skyweir_indexer::decode::{Value, check_record, whole_value};
use skyweir_loadtest::encode_dag_cbor;
use skyweir_types::{Collection, Record};

const CID: &str = "bafyreib25swk3a6waplk2ie75u4a3qfejnkoiezfowuz7sa74i7tief3di";
const RAW: &str = "bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";

/// What becomes of a record; JSON and DAG-CBOR have to agree.
fn check(record: &Json) -> Result<Record, Skip> {
    let collection = record["$type"].as_str().and_then(Collection::from_nsid).unwrap_or(Collection::Post);
    let text = record.to_string();
    let from_json = Value::from_json(&text).and_then(|value| check_record(collection, &value));
    let bytes = encode_dag_cbor(record);
    let from_cbor = whole_value(&bytes).and_then(|value| check_record(collection, &value));
    assert_eq!(from_json, from_cbor, "{text}");
    from_json
}

fn reference() -> Json {
    json!({"uri": "at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/app.bsky.feed.post/3k2a", "cid": CID})
}

fn blob(mime: &str, size: i64) -> Json {
    json!({"$type": "blob", "mimeType": mime, "size": size, "ref": {"$link": RAW}})
}

fn image() -> Json {
    json!({"image": blob("image/png", 2_000_000), "alt": "", "aspectRatio": {"width": 1, "height": 9_007_199_254_740_991_i64}})
}

fn images() -> Json {
    json!({"$type": "app.bsky.embed.images", "images": [image(), image(), image(), image()]})
}

fn video() -> Json {
    json!({"$type": "app.bsky.embed.video", "video": blob("video/mp4", 300_000_000), "alt": "a", "presentation": "new",
        "captions": [{"lang": "pt-BR", "file": blob("text/vtt", 20_000)}], "aspectRatio": {"width": 16, "height": 9}})
}

fn gallery() -> Json {
    let mut image = image();
    image["$type"] = json!("app.bsky.embed.gallery#image");
    json!({"$type": "app.bsky.embed.gallery", "items": [image, {"$type": "com.example.hologram"}]})
}

fn external() -> Json {
    json!({"$type": "app.bsky.embed.external", "external": {"uri": "https://example.com/ä", "title": "", "description": "d",
        "thumb": blob("image/jpeg", 1_000_000), "associatedRefs": [reference()]}})
}

fn quote() -> Json {
    json!({"$type": "app.bsky.embed.record", "record": reference()})
}

fn with_media(media: &Json) -> Json {
    json!({"$type": "app.bsky.embed.recordWithMedia", "record": {"record": reference()}, "media": media})
}

fn facet() -> Json {
    let kind = |kind: &str| format!("app.bsky.richtext.facet#{kind}");
    json!({"index": {"byteStart": 0, "byteEnd": 5}, "features": [
        {"$type": kind("mention"), "did": "did:plc:a"}, {"$type": kind("link"), "uri": "https://example.com"},
        {"$type": kind("tag"), "tag": "ä".repeat(64)}, {"$type": kind("blink"), "rate": null}]})
}

/// A post with everything that a post can have.
fn post(embed: &Json) -> Json {
    json!({"$type": "app.bsky.feed.post", "createdAt": "2026-07-04T14:38:08.999Z", "text": "hello", "embed": embed,
        "reply": {"root": reference(), "parent": reference()}, "langs": ["en", "pt-BR", "zh-Hant"], "tags": ["a"],
        "facets": [facet()], "entities": [{"index": {"start": 0, "end": 1}, "type": "link", "value": "x"}],
        "labels": {"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": "x".repeat(128)}]},
        "bridgyOriginalText": {"any": ["thing", null]}})
}

fn repost() -> Json {
    json!({"$type": "app.bsky.feed.repost", "createdAt": "2026-07-04T14:38:08.999Z", "subject": reference(),
        "via": reference()})
}

fn follow() -> Json {
    json!({"$type": "app.bsky.graph.follow", "createdAt": "2026-07-04T14:38:08.999Z", "subject": "did:web:a.b",
        "via": reference()})
}

/// The record with another value at a JSON pointer; the last part may be new.
fn with(mut record: Json, pointer: &str, value: Json) -> Json {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match record.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent}")) {
        Json::Array(items) => items[key.parse::<usize>().unwrap()] = value,
        parent => parent[key] = value,
    }
    record
}

fn without(mut record: Json, pointer: &str) -> Json {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    record.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(key).unwrap();
    record
}

#[test]
fn whole_records_pass() {
    let quotes = [quote(), with_media(&images()), with_media(&video()), with_media(&gallery())];
    let others = [images(), video(), gallery(), external(), json!({"$type": "com.example.poem", "text": 5})];
    for (embed, is_quote) in quotes.map(|e| (e, true)).into_iter().chain(others.map(|e| (e, false))) {
        let expected = Record::Post { created_at: 1_783_175_888_999, is_reply: true, is_quote };
        assert_eq!(check(&post(&embed)), Ok(expected), "{embed}");
    }
    let bare = json!({"$type": "app.bsky.feed.post", "createdAt": "2026-07-04T14:38:08.999Z", "text": ""});
    let expected = Record::Post { created_at: 1_783_175_888_999, is_reply: false, is_quote: false };
    assert_eq!(check(&bare), Ok(expected));
    let uri = reference()["uri"].as_str().unwrap().to_owned();
    assert_eq!(
        check(&repost()),
        Ok(Record::Repost { created_at: 1_783_175_888_999, uri, cid: CID.to_owned() })
    );
    assert!(matches!(check(&follow()), Ok(Record::Follow { subject }) if subject.as_str() == "did:web:a.b"));
}

#[test]
fn every_demanded_field_is_demanded_and_no_null_passes() {
    let demanded = |record: &Json, pointer: &str, skip: Skip| {
        assert_eq!(check(&without(record.clone(), pointer)), Err(skip), "without {pointer}");
        assert_eq!(check(&with(record.clone(), pointer, Json::Null)), Err(skip), "null at {pointer}");
    };
    let free = |record: &Json, pointer: &str| {
        assert!(check(&without(record.clone(), pointer)).is_ok(), "without {pointer}");
        assert_eq!(
            check(&with(record.clone(), pointer, Json::Null)),
            Err(Skip::Lexicon),
            "null at {pointer}"
        );
    };
    demanded(&post(&quote()), "/createdAt", Skip::BadCreatedAt);
    demanded(&repost(), "/subject", Skip::BadSubject);
    demanded(&repost(), "/subject/uri", Skip::BadSubject);
    demanded(&repost(), "/subject/cid", Skip::BadSubject);
    demanded(&follow(), "/subject", Skip::BadSubject);
    for pointer in [
        "/text",
        "/reply/root",
        "/reply/parent/uri",
        "/facets/0/index",
        "/facets/0/features",
        "/facets/0/index/byteEnd",
        "/facets/0/features/0/did",
        "/facets/0/features/0/$type",
        "/entities/0/value",
        "/labels/values",
        "/labels/$type",
        "/labels/values/0/val",
        "/embed/record",
        "/embed/record/cid",
        "/embed/$type",
    ] {
        demanded(&post(&quote()), pointer, Skip::Lexicon);
    }
    for pointer in [
        "/embed/images/0/alt",
        "/embed/images/0/image",
        "/embed/images/0/aspectRatio/width",
        "/embed/images/0/image/ref",
        "/embed/images/0/image/mimeType",
        "/embed/images/0/image/size",
        "/embed/images/0/image/$type",
    ] {
        demanded(&post(&images()), pointer, Skip::Lexicon);
    }
    demanded(&post(&gallery()), "/embed/items/0/aspectRatio", Skip::Lexicon);
    demanded(&post(&external()), "/embed/external/description", Skip::Lexicon);
    demanded(&post(&with_media(&images())), "/embed/media", Skip::Lexicon);
    demanded(&post(&with_media(&images())), "/embed/media/$type", Skip::Lexicon);
    for pointer in ["/reply", "/embed", "/langs", "/labels", "/tags", "/facets", "/entities"] {
        free(&post(&quote()), pointer);
    }
    free(&post(&images()), "/embed/images/0/aspectRatio");
    free(&post(&video()), "/embed/captions");
    free(&post(&external()), "/embed/external/thumb");
    free(&repost(), "/via");
}

#[test]
fn limits_from_both_sides() {
    let family = "\u{1F468}\u{200D}\u{1F469}\u{200D}\u{1F467}";
    let text = |length: usize| json!("x".repeat(length));
    let (quoting, picture) = (post(&quote()), post(&images()));
    let many = |item: &Json, count: usize| Json::Array(vec![item.clone(); count]);
    for (record, pointer, good, bad) in [
        (&quoting, "/text", text(300), text(301)),
        (&quoting, "/text", json!("字".repeat(300)), json!("字".repeat(301))),
        (&quoting, "/text", json!(family.repeat(166)), json!(family.repeat(167))), // 18 bytes each
        (&quoting, "/text", json!("e\u{301}".repeat(300)), json!("e\u{301}".repeat(301))),
        (&quoting, "/tags/0", text(64), text(65)),
        (&quoting, "/tags/0", json!(family.repeat(35)), json!(family.repeat(36))),
        (&quoting, "/tags", many(&json!("t"), 8), many(&json!("t"), 9)),
        (&quoting, "/langs", json!(["en", "en", "en"]), json!(["en", "en", "en", "en"])),
        (&quoting, "/langs/0", json!("sl-rozaj-biske"), json!("english")),
        (&quoting, "/labels/values", many(&json!({"val": "x"}), 10), many(&json!({"val": "x"}), 11)),
        (&quoting, "/labels/values/0/val", text(128), text(129)),
        (&quoting, "/facets/0/index/byteStart", json!(0), json!(-1)),
        (
            &quoting,
            "/facets/0/index/byteStart",
            json!(9_007_199_254_740_991_i64),
            json!(9_007_199_254_740_992_i64),
        ),
        (&quoting, "/facets/0/features/1/uri", json!("a:b"), json!("example.com")),
        (&quoting, "/reply/parent/uri", json!("at://alice.example"), json!("at://alice.example/")),
        (&quoting, "/reply/parent/cid", json!(RAW), json!("bafy")),
        (&picture, "/embed/images", many(&image(), 4), many(&image(), 5)),
        (&picture, "/embed/images/0/aspectRatio/width", json!(1), json!(0)),
        (&picture, "/embed/images/0/image/size", json!(0), json!(-1)),
        (&picture, "/embed/images/0/image/size", json!(2_000_000), json!(2_000_001)),
        (&picture, "/embed/images/0/image/mimeType", json!("image/"), json!("video/mp4")),
        (&post(&video()), "/embed/video/size", json!(1), json!(300_000_001)),
        (&post(&video()), "/embed/video/mimeType", json!("video/mp4"), json!("video/mp4;codecs=avc1")),
        (&post(&video()), "/embed/captions/0/file/size", json!(1), json!(20_001)),
        (
            &post(&gallery()),
            "/embed/items",
            many(&json!({"$type": "a"}), 20),
            many(&json!({"$type": "a"}), 21),
        ),
        (&post(&external()), "/embed/external/thumb/size", json!(1), json!(1_000_001)),
        (&repost(), "/via/cid", json!(CID), json!("x")),
    ] {
        assert!(check(&with(record.clone(), pointer, good.clone())).is_ok(), "{pointer}: {good}");
        assert_eq!(
            check(&with(record.clone(), pointer, bad.clone())),
            Err(Skip::Lexicon),
            "{pointer}: {bad}"
        );
    }
}

#[test]
fn types_of_objects() {
    let quoting = post(&quote());
    for (pointer, name, passes) in [
        // what isn't a member of a union may be silent, or call itself what it is
        ("/reply/parent/$type", json!("com.atproto.repo.strongRef"), true),
        ("/reply/$type", json!("app.bsky.feed.post#replyRef"), true),
        ("/facets/0/$type", json!("app.bsky.richtext.facet"), true),
        ("/reply/parent/$type", json!("app.bsky.feed.post"), false),
        ("/reply/parent/$type", json!("com.atproto.repo.strongRef#main"), false),
        ("/reply/parent/$type", json!(5), false),
        // unions are open, but their members are of a type
        ("/embed", json!({"$type": "app.bsky.embed.record#main"}), true),
        ("/embed", json!({"$type": ""}), true),
        ("/embed", json!({"$type": 5}), false),
        ("/embed", json!({}), false),
        ("/embed", json!("app.bsky.embed.record"), false),
        ("/embed", json!([]), false),
        ("/labels", json!({"$type": "com.example.labels", "values": 5}), true),
        ("/text", json!({"$link": RAW}), false),
        ("/text", json!({"$bytes": "AAAA"}), false),
        ("/reply", json!({"$link": RAW}), false),
    ] {
        let outcome = check(&with(quoting.clone(), pointer, name.clone()));
        assert_eq!(outcome.is_ok(), passes, "{pointer}: {name}: {outcome:?}");
    }
    for name in [json!("app.bsky.feed.post#main"), json!(null), json!(5)] {
        assert_eq!(check(&with(quoting.clone(), "/$type", name)), Err(Skip::BadType));
    }
    assert_eq!(check(&json!([])), Err(Skip::BadType));
}

#[test]
fn blobs() {
    let picture = post(&images());
    let mut extra = blob("image/png", 1);
    extra["alt"] = json!("x");
    for bad in [
        json!({"cid": RAW, "mimeType": "image/png"}), // the form before 2023
        json!({"$type": "blob", "mimeType": "image/png", "size": 1, "ref": {"$link": CID}}), // no raw bytes
        json!({"$type": "blob", "mimeType": "image/png", "size": 1, "ref": RAW}),
        json!({"$type": "blob", "mimeType": "image/png", "size": "1", "ref": {"$link": RAW}}),
        json!({"$link": RAW}),
        extra,
        json!(5),
    ] {
        let outcome = check(&with(picture.clone(), "/embed/images/0/image", bad.clone()));
        assert_eq!(outcome, Err(Skip::Lexicon), "{bad}");
    }
}

#[test]
fn reasons() {
    let handle = json!("at://alice.example/app.bsky.feed.post/1");
    assert_eq!(check(&with(repost(), "/subject/uri", handle)), Err(Skip::SubjectHandleAuthority));
    assert_eq!(check(&with(repost(), "/subject/uri", json!("https://a.b"))), Err(Skip::BadSubject));
    assert_eq!(check(&with(repost(), "/subject/cid", json!("Qm"))), Err(Skip::BadSubject));
    assert_eq!(check(&with(follow(), "/subject", json!("alice.example"))), Err(Skip::BadSubject));
    assert_eq!(check(&with(follow(), "/createdAt", json!("today"))), Err(Skip::BadCreatedAt));
    assert_eq!(check(&with(follow(), "/via", json!({}))), Err(Skip::Lexicon));
}

#[test]
fn the_definitions_are_those_of_the_network() {
    let mut compared = 0;
    for name in [
        "app/bsky/feed/post",
        "app/bsky/feed/repost",
        "app/bsky/graph/follow",
        "app/bsky/embed/gallery",
        "app/bsky/embed/record",
        "app/bsky/embed/recordWithMedia",
        "com/atproto/repo/strongRef",
    ] {
        let Some(theirs) = common::shared(&format!("lexicons/{name}.json")) else { return };
        let theirs: Json = serde_json::from_slice(&theirs).unwrap();
        let ours = format!("{}/lexicons/{}.json", env!("CARGO_MANIFEST_DIR"), name.replace('/', "."));
        let ours: Json = serde_json::from_slice(&std::fs::read(ours).unwrap()).unwrap();
        for (definition, ours) in ours["defs"].as_object().unwrap() {
            assert_eq!(*ours, theirs["defs"][definition], "{name}#{definition}");
            compared += 1;
        }
    }
    assert_eq!(compared, 11);
}

/// All places of a value.
fn pointers(value: &Json, prefix: &str, into: &mut Vec<String>) {
    let children: Vec<(String, &Json)> = match value {
        Json::Object(map) => map.iter().map(|(key, value)| (format!("{prefix}/{key}"), value)).collect(),
        Json::Array(list) => {
            list.iter().enumerate().map(|(i, value)| (format!("{prefix}/{i}"), value)).collect()
        }
        _ => return,
    };
    for (pointer, value) in children {
        pointers(value, &pointer, into);
        into.push(pointer);
    }
}

#[test]
fn nothing_makes_the_check_panic_and_both_forms_agree() {
    let seed = 0x1ec5_1c09;
    let mut rng = SmallRng::seed_from_u64(seed);
    let whole = [post(&with_media(&video())), post(&gallery()), post(&external()), repost(), follow()];
    let strange = [
        json!(null),
        json!(-1),
        json!(i64::MIN),
        json!(""),
        json!("\u{0}ä%"),
        json!([[]]),
        json!({"$type": "blob"}),
        json!({"$link": RAW}),
        json!({"$bytes": "AA"}),
        image(),
        reference(),
        json!(RAW),
        json!("at://"),
        json!("Q"),
        json!("b="),
    ];
    let (mut passed, mut left_out) = (0, 0);
    for _ in 0..10_000 {
        let mut record = whole[rng.random_range(0..whole.len())].clone();
        for _ in 0..rng.random_range(1..4) {
            let mut places = Vec::new();
            pointers(&record, "", &mut places);
            let place = &places[rng.random_range(0..places.len())];
            let value = strange[rng.random_range(0..strange.len())].clone();
            *record.pointer_mut(place).unwrap() = value;
        }
        match check(&record) {
            Ok(_) => passed += 1,
            Err(_) => left_out += 1,
        }
    }
    assert!(passed > 100 && left_out > 5_000, "seed {seed:#x}: {passed} passed, {left_out} were left out");
}
