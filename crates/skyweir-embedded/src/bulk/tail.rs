//! A file that only grows; a load that goes on cuts it to what was durable.

use std::fs::File;
use std::io::{BufReader, BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use skyweir_store::Result;

use crate::error::{corrupt, io};

pub(super) struct Tail {
    path: PathBuf,
    file: BufWriter<File>,
    len: u64,
}

impl Tail {
    /// The file, made if need be, as long as this.
    pub(super) fn open(folder: &Path, name: &str, len: u64) -> Result<Self> {
        let path = folder.join(name);
        let failed = |e: std::io::Error| io("cannot open", &path, &e);
        let options = File::options().create(true).truncate(false).read(true).write(true).open(&path);
        let mut file = options.map_err(failed)?;
        if file.metadata().map_err(failed)?.len() < len {
            return Err(corrupt(format_args!("{} is shorter than it was", path.display())));
        }
        file.set_len(len).map_err(failed)?;
        file.seek(SeekFrom::Start(len)).map_err(failed)?;
        Ok(Self { path, file: BufWriter::with_capacity(1 << 16, file), len })
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.len += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|e| io("cannot write", &self.path, &e))
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Hands what was pushed to the system; whoever syncs the answer has it on disk.
    pub(super) fn handle(&mut self) -> Result<File> {
        let flushed = self.file.flush().and_then(|()| self.file.get_ref().try_clone());
        flushed.map_err(|e| io("cannot write", &self.path, &e))
    }

    /// Reads it from a place on.
    pub(super) fn read(&mut self, from: u64) -> Result<BufReader<File>> {
        self.handle()?;
        let opened = File::open(&self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(from))?;
            Ok(file)
        });
        Ok(BufReader::with_capacity(1 << 16, opened.map_err(|e| io("cannot read", &self.path, &e))?))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}
