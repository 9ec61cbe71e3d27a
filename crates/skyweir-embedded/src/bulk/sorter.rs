//! More rows than fit into memory, sorted: runs on disk, merged when they are read.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use rustix::io::Errno;
use skyweir_store::{Error, Result};

use crate::codec::Reader;
use crate::error::{corrupt, io};

/// So many rows are written and read together.
const CHUNK: usize = 1_024;
/// Bytes that are read or written at a time; less when many runs are read at once.
const BUFFER: usize = 1 << 18;
const BUFFER_LEAST: usize = 1 << 12;

/// What is sorted. Rows with the same key come together.
pub(super) trait Row: Copy + Default + Send + 'static {
    /// What they are sorted by.
    type Key: Ord + Copy;
    fn key(&self) -> Self::Key;
    /// Sorts a run; uses up to half of its memory.
    fn sort(rows: &mut [Self]);
    /// Appends its bytes, behind those of the row before it.
    fn push(&self, before: &Self, out: &mut Vec<u8>);
    /// Back from [`Row::push`].
    fn read(before: &Self, reader: &mut Reader<'_>) -> Result<Self>;
}

/// Takes rows in any order.
pub(super) struct Sorter<R> {
    folder: PathBuf,
    name: &'static str,
    rows: Vec<R>,
    /// How many rows make a run.
    size: usize,
    runs: u64,
    memory: usize,
    writing: Option<JoinHandle<Result<()>>>,
    pushed: u64,
}

impl<R: Row> Sorter<R> {
    /// Keeps its runs in `folder`, as files called after `name`; uses up to `memory` bytes: for the rows that come, for
    /// as many that are sorted meanwhile, and half as many for sorting.
    pub(super) fn new(folder: &Path, name: &'static str, memory: usize) -> Self {
        let size = memory * 2 / 5 / size_of::<R>();
        let folder = folder.to_owned();
        Self { folder, name, rows: Vec::new(), size, runs: 0, memory, writing: None, pushed: 0 }
    }

    /// Goes on behind so many runs, which hold so many rows.
    pub(super) fn behind(mut self, runs: u64, rows: u64) -> Self {
        (self.runs, self.pushed) = (runs, rows);
        self
    }

    pub(super) fn pushed(&self) -> u64 {
        self.pushed
    }

    pub(super) fn runs(&self) -> u64 {
        self.runs
    }

    pub(super) fn push(&mut self, row: R) {
        self.rows.push(row);
        self.pushed += 1;
    }

    /// Whether it is time for a run. Some more rows have room: they can't be parted everywhere.
    pub(super) fn is_full(&self) -> bool {
        self.rows.len() >= self.size - self.size / 8
    }

    /// Has the rows in memory sorted and written by another thread, which then does what else is to be done.
    pub(super) fn spill(&mut self, then: impl FnOnce() -> Result<()> + Send + 'static) -> Result<()> {
        self.wait()?;
        let path = self.path(self.runs);
        self.runs += 1;
        let rows = std::mem::replace(&mut self.rows, Vec::with_capacity(self.size));
        self.writing = Some(std::thread::spawn(move || write_run(&path, rows).and_then(|()| then())));
        Ok(())
    }

    /// Waits until the last run is written.
    pub(super) fn wait(&mut self) -> Result<()> {
        match self.writing.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(done)) => done,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }

    fn path(&self, run: u64) -> PathBuf {
        self.folder.join(format!("{}-{run}.run", self.name))
    }

    /// The rows of a run.
    pub(super) fn run(&self, run: u64) -> Result<Source<R>> {
        Source::open(self.path(run), BUFFER)
    }

    /// All rows, by key; those of the same key in the order of their runs. `kept`: the runs stay.
    pub(super) fn sorted(mut self, kept: bool) -> Result<Sorted<R>> {
        self.wait()?;
        let mut sorted = Sorted { heads: BinaryHeap::new(), sources: Vec::new() };
        // all are open at once
        let buffer = (self.memory / 2 / self.runs.max(1) as usize).clamp(BUFFER_LEAST, BUFFER);
        for run in 0..self.runs {
            sorted.sources.push(Source::open(self.path(run), buffer)?);
            if !kept {
                // the name goes now, the room when the reader does
                let path = self.path(run);
                std::fs::remove_file(&path).map_err(|e| io("cannot remove", &path, &e))?;
            }
        }
        R::sort(&mut self.rows);
        sorted.sources.push(Source { rows: std::mem::take(&mut self.rows), at: 0, file: None });
        for (at, source) in sorted.sources.iter_mut().enumerate() {
            let head = source.peek()?;
            sorted.heads.extend(head.map(|row| Reverse((row.key(), at))));
        }
        Ok(sorted)
    }
}

impl<R> Drop for Sorter<R> {
    /// Nobody else may write to the folder before the thread has ended; what it says has no use any more.
    fn drop(&mut self) {
        self.writing.take().map(JoinHandle::join);
    }
}

/// A run: chunks of u32 rows, u32 bytes, their CRC-32, and these. It is on disk when this returns.
fn write_run<R: Row>(path: &Path, mut rows: Vec<R>) -> Result<()> {
    let failed = |e: std::io::Error| io("cannot write", path, &e);
    R::sort(&mut rows);
    let mut file = BufWriter::with_capacity(BUFFER, File::create(path).map_err(failed)?);
    let mut bytes = Vec::new();
    for chunk in rows.chunks(CHUNK) {
        bytes.clear();
        let mut before = R::default();
        for row in chunk {
            row.push(&before, &mut bytes);
            before = *row;
        }
        for number in [chunk.len() as u32, bytes.len() as u32, crc32fast::hash(&bytes)] {
            file.write_all(&number.to_be_bytes()).map_err(failed)?;
        }
        file.write_all(&bytes).map_err(failed)?;
    }
    let file = file.into_inner().map_err(|e| failed(e.into_error()))?;
    file.sync_data().map_err(failed)
}

/// A run as it is read, or the rows that are in memory.
pub(super) struct Source<R> {
    rows: Vec<R>,
    at: usize,
    file: Option<(PathBuf, BufReader<File>)>,
}

impl<R: Row> Source<R> {
    fn open(path: PathBuf, buffer: usize) -> Result<Self> {
        let file = File::open(&path).map_err(|e| not_opened(&path, &e))?;
        Ok(Self { rows: Vec::new(), at: 0, file: Some((path, BufReader::with_capacity(buffer, file))) })
    }

    /// Its next row; `None` at its end.
    fn peek(&mut self) -> Result<Option<R>> {
        if self.at == self.rows.len() {
            self.chunk()?;
        }
        Ok(self.rows.get(self.at).copied())
    }

    /// The next row, which is taken.
    pub(super) fn next(&mut self) -> Result<Option<R>> {
        let row = self.peek()?;
        self.at += usize::from(row.is_some());
        Ok(row)
    }

    /// Appends the rows with this key that come next.
    fn take(&mut self, key: R::Key, into: &mut Vec<R>) -> Result<()> {
        while self.peek()?.is_some_and(|row| row.key() == key) {
            let rest = &self.rows[self.at..];
            let here = rest.iter().take_while(|row| row.key() == key).count();
            into.extend_from_slice(&rest[..here]);
            self.at += here;
        }
        Ok(())
    }

    fn chunk(&mut self) -> Result<()> {
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        let failed = |e| io("cannot read", path, &e);
        self.at = 0;
        self.rows.clear();
        if file.fill_buf().map_err(failed)?.is_empty() {
            return Ok(());
        }
        let mut head = [0; 12];
        file.read_exact(&mut head).map_err(failed)?;
        let mut reader = Reader::new("loading", &head);
        let (count, len, crc) = (reader.u32()? as usize, reader.u32()? as usize, reader.u32()?);
        if count > CHUNK || len > CHUNK * size_of::<R>() * 2 {
            return Err(corrupt(format_args!("{} is no run of rows", path.display())));
        }
        let mut bytes = vec![0; len];
        file.read_exact(&mut bytes).map_err(failed)?;
        if crc32fast::hash(&bytes) != crc {
            return Err(corrupt(format_args!("{} isn't what was written", path.display())));
        }
        let mut reader = Reader::new("loading", &bytes);
        let mut before = R::default();
        for _ in 0..count {
            before = R::read(&before, &mut reader)?;
            self.rows.push(before);
        }
        reader.end()
    }
}

/// Says what helps when too many files are open.
fn not_opened(path: &Path, error: &std::io::Error) -> Error {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE | Errno::NFILE) => Error::Unavailable(format!(
            "cannot open {}: {error}: raise the limit of open files (ulimit -n; LimitNOFILE= of a unit) and go on, or \
             remove the data directory and load again with a larger store.load_mb, which makes fewer runs",
            path.display()
        )),
        _ => io("cannot open", path, error),
    }
}

/// The rows of a [`Sorter`], merged.
pub(super) struct Sorted<R: Row> {
    heads: BinaryHeap<Reverse<(R::Key, usize)>>,
    sources: Vec<Source<R>>,
}

impl<R: Row> Sorted<R> {
    /// The next key; appends all its rows. `None` at the end.
    pub(super) fn next(&mut self, into: &mut Vec<R>) -> Result<Option<R::Key>> {
        let Some(Reverse((key, _))) = self.heads.peek() else { return Ok(None) };
        let key = *key;
        while let Some(mut head) = self.heads.peek_mut().filter(|head| head.0.0 == key) {
            let at = head.0.1;
            self.sources[at].take(key, into)?;
            match self.sources[at].peek()? {
                Some(row) => head.0.0 = row.key(),
                None => {
                    std::collections::binary_heap::PeekMut::pop(head);
                }
            }
        }
        Ok(Some(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::push_varint;
    use proptest::prelude::*;

    /// Key, and number of its coming.
    type Pair = (u32, u32);

    impl Row for Pair {
        type Key = u32;

        fn key(&self) -> u32 {
            self.0
        }

        fn sort(rows: &mut [Self]) {
            rows.sort_by_key(|row| row.0);
        }

        fn push(&self, before: &Self, out: &mut Vec<u8>) {
            push_varint(out, u64::from(self.0 - before.0));
            push_varint(out, self.1.into());
        }

        fn read(before: &Self, reader: &mut Reader<'_>) -> Result<Self> {
            Ok((before.0 + reader.small()?, reader.small()?))
        }
    }

    #[test]
    fn runs_share_half_of_the_memory_while_they_are_merged() {
        let dir = tempfile::tempdir().unwrap();
        for (runs, buffer) in [(1, BUFFER), (2, BUFFER), (8, BUFFER / 4), (300, BUFFER_LEAST)] {
            let mut sorter = Sorter::<Pair>::new(dir.path(), "test", 4 * BUFFER);
            for _ in 0..runs {
                sorter.spill(|| Ok(())).unwrap();
            }
            let sorted = sorter.sorted(false).unwrap();
            let files = sorted.sources.iter().filter_map(|source| source.file.as_ref());
            let buffers: Vec<_> = files.map(|(_, file)| file.capacity()).collect();
            assert_eq!(buffers, vec![buffer; runs]);
        }
    }

    #[test]
    fn too_many_files_are_told_with_what_helps() {
        let said = |code: i32| {
            not_opened(Path::new("steps-0.run"), &std::io::Error::from_raw_os_error(code)).to_string()
        };
        for errno in [Errno::MFILE, Errno::NFILE] {
            let said = said(errno.raw_os_error());
            assert!(said.contains("ulimit -n") && said.contains("larger store.load_mb"), "{said}");
        }
        assert!(!said(Errno::ACCESS.raw_os_error()).contains("ulimit"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn rows_come_back_by_key_in_the_order_of_their_coming(
            keys in prop::collection::vec(0..90u32, 0..300), memory in 1..6_000usize, cut in 0..300usize,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut rows: Vec<Pair> = keys.into_iter().zip(0..).collect();
            let mut sorter = Sorter::<Pair>::new(dir.path(), "test", memory);
            for row in &rows {
                sorter.push(*row);
                if sorter.is_full() {
                    sorter.spill(|| Ok(())).unwrap();
                }
                if row.1 as usize == cut {
                    // the process ends, and another one goes on
                    sorter.spill(|| Ok(())).unwrap();
                    sorter.wait().unwrap();
                    let (runs, pushed) = (sorter.runs(), sorter.pushed());
                    sorter = Sorter::new(dir.path(), "test", memory).behind(runs, pushed);
                }
            }
            prop_assert_eq!(sorter.pushed(), rows.len() as u64);
            let mut sorted = sorter.sorted(false).unwrap();
            rows.sort_by_key(|row| row.0);
            let mut found = Vec::new();
            while let Some(key) = sorted.next(&mut found).unwrap() {
                prop_assert_eq!(found.last().unwrap().0, key);
            }
            prop_assert_eq!(found, rows);
            prop_assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "runs are left");
        }
    }
}
