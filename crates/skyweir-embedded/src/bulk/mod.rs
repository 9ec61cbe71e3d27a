//! A whole network's accounts and follows into an empty data directory, past the per-event path: sorted runs, then each
//! table written once, in order.
//!
//! What comes out is what single events in the order of their record keys would have left, but for the order among
//! further records of an edge. As long as a load isn't finished a mark in `meta` says so, and the directory is refused.

mod sorter;
mod tables;

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read as _, Write as _};
use std::path::PathBuf;

use skyweir_store::{Error, RecordBody, RecordRow, Result, Store as _};
use skyweir_types::{ActorId, Collection, Did, RecordKey, RecordRef, Tid};

use self::sorter::{Row, Sorter};
use crate::codec::{Reader, push_rkey, rkey_tid};
use crate::db::{Db, Read as _};
use crate::error::io;
use crate::lock::DirLock;
use crate::table::{Table, meta};
use crate::{Config, EmbeddedStore};

/// How many follows that need the per-event path make a transaction.
const GROUP: usize = 500;

/// How much a load may use.
#[derive(Clone, Copy, Debug)]
pub struct BulkConfig {
    /// Memory for rows that wait to be sorted, MiB, at least 1. Default 512. While records are written and followers
    /// wait it is half as much again. DIDs and counts come on top: some 130 bytes an account.
    pub memory_mb: usize,
}

impl Default for BulkConfig {
    fn default() -> Self {
        Self { memory_mb: 512 }
    }
}

/// How far [`Bulk::finish`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BulkProgress {
    /// What is being written.
    pub stage: &'static str,
    /// How many rows of it are.
    pub done: u64,
    /// How many there will be.
    pub of: u64,
}

/// A follow record as it waits to be sorted; one whose key is a TID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct FollowRow {
    follower: u32,
    rkey: u64,
    rev: u64,
    subject: u32,
}

impl Row for FollowRow {
    const BYTES: usize = 24;

    fn write(&self, out: &mut [u8]) {
        out[..4].copy_from_slice(&self.follower.to_le_bytes());
        out[4..12].copy_from_slice(&self.rkey.to_le_bytes());
        out[12..20].copy_from_slice(&self.rev.to_le_bytes());
        out[20..].copy_from_slice(&self.subject.to_le_bytes());
    }

    fn read(bytes: &[u8]) -> Self {
        let u32 = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let u64 = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        Self { follower: u32(0), rkey: u64(4), rev: u64(12), subject: u32(20) }
    }
}

/// Loads accounts and follows into an empty data directory. See the module.
pub struct Bulk {
    config: Config,
    memory: usize,
    db: Db,
    lock: DirLock,
    folder: PathBuf,
    numbers: HashMap<Did, ActorId>,
    dids: Vec<Did>,
    follows: Sorter<FollowRow>,
    others: Others,
}

impl Bulk {
    /// Begins a load into an empty data directory; makes it if it isn't there.
    ///
    /// # Errors
    /// `Unavailable` when the directory holds accounts already, when a former load into it was cut off, when another
    /// process has it or the disk refuses.
    pub fn begin(config: Config, bulk: BulkConfig) -> Result<Self> {
        let lock = DirLock::take(&config.data_dir)?;
        let db = Db::open(&config)?;
        meta::refuse_unfinished_load(&db.snapshot(), &config.data_dir)?;
        if db.snapshot().get(Table::Meta, meta::KEY_ACTORS)?.is_some() {
            return Err(Error::Unavailable(format!(
                "{} holds accounts already: a whole network can only be loaded into an empty directory",
                config.data_dir.display()
            )));
        }
        let mut mark = db.synced_batch(1);
        mark.put(Table::Meta, meta::KEY_LOADING, []);
        mark.commit()?;
        let folder = config.data_dir.join("loading");
        std::fs::create_dir_all(&folder).map_err(|e| io("cannot make", &folder, &e))?;
        let memory = bulk.memory_mb.max(1) << 20;
        let follows = Sorter::new(&folder, "follows", memory);
        let others = Others::begin(folder.join("others"))?;
        Ok(Self {
            config,
            memory,
            db,
            lock,
            folder,
            numbers: HashMap::new(),
            dids: Vec::new(),
            follows,
            others,
        })
    }

    /// The number of an account, a new one if need be.
    ///
    /// # Errors
    /// `Limit` beyond 2^32 accounts.
    pub fn actor(&mut self, did: &Did) -> Result<ActorId> {
        if let Some(actor) = self.numbers.get(did) {
            return Ok(*actor);
        }
        let number = u32::try_from(self.dids.len()).ok().filter(|n| *n < u32::MAX);
        let actor = ActorId(number.ok_or_else(|| Error::Limit("2^32 accounts".into()))?);
        self.dids.push(did.clone());
        self.numbers.insert(did.clone(), actor);
        Ok(actor)
    }

    /// Adds a follow record. One that comes twice counts once, with its greatest rev.
    ///
    /// # Errors
    /// `Corrupt` for numbers that [`Bulk::actor`] didn't give out, `Unavailable` when the disk refuses.
    pub fn follow(&mut self, follower: ActorId, subject: ActorId, rkey: &RecordKey, rev: Tid) -> Result<()> {
        if follower.0.max(subject.0) as usize >= self.dids.len() {
            return Err(Error::Corrupt("a follow of an account without a number".into()));
        }
        match rkey_tid(rkey) {
            Some(tid) => {
                let row = FollowRow { follower: follower.0, rkey: tid.0, rev: rev.0, subject: subject.0 };
                self.follows.push(row)
            }
            None => self.others.push(&Other { follower, subject, rkey: rkey.clone(), rev }),
        }
    }

    /// Writes all tables; the store is open and complete then.
    ///
    /// # Errors
    /// `Unavailable` when the disk refuses: the directory is of no use then.
    pub async fn finish(self, progress: &mut (dyn FnMut(BulkProgress) + Send)) -> Result<EmbeddedStore> {
        let Self { config, memory, db, lock, folder, numbers, dids, follows, mut others } = self;
        drop(numbers);
        let counts = tables::write(&db, &folder, memory, follows, dids.len(), &mut others, progress)?;
        tables::accounts(&db, dids, &counts, progress)?;
        drop(counts);
        let store = EmbeddedStore::assemble(config, lock, db)?;
        let of = others.count;
        let mut left = others.read()?;
        let mut done = 0;
        loop {
            let mut txn = store.begin().await?;
            let before = done;
            while done < of && done - before < GROUP as u64 {
                let Other { follower, subject, rkey, rev } = left.next()?;
                done += 1;
                let key = RecordRef { actor: follower, collection: Collection::Follow, rkey };
                let known = txn.record(&key).await?;
                if known.as_ref().is_some_and(|known| known.rev >= rev) {
                    continue;
                }
                let row = RecordRow { rev, wiped: Tid::ZERO, body: RecordBody::Follow { subject } };
                if let Some(RecordRow { body: RecordBody::Follow { subject }, .. }) = known {
                    txn.remove_follow(follower, subject, &key.rkey).await?;
                }
                txn.put_record(&key, row).await?;
                txn.add_follow(follower, subject, &key.rkey).await?;
            }
            txn.commit().await?;
            progress(BulkProgress { stage: "other records", done, of });
            if done == of {
                break;
            }
        }
        drop(left);
        std::fs::remove_dir_all(&folder).map_err(|e| io("cannot remove", &folder, &e))?;
        let mut mark = store.inner.db.synced_batch(1);
        mark.remove(Table::Meta, meta::KEY_LOADING);
        mark.commit()?;
        Ok(store)
    }
}

/// A follow record that takes the per-event path: its key is no TID, or its edge has another record.
struct Other {
    follower: ActorId,
    subject: ActorId,
    rkey: RecordKey,
    rev: Tid,
}

/// Such records in a file, in the order of their coming.
struct Others {
    path: PathBuf,
    file: BufWriter<File>,
    count: u64,
}

impl Others {
    fn begin(path: PathBuf) -> Result<Self> {
        let file = File::create(&path).map_err(|e| io("cannot make", &path, &e))?;
        Ok(Self { path, file: BufWriter::new(file), count: 0 })
    }

    fn push(&mut self, other: &Other) -> Result<()> {
        let mut bytes = vec![0; 4];
        bytes.extend_from_slice(&other.follower.0.to_be_bytes());
        bytes.extend_from_slice(&other.subject.0.to_be_bytes());
        bytes.extend_from_slice(&other.rev.0.to_be_bytes());
        push_rkey(&mut bytes, &other.rkey);
        let len = bytes.len() as u32 - 4;
        bytes[..4].copy_from_slice(&len.to_be_bytes());
        self.count += 1;
        self.file.write_all(&bytes).map_err(|e| io("cannot write", &self.path, &e))
    }

    fn read(self) -> Result<OthersReader> {
        let Self { path, file, .. } = self;
        file.into_inner().map_err(|e| io("cannot write", &path, e.error()))?;
        let file = File::open(&path).map_err(|e| io("cannot open", &path, &e))?;
        Ok(OthersReader { path, file: BufReader::new(file) })
    }
}

struct OthersReader {
    path: PathBuf,
    file: BufReader<File>,
}

impl OthersReader {
    fn next(&mut self) -> Result<Other> {
        let mut len = [0; 4];
        let failed = |e| io("cannot read", &self.path, &e);
        self.file.read_exact(&mut len).map_err(failed)?;
        let mut bytes = vec![0; u32::from_be_bytes(len) as usize];
        self.file.read_exact(&mut bytes).map_err(failed)?;
        let mut reader = Reader::new("loading", &bytes);
        let (follower, subject) = (ActorId(reader.u32()?), ActorId(reader.u32()?));
        let (rev, rkey) = (Tid(reader.u64()?), reader.rkey()?);
        Ok(Other { follower, subject, rkey, rev })
    }
}
