//! A file that only grows; a load that goes on cuts it to what was durable.

use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crc32fast::Hasher;
use skyweir_store::Result;

use crate::error::{corrupt, io};

/// How much of a file counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// Bytes.
    pub(super) len: u64,
    /// Their CRC-32; 0 where what the file holds has sums of its own.
    pub(super) sum: u32,
}

pub(super) struct Tail {
    path: PathBuf,
    file: BufWriter<File>,
    len: u64,
    /// Of all bytes. None where what the file holds has sums of its own.
    sum: Option<Hasher>,
}

impl Tail {
    /// The file, made if need be, with what counts of it: that has to be what was written.
    pub(super) fn summed(folder: &Path, name: &str, Extent { len, sum }: Extent) -> Result<Self> {
        let sum = Some(Hasher::new_with_initial(sum));
        let mut file = Self { sum, ..Self::open(folder, name, len)? };
        file.check()?;
        Ok(file)
    }

    /// The file, made if need be, as long as this. What it holds has sums of its own.
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
        Ok(Self { path, file: BufWriter::with_capacity(1 << 16, file), len, sum: None })
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.len += bytes.len() as u64;
        if let Some(sum) = &mut self.sum {
            sum.update(bytes);
        }
        self.file.write_all(bytes).map_err(|e| io("cannot write", &self.path, &e))
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// All that was pushed.
    pub(super) fn extent(&self) -> Extent {
        let sum = self.sum.clone().map_or(0, Hasher::finalize);
        Extent { len: self.len, sum }
    }

    /// Reads it all: it has to be what was pushed.
    pub(super) fn check(&mut self) -> Result<()> {
        let mut file = self.read(0)?;
        let mut found = Hasher::new();
        loop {
            let bytes = file.fill_buf().map_err(|e| io("cannot read", &self.path, &e))?;
            if bytes.is_empty() {
                break;
            }
            found.update(bytes);
            let read = bytes.len();
            file.consume(read);
        }
        match found.finalize() == self.extent().sum {
            true => Ok(()),
            false => Err(corrupt(format_args!("{} isn't what was written", self.path.display()))),
        }
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
