//! Plain requests to the stand-in's archive: plans, segments, blocks.

use super::archive::Sealed;
use super::chaos::Fault;
use super::http::{Answer, Head};
use super::plan::{self, Ask};
use super::query::number;
use super::state::State;
use serde_json::{Value, json};

const PLAN: &str = "/xrpc/network.bsky.jetstream.planSnapshot";
const LIST: &str = "/xrpc/network.bsky.jetstream.listSegments";
const SEGMENT: &str = "/xrpc/network.bsky.jetstream.getSegment";
const BLOCK: &str = "/xrpc/network.bsky.jetstream.getBlock";

/// The answer to a request for the archive; `None` when it is none.
pub(super) fn answer(head: &Head, body: &[u8], state: &mut State) -> Option<Answer> {
    let path = [PLAN, LIST, SEGMENT, BLOCK].into_iter().find(|path| *path == head.path)?;
    if head.method != if path == PLAN { "POST" } else { "GET" } {
        return Some(Answer::text(405, "another method"));
    }
    let fault = state.chaos.as_mut().and_then(|chaos| chaos.draw(path == PLAN));
    let counts = &mut state.archived;
    if [SEGMENT, BLOCK].contains(&path)
        && let Some(left) = &mut state.downloads
    {
        if *left == 0 {
            counts.refused += 1;
            return Some(Answer::error(503, "Unavailable", "not now"));
        }
        *left -= 1;
    }
    match fault {
        Some(Fault::Refuse(status, wait)) => {
            counts.refused += 1;
            let refused = Answer::error(status, "RateLimitExceeded", "not now");
            return Some(refused.with("retry-after", wait.to_string()));
        }
        Some(Fault::Gone) => {
            counts.gone += 1;
            return Some(no_segment());
        }
        Some(Fault::Compact) => {
            counts.compacted += 1;
            state.compact();
        }
        Some(Fault::Seal) => {
            counts.sealed += 1;
            state.seal();
        }
        _ => {}
    }
    let answer = match path {
        PLAN => planned(body, state),
        LIST => listed(&head.pairs(), state),
        SEGMENT => segment(head, state),
        _ => block(&head.pairs(), state),
    };
    Some(match fault {
        Some(Fault::Cut(share)) => {
            state.archived.cut += 1;
            answer.cut(share)
        }
        Some(Fault::Flip(share)) => {
            state.archived.flipped += 1;
            answer.flip(share)
        }
        _ => answer,
    })
}

fn planned(body: &[u8], state: &mut State) -> Answer {
    state.archived.plans += 1;
    let ask: Ask = match serde_json::from_slice(body) {
        Ok(ask) => ask,
        Err(error) => return Answer::error(400, "InvalidRequest", &error.to_string()),
    };
    match ask.fault() {
        Some(fault) => Answer::error(400, "InvalidRequest", fault),
        None => Answer::json(&plan::plan(&state.archive, &ask, state.chaos.as_mut())),
    }
}

fn listed(pairs: &[(String, String)], state: &State) -> Answer {
    let value = |name: &str| pairs.iter().find(|(key, _)| key == name).and_then(|(_, value)| number(value));
    let (limit, from) = (value("limit").unwrap_or(100).clamp(1, 1_000), value("cursor").unwrap_or(0));
    let segments = state.archive.segments.iter().enumerate().skip(from as usize);
    let listed: Vec<Value> =
        segments.take(limit as usize).map(|(index, segment)| facts(index, segment)).collect();
    let end = from as usize + listed.len();
    let mut answer = json!({"segments": listed});
    if end < state.archive.segments.len() {
        answer["cursor"] = json!(end.to_string());
    }
    Answer::json(&answer)
}

fn facts(index: usize, segment: &Sealed) -> Value {
    let times = || segment.blocks.iter().flat_map(|block| [block.times.0, block.times.1]);
    let (least, most) = segment.seqs();
    json!({"name": segment.name, "index": index, "sizeBytes": segment.file.bytes.len(), "checksum": segment.checksum(),
        "eventCount": segment.blocks.iter().map(|block| block.rows.len()).sum::<usize>(), "minSeq": least,
        "maxSeq": most, "minWitnessedAt": times().min(), "maxWitnessedAt": times().max()})
}

fn segment(head: &Head, state: &mut State) -> Answer {
    state.archived.segments += 1;
    let pairs = head.pairs();
    let name = pairs.iter().find(|(key, _)| key == "name").map(|(_, value)| value.as_str());
    let Some(segment) = name.and_then(|name| state.archive.segment(name)) else { return no_segment() };
    let (bytes, etag) = (&segment.file.bytes, format!("\"{}\"", segment.checksum()));
    let from = head.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
    let is_same = head.header("if-range").is_none_or(|asked| asked == etag);
    let answer = match from.and_then(number).filter(|_| is_same) {
        None => Answer::bytes(bytes.clone()),
        Some(from) if from < bytes.len() as u64 => {
            state.archived.resumed += 1;
            let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
            Answer::bytes(bytes[from as usize..].to_vec()).status(206).with("content-range", range)
        }
        Some(_) => Answer::text(416, "beyond the end"),
    };
    answer.with("etag", etag)
}

fn block(pairs: &[(String, String)], state: &mut State) -> Answer {
    state.archived.blocks += 1;
    let value = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let Some(segment) = value("segment").and_then(|name| state.archive.segment(name)) else {
        return no_segment();
    };
    let index = value("blockIndex").and_then(number);
    match index.and_then(|index| segment.file.frames.get(index as usize).cloned()) {
        Some(frame) => Answer::bytes(segment.file.bytes[frame].to_vec())
            .with("etag", format!("\"{}:{}\"", segment.checksum(), index.unwrap_or(0))),
        None => Answer::error(400, "BlockNotFound", "the segment has no such block"),
    }
}

fn no_segment() -> Answer {
    Answer::error(400, "SegmentNotFound", "no sealed segment has this name")
}
