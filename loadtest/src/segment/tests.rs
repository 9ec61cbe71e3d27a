//! Segments beside one that the real server wrote.

use super::*;
use crate::tid;
use serde_json::json;
use std::path::PathBuf;

/// A file of the shared data; nothing where there is none.
fn shared(name: &str) -> Option<Vec<u8>> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let path = std::env::var_os("SKYWEIR_SHARED").map_or(beside, PathBuf::from).join("data").join(name);
    let bytes = std::fs::read(&path).ok();
    let is_needed = std::env::var("SKYWEIR_REQUIRE_ALL").as_deref() == Ok("1");
    assert!(bytes.is_some() || !is_needed, "{} is missing", path.display());
    if bytes.is_none() {
        println!("skipped: no {name}");
    }
    bytes
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

fn u64_at(bytes: &[u8], at: usize) -> usize {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize
}

/// The columns of a block, read in the plainest way.
fn rows(columns: &[u8]) -> Vec<ArchiveRow> {
    let count = u32_at(columns, 0);
    let mut at = 4;
    let mut take = |length: usize| {
        at += length;
        columns[at - length..at].to_vec()
    };
    let numbers = |bytes: Vec<u8>, width: usize| -> Vec<u64> {
        let widen = |value: &[u8]| value.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        bytes.chunks(width).map(widen).collect()
    };
    let fixed: Vec<_> =
        [8, 8, 8, 1, 1, 2, 1, 1, 4].iter().map(|width| numbers(take(count * width), *width)).collect();
    let mut rows: Vec<_> = (0..count)
        .map(|i| ArchiveRow {
            seq: fixed[0][i],
            witnessed_at: fixed[1][i] as i64,
            indexed_at: fixed[2][i] as i64,
            kind: fixed[3][i] as u8,
            ..ArchiveRow::default()
        })
        .collect();
    for column in 0..5 {
        for (i, row) in rows.iter_mut().enumerate() {
            let bytes = take(fixed[4 + column][i] as usize);
            let text = || String::from_utf8(bytes.clone()).unwrap();
            match column {
                0 => row.collection = text(),
                1 => row.did = text(),
                2 => row.rkey = text(),
                3 => row.rev = text(),
                _ => row.payload = bytes,
            }
        }
    }
    assert_eq!(at, columns.len());
    rows
}

#[test]
fn what_is_written_is_what_the_real_server_writes() {
    let Some(golden) = shared("jetstream-v2-corpus/golden_corpus_segment.jss") else { return };
    let (footer, collections) = (u64_at(&golden, 58), u64_at(&golden, 82));
    let mut blocks = Vec::new();
    let entry = |bytes: &[u8], footer: usize, block: usize| bytes[footer + block * 52..][..52].to_vec();
    for block in 0..u32_at(&golden, 14) {
        let entry = entry(&golden, footer, block);
        let at = u64_at(&entry, 0) + 8;
        let columns = zstd::decode_all(&golden[at..at + u32_at(&entry, 8)]).unwrap();
        let block = ArchiveBlock::new(rows(&columns));
        assert_eq!(block.columns().unwrap(), columns);
        blocks.push(block);
    }
    let ours = ArchiveSegment::of_blocks(&blocks).unwrap();
    // magic; version, counts, numbers and times: all that doesn't depend on how well a library compresses
    assert_eq!(ours.bytes[..4], golden[..4]);
    assert_eq!(ours.bytes[12..58], golden[12..58]);
    assert_eq!(ours.bytes[98..256], golden[98..256]);
    for block in 0..blocks.len() {
        let (ours, theirs) =
            (entry(&ours.bytes, u64_at(&ours.bytes, 58), block), entry(&golden, footer, block));
        assert_eq!(ours[12..], theirs[12..]);
    }
    let index = |bytes: &[u8], at: usize| zstd::decode_all(&bytes[at + 16..]).unwrap();
    let ours_at = u64_at(&ours.bytes, 82);
    assert_eq!(ours.bytes[ours_at..ours_at + 16], golden[collections..collections + 16]);
    assert_eq!(index(&ours.bytes, ours_at), index(&golden, collections));
    // the golden segment's own checksum is made as ours is
    let mut hash = Xxh3::new();
    hash.update(&golden[12..256]);
    hash.update(&golden[footer..]);
    assert_eq!(hash.digest() as usize, u64_at(&golden, 4));
}

#[test]
fn events_become_rows() {
    let time = 1_783_175_888_000_000;
    let follow = json!({"$type": "app.bsky.graph.follow", "subject": "did:plc:b"});
    let event = Event::create("did:plc:a", time, "app.bsky.graph.follow", "k", follow.clone());
    let row = ArchiveRow::of_event(7, &event);
    assert_eq!((row.seq, row.kind, row.witnessed_at as u64), (7, 1, time));
    assert_eq!((row.rev, row.payload), (tid(time, 0), encode_dag_cbor(&follow)));
    let row = ArchiveRow::of_event(8, &Event::account("did:plc:a", time, false, Some("deleted")));
    assert_eq!((row.kind, row.indexed_as()), (5, "$account"));
    assert!(row.payload.windows(7).any(|bytes| bytes == b"deleted"));
    let row = ArchiveRow::of_event(9, &Event::sync("did:plc:a", time));
    assert_eq!((row.kind, row.rev), (6, tid(time, 0)));
    let long = ArchiveRow { rkey: "x".repeat(256), ..ArchiveRow::default() };
    assert!(ArchiveBlock::new(vec![long]).columns().is_err());
}
