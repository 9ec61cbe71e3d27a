//! Commits as any Jetstream writes them, read in one pass, the record with its envelope.
//!
//! Whatever is not as usual is `None`, and left to the readers that know all that is legal and why the rest isn't.

use skyweir_types::{Collection, Datetime, Event};

use super::Decoded;
use super::jetstream::Parts;
use super::json::Json;
use super::v2::SEQ_END;
use super::value::Value;
use crate::Skip;

/// A legacy event.
pub(super) fn v1_commit(message: &[u8]) -> Option<Decoded> {
    let (mut did, mut time_us, mut is_commit) = (Once::default(), Once::default(), Once::default());
    let mut commit = Commit::default();
    let mut has_commit = Once::default();
    let mut json = Json::new(message)?;
    json.object(|json, key| match key {
        "did" => did.set(json.plain()?),
        "time_us" => time_us.set(json.whole()?),
        "kind" => is_commit.set(json.plain()? == "commit"),
        "commit" => {
            json.object(|json, key| commit.field(json, key))?;
            has_commit.set(())
        }
        // here twice is once too often
        "account" => None,
        _ => json.skip(),
    })?;
    json.end()?;
    has_commit.0?;
    let time_us = time_us.0.filter(|time| *time > 0 && is_commit.0 == Some(true))?;
    let event = commit.event(did.0?, time_us)?;
    Some(Decoded::of(Some(time_us as u64), time_us, event))
}

/// A message of the second generation.
pub(super) fn v2_commit(message: &[u8]) -> Option<Decoded> {
    let (mut is_message, mut has_payload) = (Once::default(), Once::default());
    let (mut is_commit, mut seq) = (Once::default(), Once::default());
    let (mut did, mut time) = (Once::default(), Once::default());
    let mut commit = Commit::default();
    let mut json = Json::new(message)?;
    json.object(|json, key| match key {
        "$type" => is_message.set(json.plain()? == "message"),
        "payload" => {
            json.object(|json, key| match key {
                "$type" => is_commit.set(json.plain()?.ends_with("#commit")),
                "seq" => seq.set(json.whole()?),
                "did" => did.set(json.plain()?),
                "time" => time.set(json.plain()?),
                "account" | "sync" | "name" | "message" => None,
                _ => commit.field(json, key),
            })?;
            has_payload.set(())
        }
        "error" | "message" => None,
        _ => json.skip(),
    })?;
    json.end()?;
    (is_message.0? && is_commit.0?).then_some(())?;
    let seq = u64::try_from(seq.0?).ok().filter(|seq| *seq < SEQ_END)?;
    let time_us = Datetime::parse(time.0?).ok()?.micros();
    let event = commit.event(did.0?, time_us)?;
    Some(Decoded::of(Some(seq), time_us, event))
}

/// A field that may not come twice.
struct Once<T>(Option<T>);

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Once<T> {
    fn set(&mut self, value: T) -> Option<()> {
        self.0.replace(value).is_none().then_some(())
    }
}

/// The fields of a commit as they come.
#[derive(Default)]
struct Commit<'a> {
    rev: Once<&'a str>,
    operation: Once<&'a str>,
    collection: Once<&'a str>,
    rkey: Once<&'a str>,
    cid: Once<&'a str>,
    record: Once<Content<'a>>,
}

/// A record.
enum Content<'a> {
    Read(Value<'a>),
    /// It came before its collection was known, or is none of ours: it begins here.
    PassedBy(Json<'a>),
}

impl<'a> Commit<'a> {
    fn field(&mut self, json: &mut Json<'a>, key: &str) -> Option<()> {
        match key {
            "rev" => self.rev.set(json.plain()?),
            "operation" => self.operation.set(json.plain()?),
            "collection" => self.collection.set(json.plain()?),
            "rkey" => self.rkey.set(json.plain()?),
            "cid" => self.cid.set(json.plain()?),
            "record" => {
                let content = if self.collection.0.is_some_and(|nsid| Collection::from_nsid(nsid).is_some()) {
                    Content::Read(record(json)?)
                } else {
                    let begin = json.clone();
                    json.skip()?;
                    Content::PassedBy(begin)
                };
                self.record.set(content)
            }
            _ => json.skip(),
        }
    }

    fn event(self, did: &'a str, time_us: i64) -> Option<Result<Option<Event>, Skip>> {
        let parts = Parts {
            did,
            rev: self.rev.0?,
            operation: self.operation.0?,
            collection: self.collection.0?,
            rkey: self.rkey.0?,
            cid: self.cid.0.unwrap_or_default(),
        };
        let mut content = self.record.0;
        if let Some(Content::PassedBy(begin)) = &mut content
            && Collection::from_nsid(parts.collection).is_some()
        {
            content = Some(Content::Read(record(begin)?));
        }
        let read = match content {
            Some(Content::Read(value)) => Some(value),
            _ => None,
        };
        Some(parts.event(time_us, read.map(|value| || Ok(value))))
    }
}

/// A record that is there: null stands for none.
fn record<'a>(json: &mut Json<'a>) -> Option<Value<'a>> {
    json.value().filter(|value| *value != Value::Null)
}

#[cfg(test)]
mod tests {
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};
    use serde_json::json;
    use skyweir_loadtest::Event as Sent;

    use super::*;
    use crate::decode::value::DEEPEST;
    use crate::decode::{v1, v2};

    const DID: &str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
    const CID: &str = "bafyreib25swk3a6waplk2ie75u4a3qfejnkoiezfowuz7sa74i7tief3di";
    const TIME: u64 = 1_783_175_888_000_000;
    /// What a text is changed with: all that JSON is made of, and some of what it isn't.
    const BITS: [&str; 38] = [
        "\"",
        "\\",
        "\\n",
        "\\u00e4",
        "\\ud83d\\ude00",
        "\\ud83d",
        "\\u0000",
        "\\x",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        " ",
        "\t",
        "\n",
        "\r",
        "\u{b}",
        "\u{1f}",
        "\u{7f}",
        "ä",
        "😀",
        "null",
        "true",
        "1",
        "-",
        "-0",
        "0",
        "01",
        ".5",
        "e3",
        "999999999999999999999",
        "\"seq\":7,",
        "\"rev\":\"\",",
        "\"record\":null,",
        "\"x\":{\"y\":[1,-2,0,false,{}]},",
        "\"collection\":\"app.bsky.feed.like\",",
    ];

    fn samples() -> Vec<Sent> {
        let at = "2026-07-04T14:38:08.999Z";
        let post = json!({"$type": "app.bsky.feed.post", "createdAt": at, "text": "\"a\\b\"\n/\u{8}\u{c}\r\t äöü 😀 \u{1}",
            "langs": ["en"], "facets": [{"index": {"byteStart": 0, "byteEnd": 5}, "features": []}], "x": [-7, true, null]});
        let repost = json!({"$type": "app.bsky.feed.repost", "createdAt": at,
            "subject": {"uri": format!("at://{DID}/app.bsky.feed.post/a"), "cid": CID}});
        let like =
            json!({"$type": "app.bsky.feed.like", "createdAt": at, "a": {"b": [1, false, "\n"]}, "c": 1.5});
        let create = |collection, record| Sent::create(DID, TIME, collection, "3mptbyplj5d2a", record);
        vec![
            create("app.bsky.feed.post", post),
            create("app.bsky.feed.repost", repost),
            create("app.bsky.feed.like", like),
            Sent::delete(DID, TIME, "app.bsky.feed.post", "3mptbyplj5d2a"),
            Sent::account(DID, TIME, false, Some("deleted")),
        ]
    }

    #[test]
    fn what_is_read_straight_is_read_as_by_serde() {
        let mut rng = SmallRng::seed_from_u64(0x5712_a197);
        let samples = samples();
        let (mut straight, mut others) = ([0; 2], [0; 2]);
        for round in 0..60_000 {
            let sample = &samples[rng.random_range(0..samples.len())];
            let is_v1 = round % 2 == 0;
            let mut text = match is_v1 {
                true => sample.to_jetstream_v1_json(Some(5)).expect("all have one").into_bytes(),
                false => sample.to_jetstream_v2_json(5).into_bytes(),
            };
            for _ in 0..rng.random_range(0..3) {
                let (from, bit) = (rng.random_range(0..text.len()), BITS[rng.random_range(0..BITS.len())]);
                // mostly where a field begins: elsewhere little of this is JSON
                let fields = text.iter().enumerate().filter(|(_, byte)| matches!(byte, b',' | b'{' | b':'));
                let fields: Vec<_> = fields.map(|(at, _)| at + 1).collect();
                let from = if rng.random_range(0..4) > 0 { fields[from % fields.len()] } else { from };
                let to = (from + rng.random_range(0..4) * rng.random_range(0..4)).min(text.len());
                text.splice(from..to, bit.bytes());
            }
            let (read, expected) = match is_v1 {
                true => (v1_commit(&text), v1::any_message(&text)),
                false => (v2_commit(&text), v2::any_message(&text)),
            };
            match read {
                Some(read) => {
                    assert_eq!(read, expected, "{}", String::from_utf8_lossy(&text));
                    straight[usize::from(is_v1)] += 1;
                }
                None => others[usize::from(is_v1)] += 1,
            }
        }
        assert!(straight.iter().chain(&others).all(|n| *n > 5_000), "{straight:?} {others:?}");
    }

    #[test]
    fn usual_commits_are_read_straight() {
        for sample in &samples()[..4] {
            let (v1, v2) = (sample.to_jetstream_v1_json(Some(5)), sample.to_jetstream_v2_json(5));
            // the fraction in the like is left to serde
            let is_usual = !v2.contains("feed.like");
            assert_eq!(v1_commit(v1.expect("all have one").as_bytes()).is_some(), is_usual);
            assert_eq!(v2_commit(v2.as_bytes()).is_some(), is_usual);
        }
    }

    #[test]
    fn records_are_the_same_values() {
        let mut deep = "[".repeat(DEEPEST - 1);
        deep.push_str(&"]".repeat(DEEPEST - 1));
        for text in [
            r#"{"a":"x\ny","b\u00e4":[1,-1,0,123456789012345678],"c":{"d":null,"e":true,"f":false},"g":[],"h":{}}"#,
            r#" { "a" : [ 1 , "ab" ] , "a" : "12345678\t\"12345678\\" } "#,
            "{\"\u{7f}äöü😀1234567\":\"äöü😀\u{2028}\"}",
            &deep,
        ] {
            let mut json = Json::new(text.as_bytes()).expect("UTF-8");
            let value = json.value();
            assert_eq!(json.end(), Some(()), "{text}");
            assert_eq!(value.ok_or(Skip::BadRecord), Value::from_json(text), "{text}");
        }
        for text in [
            "-0",
            "1.0",
            "1e3",
            "01",
            "-",
            "+1",
            "nul",
            "\"\u{1f}\"",
            "\"\\ud83d\"",
            "[1,]",
            "{\"a\"}",
            "[",
            "\"a",
        ] {
            assert_eq!(Json::new(text.as_bytes()).expect("UTF-8").value(), None, "{text}");
        }
    }
}
