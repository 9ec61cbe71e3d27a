//! The yardsticks: the bare ring loop (look up, push, and nothing else), and pages read from rows.

use std::collections::HashMap;
use std::hint::black_box;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use fjall::{Database, KeyspaceCreateOptions};
use tokio::time::Instant;

use crate::machine::{Watch, median};

const SHARDS: usize = 64;

struct BareRing {
    entries: Vec<u64>,
    at: usize,
}

/// Rings as a first sketch of a timeline service has them: 64 hash maps of numbers to rings of 8-byte entries.
pub(crate) struct Bare {
    shards: Vec<HashMap<u64, BareRing>>,
}

impl Bare {
    /// Rings of these accounts, all at their cap.
    pub(crate) fn full(viewers: std::ops::Range<u32>, cap: usize) -> Self {
        let mut shards: Vec<HashMap<u64, BareRing>> = (0..SHARDS).map(|_| HashMap::new()).collect();
        for viewer in viewers {
            let viewer = u64::from(viewer);
            shards[viewer as usize % SHARDS].insert(viewer, BareRing { entries: vec![1; cap], at: 0 });
        }
        Self { shards }
    }

    /// Writes one reference to each, page by page.
    fn fan_out(&mut self, pages: &[Vec<u64>], item: u64) {
        for page in pages {
            for viewer in page {
                if let Some(ring) = self.shards[*viewer as usize % SHARDS].get_mut(viewer) {
                    ring.entries[ring.at] = item;
                    ring.at = (ring.at + 1) % ring.entries.len();
                }
            }
        }
        black_box(&self.shards);
    }

    /// References a CPU second on one thread: the median of the rounds.
    pub(crate) fn measure(&mut self, pages: &[Vec<u64>], rounds: u64) -> Result<f64> {
        let references: usize = pages.iter().map(Vec::len).sum();
        let mut rates = Vec::new();
        for round in 0..rounds {
            let watch = Watch::start()?;
            let mut written = 0;
            // short rounds would drown in the ticks of the CPU clock
            while written == 0 || watch.took()?.cpu < 0.2 {
                self.fan_out(pages, round + 2);
                written += references;
            }
            rates.push(written as f64 / watch.took()?.cpu);
        }
        Ok(median(&mut rates))
    }
}

/// The other yardstick: milliseconds to read so many follower numbers from rows of fjall's, a row an edge; the median.
pub(crate) fn row_scan(dir: &Path, page: usize, scans: usize) -> Result<f64> {
    let database = Database::builder(dir).open()?;
    let space = database.keyspace("rows", KeyspaceCreateOptions::default)?;
    for edge in 0..(page * 10) as u64 {
        space.insert(edge.to_be_bytes(), [])?;
    }
    space.rotate_memtable_and_wait()?;
    let mut took = Vec::with_capacity(scans);
    for scan in 0..scans {
        let from = ((scan % 10) * page) as u64;
        let began = Instant::now();
        let mut read = Vec::with_capacity(page);
        for row in space.range(from.to_be_bytes()..).take(page) {
            let key = row.key()?;
            read.push(u32::from_be_bytes(key[4..].try_into().context("a key of 8 bytes")?));
        }
        took.push(began.elapsed().as_secs_f64() * 1e3);
        ensure!(read.last() == Some(&(from as u32 + page as u32 - 1)), "rows are missing");
    }
    Ok(median(&mut took))
}
