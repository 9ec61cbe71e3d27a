//! What others may ask of the writer.

use std::sync::Arc;

use skyweir_store::{Deliveries, DeliveryReport, Enrol, EnrolReason, Result};
use skyweir_types::{ActorId, ItemId, TaskId};
use tokio::sync::watch;

use crate::context::Context;
use crate::progress::Lag;
use crate::wishes::Wish;
use crate::{HotReport, metrics};

/// The writer, as reads and the admin port see it. Cheap to clone.
#[derive(Clone)]
pub struct Handle {
    context: Arc<Context>,
    /// The task up to which the log went when the writer was made.
    start: TaskId,
    next: watch::Receiver<TaskId>,
    done: watch::Receiver<TaskId>,
}

impl Handle {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        let (next, done) = (context.tasks.next(), context.tasks.done());
        let start = *next.borrow();
        Self { context, start, next, done }
    }

    /// How far the writer is behind the task log, now.
    #[must_use]
    pub fn lag(&self) -> Lag {
        // in this order: what is done was appended before
        let done = *self.done.borrow();
        self.context.progress.lag(*self.next.borrow(), done, self.context.clock.now_ms())
    }

    /// Watches *done*: the task below which all references are readable, whoever wrote them.
    #[must_use]
    pub fn done(&self) -> watch::Receiver<TaskId> {
        self.done.clone()
    }

    /// Sets the gauges that tell how the writer stands. Call before metrics are read.
    pub fn record_gauges(&self) {
        let timelines = &self.context.timelines;
        metrics::gauges(self.lag(), timelines.enrolled(), self.context.wishes.len());
        metrics::memory(timelines.memory());
        metrics::hot(&self.context.hot.distribution());
    }

    /// How many more wishes of reads it would take now.
    #[must_use]
    pub fn wishes_room(&self) -> usize {
        self.context.wishes.room()
    }

    /// The hottest `n` timelines and shards.
    ///
    /// # Errors
    /// Those of the store and the timelines.
    pub async fn hot(&self, n: usize) -> Result<HotReport> {
        let view = self.context.store.view().await?;
        self.context.hot.report(&*view, &*self.context.timelines, n).await
    }
}

impl Enrol for Handle {
    fn enrol(&self, viewer: ActorId, why: EnrolReason) {
        self.context.wishes.offer(viewer, Wish::Enrol(why));
    }

    fn touch(&self, viewer: ActorId) {
        self.context.timelines.touch(viewer, self.context.clock.now_ms());
    }

    fn lower_rate(&self, viewer: ActorId, rate: f32) {
        self.context.wishes.offer(viewer, Wish::Lower(rate));
    }

    fn caught_up(&self) -> bool {
        *self.done.borrow() >= self.start
    }
}

impl Deliveries for Handle {
    fn delivery(&self, item: ItemId) -> Option<DeliveryReport> {
        self.context.accounting.report(item)
    }
}
