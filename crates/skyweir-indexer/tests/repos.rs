//! Reading repositories: a recorded one, ones of our own in any order of blocks, and what is damaged.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde_json::json;
use skyweir_indexer::Skip;
use skyweir_indexer::decode::{Value, whole_value};
use skyweir_indexer::repos::{CarReader, Commit, Found, Pass, RepoFault, RepoWalk};
use skyweir_loadtest::{Repository, encode_dag_cbor, tid};
use skyweir_types::{Cid, Tid};

const DID: &str = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
const REV: &str = "3mptbyplj5d2a";
const LIKE: &str = "app.bsky.feed.like";
const POST: &str = "app.bsky.feed.post";
const FOLLOW: &str = "app.bsky.graph.follow";

/// One reading of an archive that comes in pieces of this size.
fn reading(bytes: &[u8], size: usize, walk: &mut RepoWalk, found: &mut Vec<Found>) -> Result<(), RepoFault> {
    let mut car = CarReader::default();
    let mut is_begun = false;
    for piece in bytes.chunks(size) {
        car.feed(piece);
        while let Some((cid, block)) = car.next_block()? {
            if !is_begun {
                walk.begin(car.root().unwrap())?;
                is_begun = true;
            }
            walk.block(cid, block, found)?;
            assert!(found.is_empty() || walk.commit().is_some());
        }
    }
    car.end()?;
    walk.end()
}

/// `collection/rkey` and CID of all that is found, by one reading or two.
fn read(bytes: &[u8], pass: Pass, most: usize) -> Result<(Commit, Vec<(String, Cid)>), RepoFault> {
    let (mut walk, mut found) = (RepoWalk::new(pass, most), Vec::new());
    reading(bytes, 1_000, &mut walk, &mut found)?;
    if pass == Pass::Tree {
        assert!(found.is_empty());
        reading(bytes, 77, &mut walk, &mut found)?;
    }
    let mut keys: Vec<_> = found
        .iter()
        .map(|found| (format!("{}/{}", found.collection.nsid(), found.rkey.as_str()), found.cid))
        .collect();
    keys.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    Ok((walk.commit().unwrap().clone(), keys))
}

fn is_ours(key: &str) -> bool {
    [POST, FOLLOW, "app.bsky.feed.repost"].contains(&key.split('/').next().unwrap())
}

/// Records of all kinds, most of them likes.
fn records(rng: &mut SmallRng, count: usize) -> BTreeMap<String, Vec<u8>> {
    let record = |n: usize| {
        let rkey = tid(1_700_000_000_000_000 + n as u64 * 1_000_003, 5);
        let collection = [LIKE, LIKE, POST, FOLLOW][n % 4];
        let record = json!({"$type": collection, "createdAt": "2026-01-01T00:00:00.000Z", "subject": DID,
            "text": format!("{n}")});
        (format!("{collection}/{rkey}"), encode_dag_cbor(&record))
    };
    let mut numbers: Vec<usize> = (0..count * 2).collect();
    numbers.shuffle(rng);
    numbers.into_iter().take(count).map(record).collect()
}

fn expected(records: &BTreeMap<String, Vec<u8>>) -> Vec<(String, Cid)> {
    let ours = records.iter().filter(|(key, _)| is_ours(key));
    ours.map(|(key, record)| (key.clone(), Cid::parse(&skyweir_loadtest::cid_of(record)).unwrap())).collect()
}

#[test]
fn the_recorded_repository() {
    let Some(bytes) = common::shared("jetstream-v2-corpus/repo.car") else { return };
    let Some(listed) = common::lines("jetstream-v2-corpus/car_expected_records.tsv") else { return };
    let listed = listed.iter().map(|line| line.split_once('\t').unwrap());
    let all: Vec<_> = listed.map(|(key, cid)| (key.to_owned(), Cid::parse(cid).unwrap())).collect();
    let ours: Vec<_> = all.iter().filter(|(key, _)| is_ours(key)).cloned().collect();
    for pass in [Pass::Only, Pass::Tree] {
        let (commit, found) = read(&bytes, pass, 1 << 20).unwrap();
        assert_eq!(commit.did, "did:plc:53iucmf5ldftgqyf2ac7hmhd");
        assert_eq!(commit.rev, Tid::parse("3migo7fijwi2k").unwrap());
        assert_eq!(found, ours);
    }
    // and the stand-in's trees are those of the real hosts
    let mut car = CarReader::default();
    car.feed(&bytes);
    let mut blocks = BTreeMap::new();
    while let Some((cid, block)) = car.next_block().unwrap() {
        blocks.insert(cid.to_string(), block.to_vec());
    }
    let records = all.iter().map(|(key, cid)| (key.clone(), blocks[&cid.to_string()].clone()));
    let built = Repository::new(&commit_of(&blocks), "3migo7fijwi2k", &records.collect());
    let built: BTreeSet<_> = built.blocks[1..].iter().map(|(_, block)| block.clone()).collect();
    blocks.remove(&car.root().unwrap().to_string());
    assert_eq!(built, blocks.into_values().collect());
}

/// Whose commit is among the blocks.
fn commit_of(blocks: &BTreeMap<String, Vec<u8>>) -> String {
    let values = blocks.values().map(|block| whole_value(block).unwrap());
    let mut dids = values.filter_map(|value| Some(value.get("did")?.as_str()?.to_owned()));
    dids.next().unwrap()
}

#[test]
fn blocks_may_come_in_any_order() {
    let mut rng = SmallRng::seed_from_u64(0x0c_a9);
    for round in 0..60 {
        let count = rng.random_range(0..400);
        let records = records(&mut rng, count);
        let mut repository = Repository::new(DID, REV, &records);
        match round % 4 {
            0 => {}
            1 => repository.blocks.reverse(),
            _ => repository.blocks.shuffle(&mut rng),
        }
        // blocks of the past, or of nobody, are no harm
        let like = encode_dag_cbor(&json!({"$type": LIKE, "x": round}));
        let cid = Cid::parse(&skyweir_loadtest::cid_of(&like)).unwrap();
        let binary = [&[0x01, 0x71, 0x12, 0x20][..], cid.digest()].concat();
        repository.blocks.insert(count / 3, (binary.try_into().unwrap(), like));
        let car = repository.car();
        for pass in [Pass::Only, Pass::Tree] {
            let (commit, found) = read(&car, pass, 1 << 20).unwrap();
            assert_eq!(commit, Commit { did: DID.to_owned(), rev: Tid::parse(REV).unwrap() });
            assert_eq!(found, expected(&records), "round {round}");
        }
    }
}

#[test]
fn what_is_held_is_bounded_and_less_in_order() {
    let mut rng = SmallRng::seed_from_u64(7);
    let records = records(&mut rng, 4_000);
    let mut repository = Repository::new(DID, REV, &records);
    let car = repository.car();
    assert_eq!(read(&car, Pass::Only, 20_000).unwrap().1, expected(&records), "in order it takes little");
    repository.blocks.reverse();
    let car = repository.car();
    let most = 750_000;
    assert_eq!(read(&car, Pass::Only, most), Err(RepoFault::Held { most }));
    assert_eq!(read(&car, Pass::Tree, most).unwrap().1, expected(&records), "the tree alone takes less");
    assert_eq!(read(&car, Pass::Tree, 20_000), Err(RepoFault::Held { most: 20_000 }));
}

#[test]
fn a_block_of_two_keys_may_take_two_readings() {
    let record = encode_dag_cbor(&json!({"$type": FOLLOW, "subject": DID}));
    let keys = (0..200).map(|n| format!("{FOLLOW}/{}", tid(n * 1_000, 0)));
    let records: BTreeMap<_, _> = keys.map(|key| (key, record.clone())).collect();
    let car = Repository::new(DID, REV, &records).car();
    assert!(matches!(read(&car, Pass::Only, 1 << 20), Err(RepoFault::Missing(_))));
    assert_eq!(read(&car, Pass::Tree, 1 << 20).unwrap().1, expected(&records));
}

#[test]
fn what_is_damaged_is_found_out() {
    let mut rng = SmallRng::seed_from_u64(0xda_4a6e);
    let records = records(&mut rng, 24);
    let good = Repository::new(DID, REV, &records).car();
    let check = |bytes: &[u8]| {
        for pass in [Pass::Only, Pass::Tree] {
            // bits of the header that nobody reads may be wrong
            if let Ok((_, found)) = read(bytes, pass, 1 << 20) {
                assert_eq!(found, expected(&records));
            }
        }
        read(bytes, Pass::Only, 1 << 20).is_err()
    };
    let noticed = (0..good.len() * 8)
        .step_by(3)
        .filter(|bit| {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            check(&bytes)
        })
        .count();
    // what is no record of ours isn't waited for: whose CID became one of another kind is passed over
    let others = records.keys().filter(|key| !is_ours(key)).count();
    let tried = (good.len() * 8).div_ceil(3);
    assert!(noticed + others * 32 / 3 + 100 > tried, "{noticed} of {tried}, {others} others");
    for length in 0..good.len() {
        assert!(check(&good[..length]), "{length}");
    }
}

#[test]
fn a_tree_that_is_none_is_refused() {
    let block = |value: serde_json::Value| {
        let block = encode_dag_cbor(&value);
        let cid = skyweir_loadtest::cid_of(&block);
        (cid, block)
    };
    let link = |cid: &str| json!({"$link": cid});
    let record = block(json!({"$type": POST}));
    let entry = |shared: usize, rest: &str, v: &str, t: serde_json::Value| {
        let rest = data_encoding::BASE64.encode(rest.as_bytes());
        json!({"p": shared, "k": {"$bytes": rest}, "v": link(v), "t": t})
    };
    let key = format!("{POST}/a");
    let good = entry(0, &key, &record.0, json!(null));
    let walked = |data: &(String, Vec<u8>), more: &[(String, Vec<u8>)]| {
        let commit = block(json!({"did": DID, "rev": REV, "data": link(&data.0), "version": 3}));
        let (mut walk, mut found) = (RepoWalk::new(Pass::Only, 1 << 20), Vec::new());
        walk.begin(Cid::parse(&commit.0).unwrap())?;
        for (cid, block) in [&commit, data].into_iter().chain(more) {
            walk.block(Cid::parse(cid).unwrap(), block.clone().into(), &mut found)?;
        }
        walk.end().map(|()| (found.len(), walk.skipped()))
    };
    let node = |entries: serde_json::Value| block(json!({"l": null, "e": entries}));
    let records = [record.clone()];
    assert_eq!(walked(&node(json!([good])), &records), Ok((1, vec![])));
    let odd = entry(0, "app.bsky.feed.post/no key", &record.0, json!(null));
    assert_eq!(walked(&node(json!([odd])), &records), Ok((0, vec![Skip::BadRkey])));
    for (wrong, why) in [
        (node(json!([good, good])), "its keys don't rise"),
        (node(json!([entry(0, &"x".repeat(1_025), &record.0, json!(null))])), "a key is too long"),
        (node(json!([entry(9, "x", &record.0, json!(null))])), "an entry has no key"),
        (node(json!([entry(0, &key, &record.0, json!(7))])), "a link is none"),
        (block(json!({"l": null})), "a node has no entries"),
        (
            block(json!({"l": link(&record.0), "e": [entry(0, &key, &record.0, json!(null))]})),
            "a node is a record, too",
        ),
    ] {
        assert_eq!(walked(&wrong, &records), Err(RepoFault::Tree(why)));
    }
    let below = node(json!([]));
    let doubled = entry(0, &key, &record.0, link(&below.0));
    let twice = block(json!({"l": link(&below.0), "e": [doubled]}));
    assert_eq!(walked(&twice, &[]), Err(RepoFault::Tree("a node stands in two places")));
    assert!(matches!(whole_value(&twice.1), Ok(Value::Map(_))));
}
