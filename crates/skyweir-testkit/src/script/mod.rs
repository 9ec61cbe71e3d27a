//! Scripts: what the network, the readers and the operator do, made up from a seed.

mod events;
mod network;

use std::collections::VecDeque;

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use skyweir_types::{AcrossAccounts, Did, Event};

use self::network::Network;
use crate::{ModelHorizons, Without};

/// Messages that can be sent again at most, as a source does that resumes before its cursor.
const REPLAY_MOST: usize = 40;

/// More operations than one commit has: what is sent again begins before the commit under way.
const COMMIT_MOST: usize = 5;

/// One step of a script.
#[derive(Clone, Debug)]
pub enum Op {
    /// Messages that are applied as one group.
    Commit(Vec<Vec<Event>>),
    /// Walk a timeline from its top to its end.
    Walk {
        /// Whose.
        viewer: Did,
        /// The limits of its pages, taken in turn.
        limits: Vec<i32>,
        /// What the reader doesn't want.
        without: Without,
    },
    /// Read one page: the next one of this viewer's walk under way, which begins with it if there is none.
    Page {
        /// Whose.
        viewer: Did,
        /// The page's limit.
        limit: i32,
        /// What the reader doesn't want; only the first page of a walk says it.
        without: Without,
    },
    /// Let what runs in the background take this many turns.
    Turns(u32),
    /// Let the writer finish, then compare everything.
    Settle,
    /// Let this many seconds go by.
    Pass(u64),
    /// Save the timelines.
    Checkpoint,
    /// End and begin again.
    Restart {
        /// With the last checkpoint of an orderly end; else as after a crash.
        clean: bool,
    },
}

/// How the service is set up for a script.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which order the source keeps.
    pub across: AcrossAccounts,
    /// How long things are remembered.
    pub horizons: ModelHorizons,
    /// The reasonable limit.
    pub reasonable_limit: u32,
    /// How many references a timeline keeps.
    pub cap: usize,
    /// How many references one read looks at.
    pub scan_limit: usize,
    /// How many shards the timelines are split into.
    pub shards: u32,
    /// Every timeline is written, read or not.
    pub enrol_all: bool,
    /// A timeline that nobody has read for this many hours hibernates.
    pub hibernate_hours: u64,
    /// A timeline gets a new generation for its floor at most once in this many seconds.
    pub repair_seconds: u64,
    /// Followers in a page of the graph.
    pub graph_page: usize,
    /// How many tasks are worked on at once.
    pub jobs: usize,
    /// How many references one write to a shard holds.
    pub shard_batch: usize,
    /// The share of the writer's operations on the stores that fail.
    pub faults: f64,
    /// Memory for about this many full timelines; over it the least useful ones hibernate.
    pub memory_timelines: Option<u32>,
    /// A shard whose writes take a while.
    pub slow_shard: Option<u32>,
}

/// Makes up one operation after the other. Alike for one seed, for ever.
#[derive(Debug)]
pub struct Script {
    settings: Settings,
    rng: SmallRng,
    network: Network,
    /// Messages last sent, the newest at the end.
    sent: VecDeque<Vec<Event>>,
    /// How many operations are left; an event counts as one.
    left: usize,
    /// Sent first, whatever else comes.
    replay: bool,
    over: bool,
}

impl Script {
    /// The script of this seed, with this many operations.
    #[must_use]
    pub fn new(seed: u64, operations: usize) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let settings = settings(&mut rng, seed);
        let network = Network::new(&mut rng, settings.across);
        let sent = VecDeque::new();
        Self { settings, rng, network, sent, left: operations, replay: false, over: false }
    }

    /// How the service has to be set up.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// All accounts that events or reads may name.
    #[must_use]
    pub fn accounts(&self) -> Vec<Did> {
        self.network.accounts()
    }

    fn next_op(&mut self) -> Op {
        if std::mem::take(&mut self.replay) {
            return self.replayed();
        }
        match self.rng.random_range(0..100) {
            0..44 => self.commit(),
            44..57 => self.walk(),
            57..70 => self.page(),
            70..86 => Op::Turns(*[1, 1, 2, 3, 5, 10, 30].choose(&mut self.rng).expect("not empty")),
            86..91 => Op::Settle,
            91..94 => self.replayed(),
            94..96 => Op::Pass(*[1, 20, 400, 4_000, 100_000].choose(&mut self.rng).expect("not empty")),
            96..98 => Op::Checkpoint,
            _ if self.rng.random_bool(0.7) => {
                // A source resumes slightly before its cursor.
                self.replay = true;
                Op::Restart { clean: self.rng.random() }
            }
            _ => self.commit(),
        }
    }

    /// A group of one to a dozen messages.
    fn commit(&mut self) -> Op {
        let n = if self.rng.random_bool(0.3) { 1 } else { self.rng.random_range(2..12) };
        let messages = (0..n).filter_map(|_| self.network.message(&mut self.rng)).collect();
        self.remember(messages)
    }

    fn remember(&mut self, messages: Vec<Vec<Event>>) -> Op {
        self.sent.extend(messages.iter().cloned());
        while self.sent.len() > REPLAY_MOST {
            self.sent.pop_front();
        }
        Op::Commit(messages)
    }

    /// The last messages once more, in the same order.
    fn replayed(&mut self) -> Op {
        let n = self.rng.random_range(self.sent.len().min(COMMIT_MOST)..=self.sent.len());
        Op::Commit(self.sent.iter().skip(self.sent.len() - n).cloned().collect())
    }

    fn walk(&mut self) -> Op {
        let n = self.rng.random_range(1..4);
        let limits = (0..n).map(|_| self.limit()).collect();
        Op::Walk { viewer: self.network.reader(&mut self.rng), limits, without: self.without() }
    }

    fn page(&mut self) -> Op {
        Op::Page { viewer: self.network.reader(&mut self.rng), limit: self.limit(), without: self.without() }
    }

    /// Small ones as often as all others: those are the ones that cross every border.
    fn limit(&mut self) -> i32 {
        if self.rng.random() { self.rng.random_range(1..=8) } else { self.rng.random_range(0..=100) }
    }

    fn without(&mut self) -> Without {
        let mut flip = || self.rng.random_bool(0.12);
        Without { replies: flip(), reposts: flip(), quotes: flip() }
    }
}

impl Iterator for Script {
    type Item = Op;

    /// The last operation brings what the source still holds back, the one after it settles.
    fn next(&mut self) -> Option<Op> {
        if self.over {
            return None;
        }
        if self.left == 0 {
            let held = self.network.held_back();
            self.over = held.is_empty();
            return Some(if self.over { Op::Settle } else { Op::Commit(held) });
        }
        let op = self.next_op();
        let weight = match &op {
            Op::Commit(messages) => messages.iter().map(Vec::len).sum::<usize>().max(1),
            _ => 1,
        };
        self.left = self.left.saturating_sub(weight);
        Some(op)
    }
}

fn settings(rng: &mut SmallRng, seed: u64) -> Settings {
    let across = if rng.random() { AcrossAccounts::Upstream } else { AcrossAccounts::Slips };
    // what is short has draws of its own: the script of a seed is the same with and without it
    let mut short = SmallRng::seed_from_u64(!seed);
    let reasonable_limit = rng.random_range(1..7);
    let cap = rng.random_range(1..=20);
    let scan_limit = if rng.random_bool(0.3) { rng.random_range(1..40) } else { 5_000 };
    let shards = rng.random_range(1..5);
    let memory_timelines = short.random_bool(0.5).then(|| short.random_range(0..3));
    let slow_shard = short.random_bool(0.3).then(|| short.random_range(0..shards));
    let keep_hours = short.random_bool(0.4).then(|| *[1, 20, 49, 120].choose(&mut short).expect("not empty"));
    Settings {
        memory_timelines,
        slow_shard,
        across,
        horizons: ModelHorizons {
            tombstones_ms: 48 * 3_600_000,
            sync_grace_ms: 600_000,
            keep_ms: keep_hours.map(|hours: i64| hours * 3_600_000),
        },
        reasonable_limit,
        cap,
        scan_limit,
        shards,
        enrol_all: rng.random_bool(0.25),
        hibernate_hours: rng.random_range(1..40),
        repair_seconds: rng.random_range(1..400),
        graph_page: rng.random_range(1..8),
        jobs: rng.random_range(1..20),
        shard_batch: rng.random_range(1..6),
        faults: if rng.random_bool(0.3) { rng.random_range(0.0..0.1) } else { 0.0 },
    }
}

#[cfg(test)]
mod tests {
    use skyweir_types::{AccountStatus, Action, Body, Cid, DrawKey, RecordOp};

    use super::*;
    use crate::Model;

    #[test]
    fn a_seed_gives_one_script() {
        let script = |seed| Script::new(seed, 200).map(|op| format!("{op:?}")).collect::<Vec<_>>();
        assert_eq!(script(5), script(5));
        assert_ne!(script(5), script(6));
    }

    /// Where order slips, revs make up for it: timelines end as they would in upstream's order. Every record is
    /// another one here, and no account is deleted: then what a rev says of a repost is what happened to it.
    #[test]
    fn where_order_slips_timelines_end_as_upstream() {
        for seed in 0..300 {
            let mut rng = SmallRng::seed_from_u64(seed);
            let mut network = Network::new(&mut rng, AcrossAccounts::Upstream);
            let horizons =
                ModelHorizons { tombstones_ms: i64::MAX / 2, sync_grace_ms: i64::MAX / 2, keep_ms: None };
            let mut straight = Model::new(AcrossAccounts::Upstream, horizons);
            let mut slipping = Model::new(AcrossAccounts::Slips, horizons);
            let mut held: Vec<Vec<Event>> = Vec::new();
            for _ in 0..150 {
                let mut message = network.message(&mut rng).expect("upstream holds nothing back");
                message.retain(|event| event.body != Body::Account(AccountStatus::Deleted));
                unlike(&mut message, &mut rng);
                straight.message(&message);
                held.push(message);
                if held.len() > 10 {
                    release(&mut held, &mut slipping, &mut rng);
                }
            }
            while !held.is_empty() {
                release(&mut held, &mut slipping, &mut rng);
            }
            for viewer in network.accounts() {
                let see =
                    |model: &Model| model.timeline(&viewer, 1.0, &DrawKey::default(), Without::default());
                assert_eq!(see(&straight), see(&slipping), "seed {seed}, {viewer}");
            }
        }
    }

    /// Gives every record a CID of its own.
    fn unlike(message: &mut [Event], rng: &mut SmallRng) {
        for event in message {
            if let Body::Record(RecordOp { action: Action::Put { cid, .. }, .. }) = &mut event.body {
                *cid = Cid::from_digest(rng.random());
            }
        }
    }

    /// Sends one of the messages held back, but for each account in order.
    fn release(held: &mut Vec<Vec<Event>>, model: &mut Model, rng: &mut SmallRng) {
        let chosen = held[rng.random_range(0..held.len())].first().map(|event| event.did.clone());
        let of_chosen = |message: &Vec<Event>| message.first().map(|event| &event.did) == chosen.as_ref();
        let first = held.iter().position(of_chosen).expect("it was chosen among them");
        model.message(&held.remove(first));
    }

    /// The scripts are worth comparing: timelines get long, sampled, hidden, swept, edited and reposted.
    #[test]
    fn scripts_reach_what_they_are_for() {
        let (mut long, mut sampled, mut reposts, mut twins) = (0, 0, 0, 0);
        for seed in 0..40 {
            let mut script = Script::new(seed, 300);
            let mut model = Model::new(script.settings.across, script.settings.horizons);
            for op in script.by_ref() {
                if let Op::Commit(messages) = op {
                    messages.iter().for_each(|message| model.message(message));
                    model.end_group();
                }
            }
            for viewer in script.accounts() {
                let shown = model.timeline(&viewer, 1.0, &DrawKey::default(), Without::default());
                long += usize::from(shown.len() > script.settings.cap);
                reposts += shown.iter().filter(|item| item.is_repost).count();
                sampled +=
                    usize::from(model.follows(&viewer).len() > script.settings.reasonable_limit as usize);
                let pairs = shown.windows(2);
                twins += pairs
                    .filter(|two| {
                        (two[0].place().0, two[0].place().1) == (two[1].place().0, two[1].place().1)
                    })
                    .count();
            }
        }
        assert!(
            long > 50 && sampled > 50 && reposts > 200 && twins > 20,
            "{long} {sampled} {reposts} {twins}"
        );
    }
}
