//! Events decoded per CPU second, from the recorded messages, beside an untyped parse of the same lines; and rows of an
//! archive.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and fails loudly")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::cell::RefCell;
use std::hint::black_box;

use serde_json::{Value as Json, json};
use skyweir_indexer::archive::{BlockReader, Wanted};
use skyweir_indexer::decode::{Decoded, firehose_frame, v1_message, v2_message};
use skyweir_loadtest::{ArchiveBlock, ArchiveRow, ArchiveSegment, Event, Network, NetworkSpec};

/// Rounds of which the median counts.
const ROUNDS: usize = 5;
/// CPU time of a round, nanoseconds.
const ROUND_NS: u64 = 500_000_000;

/// CPU time of this thread, nanoseconds.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts CPU time there");
    text.split(' ').next().unwrap().parse().unwrap()
}

/// Messages (or rows) handled in a CPU second: the median of the rounds, the least and the greatest. `handle` tells how
/// many it has handled.
fn measure(messages: &[Vec<u8>], handle: impl Fn(&[u8]) -> usize) -> [f64; 3] {
    let mut rates: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let (began, mut done) = (cpu_ns(), 0);
            loop {
                for message in messages {
                    let handled = black_box(handle(black_box(message)));
                    assert!(handled > 0);
                    done += handled;
                }
                let spent = cpu_ns() - began;
                if spent > ROUND_NS {
                    return done as f64 * 1e9 / spent as f64;
                }
            }
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    [rates[ROUNDS / 2], rates[0], rates[ROUNDS - 1]]
}

/// A legacy event as the second generation tells it.
fn as_v2(line: &str, seq: usize) -> Vec<u8> {
    let event: Json = serde_json::from_str(line).unwrap();
    let kind = event["kind"].as_str().unwrap();
    let mut payload = json!({"$type": format!("network.bsky.jetstream.subscribeEvents#{kind}"), "seq": seq,
        "did": event["did"], "time": "2026-07-04T14:38:08.085434Z"});
    match (&event[kind], kind) {
        (Json::Object(fields), "commit") => payload.as_object_mut().unwrap().extend(fields.clone()),
        (body, _) => payload[kind] = body.clone(),
    }
    json!({"$type": "message", "payload": payload}).to_string().into_bytes()
}

fn decodes(decoded: &Decoded) -> usize {
    usize::from(decoded.skipped.is_empty())
}

/// Blocks of an archive of a generated network, as they are downloaded.
fn blocks(wanted: impl Fn(&Event) -> bool) -> Vec<Vec<u8>> {
    let network = Network::new(NetworkSpec::default()).unwrap();
    let events = network.events().filter(wanted).take(16 * 4_096);
    let rows: Vec<_> = events.zip(1..).map(|(event, seq)| ArchiveRow::of_event(seq, &event)).collect();
    let blocks: Vec<_> = rows.chunks(4_096).map(|rows| ArchiveBlock::new(rows.to_vec())).collect();
    let segment = ArchiveSegment::of_blocks(&blocks).unwrap();
    segment.frames.iter().map(|frame| segment.bytes[frame.clone()].to_vec()).collect()
}

fn main() {
    let (Some(lines), Some(frames), Some(ours)) = (
        common::lines("jetstream-v2-corpus/expected_v1.jsonl"),
        common::frames(),
        common::lines("derived/car_records_as_jetstream_v1.masked.jsonl.zst"),
    ) else {
        return;
    };
    let is_ours = |line: &&String| {
        ["feed.post", "feed.repost", "graph.follow"]
            .iter()
            .any(|c| line.contains(&format!("\"collection\":\"app.bsky.{c}\"")))
    };
    // some of the recorded ones are skipped, and rightly: the tests of the corpus judge that
    let passes = |line: &&String| decodes(&v1_message(line.as_bytes())) > 0;
    let ours: Vec<String> = ours.iter().filter(is_ours).filter(passes).take(2_000).cloned().collect();
    let bytes = |lines: &[String]| lines.iter().map(|line| line.clone().into_bytes()).collect::<Vec<_>>();
    let v2 =
        |lines: &[String]| lines.iter().enumerate().map(|(n, line)| as_v2(line, n + 1)).collect::<Vec<_>>();
    let follows = blocks(|event| event.collection() == Some("app.bsky.graph.follow"));
    let items = blocks(|event| event.collection().is_some_and(|nsid| nsid.starts_with("app.bsky.feed.")));
    // cargo's own arguments begin with a hyphen; a word chooses among the names
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    println!("messages or rows a CPU second, one thread: median (least to greatest) of {ROUNDS}");
    let print = |name: &str, messages: &[Vec<u8>], handle: &dyn Fn(&[u8]) -> usize| {
        if !wanted.iter().all(|word| name.contains(word)) {
            return;
        }
        let [median, least, most] = measure(messages, handle);
        println!("{name:<44} {median:>10.0} ({least:.0} to {most:.0})");
    };
    let untyped = |text: &[u8]| usize::from(serde_json::from_slice::<Json>(text).is_ok());
    for (name, lines) in [("network's mix", &lines), ("our collections", &ours)] {
        print(&format!("v2 JSON, {name}"), &v2(lines), &|text| decodes(&v2_message(text)));
        print(&format!("v2 JSON, {name}, serde_json::Value"), &v2(lines), &untyped);
        print(&format!("v1 JSON, {name}"), &bytes(lines), &|text| decodes(&v1_message(text)));
        print(&format!("v1 JSON, {name}, serde_json::Value"), &bytes(lines), &untyped);
    }
    print("firehose frames, network's mix", &frames, &|frame| decodes(&firehose_frame(frame)));
    let reader = RefCell::new(BlockReader::new(64 << 20).unwrap());
    let all = Wanted { after: 0, through: u64::MAX, items_since_us: i64::MIN, latest_us: i64::MAX };
    let decode = |frame: &[u8]| {
        let read = all.of_block(&mut reader.borrow_mut(), frame).unwrap();
        read.events.len() + read.skipped.len()
    };
    print("archive rows, unpacked only", &follows, &|frame| reader.borrow_mut().rows(frame).unwrap().count());
    print("archive rows, follows", &follows, &decode);
    print("archive rows, items", &items, &decode);
}
