//! Whose turn it is to be read anew: who was asked for first, but for those that were read a short while ago, or couldn't
//! be had.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use skyweir_types::Did;
use tokio::time::Instant;

use crate::apply::SYNCS_MOST;

/// Whoever can't be had is asked for again after so long at the latest.
const MOST_PAUSE: Duration = Duration::from_secs(3_600);

/// When it may be read, and which of all that came it is.
type Turn = (Instant, u64);

#[derive(Default)]
struct Account {
    /// Whether it is to be read, or read again.
    is_wanted: bool,
    /// How often in a row it couldn't be had.
    failures: u32,
    /// Its last place in the order.
    turn: Option<Turn>,
}

pub(super) struct Turns {
    /// Nobody is read again before so long.
    pause: Duration,
    /// The first pause after a failure; it doubles.
    least: Duration,
    /// Those that wait, are being read, or were read less than the pause ago.
    accounts: HashMap<Did, Account>,
    /// All but those that are being read or parked, by when their pause is over, then as they came.
    times: BTreeMap<Turn, Did>,
    /// Those whose hosts have as many downloads as they may: they aren't in `times`.
    parked: HashMap<String, VecDeque<Did>>,
    /// How many came so far.
    count: u64,
}

impl Turns {
    pub(super) fn new(pause: Duration, least: Duration) -> Self {
        Self {
            pause,
            least,
            accounts: HashMap::new(),
            times: BTreeMap::new(),
            parked: HashMap::new(),
            count: 0,
        }
    }

    /// Whether many more may be asked for.
    pub(super) fn has_much_room(&self) -> bool {
        self.accounts.len() < SYNCS_MOST / 2
    }

    /// An account is to be read. Tells whether there is room for it.
    pub(super) fn ask(&mut self, did: &Did, now: Instant) -> bool {
        if let Some(account) = self.accounts.get_mut(did) {
            account.is_wanted = true;
            return true;
        }
        if self.accounts.len() >= SYNCS_MOST {
            return false;
        }
        self.accounts.insert(did.clone(), Account { is_wanted: true, ..Account::default() });
        self.wait(did, now);
        true
    }

    /// Who is to be read now, if anybody.
    pub(super) fn next(&mut self, now: Instant) -> Option<Did> {
        while let Some(first) = self.times.first_entry().filter(|first| first.key().0 <= now) {
            let (turn, did) = first.remove_entry();
            match self.accounts.get_mut(&did).filter(|account| account.is_wanted) {
                Some(account) => {
                    (account.is_wanted, account.turn) = (false, Some(turn));
                    return Some(did);
                }
                None => _ = self.accounts.remove(&did),
            }
        }
        None
    }

    /// When there may be a next one.
    pub(super) fn due(&self) -> Option<Instant> {
        self.times.first_key_value().map(|((at, _), _)| *at)
    }

    /// Its host has as many downloads as it may: it waits until it has fewer.
    pub(super) fn park(&mut self, did: &Did, host: String) {
        if let Some(account) = self.accounts.get_mut(did) {
            account.is_wanted = true;
            self.parked.entry(host).or_default().push_back(did.clone());
        }
    }

    /// Of each host that may have another download one gets its turn back.
    pub(super) fn unpark(&mut self, has_room: impl Fn(&str) -> bool) {
        let hosts = self.parked.iter_mut().filter(|(host, _)| has_room(host));
        for did in hosts.filter_map(|(_, parked)| parked.pop_front()) {
            if let Some(turn) = self.accounts.get(&did).and_then(|account| account.turn) {
                self.times.insert(turn, did);
            }
        }
        self.parked.retain(|_, parked| !parked.is_empty());
    }

    /// It was read, or never will be.
    pub(super) fn read(&mut self, did: &Did, now: Instant) {
        if let Some(account) = self.accounts.get_mut(did) {
            account.failures = 0;
            self.wait(did, now + self.pause);
        }
    }

    /// It was no longer to be read.
    pub(super) fn unasked(&mut self, did: &Did, now: Instant) {
        if self.accounts.get(did).is_some_and(|account| account.is_wanted) {
            self.wait(did, now);
        } else {
            self.accounts.remove(did);
        }
    }

    /// It couldn't be had, and can't before `until`. Tells how often that was so by now, and how long it waits.
    pub(super) fn failed(&mut self, did: &Did, now: Instant, until: Option<Instant>) -> (u32, Duration) {
        let account = self.accounts.entry(did.clone()).or_default();
        (account.is_wanted, account.failures) = (true, account.failures.saturating_add(1));
        let (failures, doubled) = (account.failures, 1_u32.checked_shl(account.failures - 1));
        let pause = self.least.saturating_mul(doubled.unwrap_or(u32::MAX)).min(MOST_PAUSE);
        let at = until.unwrap_or(now).max(now + pause);
        self.wait(did, at);
        (failures, at - now)
    }

    fn wait(&mut self, did: &Did, at: Instant) {
        self.count += 1;
        self.times.insert((at, self.count), did.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn did(n: usize) -> Did {
        Did::parse(&format!("did:plc:a{n}")).unwrap()
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn turns() -> (Turns, Instant) {
        (Turns::new(600 * SECOND, SECOND), Instant::now())
    }

    #[test]
    fn who_was_read_waits_for_a_while() {
        let (mut turns, now) = turns();
        for n in [1, 2, 1] {
            assert!(turns.ask(&did(n), now));
        }
        assert_eq!([turns.next(now), turns.next(now), turns.next(now)], [Some(did(1)), Some(did(2)), None]);
        // asked for while it is read, and afterwards
        turns.ask(&did(1), now);
        turns.read(&did(1), now);
        turns.read(&did(2), now + SECOND);
        turns.ask(&did(2), now + SECOND);
        assert_eq!((turns.next(now + 599 * SECOND), turns.due()), (None, Some(now + 600 * SECOND)));
        assert_eq!(turns.next(now + 600 * SECOND), Some(did(1)));
        assert_eq!(turns.next(now + 600 * SECOND), None);
        turns.read(&did(1), now + 601 * SECOND);
        assert_eq!(turns.next(now + 601 * SECOND), Some(did(2)));
        turns.unasked(&did(2), now + 601 * SECOND);
        assert_eq!(turns.next(now + 1_201 * SECOND), None);
        assert!(turns.accounts.is_empty() && turns.times.is_empty(), "nobody is remembered for longer");
    }

    #[test]
    fn who_can_not_be_had_is_asked_for_ever_more_seldom() {
        let (mut turns, mut now) = turns();
        turns.ask(&did(1), now);
        let pauses = (1..=40).map(|failures| {
            assert_eq!(turns.next(now), Some(did(1)));
            let (count, pause) = turns.failed(&did(1), now, None);
            assert_eq!((count, turns.next(now + pause - SECOND / 2)), (failures, None));
            now += pause;
            pause.as_secs()
        });
        let pauses: Vec<_> = pauses.collect();
        assert_eq!(pauses[..4], [1, 2, 4, 8]);
        assert!(pauses[12..].iter().all(|pause| *pause == 3_600));
        // its host says itself for how long; and once it is read that is over
        turns.next(now);
        assert_eq!(turns.failed(&did(1), now, Some(now + 5_000 * SECOND)), (41, 5_000 * SECOND));
        now += 5_000 * SECOND;
        turns.next(now);
        turns.read(&did(1), now);
        turns.ask(&did(1), now);
        now += 600 * SECOND;
        turns.next(now);
        assert_eq!(turns.failed(&did(1), now, None), (1, SECOND));
    }

    #[test]
    fn there_is_room_for_as_many_as_may_be_marked() {
        let (mut turns, now) = turns();
        assert!((0..SYNCS_MOST).all(|n| turns.ask(&did(n), now)));
        assert!(!turns.ask(&did(SYNCS_MOST), now) && turns.ask(&did(1), now) && !turns.has_much_room());
    }

    #[test]
    fn whose_host_is_busy_gets_its_turn_back() {
        let (mut turns, now) = turns();
        let all: Vec<_> = (1..=4).map(did).collect();
        all.iter().for_each(|did| assert!(turns.ask(did, now)));
        for n in [1, 2, 3] {
            assert_eq!(turns.next(now), Some(did(n)));
        }
        turns.park(&did(2), "busy".to_owned());
        turns.park(&did(3), "busy".to_owned());
        turns.ask(&did(2), now);
        turns.unpark(|host| host != "busy");
        turns.ask(&did(5), now);
        assert_eq!(turns.next(now), Some(did(4)));
        turns.unpark(|_| true);
        assert_eq!([turns.next(now), turns.next(now), turns.next(now)], [Some(did(2)), Some(did(5)), None]);
        turns.unpark(|_| true);
        assert_eq!((turns.next(now), turns.parked.len()), (Some(did(3)), 0));
    }
}
