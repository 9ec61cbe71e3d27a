//! Stand-in for the in-memory store, only as far as these tests go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use skyweir_store::*;
use skyweir_types::*;
use tokio::sync::watch;

#[derive(Clone, Default)]
struct State {
    dids: Vec<Did>,
    accounts: BTreeMap<ActorId, AccountRow>,
    records: BTreeMap<RecordRef, RecordRow>,
    items: BTreeMap<ItemId, Item>,
    next: u64,
    edges: BTreeMap<(ActorId, ActorId), BTreeSet<RecordKey>>,
}

#[derive(Default)]
pub(crate) struct MemoryStore(Arc<Mutex<State>>);

impl MemoryStore {
    pub(crate) fn new() -> Self {
        Self::default()
    }
}

struct Snap(State);
struct Tx(State, Arc<Mutex<State>>);

fn intern(s: &mut State, did: &Did) -> ActorId {
    let at = s.dids.iter().position(|d| d == did).unwrap_or_else(|| {
        s.dids.push(did.clone());
        s.dids.len() - 1
    });
    ActorId(at as u32)
}

#[async_trait]
impl Store for MemoryStore {
    async fn view(&self) -> Result<Box<dyn View>> {
        Ok(Box::new(Snap(self.0.lock().unwrap().clone())))
    }
    async fn begin(&self) -> Result<Box<dyn Txn>> {
        Ok(Box::new(Tx(self.0.lock().unwrap().clone(), self.0.clone())))
    }
    fn next_task(&self) -> watch::Receiver<TaskId> {
        watch::channel(TaskId(1)).1
    }
    async fn trim_tasks(&self, _: TaskId) -> Result<()> {
        Ok(())
    }
}

fn page(ids: impl Iterator<Item = ActorId>, after: Option<ActorId>, n: usize) -> Vec<ActorId> {
    let mut ids: Vec<_> = ids.filter(|id| after.is_none_or(|a| *id > a)).collect();
    ids.sort();
    ids.truncate(n);
    ids
}

#[async_trait]
impl View for Snap {
    async fn actor(&self, did: &Did) -> Result<Option<ActorId>> {
        Ok(self.0.dids.iter().position(|d| d == did).map(|i| ActorId(i as u32)))
    }
    async fn dids(&self, actors: &[ActorId]) -> Result<Vec<Did>> {
        Ok(actors.iter().map(|a| self.0.dids[a.0 as usize].clone()).collect())
    }
    async fn actor_count(&self) -> Result<u32> {
        Ok(self.0.dids.len() as u32)
    }
    async fn accounts(&self, actors: &[ActorId]) -> Result<Vec<AccountInfo>> {
        let s = &self.0;
        Ok(actors
            .iter()
            .map(|a| AccountInfo {
                status: s.accounts.get(a).copied().unwrap_or_default().status,
                newest: s
                    .items
                    .values()
                    .filter(|i| i.author == *a)
                    .map(|i| i.sort_at)
                    .max()
                    .unwrap_or(i64::MIN),
                follows: s.edges.keys().filter(|e| e.0 == *a).count() as u32,
                followers: s.edges.keys().filter(|e| e.1 == *a).count() as u32,
            })
            .collect())
    }
    async fn items(&self, ids: &[ItemId]) -> Result<Vec<Option<Item>>> {
        Ok(ids.iter().map(|id| self.0.items.get(id).cloned()).collect())
    }
    async fn records(&self, keys: &[RecordRef]) -> Result<Vec<Option<RecordRow>>> {
        Ok(keys.iter().map(|k| self.0.records.get(k).cloned()).collect())
    }
    async fn feeds(&self, asks: &[FeedAsk], n: usize) -> Result<Vec<Vec<FeedEntry>>> {
        Ok(asks
            .iter()
            .map(|ask| {
                let mut feed: Vec<_> = self
                    .0
                    .items
                    .values()
                    .filter(|i| i.author == ask.author && i.position() < ask.after)
                    .map(|i| FeedEntry { position: i.position(), item: i.id })
                    .collect();
                feed.sort_by_key(|e| std::cmp::Reverse(e.position));
                feed.truncate(n);
                feed
            })
            .collect())
    }
    async fn follows(&self, viewer: ActorId, after: Option<ActorId>, n: usize) -> Result<Vec<ActorId>> {
        Ok(page(self.0.edges.keys().filter(|e| e.0 == viewer).map(|e| e.1), after, n))
    }
    async fn followers(&self, author: ActorId, after: Option<ActorId>, n: usize) -> Result<Vec<ActorId>> {
        Ok(page(self.0.edges.keys().filter(|e| e.1 == author).map(|e| e.0), after, n))
    }
    async fn edges(&self, pairs: &[(ActorId, ActorId)]) -> Result<Vec<Option<RecordKey>>> {
        Ok(pairs.iter().map(|p| self.0.edges.get(p).and_then(|k| k.first().cloned())).collect())
    }
    async fn high_follows(&self, _: u32, _: usize) -> Result<Vec<(ActorId, u32)>> {
        Ok(Vec::new())
    }
    async fn tasks(&self, _: TaskId, _: usize) -> Result<Vec<(TaskId, Task)>> {
        Ok(Vec::new())
    }
    async fn next_task(&self) -> Result<TaskId> {
        Ok(TaskId(1))
    }
    async fn cursor(&self) -> Result<Option<SavedCursor>> {
        Ok(None)
    }
    async fn sync_marks(&self, _: usize) -> Result<Vec<(ActorId, SyncMark)>> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Txn for Tx {
    async fn intern(&mut self, did: &Did) -> Result<ActorId> {
        Ok(intern(&mut self.0, did))
    }
    async fn did(&mut self, a: ActorId) -> Result<Did> {
        Ok(self.0.dids[a.0 as usize].clone())
    }
    async fn account(&mut self, a: ActorId) -> Result<AccountRow> {
        Ok(self.0.accounts.get(&a).copied().unwrap_or_default())
    }
    async fn set_account(&mut self, a: ActorId, row: AccountRow) -> Result<()> {
        self.0.accounts.insert(a, row);
        Ok(())
    }
    async fn record(&mut self, key: &RecordRef) -> Result<Option<RecordRow>> {
        Ok(self.0.records.get(key).cloned())
    }
    async fn put_record(&mut self, key: &RecordRef, row: RecordRow) -> Result<()> {
        self.0.records.insert(key.clone(), row);
        Ok(())
    }
    async fn remove_record(&mut self, key: &RecordRef) -> Result<()> {
        self.0.records.remove(key);
        Ok(())
    }
    async fn records_of(
        &mut self,
        _: ActorId,
        _: Option<(Collection, RecordKey)>,
        _: usize,
    ) -> Result<Vec<(RecordRef, RecordRow)>> {
        Ok(Vec::new())
    }
    async fn tombstones_before(&mut self, _: i64, _: usize) -> Result<Vec<RecordRef>> {
        Ok(Vec::new())
    }
    async fn add_item(&mut self, n: NewItem) -> Result<ItemId> {
        self.0.next += 1;
        let id = ItemId(self.0.next);
        let NewItem { author, rkey, cid, sort_at, uri_hash, kind } = n;
        self.0.items.insert(id, Item { id, author, rkey, cid, sort_at, uri_hash, kind });
        Ok(id)
    }
    async fn remove_item(&mut self, id: ItemId) -> Result<()> {
        self.0.items.remove(&id);
        Ok(())
    }
    async fn link_repost(&mut self, _: &RecordRef, _: &RecordRef) -> Result<()> {
        Ok(())
    }
    async fn unlink_repost(&mut self, _: &RecordRef, _: &RecordRef) -> Result<()> {
        Ok(())
    }
    async fn reposts_of(&mut self, _: &RecordRef, _: Option<&RecordRef>, _: usize) -> Result<Vec<RecordRef>> {
        Ok(Vec::new())
    }
    async fn add_follow(&mut self, a: ActorId, b: ActorId, rkey: &RecordKey) -> Result<bool> {
        Ok(self.0.edges.entry((a, b)).or_default().insert(rkey.clone()))
    }
    async fn remove_follow(&mut self, a: ActorId, b: ActorId, rkey: &RecordKey) -> Result<bool> {
        let keys = self.0.edges.entry((a, b)).or_default();
        keys.remove(rkey);
        if keys.is_empty() {
            self.0.edges.remove(&(a, b));
            return Ok(true);
        }
        Ok(false)
    }
    async fn append(&mut self, _: Task) -> Result<TaskId> {
        Ok(TaskId(1))
    }
    async fn set_cursor(&mut self, _: SavedCursor) -> Result<()> {
        Ok(())
    }
    async fn commit(self: Box<Self>) -> Result<()> {
        *self.1.lock().unwrap() = self.0;
        Ok(())
    }
}

type Slot = (CachedState, f32, Vec<Reference>);

#[derive(Default)]
pub(crate) struct MemoryTimelines(Mutex<BTreeMap<ActorId, Slot>>);

impl MemoryTimelines {
    pub(crate) fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl Timelines for MemoryTimelines {
    fn shards(&self) -> u32 {
        1
    }
    fn shard_of(&self, _: ActorId) -> u32 {
        0
    }
    fn retain_enrolled(&self, _: &mut Vec<ActorId>) {}
    fn enrolled(&self) -> u64 {
        0
    }
    async fn apply(&self, _: u32, _: &[Delivery]) -> Result<Vec<Counts>> {
        Ok(Vec::new())
    }
    async fn fill(&self, _: ActorId, _: &[Reference], _: i64) -> Result<Counts> {
        Ok(Counts::default())
    }
    async fn purge(&self, _: ActorId, _: ActorId, _: &[ItemId]) -> Result<u64> {
        Ok(0)
    }
    async fn read(&self, viewer: ActorId, from_ms: i64, n: usize) -> Result<Cached> {
        let map = self.0.lock().unwrap();
        let Some((state, _, refs)) = map.get(&viewer) else {
            return Ok(Cached { state: CachedState::Out, entries: Vec::new(), at_floor: true });
        };
        let all: Vec<_> = refs.iter().filter(|r| r.sort_at <= from_ms).collect();
        let mut entries: Vec<CachedEntry> = Vec::new();
        for r in &all {
            if entries.len() >= n && entries.last().is_some_and(|l| l.sort_at != r.sort_at) {
                break;
            }
            entries.push(CachedEntry { sort_at: r.sort_at, item: r.item });
        }
        let at_floor = entries.len() == all.len();
        Ok(Cached { state: *state, entries, at_floor })
    }
    fn touch(&self, _: ActorId, _: i64) {}
    async fn begin(&self, viewer: ActorId, e: Enrolment) -> Result<Generation> {
        let generation = Generation(e.now_us as u64);
        self.0.lock().unwrap().insert(viewer, (CachedState::Filling(generation), e.rate, Vec::new()));
        Ok(generation)
    }
    async fn publish(
        &self,
        viewer: ActorId,
        generation: Generation,
        references: &[Reference],
        floor: i64,
        since_ms: i64,
    ) -> Result<bool> {
        let mut map = self.0.lock().unwrap();
        let slot = map.get_mut(&viewer).unwrap();
        let refs: Vec<_> = references.iter().copied().filter(|r| r.sort_at > floor).collect();
        let info = RingInfo { generation, floor, rate: slot.1, len: refs.len(), since_ms };
        *slot = (CachedState::In(info), slot.1, refs);
        Ok(true)
    }
    async fn leave(&self, _: ActorId, _: Generation) -> Result<bool> {
        Ok(true)
    }
    async fn lower_rate(&self, _: ActorId, _: f32) -> Result<()> {
        Ok(())
    }
    async fn idle(&self, _: IdleRule, _: usize) -> Result<Vec<Idle>> {
        Ok(Vec::new())
    }
    async fn checkpoint(&self, _: TaskId) -> Result<()> {
        Ok(())
    }
    fn restored(&self) -> TaskId {
        TaskId(1)
    }
}
