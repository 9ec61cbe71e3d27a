//! The network of a script: a few accounts, the stream's clock, and a source that may hold messages back.

use std::collections::VecDeque;

use rand::Rng as _;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use skyweir_types::{AcrossAccounts, Did, Event, Tid};

/// When scripts begin, microseconds since 1970.
const BEGIN_US: i64 = 1_790_000_000_000_000;
/// Subjects of follows that never say anything.
const GHOSTS: usize = 6;
/// A source whose order slips holds back about this many messages at most, of all accounts together.
const HELD_MOST: usize = 12;

/// A few accounts and the stream of what they do.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) across: AcrossAccounts,
    /// Who acts.
    pub(super) actors: Vec<Did>,
    /// Who is only ever named.
    pub(super) ghosts: Vec<Did>,
    /// How many record keys an account uses in each collection.
    pub(super) keys: u32,
    pub(super) now_us: i64,
    last_rev_us: u64,
    /// Messages on their way, by account: order slips across accounts only.
    held: Vec<VecDeque<Vec<Event>>>,
    /// What an account that is resynced still sends, before anything else.
    pub(super) resync: Vec<VecDeque<Vec<Event>>>,
}

impl Network {
    pub(super) fn new(rng: &mut SmallRng, across: AcrossAccounts) -> Self {
        let n = rng.random_range(3..14);
        let name = |kind: &str, n: usize| {
            Did::parse(&format!("did:plc:{kind}{n}")).expect("made of letters and digits")
        };
        Self {
            across,
            actors: (0..n).map(|n| name("actor", n)).collect(),
            ghosts: (0..GHOSTS).map(|n| name("ghost", n)).collect(),
            keys: rng.random_range(2..9),
            now_us: BEGIN_US,
            last_rev_us: 0,
            held: vec![VecDeque::new(); n],
            resync: vec![VecDeque::new(); n],
        }
    }

    pub(super) fn accounts(&self) -> Vec<Did> {
        self.actors.iter().chain(&self.ghosts).cloned().collect()
    }

    /// Somebody who reads: mostly one of the first few, now and then one that nobody knows.
    pub(super) fn reader(&self, rng: &mut SmallRng) -> Did {
        if rng.random_bool(0.03) {
            return self.ghosts.choose(rng).expect("there are ghosts").clone();
        }
        let few = self.actors.len().min(4);
        let among = if rng.random_bool(0.6) { few } else { self.actors.len() };
        self.actors[rng.random_range(0..among)].clone()
    }

    /// The next message that the source sends; `None` when it holds back what there is.
    pub(super) fn message(&mut self, rng: &mut SmallRng) -> Option<Vec<Event>> {
        let total: usize = self.held.iter().map(VecDeque::len).sum();
        if total < HELD_MOST {
            self.pass(rng);
            let actor = rng.random_range(0..self.actors.len());
            let message = match self.resync[actor].pop_front() {
                Some(message) => message,
                None => self.happening(actor, rng),
            };
            if self.across == AcrossAccounts::Upstream {
                return Some(message);
            }
            // A Jetstream sends each operation of a commit by itself.
            self.held[actor].extend(message.into_iter().map(|event| vec![event]));
            if rng.random_bool(0.3) {
                return None;
            }
        }
        let waiting: Vec<usize> = (0..self.held.len()).filter(|at| !self.held[*at].is_empty()).collect();
        self.held[*waiting.choose(rng)?].pop_front()
    }

    /// All that was held back, in an order that the source may send it in.
    pub(super) fn held_back(&mut self) -> Vec<Vec<Event>> {
        let resyncs = self.resync.iter_mut().flat_map(|messages| messages.drain(..));
        let held = self.held.iter_mut().flat_map(|messages| messages.drain(..));
        held.chain(resyncs).collect()
    }

    /// Lets the stream's clock go on: mostly by little, sometimes not at all, sometimes over a horizon.
    fn pass(&mut self, rng: &mut SmallRng) {
        let ms = match rng.random_range(0..200) {
            0..40 => 0,
            40..150 => rng.random_range(0..3),
            150..190 => rng.random_range(0..5_000),
            190..197 => rng.random_range(0..700_000),
            197..199 => 3_600_000,
            _ => 50 * 3_600_000,
        };
        self.now_us += ms * 1_000 + i64::from(rng.random_range(0..2));
    }

    /// A rev above all before: what happened later has the greater one, whoever did it.
    pub(super) fn rev(&mut self) -> Tid {
        self.last_rev_us = self.last_rev_us.max(self.now_us.unsigned_abs() - 1) + 1;
        Tid::from_parts(self.last_rev_us, 0)
    }

    /// An event of this account, witnessed now.
    pub(super) fn event(&self, actor: usize, body: skyweir_types::Body) -> Event {
        Event { did: self.actors[actor].clone(), time_us: self.now_us, body }
    }
}
