//! Follower pages: how fast they are read, and what an edge takes on disk.

use std::path::Path;

use anyhow::Result;
use fjall::{Database, KeyspaceCreateOptions};
use skyweir_store::Store as _;
use skyweir_types::ActorId;
use tokio::time::Instant;

use crate::bare::row_scan;
use crate::crowd::CELEBRITY;
use crate::machine::{median, quantile};
use crate::report::{Claim, Compared, Limit, Report, number};
use crate::served::Served;

const ROUNDS: usize = 5;

/// Reads all pages of the celebrity's followers, several times.
pub(crate) fn read(report: &mut Report, served: &Served, dir: &Path) -> Result<()> {
    report.bar(
        "follower pages, embedded: 10,000 in ≤ 1 ms",
        &format!(
            "all pages of {} followers, {ROUNDS} times, with the block cache of the defaults",
            served.crowd.followers[CELEBRITY as usize]
        ),
    );
    let size = skyweir_graph::Config::default().page;
    let mut took = Vec::new();
    served.io.block_on(async {
        for _ in 0..ROUNDS {
            let view = served.store.view().await?;
            let mut pages = served.graph.followers(view.into(), ActorId(CELEBRITY));
            loop {
                let began = Instant::now();
                let Some(page) = pages.next().await? else { break };
                if page.len() == size {
                    took.push(began.elapsed().as_secs_f64() * 1e3);
                }
            }
        }
        anyhow::Ok(())
    })?;
    if took.is_empty() {
        report.note("no page is full at this scale: nothing to judge");
        return Ok(());
    }
    let rows = row_scan(&dir.join("rows"), size, ROUNDS * 100)?;
    report.note(format!("{} full pages; p99 {} ms", took.len(), number(quantile(&mut took, 0.99))));
    report.claim(Claim {
        what: "a follower page of 10,000, p50",
        value: median(&mut took),
        unit: "ms",
        limit: Limit::AtMost(1.0),
        compared: Compared::measured("fjall, a scan of 10,000 rows with keys of 8 bytes", rows),
    });
    Ok(())
}

/// Measures the folders of the edge sets and of the record index, once all is in tables and compacted.
pub(crate) fn on_disk(report: &mut Report, dir: &Path, edges: usize) -> Result<()> {
    report.bar(
        "follower pages, embedded: bytes on disk an edge",
        &format!(
            "{edges} edges, most of them of one author and of accounts that follow two; files after flush and full \
             compaction; `records` holds the posts too"
        ),
    );
    let database = Database::builder(dir.join("db")).open()?;
    for (table, what, most) in [
        ("follows", "bytes on disk an edge, the follows' set", 8.0),
        ("followers", "bytes on disk an edge, the followers' set", 8.0),
        ("records", "bytes on disk an edge, the record index", 16.0),
    ] {
        let space = database.keyspace(table, KeyspaceCreateOptions::default)?;
        space.rotate_memtable_and_wait()?;
        let before = size_of_folder(space.path())?;
        space.major_compact()?;
        // what compaction replaced may still lie beside its result
        let tables = space.disk_space();
        report.note(format!("{table}: {before} bytes after flush, {tables} in tables after compaction"));
        report.claim(Claim {
            what,
            value: tables as f64 / edges as f64,
            unit: "bytes",
            limit: Limit::AtMost(most),
            compared: Compared::published("GraphD, edge sets only", 10.0),
        });
    }
    Ok(())
}

fn size_of_folder(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() {
            size_of_folder(&entry.path())?
        } else {
            entry.metadata()?.len()
        };
    }
    Ok(bytes)
}
