//! The chains of a firehose's accounts: each commit names the rev before it, and one that names another than the last
//! that came shows that commits were lost.

use std::collections::HashSet;

use skyweir_types::Tid;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::decode::Link;

/// An account may stand in one of so many slots: few to look at, enough for the least of use to be a good choice.
const WAYS: usize = 8;
/// No TID has this bit: the chain broke here, and no commit has followed on it.
const BROKEN: u64 = 1 << 63;

/// So long commits are counted, microseconds of our own clock.
const SAMPLE_US: i64 = 10_000_000;
/// When of these so many break their chains, and one in so many does, it isn't something of single accounts.
const GAP_LEAST: u32 = 1_000;
const GAP_ONE_IN: u32 = 10;

/// The hash of an account, and its last rev; 0: nobody.
type Slot = (u64, u64);

/// What a commit shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shows {
    Nothing,
    /// Others of its account are missing before it.
    Loss,
    /// As with so many of so many commits: the stream itself has left out a part.
    Gap {
        broken: u32,
        commits: u32,
    },
}

/// Commits of accounts that are known and whose chain isn't broken already.
#[derive(Default)]
struct Sample {
    began_us: i64,
    commits: u32,
    /// Whose chains broke: one account is no gap, whatever it does.
    broken: HashSet<u64>,
}

impl Sample {
    fn take(&mut self, who: u64, is_broken: bool, now_us: i64) {
        if !(0..SAMPLE_US).contains(&now_us.saturating_sub(self.began_us)) {
            *self = Self { began_us: now_us, ..Self::default() };
        }
        self.commits = self.commits.saturating_add(1);
        if is_broken {
            self.broken.insert(who);
        }
    }

    fn broken(&self) -> u32 {
        u32::try_from(self.broken.len()).unwrap_or(u32::MAX)
    }

    fn is_gap(&self) -> bool {
        self.broken() >= GAP_LEAST && self.broken() >= self.commits / GAP_ONE_IN
    }
}

/// The last revs of the accounts that committed last. Of others nothing is known, and what isn't known can't break.
pub(super) struct Chains {
    seed: u64,
    buckets: Vec<[Slot; WAYS]>,
    sample: Sample,
    /// Gaps of the stream before what is known.
    gaps: u64,
}

impl Chains {
    /// With room for so many accounts, rounded up; 0 for none. The seed decides who shares slots with whom.
    pub(super) fn new(accounts: usize, seed: u64) -> Self {
        let (buckets, sample) = (vec![[(0, 0); WAYS]; accounts.div_ceil(WAYS)], Sample::default());
        Self { seed, buckets, sample, gaps: 0 }
    }

    /// Takes note of a commit, and tells what it shows. One that is told again changes nothing.
    pub(super) fn follow(&mut self, link: &Link, now_us: i64) -> Shows {
        let who = xxh3_64_with_seed(link.did.as_str().as_bytes(), self.seed);
        let bucket = (u128::from(who) * self.buckets.len() as u128) >> 64;
        let Some(slots) = self.buckets.get_mut(bucket as usize) else { return Shows::Nothing };
        let Some((_, last)) = slots.iter_mut().find(|(known, last)| *known == who && *last != 0) else {
            // who hasn't committed for the longest is the least likely to
            if let Some(slot) = slots.iter_mut().min_by_key(|(_, last)| *last & !BROKEN) {
                *slot = (who, link.rev.0);
            }
            return Shows::Nothing;
        };
        let (known, is_broken) = (Tid(*last & !BROKEN), *last & BROKEN != 0);
        if link.rev <= known {
            return Shows::Nothing;
        }
        let follows_on = link.is_marked || link.since == Some(known);
        if !is_broken {
            self.sample.take(who, !follows_on, now_us);
        }
        if follows_on {
            *last = link.rev.0;
            return Shows::Nothing;
        }
        if self.sample.is_gap() {
            return Shows::Gap { broken: self.sample.broken(), commits: self.sample.commits };
        }
        *last = link.rev.0 | BROKEN;
        Shows::Loss
    }

    /// What comes is behind so many gaps. Behind a new one nothing is known any more: nearly all chains are broken, and
    /// it is for a backfill to mend them.
    pub(super) fn behind(&mut self, gaps: u64) {
        if gaps != self.gaps {
            self.buckets.fill([(0, 0); WAYS]);
            (self.sample, self.gaps) = (Sample::default(), gaps);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};
    use skyweir_types::Did;

    use super::*;

    const START: u64 = 1_767_225_600;

    fn rev(second: u64) -> Tid {
        Tid::from_parts((START + second) * 1_000_000, 7)
    }

    /// A commit of an account at a second, behind that of another; 0: behind none.
    fn link(account: usize, since: u64, second: u64) -> Link {
        let did = Did::parse(&format!("did:plc:a{account}")).unwrap();
        Link { did, since: (since > 0).then(|| rev(since)), rev: rev(second), is_marked: false }
    }

    /// Whether its account has to be read anew.
    fn breaks_of(chains: &mut Chains, link: &Link) -> bool {
        chains.follow(link, link.rev.micros() as i64) == Shows::Loss
    }

    #[test]
    fn a_commit_that_does_not_follow_on_the_last_one_breaks_its_chain() {
        let mut chains = Chains::new(1_000, 3);
        assert!(!breaks_of(&mut chains, &link(1, 1, 2)), "nothing is known of it");
        assert!(!breaks_of(&mut chains, &link(2, 8, 9)), "it is another account");
        assert!(!breaks_of(&mut chains, &link(1, 2, 4)));
        for second in [2, 4] {
            assert!(!breaks_of(&mut chains, &link(1, 1, second)), "told again");
        }
        assert!(breaks_of(&mut chains, &link(1, 5, 6)));
        assert!(!breaks_of(&mut chains, &link(1, 5, 6)), "told again");
        assert!(!breaks_of(&mut chains, &link(1, 6, 7)));
        assert!(breaks_of(&mut chains, &link(1, 0, 20)), "it begins anew, so what is known is of before");
        assert!(!breaks_of(&mut chains, &link(1, 20, 21)));
        assert!(breaks_of(&mut chains, &link(1, 20, 22)), "the one before isn't the last");
        let sync = Link { is_marked: true, ..link(1, 0, 23) };
        assert!(
            !breaks_of(&mut chains, &sync) && !breaks_of(&mut chains, &link(1, 23, 24)),
            "read anew anyway"
        );
    }

    #[test]
    fn each_loss_shows() {
        let mut chains = Chains::new(8, 3);
        let told = [(1, 2), (3, 4), (5, 6), (6, 7), (8, 9)];
        let broken = told.map(|(since, second)| breaks_of(&mut chains, &link(1, since, second)));
        assert_eq!(broken, [false, true, true, false, true]);
    }

    #[test]
    fn when_it_is_full_who_committed_last_the_longest_ago_is_forgotten() {
        let mut chains = Chains::new(WAYS, 3);
        for account in 0..WAYS {
            assert!(!breaks_of(&mut chains, &link(account, 0, account as u64 + 10)));
        }
        assert!(!breaks_of(&mut chains, &link(0, 10, 30)));
        assert!(!breaks_of(&mut chains, &link(99, 0, 40)), "one more than there is room for");
        assert!(!breaks_of(&mut chains, &link(1, 50, 51)), "forgotten, so nothing is known to break");
        for account in [0, 3, 4, 5, 6, 7] {
            assert!(breaks_of(&mut chains, &link(account, 60, 61)), "{account}");
        }
        assert!(!breaks_of(&mut chains, &link(2, 60, 62)), "it made room for the one that came again");
        chains.behind(0);
        assert!(breaks_of(&mut chains, &link(0, 69, 70)), "no gap is new");
        chains.behind(1);
        assert!(!breaks_of(&mut chains, &link(0, 71, 72)));
        let mut none = Chains::new(0, 3);
        assert!(!breaks_of(&mut none, &link(1, 0, 1)) && !breaks_of(&mut none, &link(1, 2, 3)));
        assert_eq!(size_of::<Slot>(), 16);
    }

    /// Of so many accounts that are known, one in so many breaks its chain, so many microseconds after each other.
    fn gap(chains: &mut Chains, accounts: usize, one_in: usize, pause_us: i64) -> Option<(u32, u32)> {
        for account in 0..accounts {
            assert_eq!(chains.follow(&link(account, 0, 1), 5), Shows::Nothing);
        }
        (0..accounts).find_map(|n| {
            let since = if n % one_in == 0 { 2 } else { 1 };
            match chains.follow(&link(n, since, 3), 5 + n as i64 * pause_us) {
                Shows::Gap { broken, commits } => Some((broken, commits)),
                shows => {
                    assert_eq!(shows == Shows::Loss, since == 2, "{n}");
                    None
                }
            }
        })
    }

    #[test]
    fn when_one_in_ten_breaks_the_stream_has_a_gap() {
        let mut chains = Chains::new(400_000, 3);
        assert_eq!(gap(&mut chains, 20_000, 1, 100), Some((1_000, 1_000)));
        chains.behind(1);
        assert_eq!(gap(&mut chains, 20_000, 9, 1_000), Some((1_000, 8_992)));
        for (accounts, one_in, pause_us, why) in [
            (20_000, 11, 100, "they are too few of all"),
            (999, 1, 100, "they are too few"),
            (20_000, 9, 1_200, "they are too few in the time"),
        ] {
            assert_eq!(gap(&mut Chains::new(400_000, 3), accounts, one_in, pause_us), None, "{why}");
        }
    }

    #[test]
    fn one_account_is_no_gap() {
        let mut chains = Chains::new(8, 3);
        for second in 1..20_000 {
            // nothing follows on each of them, or something on every second one
            for (account, since) in [(1, second + 50_000), (2, if second % 2 == 0 { second - 1 } else { 0 })]
            {
                let shows = chains.follow(&link(account, since, second), 5);
                assert!(!matches!(shows, Shows::Gap { .. }), "{second}");
            }
        }
    }

    #[test]
    fn with_room_for_all_it_is_a_map() {
        let (mut chains, mut last) = (Chains::new(100_000, 3), HashMap::new());
        let (mut rng, mut broken) = (SmallRng::seed_from_u64(1), 0);
        for second in (1..20_000).map(|n| n * 600) {
            let account = rng.random_range(0..1_000);
            let before = last.insert(account, second);
            let since = if rng.random_bool(0.1) { second - 1 } else { before.unwrap_or(0) };
            let breaks = before.is_some_and(|before| before != since);
            broken += u32::from(breaks);
            assert_eq!(breaks_of(&mut chains, &link(account, since, second)), breaks, "{second}");
        }
        assert!(broken > 1_000);
    }
}
