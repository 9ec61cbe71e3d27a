//! A whole repository as its host sends it: a commit, the nodes of its tree and its records, each under its hash.

use crate::dagcbor::{base64, car, cid_bytes, cid_text, encode_dag_cbor};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// A binary CID and its block.
pub type Block = ([u8; 36], Vec<u8>);

/// A repository, ready to be sent.
#[derive(Clone, Debug)]
pub struct Repository {
    /// CID of the commit.
    pub root: [u8; 36],
    /// In the order of the protocol's recommendation: each node before what it points to, by rising keys. The commit is
    /// the first. Any other order is a repository, too.
    pub blocks: Vec<Block>,
}

/// A key (`collection/rkey`) with its level in the tree, and the record.
type Leaf<'a> = (&'a str, u32, &'a [u8]);

impl Repository {
    /// The repository of an account at a rev, with these records in DAG-CBOR under `collection/rkey`. Its signature is
    /// made up.
    pub fn new(did: &str, rev: &str, records: &BTreeMap<String, Vec<u8>>) -> Self {
        let leaves: Vec<Leaf<'_>> =
            records.iter().map(|(key, record)| (key.as_str(), level(key), record.as_slice())).collect();
        let top = leaves.iter().map(|(_, level, _)| *level).max().unwrap_or(0);
        let (data, tree) = node(&leaves, top);
        let half = Sha256::digest(rev.as_bytes());
        let signature = [half.as_slice(), half.as_slice()].concat();
        let commit = encode_dag_cbor(&json!({"data": link(&data), "did": did, "prev": null, "rev": rev,
            "sig": {"$bytes": base64(&signature)}, "version": 3}));
        let root = cid_bytes(&commit);
        let blocks = [vec![(root, commit)], tree].concat();
        Self { root, blocks }
    }

    /// The CARv1 archive of it. A block that comes twice is sent once.
    pub fn car(&self) -> Vec<u8> {
        let mut seen = std::collections::HashSet::new();
        let blocks = self.blocks.iter().filter(|(cid, _)| seen.insert(*cid));
        let blocks: Vec<_> = blocks.map(|(cid, block)| (*cid, block.as_slice())).collect();
        car(Some(&self.root), &blocks)
    }
}

/// The level of a key: how many pairs of zeros its hash begins with.
fn level(key: &str) -> u32 {
    let mut zeros = 0;
    for byte in Sha256::digest(key.as_bytes()) {
        zeros += byte.leading_zeros();
        if byte != 0 {
            break;
        }
    }
    zeros / 2
}

/// The node of these leaves at a level, and all blocks from it on.
fn node(leaves: &[Leaf<'_>], level: u32) -> ([u8; 36], Vec<Block>) {
    let mut below = Vec::new();
    let under = |between: &[Leaf<'_>], into: &mut Vec<Block>| {
        if between.is_empty() {
            return Value::Null;
        }
        let (cid, blocks) = node(between, level - 1);
        into.extend(blocks);
        link(&cid)
    };
    let mut next = leaves.iter().position(|leaf| leaf.1 == level).unwrap_or(leaves.len());
    let left = under(&leaves[..next], &mut below);
    let (mut entries, mut before) = (Vec::new(), "");
    while let Some((key, _, record)) = leaves.get(next) {
        let behind = &leaves[next + 1..];
        let between = behind.iter().position(|leaf| leaf.1 == level).unwrap_or(behind.len());
        let cid = cid_bytes(record);
        below.push((cid, record.to_vec()));
        let right = under(&behind[..between], &mut below);
        let shared = key.bytes().zip(before.bytes()).take_while(|(a, b)| a == b).count();
        entries.push(json!({"k": {"$bytes": base64(&key.as_bytes()[shared..])}, "p": shared, "t": right,
            "v": link(&cid)}));
        (before, next) = (*key, next + 1 + between);
    }
    let block = encode_dag_cbor(&json!({"e": entries, "l": left}));
    let cid = cid_bytes(&block);
    (cid, [vec![(cid, block)], below].concat())
}

fn link(cid: &[u8; 36]) -> Value {
    json!({"$link": cid_text(cid)})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_levels() {
        // the examples of the protocol's specification
        for (key, expected) in [
            ("2653ae71", 0),
            ("blue", 1),
            ("app.bsky.feed.post/454397e440ec", 4),
            ("app.bsky.feed.post/9adeb165882c", 8),
        ] {
            assert_eq!(level(key), expected, "{key}");
        }
    }

    #[test]
    fn a_repository_without_records_has_an_empty_node() {
        let repository = Repository::new("did:plc:a", "3mptbyplj5d2a", &BTreeMap::new());
        let cids: Vec<_> = repository.blocks.iter().map(|(cid, _)| cid_text(cid)).collect();
        assert_eq!(cids[1..], ["bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm"]);
    }
}
