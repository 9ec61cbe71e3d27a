//! Follower pages: how fast they are read, and what an edge takes on disk.

use std::path::Path;

use anyhow::Result;
use fjall::{Database, KeyspaceCreateOptions};
use skyweir_embedded::{Config, EmbeddedStore};
use skyweir_store::Store as _;
use skyweir_types::ActorId;
use tokio::time::Instant;

use crate::bare::row_scan;
use crate::crowd::CELEBRITY;
use crate::load;
use crate::machine::{median, quantile};
use crate::report::{Claim, Compared, Limit, Report, number};
use crate::rng::Rng;
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
            let mut pages = served.graph.followers(view.into(), ActorId(CELEBRITY), None);
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

/// A network whose edges are measured on disk.
struct OnDisk {
    conditions: &'static str,
    sets: [Set; 3],
}

/// Tables that are one thing.
struct Set {
    what: &'static str,
    tables: [&'static str; 2],
    /// Bytes an edge at most; or why it is told without being judged.
    most: std::result::Result<f64, &'static str>,
}

const FOLLOWS: [&str; 2] = ["follows", "follow_blocks"];
const FOLLOWERS: [&str; 2] = ["followers", "follower_blocks"];
const RECORDS: [&str; 2] = ["records", "record_blocks"];

/// The crowd's.
const CROWD: OnDisk = OnDisk {
    conditions: "edges, most of them of one author and of accounts that follow two, loaded in their order",
    sets: [
        Set { what: "bytes on disk an edge, the follows' set", tables: FOLLOWS, most: Ok(8.0) },
        Set { what: "bytes on disk an edge, the followers' set", tables: FOLLOWERS, most: Ok(8.0) },
        Set {
            what: "bytes on disk an edge, the record index",
            tables: RECORDS,
            most: Err(
                "not judged: the bar is about a network like the real one, where an account follows sixty in the \
                       mean; a lone record is 14.5 bytes of key, rev and subject before it is a row",
            ),
        },
    ],
};

const SIXTY: OnDisk = OnDisk {
    conditions: "edges of accounts that follow sixty of each other, of numbers up to four million, in groups of 500 as they come",
    sets: [
        Set {
            what: "bytes on disk an edge, sixty follows each, the follows' set",
            tables: FOLLOWS,
            most: Ok(8.0),
        },
        Set {
            what: "bytes on disk an edge, sixty follows each, the followers' set",
            tables: FOLLOWERS,
            most: Ok(8.0),
        },
        Set {
            what: "bytes on disk an edge, sixty follows each, the record index",
            tables: RECORDS,
            most: Ok(16.0),
        },
    ],
};

/// A network that was loaded from an archive.
const ARCHIVE: OnDisk = OnDisk {
    conditions: "edges loaded from an archive, sixty follows an account in the mean, most accounts with fewer",
    sets: [
        Set { what: "bytes on disk an edge, loaded, the follows' set", tables: FOLLOWS, most: Ok(8.0) },
        Set { what: "bytes on disk an edge, loaded, the followers' set", tables: FOLLOWERS, most: Ok(8.0) },
        Set { what: "bytes on disk an edge, loaded, the record index", tables: RECORDS, most: Ok(16.0) },
    ],
};

/// Measures the edges of accounts like those of the real network, each follow an event of its own.
pub(crate) fn like_the_network(report: &mut Report, dir: &Path, scale: f64) -> Result<()> {
    let accounts = ((20_000.0 * scale) as u32).max(1_000);
    // numbers as far apart as in a network of four million
    let number = |account: u32| account * (4_000_000 / accounts);
    let mut rng = Rng::new(60);
    let mut edges = Vec::new();
    for follower in 0..accounts {
        edges.extend((0..60).map(|_| {
            // half of the edges end at one account of sixteen
            let at = (rng.any() % 1_000_000) as f64 / 1e6;
            (number(follower), number((at.powi(4) * f64::from(accounts)) as u32))
        }));
    }
    edges.sort_unstable();
    edges.dedup();
    let count = edges.len();
    let mut order: Vec<_> = edges.into_iter().map(|edge| (rng.any(), edge)).collect();
    order.sort_unstable();
    let store = EmbeddedStore::open(Config { data_dir: dir.to_owned(), ..Config::default() })?;
    tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
        for group in order.chunks(skyweir_indexer::Config::default().group_events) {
            let mut txn = store.begin().await?;
            for (_, (follower, subject)) in group {
                load::follow(&mut *txn, &mut rng, ActorId(*follower), ActorId(*subject)).await?;
            }
            txn.commit().await?;
        }
        anyhow::Ok(())
    })?;
    drop(store);
    on_disk(report, dir, count, &SIXTY)
}

/// Measures the edges of a network that was loaded.
pub(crate) fn of_the_archive(report: &mut Report, dir: &Path, edges: usize) -> Result<()> {
    on_disk(report, dir, edges, &ARCHIVE)
}

/// Measures the crowd's edges.
pub(crate) fn of_the_crowd(report: &mut Report, dir: &Path, edges: usize) -> Result<()> {
    on_disk(report, dir, edges, &CROWD)
}

/// Measures the edge sets and the record index, once all is in tables and compacted.
fn on_disk(report: &mut Report, dir: &Path, edges: usize, network: &OnDisk) -> Result<()> {
    report.bar(
        "follower pages, embedded: bytes on disk an edge",
        &format!(
            "{edges} {}; files after flush and full compaction; `records` holds the posts too",
            network.conditions
        ),
    );
    let database = Database::builder(dir.join("db")).open()?;
    for Set { what, tables, most } in &network.sets {
        let mut bytes = 0;
        for table in tables {
            let space = database.keyspace(table, KeyspaceCreateOptions::default)?;
            space.rotate_memtable_and_wait()?;
            let before = size_of_folder(space.path())?;
            space.major_compact()?;
            // what compaction replaced may still lie beside its result
            let after = space.disk_space();
            report.note(format!("{table}: {before} bytes after flush, {after} in tables after compaction"));
            bytes += after;
        }
        let value = bytes as f64 / edges as f64;
        match most {
            Ok(most) => report.claim(Claim {
                what,
                value,
                unit: "bytes",
                limit: Limit::AtMost(*most),
                compared: Compared::published("GraphD, edge sets only", 10.0),
            }),
            Err(why) => report.note(format!("{what}: {} ({why})", number(value))),
        }
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
