//! Accounts as a transaction changes them: their rows, what they count, and the marks that they are found by.

use std::collections::BTreeMap;

use skyweir_store::Result;
use skyweir_types::ActorId;

use super::edges::Turn;
use super::{Account, ScyllaTxn};
use crate::base::Base;
use crate::store::Inner;
use crate::table::accounts::{Head, Row, Stored};
use crate::table::marks::{self, Mark};
use crate::table::{Effect, Life};

/// What becomes of an account.
#[derive(Clone, Copy)]
struct Change {
    stored: Stored,
    head: Head,
    newest: i64,
}

impl ScyllaTxn {
    pub(super) async fn known_account(&mut self, actor: ActorId) -> Result<&mut Account> {
        if !self.accounts.contains_key(&actor) {
            let stored = self.stored_account(actor).await?;
            self.accounts.insert(actor, Account { stored, row: stored.head.row });
        }
        Ok(self.accounts.get_mut(&actor).expect("put there just now"))
    }

    async fn stored_account(&self, actor: ActorId) -> Result<Stored> {
        let stored = self.writer.moment.actors;
        if (stored..self.moment.actors).contains(&actor.0) {
            return Ok(Stored::NONE);
        }
        let Inner { base, remembered, .. } = &*self.inner;
        let Base { db, tables, .. } = &**base;
        if let Some(known) = remembered.accounts.get(&actor) {
            return Ok(known);
        }
        let stored = tables.accounts.at(db, actor, i64::MAX).await?;
        remembered.accounts.insert(actor, stored);
        Ok(stored)
    }

    /// What follows for accounts; with the bucket that each new follower goes to, by follower and subject.
    pub(super) async fn account_effects(
        &self,
        effects: &mut Vec<Effect>,
    ) -> Result<BTreeMap<(ActorId, ActorId), u32>> {
        let mut changes = self.changes().await?;
        for known in self.items.values().filter(|known| known.stored.is_none()) {
            let newest = &mut change(&mut changes, known.item.author).newest;
            *newest = (*newest).max(known.item.sort_at);
        }
        let mut buckets = BTreeMap::new();
        for (pair, edge) in &self.edges {
            let Some(turn) = edge.turn() else { continue };
            let follows = &mut change(&mut changes, pair.0).head.follows;
            *follows = turned(*follows, turn);
            let subject = &mut change(&mut changes, pair.1).head;
            subject.followers = turned(subject.followers, turn);
            if turn == Turn::Begins {
                if subject.in_bucket >= self.inner.followers_bucket {
                    (subject.bucket, subject.in_bucket) = (subject.bucket + 1, 0);
                }
                subject.in_bucket += 1;
                buckets.insert(*pair, subject.bucket);
            }
        }
        for (actor, change) in changes {
            self.change_effects(actor, change, effects);
        }
        Ok(buckets)
    }

    /// All accounts that may change, as they are stored but for the rows that they get.
    async fn changes(&self) -> Result<BTreeMap<ActorId, Change>> {
        let mut changes = BTreeMap::new();
        for (actor, account) in &self.accounts {
            let head = Head { row: account.row, ..account.stored.head };
            changes.insert(*actor, Change { stored: account.stored, head, newest: account.stored.newest });
        }
        let new = self.writer.moment.actors..self.moment.actors;
        let edges = self.edges.iter().filter(|(_, edge)| edge.turn().is_some());
        let authors =
            self.items.values().filter(|known| known.stored.is_none()).map(|known| known.item.author);
        let mut others: Vec<ActorId> =
            new.map(ActorId).chain(edges.flat_map(|(pair, _)| [pair.0, pair.1])).chain(authors).collect();
        others.sort_unstable();
        others.dedup();
        others.retain(|actor| !changes.contains_key(actor));
        let Base { db, .. } = &*self.inner.base;
        let stored = db.each(others.len(), |at| self.stored_account(others[at])).await?;
        for (actor, stored) in others.into_iter().zip(stored) {
            changes.insert(actor, Change { stored, head: stored.head, newest: stored.newest });
        }
        Ok(changes)
    }

    fn change_effects(&self, actor: ActorId, change: Change, effects: &mut Vec<Effect>) {
        let seq = self.moment.seq;
        let Change { stored, mut head, newest } = change;
        let was = &stored.head;
        let marks = [was, &head].map(|head| Mark::of_follows(head.follows));
        self.mark_effects(actor, marks, effects, &mut head.follows_marked);
        let marks = [was, &head].map(|head| head.row.sync.map(|_| Mark::Sync));
        self.mark_effects(actor, marks, effects, &mut head.sync_marked);
        // also of one that is only interned: its first version is what the rest is found by
        if stored.seq == 0 || head != stored.head {
            effects.push(Effect::Account(Row::Version { actor, seq, head, passes: false }));
            if stored.seq > 0 {
                let (seq, head) = (stored.seq, stored.head);
                effects.push(Effect::Account(Row::Version { actor, seq, head, passes: true }));
            }
        }
        if newest > stored.newest {
            effects.push(Effect::Account(Row::Newest { actor, newest }));
        }
    }

    /// `marked` is the transaction that wrote the mark.
    fn mark_effects(
        &self,
        actor: ActorId,
        [was, is]: [Option<Mark>; 2],
        effects: &mut Vec<Effect>,
        marked: &mut i64,
    ) {
        if was == is {
            return;
        }
        let seq = self.moment.seq;
        if let Some(mark) = was {
            effects.push(Effect::Mark(marks::Row { mark, actor, life: Life::from(*marked).until(seq) }));
        }
        if let Some(mark) = is {
            effects.push(Effect::Mark(marks::Row { mark, actor, life: Life::from(seq) }));
        }
        *marked = if is.is_some() { seq } else { 0 };
    }
}

fn change(changes: &mut BTreeMap<ActorId, Change>, actor: ActorId) -> &mut Change {
    changes.get_mut(&actor).expect("all that may change are there")
}

fn turned(count: u32, turn: Turn) -> u32 {
    match turn {
        Turn::Begins => count.saturating_add(1),
        Turn::Ends => count.saturating_sub(1),
    }
}
