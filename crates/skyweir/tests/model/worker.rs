//! A writer as simple as it can be: one small step at a time, by the words of `design.md`. It stands in for the real
//! one, so that stores and reads are judged by themselves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use skyweir_store::{
    CachedState, Delivery, Enrol, EnrolReason, Enrolment, FeedAsk, IdleRule, Merge, Result, Sampling, Store,
    Task, Timelines, View,
};
use skyweir_testkit::Settings;
use skyweir_types::{
    ActorId, Clock, DidHash, DrawKey, Generation, ItemId, Position, Reference, TaskId, rate_for,
};

/// What reads have asked for.
#[derive(Default)]
struct Wishes {
    clock: Clock,
    enrol: Mutex<VecDeque<(ActorId, EnrolReason)>>,
    touched: Mutex<BTreeSet<ActorId>>,
    lower: Mutex<Vec<(ActorId, f32)>>,
    caught_up: AtomicBool,
}

impl Enrol for Wishes {
    fn enrol(&self, viewer: ActorId, why: EnrolReason) {
        let mut wishes = self.enrol.lock().unwrap();
        if !wishes.contains(&(viewer, why)) {
            wishes.push_back((viewer, why));
        }
    }

    fn touch(&self, viewer: ActorId) {
        self.touched.lock().unwrap().insert(viewer);
    }

    fn lower_rate(&self, viewer: ActorId, rate: f32) {
        self.lower.lock().unwrap().push((viewer, rate));
    }

    fn caught_up(&self) -> bool {
        self.caught_up.load(Ordering::SeqCst)
    }
}

/// An enrolment under way.
struct Filling {
    viewer: ActorId,
    generation: Generation,
    did_hash: DidHash,
    rate: f32,
    found: Option<(Vec<Reference>, i64)>,
}

/// The writer.
pub(crate) struct Worker {
    store: Arc<dyn Store>,
    timelines: Arc<dyn Timelines>,
    settings: Settings,
    clock: Clock,
    wishes: Arc<Wishes>,
    /// The lowest task that isn't done.
    next: TaskId,
    /// The task log's end when this began.
    began_with: TaskId,
    /// Followers reached by the fan-out under way.
    reached: Option<ActorId>,
    filling: Option<Filling>,
    repaired: BTreeMap<ActorId, i64>,
}

impl Worker {
    pub(crate) async fn start(
        store: &Arc<dyn Store>,
        timelines: &Arc<dyn Timelines>,
        settings: &Settings,
        clock: &Clock,
    ) -> Result<Self> {
        let wishes = Wishes { clock: clock.clone(), ..Wishes::default() };
        let mut worker = Self {
            store: Arc::clone(store),
            timelines: Arc::clone(timelines),
            settings: settings.clone(),
            clock: clock.clone(),
            wishes: Arc::new(wishes),
            next: timelines.restored(),
            began_with: *store.next_task().borrow(),
            reached: None,
            filling: None,
            repaired: BTreeMap::new(),
        };
        worker.note_progress();
        Ok(worker)
    }

    pub(crate) fn enrol(&self) -> Arc<dyn Enrol> {
        Arc::clone(&self.wishes) as Arc<dyn Enrol>
    }

    /// The task below which all references are readable.
    pub(crate) fn done(&self) -> TaskId {
        self.next
    }

    fn note_progress(&mut self) {
        if self.next >= self.began_with {
            self.wishes.caught_up.store(true, Ordering::SeqCst);
        }
    }

    /// Takes this many steps: of tasks and of enrolments in turn.
    pub(crate) async fn turns(&mut self, n: u32) -> Result<()> {
        for turn in 0..n {
            if turn % 2 == 0 || !self.enrol_step().await? {
                self.task_step().await?;
            }
        }
        Ok(())
    }

    /// Goes on until there is nothing left to do.
    pub(crate) async fn settle(&mut self) -> Result<()> {
        while self.enrol_step().await? | self.task_step().await? {}
        Ok(())
    }

    pub(crate) async fn checkpoint(&mut self, timelines: &dyn Timelines) -> Result<()> {
        timelines.checkpoint(self.next).await?;
        self.store.trim_tasks(self.next).await
    }

    pub(crate) async fn stop(mut self, timelines: &dyn Timelines) -> Result<()> {
        self.checkpoint(timelines).await
    }

    /// Lets idle timelines hibernate; returns how many did.
    pub(crate) async fn housekeeping(&mut self) -> Result<u64> {
        let mut left = 0;
        let now = self.clock.now_ms();
        let ago = |hours: u64| now - i64::try_from(hours).unwrap() * 3_600_000;
        let rule = IdleRule {
            read_before_ms: ago(self.settings.hibernate_hours),
            once_before_ms: ago(self.settings.hibernate_hours / 2),
        };
        for idle in self.timelines.idle(rule, 1_000).await? {
            left += u64::from(self.timelines.leave(idle.viewer, idle.generation).await?);
        }
        Ok(left)
    }

    async fn task_step(&mut self) -> Result<bool> {
        let view = self.store.view().await?;
        let Some((task, what)) = view.tasks(self.next, 1).await?.pop() else { return Ok(false) };
        let over = match what {
            Task::FanOut { item } => self.fan_out(&*view, item).await?,
            Task::Fill { viewer, author } => {
                if view.edges(&[(viewer, author)]).await?[0].is_some() {
                    let (references, floor) = newest(&*view, author, self.settings.cap).await?;
                    self.timelines.fill(viewer, &references, floor).await?;
                }
                true
            }
            Task::Purge { viewer, author } => {
                let (references, _) = newest(&*view, author, 10_000).await?;
                let items: Vec<ItemId> = references.iter().map(|reference| reference.item).collect();
                self.timelines.purge(viewer, author, &items).await?;
                true
            }
        };
        if over {
            self.next = task.next();
            self.note_progress();
        }
        Ok(true)
    }

    /// One page of followers; the first also serves the author. Returns whether it was the last.
    async fn fan_out(&mut self, view: &dyn View, item: ItemId) -> Result<bool> {
        let Some(item) = view.items(&[item]).await?.pop().flatten() else {
            self.reached = None;
            return Ok(true);
        };
        let n = self.settings.graph_page;
        let mut page = view.followers(item.author, self.reached, n).await?;
        let last = page.len() < n;
        let first = self.reached.is_none();
        self.reached = if last { None } else { page.last().copied() };
        page.retain(|follower| *follower != item.author);
        if first {
            page.push(item.author);
        }
        self.timelines.retain_enrolled(&mut page);
        let mut shards: BTreeMap<u32, Vec<ActorId>> = BTreeMap::new();
        for viewer in page {
            shards.entry(self.timelines.shard_of(viewer)).or_default().push(viewer);
        }
        for (shard, viewers) in shards {
            self.timelines.apply(shard, &[Delivery { reference: item.reference(), viewers }]).await?;
        }
        Ok(last)
    }

    /// Begins, merges, publishes: a step each.
    async fn enrol_step(&mut self) -> Result<bool> {
        let touched = std::mem::take(&mut *self.wishes.touched.lock().unwrap());
        for viewer in touched {
            self.timelines.touch(viewer, self.wishes.clock.now_ms());
        }
        let lower = std::mem::take(&mut *self.wishes.lower.lock().unwrap());
        for (viewer, rate) in lower {
            self.timelines.lower_rate(viewer, rate).await?;
        }
        let Some(mut filling) = self.filling.take() else { return self.begin().await };
        match filling.found.take() {
            None => {
                filling.found = Some(self.merge(&filling).await?);
                self.filling = Some(filling);
            }
            Some((references, floor)) => {
                let now = self.clock.now_ms();
                let Filling { viewer, generation, .. } = filling;
                self.timelines.publish(viewer, generation, &references, floor, now).await?;
            }
        }
        Ok(true)
    }

    async fn begin(&mut self) -> Result<bool> {
        let wish = self.wishes.enrol.lock().unwrap().pop_front();
        let Some((viewer, why)) = wish else { return Ok(false) };
        let state = self.timelines.read(viewer, i64::MIN, 1).await?.state;
        let wanted = match (why, state) {
            (EnrolReason::Read, state) => state == CachedState::Out,
            (_, state) => matches!(state, CachedState::In(_)),
        };
        let now = self.clock.now_ms();
        let repaired = self.repaired.get(&viewer).copied().unwrap_or(i64::MIN);
        let soon = now.saturating_sub(repaired) < 1_000 * self.settings.repair_seconds as i64;
        if !wanted || why == EnrolReason::FloorHigh && soon {
            return Ok(true);
        }
        if why == EnrolReason::FloorHigh {
            self.repaired.insert(viewer, now);
        }
        let view = self.store.view().await?;
        let did_hash = DidHash::of(view.dids(&[viewer]).await?[0].as_str());
        let rate = rate_for(view.accounts(&[viewer]).await?[0].follows, self.settings.reasonable_limit);
        let enrolment = Enrolment { did_hash, rate, now_us: self.clock.now_micros() };
        let generation = self.timelines.begin(viewer, enrolment).await?;
        self.filling = Some(Filling { viewer, generation, did_hash, rate, found: None });
        Ok(true)
    }

    async fn merge(&self, filling: &Filling) -> Result<(Vec<Reference>, i64)> {
        let view = self.store.view().await?;
        let sampling = Sampling { key: DrawKey::default(), viewer: filling.did_hash, rate: filling.rate };
        let mut merge = Merge::begin(&*view, filling.viewer, sampling, Position::TOP).await?;
        let mut found = Vec::new();
        while found.len() <= self.settings.cap {
            let Some((author, entry)) = merge.next().await? else { return Ok((found, i64::MIN)) };
            let uri_hash = skyweir_types::UriHash(entry.position.uri_hash);
            found.push(Reference { item: entry.item, sort_at: entry.position.sort_at, uri_hash, author });
        }
        let floor = found.last().map_or(i64::MIN, |last| last.sort_at);
        Ok((found, floor))
    }
}

/// An author's newest items, and what stands above everything that was left out.
async fn newest(view: &dyn View, author: ActorId, n: usize) -> Result<(Vec<Reference>, i64)> {
    let feed = view.feeds(&[FeedAsk { author, after: Position::TOP }], n + 1).await?.remove(0);
    let floor = if feed.len() > n { feed[n].position.sort_at } else { i64::MIN };
    let references = feed.iter().take(n).map(|entry| Reference {
        item: entry.item,
        sort_at: entry.position.sort_at,
        uri_hash: skyweir_types::UriHash(entry.position.uri_hash),
        author,
    });
    Ok((references.collect(), floor))
}
