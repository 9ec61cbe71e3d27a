//! Cases of the suite of all stores, each call done by one of two writers. What they leave out is how long a timeline is
//! and when it is trimmed: there each writer goes by what it has written itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use skyweir_scylla::{Rows, RowsConfig};
use skyweir_store::conformance::{Home, Opened, Subject};
use skyweir_store::{
    Cached, Counts, Delivery, Enrolment, Idle, IdleRule, MemoryStore, MemoryUse, Result, Shape,
    TimelineReads, Timelines, Viewers,
};
use skyweir_types::{ActorId, Clock, Generation, ItemId, Reference, TaskId};

use crate::common::{OF_TIMELINES, Servers};
use crate::world::{open_with, quiet};

/// Records in memory, timelines of two writers at the servers.
struct TwoWriters {
    records: MemoryStore,
    servers: Option<Servers>,
    is_empty: AtomicBool,
}

impl TwoWriters {
    fn new() -> Self {
        let (servers, is_empty) = (Servers::find("writers"), AtomicBool::new(false));
        Self { records: MemoryStore::new(), servers, is_empty }
    }
}

#[async_trait]
impl Subject for TwoWriters {
    async fn open(&self, shape: Shape) -> Opened {
        let servers = self.servers.as_ref().expect("it is asked before whether one is missing");
        if !self.is_empty.swap(true, Ordering::Relaxed) {
            servers.empty_those(|table| OF_TIMELINES.contains(&table)).await;
        }
        let Shape { cap, memory_bytes, .. } = shape;
        let config = RowsConfig { cap, memory_bytes, batch_rows: 8, page_rows: 7, ..quiet() };
        let one = open_with(servers, &config, shape.draw, &Clock::system()).await;
        let other = open_with(servers, &config, shape.draw, &Clock::system()).await;
        let timelines = Spread { rows: [one, other], calls: AtomicUsize::new(0) };
        Opened { store: Arc::new(self.records.clone()), timelines: Arc::new(timelines) }
    }

    fn home(&self) -> Home {
        Home::Rows
    }

    fn is_missing(&self) -> bool {
        self.servers.is_none()
    }
}

/// Gives the calls to two writers; before each, that one has learnt what the other did.
struct Spread {
    rows: [Rows; 2],
    calls: AtomicUsize,
}

impl Spread {
    fn any(&self) -> &Rows {
        // neither in turn nor in long runs
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        &self.rows[(call * call / 3) % 2]
    }

    /// So that what can't wait for news knows them.
    async fn told<T>(&self, answer: Result<T>) -> Result<T> {
        for rows in &self.rows {
            rows.refresh().await?;
        }
        answer
    }
}

#[async_trait]
impl TimelineReads for Spread {
    async fn read(&self, viewer: ActorId, from_ms: i64, n: usize) -> Result<Cached> {
        self.any().read(viewer, from_ms, n).await
    }
}

#[async_trait]
impl Timelines for Spread {
    fn shards(&self) -> u32 {
        self.any().shards()
    }

    fn shard_of(&self, viewer: ActorId) -> u32 {
        self.any().shard_of(viewer)
    }

    fn retain_enrolled(&self, page: &mut Vec<ActorId>) {
        self.any().retain_enrolled(page);
    }

    fn split(&self, page: Vec<ActorId>) -> Vec<(u32, Viewers)> {
        self.any().split(page)
    }

    fn enrolled(&self) -> u64 {
        self.any().enrolled()
    }

    async fn apply(&self, shard: u32, deliveries: &[Delivery]) -> Result<Vec<Counts>> {
        self.any().apply(shard, deliveries).await
    }

    async fn fill(&self, viewer: ActorId, references: &[Reference], floor: i64) -> Result<Counts> {
        self.any().fill(viewer, references, floor).await
    }

    async fn purge(&self, viewer: ActorId, author: ActorId, items: &[ItemId]) -> Result<u64> {
        self.any().purge(viewer, author, items).await
    }

    async fn drop_before(&self, sort_at: i64) -> Result<u64> {
        self.any().drop_before(sort_at).await
    }

    fn touch(&self, viewer: ActorId, now_ms: i64) {
        // it is told by time, and cases don't wait for that
        self.rows.iter().for_each(|rows| rows.touch(viewer, now_ms));
    }

    async fn begin(&self, viewer: ActorId, enrolment: Enrolment) -> Result<Generation> {
        self.told(self.any().begin(viewer, enrolment).await).await
    }

    async fn publish(
        &self,
        viewer: ActorId,
        generation: Generation,
        references: &[Reference],
        floor: i64,
        now_ms: i64,
    ) -> Result<bool> {
        self.told(self.any().publish(viewer, generation, references, floor, now_ms).await).await
    }

    async fn leave(&self, viewer: ActorId, generation: Generation) -> Result<bool> {
        self.told(self.any().leave(viewer, generation).await).await
    }

    async fn lower_rate(&self, viewer: ActorId, rate: f32) -> Result<()> {
        self.told(self.any().lower_rate(viewer, rate).await).await
    }

    async fn idle(&self, rule: IdleRule, n: usize) -> Result<Vec<Idle>> {
        self.any().idle(rule, n).await
    }

    fn memory(&self) -> MemoryUse {
        self.any().memory()
    }

    async fn least_useful(&self, recent_ms: i64, bytes: u64, n: usize) -> Result<Vec<Idle>> {
        self.any().least_useful(recent_ms, bytes, n).await
    }

    async fn checkpoint(&self, kept: TaskId) -> Result<()> {
        self.any().checkpoint(kept).await
    }

    fn restored(&self) -> TaskId {
        self.any().restored()
    }
}

skyweir_store::conformance_each! {
    TwoWriters::new();
    cache::writing_twice_is_writing_once, cache::a_read_ends_with_a_whole_millisecond,
    cache::the_draw_decides_but_for_own_items, cache::a_page_meets_the_enrolled, cache::a_page_is_split_by_shard,
    generations::a_fill_raises_the_floor_first, generations::a_filling_one_notes_floors,
    generations::a_filling_one_is_not_trimmed_at_its_cap, generations::a_publication_over_the_cap_is_trimmed,
    generations::late_publications_are_refused, generations::generations_rise_whatever_the_clock,
    generations::leaving_is_for_one_generation, generations::a_rate_is_only_lowered,
    generations::idle_timelines_are_found_in_portions, generations::nothing_happens_to_one_that_is_out,
    limits::memory_is_counted, limits::the_least_useful_come_first, limits::paging_is_one_visit,
    purges::own_items_are_never_purged, restarts::generations_rise_over_a_restart,
}
