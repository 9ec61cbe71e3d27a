//! Stores at real servers, where time goes by as everywhere: what is asked of them is done on a runtime of its own, and
//! the script's clock, which jumps when nobody has anything to do, stands still meanwhile.

use std::pin::pin;
use std::sync::{Arc, Mutex, Weak, mpsc};

use async_trait::async_trait;
use skyweir_store::{
    AccountInfo, AccountRow, Ahead, Cached, Counts, Delivery, Enrolment, FeedAsk, FeedEntry, Idle, IdleRule,
    MemoryUse, NewItem, RecordRow, Result, SavedCursor, Store, SyncMark, Task, TimelineReads, Timelines, Txn,
    View, Viewers,
};
use skyweir_types::{
    ActorId, Collection, Did, Generation, Item, ItemId, RecordKey, RecordRef, Reference, TaskId, Tid,
};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

/// A runtime in real time.
pub(crate) struct Elsewhere {
    runtime: Option<Runtime>,
    still: Mutex<Weak<Still>>,
}

/// While one is there the script's clock stands still.
struct Still(#[expect(dead_code, reason = "what waits for it ends when it is dropped")] mpsc::Sender<()>);

impl Elsewhere {
    pub(crate) fn new() -> Arc<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Arc::new(Self { runtime: Some(runtime), still: Mutex::default() })
    }

    /// A paused clock doesn't jump while a thread works for its runtime.
    fn still(&self) -> Arc<Still> {
        let mut still = self.still.lock().unwrap();
        if let Some(still) = still.upgrade() {
            return still;
        }
        let (sender, receiver) = mpsc::channel();
        let new = Arc::new(Still(sender));
        *still = Arc::downgrade(&new);
        tokio::task::spawn_blocking(move || receiver.recv());
        new
    }

    /// Does something there; what it spawns stays there.
    pub(crate) async fn ask<F: Future>(&self, future: F) -> F::Output {
        let _still = self.still();
        let mut future = pin!(future);
        std::future::poll_fn(|cx| {
            let _entered = self.runtime.as_ref().map(Runtime::enter);
            future.as_mut().poll(cx)
        })
        .await
    }

    pub(crate) fn store(self: &Arc<Self>, inner: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(StoreThere { inner, there: Arc::clone(self) })
    }

    pub(crate) fn timelines(self: &Arc<Self>, inner: Arc<dyn Timelines>) -> Arc<dyn Timelines> {
        Arc::new(TimelinesThere { inner, there: Arc::clone(self) })
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        // it may be a task of the script's runtime that drops it: those may not wait
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct StoreThere {
    inner: Arc<dyn Store>,
    there: Arc<Elsewhere>,
}

struct ViewThere {
    inner: Box<dyn View>,
    there: Arc<Elsewhere>,
}

struct TxnThere {
    inner: Box<dyn Txn>,
    there: Arc<Elsewhere>,
}

struct TimelinesThere {
    inner: Arc<dyn Timelines>,
    there: Arc<Elsewhere>,
}

#[async_trait]
impl Store for StoreThere {
    async fn view(&self) -> Result<Box<dyn View>> {
        let inner = self.there.ask(self.inner.view()).await?;
        Ok(Box::new(ViewThere { inner, there: Arc::clone(&self.there) }))
    }

    async fn begin(&self) -> Result<Box<dyn Txn>> {
        let inner = self.there.ask(self.inner.begin()).await?;
        Ok(Box::new(TxnThere { inner, there: Arc::clone(&self.there) }))
    }

    async fn room(&self) {
        self.there.ask(self.inner.room()).await;
    }

    fn next_task(&self) -> watch::Receiver<TaskId> {
        self.inner.next_task()
    }

    async fn trim_tasks(&self, kept: TaskId) -> Result<()> {
        self.there.ask(self.inner.trim_tasks(kept)).await
    }
}

/// Implements a trait by doing what waits there, and the rest at once.
macro_rules! there {
    ($trait:ident for $name:ident by $this:ident: $receiver:ty,
     $(async fn $method:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*
     $(and { $($rest:tt)* })?) => {
        #[async_trait]
        impl $trait for $name {
            $(async fn $method($this: $receiver, $($arg: $type),*) -> Result<$answer> {
                $this.there.ask($this.inner.$method($($arg),*)).await
            })*
            $($($rest)*)?
        }
    };
}

there! { View for ViewThere by self: &Self,
    async fn actor(did: &Did) -> Option<ActorId>;
    async fn dids(actors: &[ActorId]) -> Vec<Did>;
    async fn actor_count() -> u32;
    async fn accounts(actors: &[ActorId]) -> Vec<AccountInfo>;
    async fn horizon() -> i64;
    async fn items(ids: &[ItemId]) -> Vec<Option<Item>>;
    async fn records(keys: &[RecordRef]) -> Vec<Option<RecordRow>>;
    async fn feeds(asks: &[FeedAsk], n: usize) -> Vec<Vec<FeedEntry>>;
    async fn follows(viewer: ActorId, after: Option<ActorId>, n: usize) -> Vec<ActorId>;
    async fn followers(author: ActorId, after: Option<ActorId>, n: usize) -> Vec<ActorId>;
    async fn edges(pairs: &[(ActorId, ActorId)]) -> Vec<Option<RecordKey>>;
    async fn has_edges(pairs: &[(ActorId, ActorId)]) -> Vec<bool>;
    async fn high_follows(limit: u32, n: usize) -> Vec<(ActorId, u32)>;
    async fn tasks(from: TaskId, n: usize) -> Vec<(TaskId, Task)>;
    async fn next_task() -> TaskId;
    async fn cursor() -> Option<SavedCursor>;
    async fn is_whole() -> bool;
    async fn sync_marks(n: usize) -> Vec<(ActorId, SyncMark)>;
    async fn sync_mark(actor: ActorId) -> Option<SyncMark>;
}

there! { Txn for TxnThere by self: &mut Self,
    async fn intern(did: &Did) -> ActorId;
    async fn look_ahead(ahead: Ahead) -> ();
    async fn did(actor: ActorId) -> Did;
    async fn account(actor: ActorId) -> AccountRow;
    async fn set_account(actor: ActorId, row: AccountRow) -> ();
    async fn record(key: &RecordRef) -> Option<RecordRow>;
    async fn is_wiped(post: &RecordRef, rev: Tid) -> bool;
    async fn put_record(key: &RecordRef, row: RecordRow) -> ();
    async fn remove_record(key: &RecordRef) -> ();
    async fn records_of(actor: ActorId, after: Option<(Collection, RecordKey)>, n: usize)
        -> Vec<(RecordRef, RecordRow)>;
    async fn tombstones_before(before_ms: i64, n: usize) -> Vec<RecordRef>;
    async fn add_item(item: NewItem) -> ItemId;
    async fn remove_item(id: ItemId) -> ();
    async fn item(id: ItemId) -> Option<Item>;
    async fn items_from(from: ItemId, n: usize) -> Vec<Item>;
    async fn raise_horizon(sort_at: i64) -> ();
    async fn link_repost(post: &RecordRef, repost: &RecordRef) -> ();
    async fn unlink_repost(post: &RecordRef, repost: &RecordRef) -> ();
    async fn reposts_of(post: &RecordRef, after: Option<&RecordRef>, n: usize) -> Vec<RecordRef>;
    async fn add_follow(follower: ActorId, subject: ActorId, rkey: &RecordKey) -> bool;
    async fn remove_follow(follower: ActorId, subject: ActorId, rkey: &RecordKey) -> bool;
    async fn append(task: Task) -> TaskId;
    async fn set_cursor(cursor: SavedCursor) -> ();
    async fn set_whole(whole: bool) -> ();
    and {
        async fn commit(self: Box<Self>) -> Result<()> {
            let Self { inner, there } = *self;
            there.ask(inner.commit()).await
        }
    }
}

there! { TimelineReads for TimelinesThere by self: &Self,
    async fn read(viewer: ActorId, from_ms: i64, n: usize) -> Cached;
}

there! { Timelines for TimelinesThere by self: &Self,
    async fn refresh() -> ();
    async fn apply(shard: u32, deliveries: &[Delivery]) -> Vec<Counts>;
    async fn fill(viewer: ActorId, references: &[Reference], floor: i64) -> Counts;
    async fn purge(viewer: ActorId, author: ActorId, items: &[ItemId]) -> u64;
    async fn drop_before(sort_at: i64) -> u64;
    async fn begin(viewer: ActorId, enrolment: Enrolment) -> Generation;
    async fn publish(viewer: ActorId, generation: Generation, references: &[Reference], floor: i64, now_ms: i64)
        -> bool;
    async fn leave(viewer: ActorId, generation: Generation) -> bool;
    async fn lower_rate(viewer: ActorId, rate: f32) -> ();
    async fn idle(rule: IdleRule, n: usize) -> Vec<Idle>;
    async fn least_useful(recent_ms: i64, bytes: u64, n: usize) -> Vec<Idle>;
    async fn checkpoint(kept: TaskId) -> ();
    and {
        fn shards(&self) -> u32 {
            self.inner.shards()
        }
        fn shard_of(&self, viewer: ActorId) -> u32 {
            self.inner.shard_of(viewer)
        }
        fn retain_enrolled(&self, page: &mut Vec<ActorId>) {
            self.inner.retain_enrolled(page);
        }
        fn split(&self, page: Vec<ActorId>) -> Vec<(u32, Viewers)> {
            self.inner.split(page)
        }
        fn enrolled(&self) -> u64 {
            self.inner.enrolled()
        }
        fn touch(&self, viewer: ActorId, now_ms: i64) {
            self.inner.touch(viewer, now_ms);
        }
        fn memory(&self) -> MemoryUse {
            self.inner.memory()
        }
        fn restored(&self) -> TaskId {
            self.inner.restored()
        }
    }
}
