//! Two writers do at random what writers do; above its floor no timeline misses anything.

use std::collections::BTreeSet;

use futures::future::try_join_all;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use skyweir_scylla::{Cluster, Rows, RowsConfig, RowsReader};
use skyweir_store::{CachedState, Delivery, Enrolment, Result, TimelineReads, Timelines as _};
use skyweir_types::{ActorId, Clock, DrawKey, Generation, ItemId, Reference, UriHash};

use crate::common::Servers;
use crate::world::{DID, at_servers, open, quiet};

const VIEWERS: u32 = 3;
const CAP: usize = 6;
const STEPS: usize = 60;

/// An item whose references a writer has to write, like a task in its hands.
struct Task {
    reference: Reference,
    writer: usize,
    /// Whom of its page the writer took for enrolled, once it has decided that.
    page: Option<Vec<ActorId>>,
}

/// A generation that somebody fills.
struct Filling {
    viewer: ActorId,
    generation: Generation,
    rate: f32,
    writer: usize,
    /// What had been committed when its merge began.
    seen: Option<Vec<Reference>>,
}

struct World<'a> {
    servers: &'a Servers,
    rows: [Rows; 2],
    /// As a process has it that writes none.
    reader: &'a RowsReader,
    rng: SmallRng,
    committed: Vec<Reference>,
    tasks: Vec<Task>,
    filling: Vec<Filling>,
    clock: Clock,
}

fn drawn(reference: &Reference, rate: f32) -> bool {
    DrawKey::default().keeps(reference.uri_hash, DID, rate)
}

/// The generation that a writer knows.
async fn generation(rows: &Rows, viewer: ActorId) -> Result<Option<Generation>> {
    Ok(match rows.read(viewer, i64::MIN, 0).await?.state {
        CachedState::Out => None,
        CachedState::Filling(generation) => Some(generation),
        CachedState::In(info) => Some(info.generation),
    })
}

impl Task {
    async fn go_on(mut self, rows: &[Rows; 2]) -> Result<Option<Self>> {
        let rows = &rows[self.writer];
        let Some(page) = self.page.take() else {
            rows.refresh().await?;
            let mut page = (0..VIEWERS).map(ActorId).collect();
            rows.retain_enrolled(&mut page);
            self.page = Some(page);
            return Ok(Some(self));
        };
        for viewer in page {
            let delivery = Delivery { reference: self.reference, viewers: vec![viewer].into() };
            rows.apply(rows.shard_of(viewer), &[delivery]).await?;
        }
        Ok(None)
    }
}

impl Filling {
    /// Publishes what a merge of what was seen finds.
    async fn publish(self, rows: &[Rows; 2], now_ms: i64) -> Result<()> {
        let mut found = self.seen.unwrap_or_default();
        found.retain(|reference| drawn(reference, self.rate));
        found.sort_by_key(|reference| (-reference.sort_at, reference.item));
        let floor = found.get(CAP).map_or(i64::MIN, |next| next.sort_at);
        found.truncate(CAP);
        rows[self.writer].publish(self.viewer, self.generation, &found, floor, now_ms).await?;
        Ok(())
    }
}

impl World<'_> {
    async fn step(&mut self) -> Result<()> {
        let (viewer, writer) = (ActorId(self.rng.random_range(0..VIEWERS)), self.rng.random_range(0..2));
        let rows = self.rows[writer].clone();
        match self.rng.random_range(0..21) {
            0..5 => self.commit(),
            5..11 if !self.tasks.is_empty() => {
                let at = self.rng.random_range(0..self.tasks.len());
                let task = self.tasks.swap_remove(at).go_on(&self.rows).await?;
                self.tasks.extend(task);
            }
            11..13 => {
                let rate = if self.rng.random() { 1.0 } else { 0.6 };
                let enrolment = Enrolment { did_hash: DID, rate, now_us: self.clock.now_micros() };
                let generation = rows.begin(viewer, enrolment).await?;
                self.filling.push(Filling { viewer, generation, rate, writer, seen: None });
            }
            13..16 if !self.filling.is_empty() => {
                let at = self.rng.random_range(0..self.filling.len());
                match self.filling[at].seen {
                    None => self.filling[at].seen = Some(self.committed.clone()),
                    Some(_) => self.filling.swap_remove(at).publish(&self.rows, 1).await?,
                }
            }
            16 => {
                // as a follow of everybody would
                rows.refresh().await?;
                let floor = self.rng.random_range(0..200);
                let found: Vec<_> =
                    self.committed.iter().filter(|item| item.sort_at > floor).copied().collect();
                rows.fill(viewer, &found, floor).await?;
            }
            17 => rows.lower_rate(viewer, 0.5).await?,
            18 => {
                rows.drop_before(self.rng.random_range(0..60)).await?;
            }
            19 => {
                if let Some(generation) = generation(&rows, viewer).await? {
                    rows.leave(viewer, generation).await?;
                }
            }
            20 if self.rng.random_ratio(1, 3) => {
                // all that was told is lost
                self.servers.redis("DEL", &[&format!("{}:news", self.servers.config.keyspace)]).await;
            }
            _ => {}
        }
        Ok(())
    }

    fn commit(&mut self) {
        let n = self.committed.len() as u64 + 1;
        let reference = Reference {
            item: ItemId(n),
            sort_at: self.rng.random_range(0..200),
            uri_hash: UriHash(self.rng.random()),
            author: ActorId(100),
        };
        self.committed.push(reference);
        self.tasks.push(Task { reference, writer: self.rng.random_range(0..2), page: None });
    }

    /// What is done by now stands in every timeline that answers, above its floor, whichever writer is asked. Returns
    /// how many answered with something.
    async fn check(&self, why: &str) -> Result<usize> {
        let pending: BTreeSet<_> = self.tasks.iter().map(|task| task.reference.item).collect();
        let mut answered = 0;
        for viewer in (0..VIEWERS).map(ActorId) {
            let all = self.rows.iter().map(|rows| rows as &dyn TimelineReads).chain([self.reader as &_]);
            for (reader, rows) in all.enumerate() {
                let cached = rows.read(viewer, i64::MAX, usize::MAX).await?;
                let CachedState::In(info) = cached.state else { continue };
                answered += usize::from(!cached.entries.is_empty());
                let there: BTreeSet<_> = cached.entries.iter().map(|entry| entry.item).collect();
                let is_wanted = |item: &&Reference| {
                    item.sort_at > info.floor && drawn(item, info.rate) && !pending.contains(&item.item)
                };
                let missing: Vec<_> = self
                    .committed
                    .iter()
                    .filter(is_wanted)
                    .filter(|item| !there.contains(&item.item))
                    .collect();
                assert!(
                    missing.is_empty(),
                    "{why}: reader {reader} on {viewer}, {info:?}: misses {missing:?}"
                );
            }
        }
        Ok(answered)
    }

    /// All that is under way, at once.
    async fn finish(&mut self) -> Result<()> {
        let rows = &self.rows;
        for filling in &mut self.filling {
            filling.seen.get_or_insert_with(|| self.committed.clone());
        }
        let tasks = self.tasks.drain(..).map(|task| async move {
            let mut left = Some(task);
            while let Some(task) = left {
                left = task.go_on(rows).await?;
            }
            Ok::<(), skyweir_store::Error>(())
        });
        let filling = self.filling.drain(..).map(|filling| filling.publish(rows, 2));
        futures::future::try_join(try_join_all(tasks), try_join_all(filling)).await?;
        for rows in rows {
            rows.refresh().await?;
        }
        Ok(())
    }
}

#[test]
fn above_its_floor_nothing_is_missing_whoever_writes() {
    at_servers(async |servers| {
        // each takes about half a second
        let seeds = std::env::var("SKYWEIR_SEEDS").map_or(10, |seeds| seeds.parse().unwrap());
        let config = RowsConfig { cap: CAP, trim_over: 2, page_rows: 5, ..quiet() };
        let servers = &*servers;
        let rows = [open(servers, &config).await, open(servers, &config).await];
        let reader = RowsReader::open(&Cluster::connect(&servers.config).await.unwrap()).await.unwrap();
        let mut answered = 0;
        for seed in 0..seeds {
            let rng = SmallRng::seed_from_u64(seed);
            let (committed, tasks, filling) = Default::default();
            let mut world = World {
                servers,
                rows: rows.clone(),
                reader: &reader,
                rng,
                committed,
                tasks,
                filling,
                clock: Clock::system(),
            };
            for step in 0..STEPS {
                world.step().await.unwrap();
                if step % 5 == 4 {
                    answered += world.check(&format!("seed {seed}, step {step}")).await.unwrap();
                }
            }
            world.finish().await.unwrap();
            answered += world.check(&format!("seed {seed}, at the end")).await.unwrap();
            // for the next seed
            for viewer in (0..VIEWERS).map(ActorId) {
                if let Some(generation) = generation(&rows[0], viewer).await.unwrap() {
                    rows[0].leave(viewer, generation).await.unwrap();
                }
            }
            rows[1].refresh().await.unwrap();
        }
        assert!(answered as u64 > 5 * seeds, "{answered} answers");
    });
}
