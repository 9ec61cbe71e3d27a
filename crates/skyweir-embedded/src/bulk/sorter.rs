//! More rows than fit into memory, sorted: runs on disk, merged when they are read.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use skyweir_store::Result;

use crate::error::io;

/// Bytes that are read or written at a time.
const BUFFER: usize = 1 << 18;

/// A row of a fixed size; its order is that of its fields.
pub(super) trait Row: Copy + Ord + Send + 'static {
    /// How many bytes it takes in a run.
    const BYTES: usize;
    fn write(&self, out: &mut [u8]);
    fn read(bytes: &[u8]) -> Self;
}

/// Takes rows in any order. Rows in memory: twice the buffer while a run is being written.
pub(super) struct Sorter<R> {
    folder: PathBuf,
    name: &'static str,
    rows: Vec<R>,
    /// How many rows make a run.
    size: usize,
    runs: Vec<PathBuf>,
    writing: Option<JoinHandle<Result<()>>>,
    pushed: u64,
}

impl<R: Row> Sorter<R> {
    /// Keeps its runs in `folder`, as files called after `name`; uses up to `memory` bytes.
    pub(super) fn new(folder: &Path, name: &'static str, memory: usize) -> Self {
        let size = (memory / 2 / size_of::<R>()).max(1);
        Self {
            folder: folder.to_owned(),
            name,
            rows: Vec::new(),
            size,
            runs: Vec::new(),
            writing: None,
            pushed: 0,
        }
    }

    pub(super) fn pushed(&self) -> u64 {
        self.pushed
    }

    pub(super) fn push(&mut self, row: R) -> Result<()> {
        self.rows.push(row);
        self.pushed += 1;
        if self.rows.len() >= self.size { self.spill() } else { Ok(()) }
    }

    /// Has the buffer sorted and written by another thread.
    fn spill(&mut self) -> Result<()> {
        self.written()?;
        let path = self.folder.join(format!("{}-{}.run", self.name, self.runs.len()));
        self.runs.push(path.clone());
        let rows = std::mem::replace(&mut self.rows, Vec::with_capacity(self.size));
        self.writing = Some(std::thread::spawn(move || write_run(&path, rows)));
        Ok(())
    }

    fn written(&mut self) -> Result<()> {
        match self.writing.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(done)) => done,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }

    /// All rows in order; equal ones come as often as they were pushed.
    pub(super) fn sorted(mut self) -> Result<Sorted<R>> {
        self.written()?;
        self.rows.sort_unstable();
        let mut sorted = Sorted {
            heads: BinaryHeap::new(),
            sources: vec![Source::Memory(std::mem::take(&mut self.rows).into_iter())],
        };
        for path in &self.runs {
            let file = File::open(path).map_err(|e| io("cannot open", path, &e))?;
            // the name goes now, the room when the reader does
            std::fs::remove_file(path).map_err(|e| io("cannot remove", path, &e))?;
            sorted.sources.push(Source::Run(path.clone(), BufReader::with_capacity(BUFFER, file)));
        }
        for at in 0..sorted.sources.len() {
            sorted.advance(at)?;
        }
        Ok(sorted)
    }
}

fn write_run<R: Row>(path: &Path, mut rows: Vec<R>) -> Result<()> {
    let failed = |e: std::io::Error| io("cannot write", path, &e);
    rows.sort_unstable();
    let mut file = BufWriter::with_capacity(BUFFER, File::create(path).map_err(failed)?);
    let mut bytes = vec![0; R::BYTES];
    for row in rows {
        row.write(&mut bytes);
        file.write_all(&bytes).map_err(failed)?;
    }
    file.flush().map_err(failed)
}

enum Source<R> {
    Memory(std::vec::IntoIter<R>),
    Run(PathBuf, BufReader<File>),
}

/// The rows of a [`Sorter`], merged.
pub(super) struct Sorted<R> {
    heads: BinaryHeap<Reverse<(R, usize)>>,
    sources: Vec<Source<R>>,
}

impl<R: Row> Sorted<R> {
    /// The next row; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<R>> {
        let Some(Reverse((row, at))) = self.heads.pop() else { return Ok(None) };
        self.advance(at)?;
        Ok(Some(row))
    }

    fn advance(&mut self, at: usize) -> Result<()> {
        let row = match &mut self.sources[at] {
            Source::Memory(rows) => rows.next(),
            Source::Run(path, file) => {
                let mut bytes = [0; 64];
                let bytes = &mut bytes[..R::BYTES];
                let failed = |e| io("cannot read", path, &e);
                if file.fill_buf().map_err(failed)?.is_empty() {
                    None
                } else {
                    file.read_exact(bytes).map_err(failed)?;
                    Some(R::read(bytes))
                }
            }
        };
        self.heads.extend(row.map(|row| Reverse((row, at))));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Row for u64 {
        const BYTES: usize = 8;
        fn write(&self, out: &mut [u8]) {
            out.copy_from_slice(&self.to_be_bytes());
        }
        fn read(bytes: &[u8]) -> Self {
            u64::from_be_bytes(bytes.try_into().expect("eight bytes"))
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn rows_come_back_in_order(mut rows in prop::collection::vec(0..500u64, 0..300), memory in 1..2_000usize) {
            let dir = tempfile::tempdir().unwrap();
            let mut sorter = Sorter::new(dir.path(), "test", memory);
            rows.iter().try_for_each(|row| sorter.push(*row)).unwrap();
            prop_assert_eq!(sorter.pushed(), rows.len() as u64);
            let mut sorted = sorter.sorted().unwrap();
            rows.sort_unstable();
            for row in rows {
                prop_assert_eq!(sorted.next().unwrap(), Some(row));
            }
            prop_assert_eq!(sorted.next().unwrap(), None);
            prop_assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "runs are left");
        }
    }
}
