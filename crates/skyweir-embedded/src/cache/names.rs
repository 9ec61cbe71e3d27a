//! DIDs of numbers and numbers of DIDs. Neither ever changes, so the only question is whether a view knows them yet:
//! no commit touches these caches.

use std::sync::atomic::{AtomicU32, Ordering};

use metrics::Gauge;
use skyweir_types::{ActorId, Did};

use super::ALLOCATION;
use super::fenced::{Fenced, Heap};

/// What an entry takes in about the mean, in bytes.
const ENTRY: u64 = 160;
/// Entries that nothing ever ends are for all views.
const ALWAYS: u64 = 0;

impl Heap for ActorId {
    fn heap(&self) -> usize {
        0
    }
}

impl Heap for Did {
    /// Both directions share the text, but either may outlive the other.
    fn heap(&self) -> usize {
        ALLOCATION + self.as_str().len()
    }
}

/// Accounts' names, as far as they were asked for.
pub(crate) struct Names {
    dids: Fenced<ActorId, Did>,
    actors: Fenced<Did, ActorId>,
    /// How many accounts every snapshot has that is taken from now on.
    known: AtomicU32,
}

impl Names {
    /// Empty caches of so many bytes together; so many accounts are stored already.
    pub(crate) fn new(budget: u64, known: u32, bytes: Gauge) -> Self {
        Self {
            dids: Fenced::new(budget / 2, ENTRY, bytes.clone()),
            actors: Fenced::new(budget / 2, ENTRY, bytes),
            known: AtomicU32::new(known),
        }
    }

    /// How many accounts are known. Taken *before* a view's snapshot.
    pub(crate) fn known(&self) -> u32 {
        self.known.load(Ordering::Acquire)
    }

    /// A commit that brought the accounts up to this number shows.
    pub(crate) fn publish(&self, known: u32) {
        self.known.store(known, Ordering::Release);
    }

    /// The DID of an account that a view knows.
    pub(crate) fn did(&self, actor: ActorId, known: u32) -> Option<Did> {
        self.dids.get(&actor, ALWAYS).filter(|_| actor.0 < known)
    }

    /// The number of an account that a view knows.
    pub(crate) fn actor(&self, did: &Did, known: u32) -> Option<ActorId> {
        self.actors.get(did, ALWAYS).filter(|actor| actor.0 < known)
    }

    /// Keeps the DID that a snapshot has for a number.
    pub(crate) fn keep_did(&self, actor: ActorId, did: &Did) {
        self.dids.insert(actor, did.clone(), ALWAYS);
    }

    /// Keeps the number that a snapshot has for a DID.
    pub(crate) fn keep_actor(&self, actor: ActorId, did: &Did) {
        self.actors.insert(did.clone(), actor, ALWAYS);
    }
}
