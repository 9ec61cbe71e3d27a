//! Record keys that are no TIDs, in a file: steps name them by where they stand.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use skyweir_store::Result;
use skyweir_types::RecordKey;

use super::tail::Tail;
use crate::error::{corrupt, io};

/// Appends a key; returns where it stands.
pub(super) fn push(file: &mut Tail, rkey: &RecordKey) -> Result<u64> {
    let (at, text) = (file.len(), rkey.as_str().as_bytes());
    file.push(&(text.len() as u16).to_be_bytes())?;
    file.push(text)?;
    Ok(at)
}

/// Reads them. There are few.
pub(super) struct Keys {
    path: PathBuf,
    file: File,
}

impl Keys {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| io("cannot open", path, &e))?;
        Ok(Self { path: path.to_owned(), file })
    }

    pub(super) fn read(&mut self, at: u64) -> Result<RecordKey> {
        let failed = |e| io("cannot read", &self.path, &e);
        self.file.seek(SeekFrom::Start(at)).map_err(failed)?;
        let mut len = [0; 2];
        self.file.read_exact(&mut len).map_err(failed)?;
        let mut text = vec![0; u16::from_be_bytes(len).into()];
        self.file.read_exact(&mut text).map_err(failed)?;
        let rkey = std::str::from_utf8(&text).ok().and_then(|text| RecordKey::parse(text).ok());
        rkey.ok_or_else(|| corrupt("undecodable bytes among the keys of a load"))
    }
}
