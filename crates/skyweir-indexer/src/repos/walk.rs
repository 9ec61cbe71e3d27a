//! From the blocks of a repository to its records: down the tree, in whatever order the blocks come.
//!
//! What something points to is waited for; what comes before that is held. Of both there is little where nodes come
//! first. When it becomes too much, or when a block that two keys share has come and gone, the archive is read twice
//! instead: first the tree, then the records.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bytes::Bytes;
use minicbor::decode::Decoder;
use skyweir_types::{Cid, Collection, RecordKey, Tid};

use super::RepoFault;
use super::car::link;
use crate::Skip;
use crate::decode::{Value, whole_value};

/// About what an entry of a map takes besides what is in it.
const ENTRY: usize = 96;

/// No key is longer in the protocol.
const MOST_KEY: usize = 1_024;

/// Which of the readings it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The only one: tree and records.
    Only,
    /// The first of two: the tree alone.
    Tree,
    /// The second of two: the records alone.
    Records,
}

/// What the commit says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Whose repository it is.
    pub did: String,
    /// Its rev.
    pub rev: Tid,
}

/// A record of one of our collections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The collection.
    pub collection: Collection,
    /// The record key.
    pub rkey: RecordKey,
    /// The CID.
    pub cid: Cid,
    /// The record, its hash checked.
    pub bytes: Bytes,
}

/// What a block is when it comes.
#[derive(Debug)]
enum Waiting {
    Commit,
    Node,
    /// The record of these keys.
    Records(Vec<(Collection, RecordKey)>),
}

/// A walk over one repository.
#[derive(Debug)]
pub struct RepoWalk {
    pass: Pass,
    most: usize,
    root: Option<Cid>,
    commit: Option<Commit>,
    waiting: HashMap<Cid, Waiting>,
    held: HashMap<Cid, Bytes>,
    /// About how much of memory the two take.
    bytes: usize,
    /// What was held and isn't waited for any more.
    ready: Vec<(Waiting, Cid, Bytes)>,
    /// What was left out of the tree.
    skipped: Vec<Skip>,
}

impl RepoWalk {
    /// A walk, or the first half of one, that takes at most about so many bytes of memory.
    #[must_use]
    pub fn new(pass: Pass, most: usize) -> Self {
        Self {
            pass,
            most,
            root: None,
            commit: None,
            waiting: HashMap::new(),
            held: HashMap::new(),
            bytes: 0,
            ready: Vec::new(),
            skipped: Vec::new(),
        }
    }

    /// Begins at the archive's root.
    ///
    /// # Errors
    /// In the second of two readings it has to be that of the first.
    pub fn begin(&mut self, root: Cid) -> Result<(), RepoFault> {
        if let Some(before) = self.root {
            return if before == root { Ok(()) } else { Err(RepoFault::Changed) };
        }
        self.root = Some(root);
        self.wait(root, Waiting::Commit)
    }

    /// The commit, as soon as it has come: it comes before what is found.
    #[must_use]
    pub fn commit(&self) -> Option<&Commit> {
        self.commit.as_ref()
    }

    /// Takes a block, and adds the records that are known by it.
    ///
    /// # Errors
    /// [`RepoFault`]: the walk is over.
    pub fn block(&mut self, cid: Cid, bytes: Bytes, found: &mut Vec<Found>) -> Result<(), RepoFault> {
        match self.waiting.get(&cid) {
            // they come in the second reading
            Some(Waiting::Records(_)) if self.pass == Pass::Tree => return Ok(()),
            Some(_) => {}
            None => return self.hold(cid, &bytes),
        }
        let Some(waiting) = self.waiting.remove(&cid) else { return Ok(()) };
        self.bytes -= waiting.cost();
        self.ready.push((waiting, cid, bytes));
        while let Some((waiting, cid, bytes)) = self.ready.pop() {
            match waiting {
                Waiting::Commit => self.read_commit(&bytes)?,
                Waiting::Node => self.read_node(&bytes)?,
                Waiting::Records(keys) => {
                    let record = |(collection, rkey)| Found { collection, rkey, cid, bytes: bytes.clone() };
                    found.extend(keys.into_iter().map(record));
                }
            }
        }
        Ok(())
    }

    /// What was left out of the tree since it was asked last.
    pub fn skipped(&mut self) -> Vec<Skip> {
        std::mem::take(&mut self.skipped)
    }

    /// Ends a reading. After the first of two the second begins; else the walk is done.
    ///
    /// # Errors
    /// [`RepoFault::Missing`].
    pub fn end(&mut self) -> Result<(), RepoFault> {
        let is_missing =
            |waiting: &&Waiting| self.pass != Pass::Tree || !matches!(waiting, Waiting::Records(_));
        let missing = self.waiting.values().filter(is_missing).count();
        if missing > 0 || self.commit.is_none() {
            return Err(RepoFault::Missing(missing));
        }
        self.held = HashMap::new();
        if self.pass == Pass::Tree {
            self.pass = Pass::Records;
        }
        Ok(())
    }

    /// Keeps what nothing points to yet, if it may be of use.
    fn hold(&mut self, cid: Cid, bytes: &Bytes) -> Result<(), RepoFault> {
        let is_of_use = match self.pass {
            Pass::Only => is_node(bytes) || is_record_of_ours(bytes),
            Pass::Tree => is_node(bytes),
            Pass::Records => false,
        };
        if is_of_use && let Entry::Vacant(free) = self.held.entry(cid) {
            self.bytes += bytes.len() + ENTRY;
            // not a part of what came with it
            free.insert(Bytes::copy_from_slice(bytes));
        }
        self.check()
    }

    fn wait(&mut self, cid: Cid, waiting: Waiting) -> Result<(), RepoFault> {
        if let Some(bytes) = self.held.remove(&cid) {
            self.bytes -= bytes.len() + ENTRY;
            self.ready.push((waiting, cid, bytes));
            return Ok(());
        }
        self.bytes += waiting.cost();
        match (self.waiting.entry(cid), waiting) {
            (Entry::Vacant(free), waiting) => {
                free.insert(waiting);
            }
            // records may be alike
            (Entry::Occupied(mut there), Waiting::Records(more)) => match there.get_mut() {
                Waiting::Records(keys) => keys.extend(more),
                _ => return Err(RepoFault::Tree("a node is a record, too")),
            },
            _ => return Err(RepoFault::Tree("a node stands in two places")),
        }
        self.check()
    }

    fn check(&self) -> Result<(), RepoFault> {
        if self.bytes > self.most { Err(RepoFault::Held { most: self.most }) } else { Ok(()) }
    }

    fn read_commit(&mut self, bytes: &[u8]) -> Result<(), RepoFault> {
        let commit = whole_value(bytes).map_err(|_| RepoFault::Commit("it is none"))?;
        let text = |key| commit.get(key).and_then(Value::as_str);
        let did = text("did").ok_or(RepoFault::Commit("it names no account"))?.to_owned();
        let rev = text("rev").and_then(|rev| Tid::parse(rev).ok());
        let rev = rev.ok_or(RepoFault::Commit("its rev is none"))?;
        let Some(Value::Link(data)) = commit.get("data") else {
            return Err(RepoFault::Commit("it has no tree"));
        };
        let data = link(data).ok_or(RepoFault::Commit("it has no tree"))?;
        self.commit = Some(Commit { did, rev });
        self.wait(data, Waiting::Node)
    }

    fn read_node(&mut self, bytes: &[u8]) -> Result<(), RepoFault> {
        let node = whole_value(bytes).map_err(|_| RepoFault::Tree("a node is none"))?;
        self.go_down(node.get("l"))?;
        let Some(Value::Array(entries)) = node.get("e") else {
            return Err(RepoFault::Tree("a node has no entries"));
        };
        let mut key: Vec<u8> = Vec::new();
        for entry in entries {
            let shared = entry.get("p").and_then(Value::as_int).and_then(|p| usize::try_from(p).ok());
            let shared = shared.filter(|shared| *shared <= key.len());
            let (Some(shared), Some(Value::Bytes(rest))) = (shared, entry.get("k")) else {
                return Err(RepoFault::Tree("an entry has no key"));
            };
            if shared + rest.len() > MOST_KEY {
                return Err(RepoFault::Tree("a key is too long"));
            }
            let next = [&key[..shared], &rest[..]].concat();
            if next <= key {
                return Err(RepoFault::Tree("its keys don't rise"));
            }
            key = next;
            self.read_entry(&key, entry)?;
            self.go_down(entry.get("t"))?;
        }
        Ok(())
    }

    fn read_entry(&mut self, key: &[u8], entry: &Value<'_>) -> Result<(), RepoFault> {
        let path = std::str::from_utf8(key).ok().and_then(|key| key.split_once('/'));
        let Some((nsid, rkey)) = path else {
            self.skip(Skip::BadPath);
            return Ok(());
        };
        let Some(collection) = Collection::from_nsid(nsid) else { return Ok(()) };
        let cid = match entry.get("v") {
            Some(Value::Link(cid)) => link(cid),
            _ => None,
        };
        match (RecordKey::parse(rkey), cid) {
            (Err(_), _) => self.skip(Skip::BadRkey),
            (_, None) => self.skip(Skip::BadCid),
            (Ok(rkey), Some(cid)) => return self.wait(cid, Waiting::Records(vec![(collection, rkey)])),
        }
        Ok(())
    }

    fn skip(&mut self, skip: Skip) {
        // the second reading meets none of it
        self.skipped.push(skip);
    }

    fn go_down(&mut self, into: Option<&Value<'_>>) -> Result<(), RepoFault> {
        match into {
            None | Some(Value::Null) => Ok(()),
            Some(Value::Link(cid)) => {
                let cid = link(cid).ok_or(RepoFault::Tree("a link is none"))?;
                self.wait(cid, Waiting::Node)
            }
            Some(_) => Err(RepoFault::Tree("a link is none")),
        }
    }
}

impl Waiting {
    fn cost(&self) -> usize {
        match self {
            Self::Records(keys) => {
                ENTRY + keys.iter().map(|(_, rkey)| ENTRY + rkey.as_str().len()).sum::<usize>()
            }
            _ => ENTRY,
        }
    }
}

/// Whether a block begins as a node does: no record has a key of one letter first.
fn is_node(block: &[u8]) -> bool {
    matches!(block, [0xa1 | 0xa2, 0x61, b'e' | b'l', ..])
}

/// Whether a block says that it is of one of our collections. One that says so wrongly is left out either way.
fn is_record_of_ours(block: &[u8]) -> bool {
    let mut decoder = Decoder::new(block);
    let mut kind = || -> Result<Option<&str>, minicbor::decode::Error> {
        for _ in 0..decoder.map()?.unwrap_or(0) {
            if decoder.str()? == "$type" {
                return Ok(Some(decoder.str()?));
            }
            decoder.skip()?;
        }
        Ok(None)
    };
    matches!(kind(), Ok(Some(nsid)) if Collection::from_nsid(nsid).is_some())
}
