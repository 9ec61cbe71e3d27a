//! What transactions ask for with nearly every event, kept in memory: accounts' numbers and their versions. Only
//! committed values are remembered, and only transactions, one at a time, change what is.

use quick_cache::sync::Cache;
use skyweir_types::{ActorId, Did};

use crate::table::Effect;
use crate::table::accounts::{Row, Stored};

/// What is known of accounts.
pub(crate) struct Remembered {
    pub(crate) numbers: Cache<Did, ActorId>,
    pub(crate) accounts: Cache<ActorId, Stored>,
}

impl Remembered {
    /// Room for so many accounts in each of the two.
    pub(crate) fn new(accounts: usize) -> Self {
        Self { numbers: Cache::new(accounts), accounts: Cache::new(accounts) }
    }

    /// What a committed transaction has changed. Accounts of which something isn't known are left out.
    pub(crate) fn take(&self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Did(row) => self.numbers.insert(row.did.clone(), row.actor),
                Effect::Account(Row::Version { actor, seq, head, passes: false }) => {
                    if let Some(known) = self.accounts.get(actor) {
                        self.accounts.insert(*actor, Stored { seq: *seq, head: *head, ..known });
                    }
                }
                Effect::Account(Row::Newest { actor, newest }) => {
                    if let Some(known) = self.accounts.get(actor) {
                        self.accounts.insert(*actor, Stored { newest: *newest, ..known });
                    }
                }
                _ => {}
            }
        }
    }
}
