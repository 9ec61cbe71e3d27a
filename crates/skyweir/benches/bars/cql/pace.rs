//! What a reference costs the writer: in batches, by single inserts, and by the driver's bare loop.

use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use scylla::statement::batch::{Batch, BatchType};
use skyweir_scylla::{Config, RowsConfig};
use skyweir_store::{Hook, MemoryStore, Operation};

use super::bed::{self, AUTHOR, Bed, Posts};
use crate::machine::{Watch, median};
use crate::report::{Claim, Compared, Limit, Report, number};

/// Rounds; a figure is their median.
const ROUNDS: usize = 5;
/// How many timelines the references go to, and how many posts a round has: in batches and bare, and as single inserts.
pub(super) const VIEWERS: usize = 20_480;
const POSTS: usize = 5;
const SINGLES: usize = 1;
/// As many as the writer sends to a node at a time.
const AT_ONCE: usize = 8;

/// Is told nothing.
pub(super) struct Nobody;

#[async_trait]
impl Hook for Nobody {
    async fn before(&self, _: &Operation<'_>) -> skyweir_store::Result<()> {
        Ok(())
    }

    async fn after(&self, _: &Operation<'_>) -> skyweir_store::Result<()> {
        Ok(())
    }
}

/// CPU seconds of this process, and seconds, for a million references.
#[derive(Default)]
struct Way {
    cpu: Vec<f64>,
    wall: Vec<f64>,
}

impl Way {
    fn note(&mut self, watch: &Watch, references: usize) -> Result<()> {
        let (took, millions) = (watch.took()?, references as f64 / 1e6);
        self.cpu.push(took.cpu / millions);
        self.wall.push(took.wall / millions);
        Ok(())
    }

    fn row(&mut self, name: &str) -> (String, Vec<f64>) {
        let (cpu, wall) = (&mut self.cpu, &mut self.wall);
        let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
        let least = |values: &[f64]| values.iter().copied().fold(f64::INFINITY, f64::min);
        (name.to_owned(), vec![median(cpu), least(cpu), most(cpu), 1e6 / median(wall)])
    }
}

/// Writes in all ways, in turn.
pub(super) async fn run(report: &mut Report, bed: &Bed) -> Result<()> {
    let viewers = &bed.viewers[..VIEWERS.min(bed.viewers.len())];
    let one = Config {
        timelines: RowsConfig { single_inserts: true, ..bed.config.timelines.clone() },
        ..bed.config.clone()
    };
    let (batched, singly) = (bed.rows(&bed.config).await?, bed.rows(&one).await?);
    // records and log are in memory, so that what is measured is the way of references to the server
    let store = Arc::new(MemoryStore::new());
    bed::follow(&*store, AUTHOR, viewers).await?;
    let mut in_batches = Posts::new(store, AUTHOR, &batched, Arc::new(Nobody)).await?;
    let store = Arc::new(MemoryStore::new());
    bed::follow(&*store, AUTHOR, viewers).await?;
    let mut by_singles = Posts::new(store, AUTHOR, &singly, Arc::new(Nobody)).await?;
    let mut bare = Bare::new(bed, viewers.len()).await?;
    let (mut a, mut b, mut c) = (Way::default(), Way::default(), Way::default());
    // the first round warms the server up and doesn't count
    for round in 0..=ROUNDS {
        for (way, posts, n) in [(&mut a, &mut in_batches, POSTS), (&mut b, &mut by_singles, SINGLES)] {
            let watch = Watch::start()?;
            posts.posts(n).await?;
            posts.delivered().await?;
            if round > 0 {
                way.note(&watch, n * viewers.len())?;
            }
        }
        let watch = Watch::start()?;
        bare.write(viewers.iter().map(|viewer| viewer.0.cast_signed()), POSTS).await?;
        if round > 0 {
            c.note(&watch, POSTS * viewers.len())?;
        }
    }
    in_batches.stop().await?;
    by_singles.stop().await?;
    let batch = bed.config.timelines.batch_rows;
    let rows = [
        a.row(&format!("the writer, batches of {batch}")),
        b.row("the writer, single inserts"),
        c.row(&format!("the driver's bare loop, batches of {batch}")),
    ];
    report.bar(
        "CQL: references per writer CPU-second",
        &format!(
            "one node of Cassandra on the same cores; {} timelines, {POSTS} posts a round in batches and bare, {SINGLES} \
             as single inserts, {ROUNDS} rounds in turn after one that doesn't count; the writer is the service's own, \
             with pages, splitting, queues and accounting; bare, one loop fills batches of {batch} and sends {AT_ONCE} \
             at a time; CPU seconds are those of all threads of this process",
            viewers.len()
        ),
    );
    let head = ["way", "CPU-s a million, median", "least", "most", "references/s"];
    report.rows(&head, &rows);
    let [ours, singles, bare] = [0, 1, 2].map(|at| rows[at].1[0]);
    report.note(format!("single inserts take {} × the CPU time of batches", number(singles / ours)));
    report.claim(Claim {
        what: "CQL: references per writer CPU-second, batched against single inserts",
        value: 1e6 / ours,
        unit: "references/CPU-s",
        limit: Limit::AtLeast(6.0 * 1e6 / singles),
        compared: Compared::measured(
            "single inserts by the same writer, of which the bar asks 6 ×",
            1e6 / singles,
        ),
    });
    report.claim(Claim {
        what: "CQL: writer CPU a reference, against the driver's bare loop",
        value: ours,
        unit: "CPU-s a million",
        limit: Limit::AtMost(1.5 * bare),
        compared: Compared::measured("the driver's bare loop at the same batch size", bare),
    });
    Ok(())
}

/// The driver alone.
struct Bare<'a> {
    bed: &'a Bed,
    batch: Batch,
    rows: usize,
    /// For the references of a post that fill no batch.
    rest: Batch,
    posted: i64,
}

impl<'a> Bare<'a> {
    /// For so many references a post.
    async fn new(bed: &'a Bed, references: usize) -> Result<Self> {
        let text = format!(
            "INSERT INTO {}.timeline (viewer, sort_at, item, uri_hash, author) VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?",
            bed.config.keyspace
        );
        let mut insert = bed.session.prepare(text).await?;
        insert.set_is_idempotent(true);
        let rows = bed.config.timelines.batch_rows;
        let of = |rows| {
            let mut batch = Batch::new(BatchType::Unlogged);
            (0..rows).for_each(|_| batch.append_statement(insert.clone()));
            batch.set_is_idempotent(true);
            batch
        };
        // behind all that the writers post
        Ok(Self { bed, batch: of(rows), rows, rest: of(references % rows), posted: 1 << 40 })
    }

    async fn write(&mut self, viewers: impl Iterator<Item = i32> + Clone, posts: usize) -> Result<()> {
        for _ in 0..posts {
            self.posted += 1;
            let at = self.posted;
            let rows: Vec<_> = viewers.clone().map(|viewer| (viewer, at, at, at, 0_i32, 1_000_i64)).collect();
            let session = &self.bed.session;
            let send = |rows: &[(i32, i64, i64, i64, i32, i64)]| {
                let batch = if rows.len() == self.rows { &self.batch } else { &self.rest };
                let rows = rows.to_vec();
                async move { session.batch(batch, rows).await.map(drop) }
            };
            let batches = rows.chunks(self.rows).map(send).collect::<Vec<_>>();
            stream::iter(batches).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        }
        Ok(())
    }
}
