//! Items that have left: those before the horizon, which follows the stream's clock and never falls. From then on
//! nobody sees them, and an event on such a record finds it unknown; what is stored of them goes later, some at a time,
//! in the order in which it came. Only an event on a post that has left has all its reposts looked through at once, as
//! one on any post has.

use skyweir_store::{RecordBody, Result, Txn};
use skyweir_types::{Collection, Item, ItemId, RecordRef, Tid};

use super::{Applier, PAGE};

/// So many rows may be looked at for each event, which brings one item at most, and one link of a repost: at the pace
/// of the stream whatever is due goes, and a store that is told to keep less than before isn't busy with that alone.
const LOOK_AN_EVENT: usize = 4;
/// So many may be in a group without events.
const LOOK_LEAST: usize = 16;
/// A rev that is further ahead than this tells no time.
const DAY_MS: i64 = 86_400_000;

/// What is to go, and what went.
pub(super) struct Leaving {
    /// Items before this `sortAt` have left.
    pub(super) horizon: i64,
    /// As the store has it.
    saved: i64,
    reached: Reached,
    /// Where this group began: all before it is committed.
    begun: Reached,
    wait: Wait,
    /// Events of this group.
    pub(super) events: usize,
    swept: Swept,
}

/// How far removing is.
#[derive(Clone, Default)]
struct Reached {
    /// Items with lesser numbers are gone.
    next: ItemId,
    /// Within the reposts of the next item's post, and of the oldest tombstone's: if another comes to stand before that,
    /// it is begun anew.
    of_item: Option<Among>,
    of_tombstone: Option<Among>,
}

/// A place among the reposts of a post.
#[derive(Clone)]
struct Among {
    post: RecordRef,
    after: Option<RecordRef>,
    /// Until when one of those before may be replayed.
    until: Option<i64>,
}

/// A walk over the reposts of posts that are forgotten: where it was cut off, and how many rows may still be looked at.
pub(super) struct Walk {
    at: Option<Among>,
    room: usize,
}

impl Walk {
    /// To the end.
    pub(super) fn all() -> Self {
        Self { at: None, room: usize::MAX }
    }
}

/// What has become of a post's reposts without items.
pub(super) enum Looked {
    /// All are forgotten.
    All,
    /// All but some that may be replayed until this millisecond.
    Until(i64),
    /// There was no room to look at all.
    Part,
}

/// What the next item in the order of coming waits for.
#[derive(Clone, Copy)]
enum Wait {
    /// The next group: there is no room for more in this one. The last `sortAt` below the horizon that was met.
    Group { sort_at: i64 },
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
    /// How far the horizon is above what is next, if that has to wait for the next group or may still be replayed,
    /// milliseconds; else zero.
    pub behind_ms: i64,
}

impl Leaving {
    pub(super) fn new(horizon: i64) -> Self {
        let (reached, begun) = (Reached::default(), Reached::default());
        let (wait, swept) = (Wait::Group { sort_at: horizon }, Swept::default());
        Self { horizon, saved: horizon, reached, begun, wait, events: 0, swept }
    }

    /// Goes on, after a transaction has failed, where the last one that was committed stopped: numbers only rise.
    pub(super) fn behind(self, failed: &Self) -> Self {
        Self { reached: failed.begun.clone(), begun: failed.begun.clone(), ..self }
    }

    /// Lets the horizon follow the stream's clock.
    pub(super) fn follow(&mut self, stream_ms: i64, keep_ms: Option<i64>) {
        if let Some(keep_ms) = keep_ms {
            self.horizon = self.horizon.max(stream_ms.saturating_sub(keep_ms));
        }
    }

    /// What came before this group is committed.
    pub(super) fn begin_group(&mut self) {
        self.begun = self.reached.clone();
    }

    fn waits(&self, stream_ms: i64) -> bool {
        match self.wait {
            Wait::Group { .. } => false,
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

    /// Forgets the reposts without items of a post that is forgotten, as far as there is room.
    pub(super) async fn forget_wiped(
        &self,
        txn: &mut dyn Txn,
        post: &RecordRef,
        walk: &mut Walk,
    ) -> Result<Looked> {
        let at = walk.at.take().filter(|at| at.post == *post);
        let mut at = at.unwrap_or_else(|| Among { post: post.clone(), after: None, until: None });
        while walk.room > 0 {
            let n = walk.room.min(PAGE);
            let page = txn.reposts_of(post, at.after.as_ref(), n).await?;
            walk.room -= page.len();
            for repost in &page {
                let Some(row) = txn.record(repost).await? else { continue };
                if !matches!(row.body, RecordBody::Repost { item: None, .. }) {
                    continue;
                }
                match self.guards_until(row.rev) {
                    None => {
                        self.undo(txn, repost, &row.body).await?;
                        txn.remove_record(repost).await?;
                    }
                    until => at.until = at.until.max(until),
                }
            }
            if page.len() < n {
                return Ok(at.until.map_or(Looked::All, Looked::Until));
            }
            at.after = page.into_iter().next_back();
        }
        walk.at = Some(at);
        Ok(Looked::Part)
    }

    /// Forgets tombstones past their time, with what waits for that.
    pub(super) async fn forget_tombstones(&mut self, txn: &mut dyn Txn) -> Result<()> {
        let before_ms = self.stream_ms() - self.horizons.tombstones_ms;
        let mut walk = Walk { at: self.leaving.reached.of_tombstone.take(), room: PAGE };
        for key in txn.tombstones_before(before_ms, PAGE).await? {
            let is_waited_for = key.collection == Collection::Post && !self.leaving.is_idle();
            // what is dated ahead of its post's deletion isn't waited for
            if is_waited_for && matches!(self.forget_wiped(txn, &key, &mut walk).await?, Looked::Part) {
                self.leaving.reached.of_tombstone = walk.at;
                break;
            }
            txn.remove_record(&key).await?;
        }
        Ok(())
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
            self.remove_left(txn, (LOOK_LEAST + events * LOOK_AN_EVENT).min(PAGE)).await?;
        }
        if let Wait::Group { sort_at } | Wait::Time { sort_at, .. } = self.leaving.wait {
            self.leaving.swept.behind_ms = self.leaving.horizon.saturating_sub(sort_at);
        }
        Ok(())
    }

    async fn remove_left(&mut self, txn: &mut dyn Txn, n: usize) -> Result<()> {
        let items = txn.items_from(self.leaving.reached.next, n).await?;
        let is_full = items.len() == n;
        let mut walk = Walk { at: self.leaving.reached.of_item.take(), room: n };
        self.leaving.wait = Wait::Horizon(self.leaving.horizon);
        for item in items {
            if let Some(wait) = self.forget(txn, &item, &mut walk).await? {
                self.leaving.wait = wait;
                // of another version of the post it would tell nothing
                self.leaving.reached.of_item = walk.at.filter(|_| matches!(wait, Wait::Group { .. }));
                break;
            }
            walk.at = None;
            self.leaving.reached.next = ItemId(item.id.0 + 1);
            self.leaving.swept.items += 1;
            if is_full {
                self.leaving.wait = Wait::Group { sort_at: item.sort_at };
            }
        }
        Ok(())
    }

    /// Removes an item with its record, unless it has to wait: its rev may still guard against a replay. The item goes
    /// last, so whoever begins anew finds it again, and its reposts.
    async fn forget(&self, txn: &mut dyn Txn, item: &Item, walk: &mut Walk) -> Result<Option<Wait>> {
        let sort_at = item.sort_at;
        if sort_at >= self.leaving.horizon {
            return Ok(Some(Wait::Horizon(sort_at)));
        }
        let Some(room) = walk.room.checked_sub(1) else { return Ok(Some(Wait::Group { sort_at })) };
        walk.room = room;
        let key = RecordRef { actor: item.author, collection: item.collection(), rkey: item.rkey.clone() };
        let row = txn.record(&key).await?;
        let named = match row.as_ref().map(|row| &row.body) {
            Some(RecordBody::Post { item, .. }) => Some(*item),
            Some(RecordBody::Repost { item, .. }) => *item,
            _ => None,
        };
        if row.is_some() && named != Some(item.id) {
            // nothing names it any more, however that came; what the record says now isn't of it
            txn.remove_item(item.id).await?;
            return Ok(None);
        }
        if let Some(ms) = row.as_ref().and_then(|row| self.guards_until(row.rev)) {
            return Ok(Some(Wait::Time { ms, sort_at }));
        }
        if key.collection == Collection::Post {
            match self.forget_wiped(txn, &key, walk).await? {
                Looked::All => {}
                Looked::Until(ms) => return Ok(Some(Wait::Time { ms, sort_at })),
                Looked::Part => return Ok(Some(Wait::Group { sort_at })),
            }
        }
        if let Some(row) = row {
            self.undo(txn, &key, &row.body).await?;
            txn.remove_record(&key).await?;
        } else {
            txn.remove_item(item.id).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_group_goes_on_where_the_last_committed_one_stopped() {
        let mut leaving = Leaving::new(3);
        for next in [5, 9] {
            leaving.begin_group();
            leaving.reached.next = ItemId(next);
        }
        for horizon in [3, 4] {
            // refused, and then refused again before it came to removing anything
            leaving = Leaving::new(horizon).behind(&leaving);
            assert_eq!((leaving.horizon, leaving.reached.next), (horizon, ItemId(5)));
        }
    }
}
