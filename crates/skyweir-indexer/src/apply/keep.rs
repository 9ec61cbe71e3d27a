//! Items that have left: those before the horizon, which follows the stream's clock and never falls. From then on
//! nobody sees them, and an event on such a record finds it unknown; what is stored of them goes later, some at a time,
//! in the order in which it came.

use skyweir_store::{RecordBody, Result, Txn};
use skyweir_types::{Collection, Item, ItemId, RecordRef, Tid};

use super::{Applier, PAGE};

/// So many items may go for each event: at the pace of the stream whatever is due goes, and a store that is told to
/// keep less than before isn't busy with that alone.
const GO_AN_EVENT: usize = 4;
/// So many may go in a group without events.
const GO_LEAST: usize = 16;
/// A rev that is further ahead than this tells no time.
const DAY_MS: i64 = 86_400_000;

/// What is to go, and what went.
pub(super) struct Leaving {
    /// Items before this `sortAt` have left.
    pub(super) horizon: i64,
    /// As the store has it.
    saved: i64,
    /// Items with lesser numbers are gone, or wait for nothing.
    next: ItemId,
    wait: Wait,
    /// Events of this group.
    pub(super) events: usize,
    swept: Swept,
}

/// What the next item in the order of coming waits for.
#[derive(Clone, Copy)]
enum Wait {
    /// Nothing that is known.
    No,
    /// The horizon passes this `sortAt`.
    Horizon(i64),
    /// The stream's clock comes to this millisecond; its `sortAt` is below the horizon.
    Time { ms: i64, sort_at: i64 },
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Items removed that had left.
    pub items: u64,
    /// How far the horizon was above the last of them when there was no time for more, or is above the next one when that
    /// may still be replayed, milliseconds; else zero.
    pub behind_ms: i64,
}

impl Leaving {
    pub(super) fn new(horizon: i64) -> Self {
        let (next, swept) = (ItemId(0), Swept::default());
        Self { horizon, saved: horizon, next, wait: Wait::No, events: 0, swept }
    }

    /// Lets the horizon follow the stream's clock.
    pub(super) fn follow(&mut self, stream_ms: i64, keep_ms: Option<i64>) {
        if let Some(keep_ms) = keep_ms {
            self.horizon = self.horizon.max(stream_ms.saturating_sub(keep_ms));
        }
    }

    fn waits(&self, stream_ms: i64) -> bool {
        match self.wait {
            Wait::No => false,
            Wait::Horizon(sort_at) => self.horizon <= sort_at,
            Wait::Time { ms, .. } => stream_ms < ms,
        }
    }

    /// Whether nothing ever left.
    pub(super) fn is_idle(&self) -> bool {
        self.horizon == i64::MIN
    }
}

impl Applier {
    /// The `sortAt` before which items have left, and what the last group swept of them; `None` when none ever left.
    #[must_use]
    pub fn left(&self) -> Option<(i64, Swept)> {
        (!self.leaving.is_idle()).then_some((self.leaving.horizon, self.leaving.swept))
    }

    /// Whether a stored record has left: a post or repost with its item, a repost without one with its post.
    pub(super) async fn has_left(&self, txn: &mut dyn Txn, body: &RecordBody) -> Result<bool> {
        if self.leaving.is_idle() {
            return Ok(false);
        }
        let item = match body {
            RecordBody::Post { item, .. } | RecordBody::Repost { item: Some(item), .. } => *item,
            RecordBody::Repost { item: None, subject: Some(post), .. } => {
                match txn.record(post).await?.map(|row| row.body) {
                    None => return Ok(true),
                    Some(RecordBody::Post { item, .. }) => item,
                    Some(_) => return Ok(false),
                }
            }
            _ => return Ok(false),
        };
        Ok(txn.item(item).await?.is_some_and(|item| item.sort_at < self.leaving.horizon))
    }

    /// Forgets the reposts whose items went with a post that is forgotten.
    pub(super) async fn forget_wiped(&self, txn: &mut dyn Txn, post: &RecordRef) -> Result<()> {
        let mut after: Option<RecordRef> = None;
        loop {
            let page = txn.reposts_of(post, after.as_ref(), PAGE).await?;
            for repost in &page {
                let Some(row) = txn.record(repost).await? else { continue };
                let is_wiped = matches!(row.body, RecordBody::Repost { item: None, .. });
                if is_wiped && self.guards_until(row.rev).is_none() {
                    self.undo(txn, repost, &row.body).await?;
                    txn.remove_record(repost).await?;
                }
            }
            if page.len() < PAGE {
                return Ok(());
            }
            after = page.into_iter().next_back();
        }
    }

    /// Raises the horizon of the store, and removes some of what has left.
    pub(super) async fn let_go(&mut self, txn: &mut dyn Txn) -> Result<()> {
        let events = std::mem::take(&mut self.leaving.events);
        self.leaving.swept = Swept::default();
        if self.leaving.is_idle() {
            return Ok(());
        }
        if self.leaving.horizon > self.leaving.saved {
            txn.raise_horizon(self.leaving.horizon).await?;
            self.leaving.saved = self.leaving.horizon;
        }
        if !self.leaving.waits(self.stream_ms()) {
            self.remove_left(txn, (GO_LEAST + events * GO_AN_EVENT).min(PAGE)).await?;
        }
        if let Wait::Time { sort_at, .. } = self.leaving.wait {
            self.leaving.swept.behind_ms = self.leaving.horizon.saturating_sub(sort_at);
        }
        Ok(())
    }

    async fn remove_left(&mut self, txn: &mut dyn Txn, n: usize) -> Result<()> {
        let items = txn.items_from(self.leaving.next, n).await?;
        let (full, mut last) = (items.len() == n, self.leaving.horizon);
        for item in items {
            if item.sort_at >= self.leaving.horizon {
                self.leaving.wait = Wait::Horizon(item.sort_at);
                return Ok(());
            }
            if let Some(ms) = self.forget(txn, &item).await? {
                self.leaving.wait = Wait::Time { ms, sort_at: item.sort_at };
                return Ok(());
            }
            (self.leaving.next, last) = (ItemId(item.id.0 + 1), item.sort_at);
            self.leaving.swept.items += 1;
        }
        self.leaving.wait = if full { Wait::No } else { Wait::Horizon(self.leaving.horizon) };
        self.leaving.swept.behind_ms = if full { self.leaving.horizon.saturating_sub(last) } else { 0 };
        Ok(())
    }

    /// Removes an item with its record, but not before its rev has no replay to guard against: then the time is told
    /// from which on it can go.
    async fn forget(&self, txn: &mut dyn Txn, item: &Item) -> Result<Option<i64>> {
        let key = RecordRef { actor: item.author, collection: item.collection(), rkey: item.rkey.clone() };
        if let Some(row) = txn.record(&key).await? {
            if let Some(ms) = self.guards_until(row.rev) {
                return Ok(Some(ms));
            }
            self.undo(txn, &key, &row.body).await?;
            txn.remove_record(&key).await?;
        }
        if key.collection == Collection::Post {
            self.forget_wiped(txn, &key).await?;
        }
        Ok(None)
    }

    /// The time until which a rev may meet its own event again, milliseconds; `None` when that is over.
    fn guards_until(&self, rev: Tid) -> Option<i64> {
        let (made_ms, now_ms) = ((rev.micros() / 1_000) as i64, self.stream_ms());
        let until = made_ms.saturating_add(self.horizons.tombstones_ms);
        (now_ms < until && made_ms <= now_ms.saturating_add(DAY_MS)).then_some(until)
    }
}
