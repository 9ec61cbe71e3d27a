//! Reading an archive: a segment of a real server, segments of our own, and what is damaged.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use std::collections::BTreeMap;

use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use serde_json::json;
use skyweir_indexer::archive::{BlockFault, BlockReader, Damage, Header, Piece, SegmentWalk, Wanted};
use skyweir_indexer::decode::{UNKNOWN_TIME, cid_text, v1_message, whole_value};
use skyweir_indexer::source::Frame;
use skyweir_indexer::{Skip, decode};
use skyweir_loadtest::{ArchiveBlock, ArchiveRow, ArchiveSegment, Event as Sent, tid};
use skyweir_types::{AccountStatus, Action, Body, Cid, Collection, Event, Record};

const DID: &str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
const TIME: u64 = 1_783_175_888_000_000;
const MOST: usize = 1 << 20;
const ALL: Wanted = Wanted { after: 0, through: u64::MAX, items_since_us: i64::MIN, latest_us: i64::MAX };

/// Takes a segment apart, fed in pieces of this size.
fn take(bytes: &[u8], size: usize, most: usize) -> Result<(Header, Vec<Vec<u8>>), Damage> {
    let (mut walk, mut frames) = (SegmentWalk::new(most), Vec::new());
    for (i, piece) in bytes.chunks(size).enumerate() {
        assert_eq!(walk.offset(), (i * size) as u64);
        walk.feed(piece);
        while let Some(piece) = walk.next_piece()? {
            if let Piece::Block { block, frame } = piece {
                assert_eq!(block as usize, frames.len());
                frames.push(frame.to_vec());
            }
        }
    }
    walk.end().map(|header| (header, frames))
}

/// What is wanted of all blocks of a segment.
fn read(bytes: &[u8], wanted: &Wanted) -> Result<Vec<Frame>, Damage> {
    let mut reader = BlockReader::new(MOST).unwrap();
    let (_, frames) = take(bytes, 1_000_000, MOST)?;
    let fault = |(block, fault)| Damage::Block { block, fault };
    let frames = frames
        .iter()
        .zip(0..)
        .map(|(frame, block)| wanted.of_block(&mut reader, frame).map_err(|wrong| fault((block, wrong))));
    frames.collect()
}

fn events(frames: Vec<Frame>) -> Vec<Event> {
    frames.into_iter().flat_map(|frame| frame.events).collect()
}

fn segment(rows: &[ArchiveRow], a_block: usize) -> ArchiveSegment {
    let blocks: Vec<_> = rows.chunks(a_block).map(|rows| ArchiveBlock::new(rows.to_vec())).collect();
    ArchiveSegment::of_blocks(&blocks).unwrap()
}

fn rows_of(events: &[Sent]) -> Vec<ArchiveRow> {
    events.iter().zip(1..).map(|(event, seq)| ArchiveRow::of_event(seq, event)).collect()
}

fn post(time_us: u64, rkey: &str) -> Sent {
    let record = json!({"$type": "app.bsky.feed.post", "createdAt": "2026-07-04T14:38:08.999Z", "text": "x"});
    Sent::create(DID, time_us, "app.bsky.feed.post", rkey, record)
}

fn update(time_us: u64, rkey: &str) -> Sent {
    let record = json!({"$type": "app.bsky.feed.post", "createdAt": "2026-07-04T14:38:08.999Z", "text": "y"});
    Sent::update(DID, time_us, "app.bsky.feed.post", rkey, record)
}

fn follow(time_us: u64, rkey: &str) -> Sent {
    let record = json!({"$type": "app.bsky.graph.follow", "createdAt": "2026-07-04T14:38:08.999Z",
        "subject": "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb"});
    Sent::create(DID, time_us, "app.bsky.graph.follow", rkey, record)
}

#[test]
fn the_golden_segment() {
    let Some(bytes) = common::shared("jetstream-v2-corpus/golden_corpus_segment.jss") else { return };
    let Some(listed) = common::lines("jetstream-v2-corpus/car_expected_records.tsv") else { return };
    let (header, frames) = take(&bytes, 7, MOST).unwrap();
    assert_eq!((header.blocks, header.events, header.min_seq, header.max_seq), (3, 23, 1, 23));
    let mut reader = BlockReader::new(MOST).unwrap();
    let (mut found, mut expected) = (Vec::new(), Vec::new());
    for frame in &frames {
        for row in reader.rows(frame).unwrap() {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let (collection, rkey) = (text(row.collection), text(row.rkey));
            let cid = skyweir_loadtest::cid_of(row.payload);
            found.push(format!("{collection}/{rkey}\t{cid}"));
            // as a Jetstream would have sent it, with the time that the archive gives it
            let record = whole_value(row.payload).unwrap().to_json();
            let time = row
                .witnessed_at
                .min(skyweir_types::Tid::parse(&rkey).map_or(i64::MAX, |tid| tid.micros() as i64));
            let line = json!({"did": text(row.did), "time_us": time, "kind": "commit", "commit": {
                "rev": text(row.rev), "operation": "create", "collection": collection, "rkey": rkey,
                "record": record, "cid": cid}});
            expected.extend(v1_message(line.to_string().as_bytes()).events);
        }
    }
    assert_eq!(found, listed, "as another implementation lists the repository");
    let frames = read(&bytes, &ALL).unwrap();
    assert_eq!(frames.iter().map(|frame| frame.position).collect::<Vec<_>>(), [8, 16, 23].map(Some));
    assert!(frames.iter().all(|frame| frame.skipped.is_empty()));
    let mut kinds = BTreeMap::new();
    let found = events(frames);
    for event in &found {
        let Body::Record(op) = &event.body else { panic!("{event:?}") };
        assert!(matches!(op.action, Action::Put { .. }));
        *kinds.entry(op.collection).or_insert(0) += 1;
    }
    assert_eq!(kinds, [(Collection::Post, 6), (Collection::Repost, 3), (Collection::Follow, 3)].into());
    assert_eq!(found, expected);
}

/// Rows of all kinds, with texts of all lengths.
fn any_row(rng: &mut SmallRng, seq: u64) -> ArchiveRow {
    let mut text = |most: usize| "x".repeat(rng.random_range(0..=most) * usize::from(rng.random_bool(0.7)));
    let (collection, did, rkey, rev) = (text(255), text(300), text(255), text(20));
    let mut payload = vec![0; rng.random_range(0..500)];
    rng.fill_bytes(&mut payload);
    let (kind, witnessed_at, indexed_at) = (rng.random(), rng.random(), rng.random());
    ArchiveRow { seq, witnessed_at, indexed_at, kind, collection, did, rkey, rev, payload }
}

#[test]
fn what_is_written_is_read() {
    let mut rng = SmallRng::seed_from_u64(0xa5c1);
    for round in 0..200 {
        let mut seq = rng.random_range(0..10);
        let mut row = |rng: &mut SmallRng| {
            seq += rng.random_range(1..5);
            any_row(rng, seq)
        };
        let sizes: Vec<usize> = (0..rng.random_range(0..6)).map(|_| rng.random_range(0..20)).collect();
        let blocks: Vec<_> =
            sizes.iter().map(|size| ArchiveBlock::new((0..*size).map(|_| row(&mut rng)).collect())).collect();
        let written = ArchiveSegment::of_blocks(&blocks).unwrap();
        let most = written.bytes.len();
        let (header, frames) = take(&written.bytes, rng.random_range(1..3_000), most).unwrap();
        assert_eq!(
            (header.checksum, header.blocks as usize),
            (written.checksum, blocks.len()),
            "round {round}"
        );
        let mut reader = BlockReader::new(MOST).unwrap();
        for (frame, block) in frames.iter().zip(&blocks) {
            let rows = reader.rows(frame).unwrap();
            assert_eq!(rows.len(), block.rows.len());
            let same = rows.zip(&block.rows).all(|(read, row)| {
                (read.seq, read.witnessed_at, read.indexed_at, read.kind)
                    == (row.seq, row.witnessed_at, row.indexed_at, row.kind)
                    && (read.collection, read.did) == (row.collection.as_bytes(), row.did.as_bytes())
                    && (read.rkey, read.rev) == (row.rkey.as_bytes(), row.rev.as_bytes())
                    && read.payload == row.payload
            });
            assert!(same, "round {round}");
        }
    }
}

#[test]
fn what_is_damaged_is_found_out() {
    let mut rng = SmallRng::seed_from_u64(0xda_4a6e);
    let rows: Vec<_> =
        (0..60).map(|i| ArchiveRow::of_event(i + 1, &post(TIME + i, &format!("k{i}")))).collect();
    let good = segment(&rows, 20);
    let expected = events(read(&good.bytes, &ALL).unwrap());
    assert_eq!(expected.len(), 60);
    // a few bits mean nothing, such as the one of a zstd frame that nobody uses
    let mut noticed = 0;
    let mut check = |bytes: &[u8]| match read(bytes, &ALL) {
        Ok(frames) => assert_eq!(events(frames), expected),
        Err(_) => noticed += 1,
    };
    for _ in 0..2_000 {
        let mut bytes = good.bytes.clone();
        let at = rng.random_range(0..bytes.len());
        bytes[at] ^= 1 << rng.random_range(0..8);
        check(&bytes);
    }
    for length in (0..good.bytes.len()).step_by(13) {
        check(&good.bytes[..length]);
    }
    for _ in 0..2_000 {
        let mut noise = vec![0; rng.random_range(1..600)];
        rng.fill_bytes(&mut noise);
        let mut bytes = good.bytes.clone();
        let at = rng.random_range(0..bytes.len());
        bytes.splice(at..(at + rng.random_range(0..600)).min(good.bytes.len()), noise);
        check(&bytes);
    }
    assert!(noticed > 4_000, "{noticed}");
    let longer = [&good.bytes[..], b"x"].concat();
    assert!(matches!(read(&longer, &ALL), Err(Damage::Checksum { .. })));
}

#[test]
fn errors_say_what_is_wrong_where() {
    let good = segment(&rows_of(&[post(TIME, "a"), post(TIME, "b"), post(TIME, "c")]), 1);
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = good.bytes.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        take(&changed, 100, MOST).unwrap_err().to_string()
    };
    assert_eq!(with(0, b"x"), "the segment's header is wrong: it doesn't begin with jss0");
    assert_eq!(with(4, &[0; 8]), "the segment's header is wrong: the segment isn't sealed");
    assert!(with(12, &[2, 0]).contains("a newer Skyweir may know it"));
    assert!(with(14, &65_536_u32.to_le_bytes()).starts_with("block 3: it is longer than the segment"));
    let second = good.frames[1].start - 8;
    assert_eq!(with(second, &u64::MAX.to_le_bytes()), "block 1: it is longer than the segment");
    assert!(
        with(good.bytes.len() - 1, b"\0").starts_with("the segment's checksum is wrong: its header says ")
    );
    let small = take(&good.bytes, 100, 10).unwrap_err().to_string();
    assert_eq!(small, "block 0: it is larger than the 10 bytes that a block may have (archive_block_bytes)");
}

#[test]
fn a_block_is_bounded_and_whole() {
    let mut reader = BlockReader::new(10_000).unwrap();
    let mut fault = |columns: &[u8], checksum: bool| {
        let mut zip = zstd::bulk::Compressor::new(3).unwrap();
        zip.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(checksum)).unwrap();
        reader.rows(&zip.compress(columns).unwrap()).map(|rows| rows.len())
    };
    assert_eq!(fault(&[0; 4], true), Ok(0));
    assert_eq!(fault(&[0; 4], false), Err(BlockFault::NoChecksum));
    assert_eq!(fault(&[0; 3], true), Err(BlockFault::Frame));
    assert_eq!(fault(&[0; 5], true), Err(BlockFault::Columns { rows: 0, bytes: 5 }));
    assert_eq!(fault(&[255; 40], true), Err(BlockFault::Columns { rows: u32::MAX, bytes: 40 }));
    assert_eq!(fault(&vec![0; 50_000_000], true), Err(BlockFault::TooLarge { most: 10_000 }));
    let backwards = vec![ArchiveRow { seq: 2, ..ArchiveRow::default() }, ArchiveRow::default()];
    let backwards = ArchiveBlock { rows: backwards, seqs: (0, 2), times: (0, 0) };
    assert_eq!(fault(&backwards.columns().unwrap(), true), Err(BlockFault::Order));
}

#[test]
fn rows_are_events_as_the_live_stream_tells_them() {
    let sent = [
        post(TIME, "a"),
        follow(TIME, "b"),
        Sent::delete(DID, TIME, "app.bsky.feed.repost", "c"),
        Sent::account(DID, TIME, false, Some("deleted")),
        Sent::sync(DID, TIME),
        Sent::identity(DID, TIME, Some("a.example.com")),
        Sent::create(DID, TIME, "app.bsky.feed.like", "d", json!({"$type": "app.bsky.feed.like"})),
        post(TIME, "not a key"),
        Sent::create(
            DID,
            TIME,
            "app.bsky.feed.post",
            "e",
            json!({"$type": "app.bsky.feed.post", "text": "no date"}),
        ),
    ];
    let live: Vec<_> =
        sent.iter().map(|sent| decode::v2_message(sent.to_jetstream_v2_json(1).as_bytes())).collect();
    let frames = read(&segment(&rows_of(&sent), 4).bytes, &ALL).unwrap();
    let skipped: Vec<_> = frames.iter().flat_map(|frame| frame.skipped.clone()).collect();
    assert_eq!(skipped, live.iter().flat_map(|decoded| decoded.skipped.clone()).collect::<Vec<_>>());
    assert_eq!(skipped, [Skip::BadRkey, Skip::BadCreatedAt]);
    let live: Vec<_> = live.into_iter().flat_map(|decoded| decoded.events).collect();
    assert_eq!(live.len(), 5);
    assert_eq!(events(frames), live);
}

#[test]
fn rows_that_only_an_archive_has() {
    let mut rows =
        rows_of(&[post(TIME, "a"), post(TIME, "b"), post(TIME, "c"), post(TIME, "d"), post(TIME, "e")]);
    rows[0].kind = 7;
    rows[1].kind = 8;
    rows[2].payload.clear();
    rows[3].did = "nobody".to_owned();
    rows[4].indexed_at = 5;
    let frames = read(&segment(&rows, 9).bytes, &ALL).unwrap();
    assert_eq!(frames[0].skipped, [Skip::UnknownKind, Skip::MissingRecord, Skip::BadDid]);
    let keys: Vec<_> = events(frames).iter().map(|event| (key(event), event.time_us)).collect();
    assert_eq!(keys, [("a".to_owned(), TIME as i64), ("e".to_owned(), 5)]);
}

fn key(event: &Event) -> String {
    let Body::Record(op) = &event.body else { panic!("{event:?}") };
    op.rkey.as_str().to_owned()
}

fn is_deletion(event: &Event) -> bool {
    matches!(&event.body, Body::Record(op) if op.action == Action::Delete)
}

#[test]
fn a_created_records_time_is_no_later_than_its_key_says() {
    let (earlier, later) = (tid(TIME - 86_400_000_000, 0), tid(TIME + 86_400_000_000, 0));
    let sent = [
        post(TIME, &earlier),
        post(TIME, &later),
        post(TIME, "self"),
        update(TIME, &earlier),
        Sent::delete(DID, TIME, "app.bsky.feed.post", &earlier),
    ];
    let read_as = |latest_us| {
        let frames = read(&segment(&rows_of(&sent), 9).bytes, &Wanted { latest_us, ..ALL }).unwrap();
        let (frame, skipped) = (frames[0].time_us, frames[0].skipped.clone());
        (events(frames).iter().map(|event| event.time_us).collect::<Vec<_>>(), frame, skipped)
    };
    let time = TIME as i64;
    assert_eq!(read_as(i64::MAX), (vec![time - 86_400_000_000, time, time, time, time, time], time, vec![]));
    let future = vec![Skip::FutureTime; 5];
    assert_eq!(read_as(5), (vec![5; 6], 5, future));
}

#[test]
fn only_what_is_wanted_is_taken() {
    let old = tid(TIME - 86_400_000_000, 0);
    let sent = [
        post(TIME, &old),
        follow(TIME, &old),
        update(TIME - 1, &old),
        post(TIME, "b"),
        post(TIME, "c"),
        post(TIME, "d"),
    ];
    let segment = segment(&rows_of(&sent), 5);
    let wanted = Wanted { after: 1, through: 5, items_since_us: TIME as i64, latest_us: i64::MAX };
    let frames = read(&segment.bytes, &wanted).unwrap();
    assert_eq!(frames[0].position, Some(5));
    assert_eq!((frames[1].position, frames[1].time_us), (None, UNKNOWN_TIME));
    let taken = events(frames);
    assert_eq!(taken.iter().map(key).collect::<Vec<_>>(), [&old, &old, "b", "c"]);
    // a follow is taken however old; of a post that is too old, only that its former version is gone
    assert!(is_deletion(&taken[1]) && !is_deletion(&taken[0]));
    let of_age = Wanted { items_since_us: 0, ..wanted };
    let taken = events(read(&segment.bytes, &of_age).unwrap());
    let changed: Vec<_> =
        taken.iter().map(|event| (key(event), is_deletion(event))).skip(1).take(2).collect();
    assert_eq!(
        changed,
        [(old.clone(), true), (old.clone(), false)],
        "what it replaces may be compacted away"
    );
    let frames = read(&segment.bytes, &Wanted { after: 0, ..wanted }).unwrap();
    assert_eq!(events(frames).len(), 4, "what was too old when it was made is left out");
}

#[test]
fn accounts_and_records_are_what_they_say() {
    let sent = [Sent::account(DID, TIME, false, Some("takendown")), follow(TIME, "a")];
    let found = events(read(&segment(&rows_of(&sent), 9).bytes, &ALL).unwrap());
    assert_eq!(found[0].body, Body::Account(AccountStatus::Hidden));
    let Body::Record(op) = &found[1].body else { panic!() };
    let Action::Put { cid, record: Record::Follow { subject } } = &op.action else { panic!() };
    assert_eq!(subject.as_str(), "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb");
    let skyweir_loadtest::Body::Commit { cid: sent, .. } = &sent[1].body else { panic!() };
    assert_eq!(Some(*cid), sent.as_deref().map(|text| Cid::parse(text).unwrap()));
    let digest = [&[1, 0x71, 0x12, 0x20], &cid.digest()[..]].concat();
    assert_eq!(Some(cid_text(&digest)), *sent);
}
