//! Records that take the usual path: their key is no TID, their edge has another record, or they are deleted.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use skyweir_store::{RecordBody, RecordRow, Result, Txn};
use skyweir_types::{ActorId, Collection, RecordKey, RecordRef, Tid};

use super::tail::Tail;
use crate::codec::{Reader, push_rkey, push_signed};
use crate::error::{corrupt, io};

const FOLLOW: u8 = 0;
const TOMBSTONE: u8 = 1;

/// The last state of a follow record.
pub(super) struct Other {
    pub(super) actor: ActorId,
    pub(super) rkey: RecordKey,
    pub(super) rev: Tid,
    /// A follow or a tombstone.
    pub(super) body: RecordBody,
}

impl Other {
    /// Puts it where it wasn't.
    pub(super) async fn put(self, txn: &mut dyn Txn) -> Result<()> {
        let Self { actor, rkey, rev, body } = self;
        if let RecordBody::Follow { subject } = body {
            txn.add_follow(actor, subject, &rkey).await?;
        }
        let key = RecordRef { actor, collection: Collection::Follow, rkey };
        txn.put_record(&key, RecordRow { rev, wiped: Tid::ZERO, body }).await
    }
}

/// Such records in a file, in their order.
pub(super) struct Others {
    file: Tail,
    count: u64,
}

impl Others {
    pub(super) fn begin(folder: &Path) -> Result<Self> {
        Ok(Self { file: Tail::open(folder, "others", 0)?, count: 0 })
    }

    pub(super) fn push(&mut self, other: &Other) -> Result<()> {
        let mut bytes = vec![0; 2];
        bytes.extend_from_slice(&other.actor.0.to_be_bytes());
        bytes.extend_from_slice(&other.rev.0.to_be_bytes());
        push_rkey(&mut bytes, &other.rkey);
        match other.body {
            RecordBody::Follow { subject } => {
                bytes.push(FOLLOW);
                bytes.extend_from_slice(&subject.0.to_be_bytes());
            }
            RecordBody::Tombstone { at_ms } => {
                bytes.push(TOMBSTONE);
                push_signed(&mut bytes, at_ms);
            }
            _ => return Err(corrupt("a record of another collection among follows")),
        }
        let len = bytes.len() as u16 - 2;
        bytes[..2].copy_from_slice(&len.to_be_bytes());
        self.count += 1;
        self.file.push(&bytes)
    }

    pub(super) fn len(&self) -> u64 {
        self.count
    }

    pub(super) fn read(mut self) -> Result<OthersReader> {
        Ok(OthersReader { file: self.file.read(0)?, path: self.file.path().to_owned() })
    }
}

pub(super) struct OthersReader {
    path: PathBuf,
    file: BufReader<File>,
}

impl OthersReader {
    pub(super) fn next(&mut self) -> Result<Option<Other>> {
        let failed = |e| io("cannot read", &self.path, &e);
        if self.file.fill_buf().map_err(failed)?.is_empty() {
            return Ok(None);
        }
        let mut len = [0; 2];
        self.file.read_exact(&mut len).map_err(failed)?;
        let mut bytes = vec![0; u16::from_be_bytes(len).into()];
        self.file.read_exact(&mut bytes).map_err(failed)?;
        let mut reader = Reader::new("loading", &bytes);
        let (actor, rev, rkey) = (ActorId(reader.u32()?), Tid(reader.u64()?), reader.rkey()?);
        let body = match reader.u8()? {
            FOLLOW => RecordBody::Follow { subject: ActorId(reader.u32()?) },
            TOMBSTONE => RecordBody::Tombstone { at_ms: reader.signed()? },
            _ => return Err(reader.bad()),
        };
        reader.end()?;
        Ok(Some(Other { actor, rkey, rev, body }))
    }
}
