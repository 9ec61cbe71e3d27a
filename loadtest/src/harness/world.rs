//! What the harness itself knows was sent: the items, whom its checked readers follow, and which accounts are inactive.
//!
//! An item takes about 200 bytes, a follow of a checked reader about 100; accounts as such take nothing.

mod items;
mod names;
mod viewers;

use crate::event::{Body, Event, Operation};
use crate::time;
use items::Items;
pub(super) use names::{Account, Cid, FOLLOW, Kind, Place, Record, Span, States};
use std::collections::{HashMap, VecDeque};
use viewers::Viewers;

/// The world after each event so far.
#[derive(Debug, Default)]
pub(super) struct World {
    /// How many events were noted: the number of the newest state.
    noted: u64,
    /// When events were witnessed that aren't known to be applied: (time in microseconds since 1970, number).
    unapplied: VecDeque<(u64, u64)>,
    items: Items,
    viewers: Viewers,
    inactive: HashMap<Account, Vec<Span>>,
}

impl World {
    /// Knows nothing yet; these accounts' follows will be remembered.
    pub(super) fn new(viewers: impl IntoIterator<Item = Account>) -> Self {
        Self { viewers: Viewers::new(viewers), ..Self::default() }
    }

    /// Notes an event that is about to be sent.
    pub(super) fn note(&mut self, event: &Event) {
        self.noted += 1;
        self.unapplied.push_back((event.time_us, self.noted));
        let Some(account) = Account::of(&event.did) else { return };
        match &event.body {
            Body::Commit { operation, collection, rkey, record, cid, .. } => {
                if collection == FOLLOW {
                    let subject = record.as_ref().and_then(|record| record["subject"].as_str());
                    let subject = subject.and_then(Account::of);
                    self.viewers.follow(account, rkey, subject, self.noted);
                } else if let Some(key) = Record::new(account, collection, rkey) {
                    if *operation != Operation::Create {
                        self.items.end(key, self.noted);
                    }
                    if let (Some(record), Some(cid)) = (record, cid.as_deref().and_then(Cid::of)) {
                        self.items.add(key, cid, record, event.time_us, self.noted);
                    }
                }
            }
            Body::Account { active, .. } => self.account(account, *active),
            Body::Identity { .. } | Body::Sync { .. } => {}
        }
    }

    /// Notes a follow that was there before the first event; the account's follows are numbered.
    pub(super) fn follows_already(&mut self, account: Account, subject: Account, number: u64) {
        // a key that no event has: the first microseconds of 1970
        self.viewers.follow(account, &time::tid(number, 0), Some(subject), self.noted);
    }

    fn account(&mut self, account: Account, active: bool) {
        let spans = self.inactive.entry(account).or_default();
        let open = spans.last_mut().filter(|span| span.until == u64::MAX);
        match (open, active) {
            (Some(span), true) => span.until = self.noted,
            (None, false) => spans.push(Span::since(self.noted)),
            _ => {}
        }
    }

    /// The newest state.
    pub(super) fn newest(&self) -> u64 {
        self.noted
    }

    /// The newest state whose events were all witnessed by this time, in microseconds since 1970; older times aren't
    /// asked for again.
    pub(super) fn witnessed_by(&mut self, time_us: f64) -> Option<u64> {
        let mut newest = None;
        // the metric has seconds with a fraction, which is exact to less than a microsecond
        while let Some((_, number)) = self.unapplied.front().filter(|(at, _)| *at as f64 <= time_us + 0.5) {
            newest = Some(*number);
            self.unapplied.pop_front();
        }
        newest
    }

    /// How many items are known, those that are gone included.
    pub(super) fn item_count(&self) -> usize {
        self.items.len()
    }

    /// The checked readers that follow an account now, without those that follow more than `limit`.
    pub(super) fn followers(&self, account: Account, limit: usize) -> Vec<Account> {
        self.viewers.followers(account, limit)
    }

    /// How many accounts a checked reader follows in some of these states.
    pub(super) fn follow_count(&self, viewer: Account, states: States) -> usize {
        self.viewers.edges(viewer).filter(|(_, spans)| some(spans, states)).count()
    }

    /// The version of a record that has this CID.
    pub(super) fn version(&self, record: Record, cid: Cid) -> Option<&items::Item> {
        self.items.version(record, cid)
    }

    /// Whether any version of a record is known.
    pub(super) fn knows(&self, record: Record) -> bool {
        self.items.knows(record)
    }

    /// Whether an item may be shown to a viewer who sees one of these states.
    pub(super) fn may_show(
        &self,
        viewer: Account,
        item: &items::Item,
        states: States,
    ) -> Result<(), &'static str> {
        let author = item.record.author;
        if !item.span.in_some(states) {
            return Err("it was deleted or replaced before");
        }
        if author != viewer && !some(self.viewers.edge(viewer, author), states) {
            return Err("its author is not followed");
        }
        if self.inactive(author).iter().any(|span| span.in_all(states)) {
            return Err("its author is inactive");
        }
        Ok(())
    }

    /// The items that have to be shown, whichever of these states is seen, from `below` (exclusive) down to `down_to`
    /// (inclusive). With `own_only`, those of the viewer itself, which are never lost to a draw.
    pub(super) fn must_show(
        &self,
        viewer: Account,
        states: States,
        below: Option<Place>,
        down_to: Option<Place>,
        own_only: bool,
    ) -> Vec<&items::Item> {
        let always = |spans: &[Span]| spans.iter().any(|span| span.in_all(states));
        let followed =
            self.viewers.edges(viewer).filter(|(author, spans)| **author != viewer && always(spans));
        let followed = followed.map(|(author, _)| *author).filter(|_| !own_only);
        let authors = followed.chain([viewer]);
        let active = authors.filter(|author| !some(self.inactive(*author), states));
        active
            .flat_map(|author| self.items.between(author, below, down_to))
            .filter(|item| item.span.in_all(states))
            .collect()
    }

    fn inactive(&self, account: Account) -> &[Span] {
        self.inactive.get(&account).map_or(&[], Vec::as_slice)
    }
}

fn some(spans: &[Span], states: States) -> bool {
    spans.iter().any(|span| span.in_some(states))
}

#[cfg(test)]
mod tests;
