//! The chains of a firehose's accounts: each commit names the rev before it, and one that names another than the last
//! that came shows that commits were lost.

use skyweir_types::Tid;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::decode::Link;

/// An account may stand in one of so many slots: few to look at, enough for the least of use to be a good choice.
const WAYS: usize = 8;
/// An account whose chain was broken less than so many microseconds before, by its revs, isn't read anew again yet:
/// some hosts may never name the right one.
const AGAIN_US: u64 = 600_000_000;
/// No TID has this bit: the chain broke here, and no commit has followed on it.
const BROKEN: u64 = 1 << 63;

/// The hash of an account, and its last rev; 0: nobody.
type Slot = (u64, u64);

/// The last revs of the accounts that committed last. Of others nothing is known, and what isn't known can't break.
pub(super) struct Chains {
    seed: u64,
    buckets: Vec<[Slot; WAYS]>,
}

impl Chains {
    /// With room for so many accounts, rounded up; 0 for none. The seed decides who shares slots with whom.
    pub(super) fn new(accounts: usize, seed: u64) -> Self {
        Self { seed, buckets: vec![[(0, 0); WAYS]; accounts.div_ceil(WAYS)] }
    }

    /// Takes note of a commit, and tells whether its account has to be read anew, as others before it are missing. One
    /// that is told again changes nothing.
    pub(super) fn breaks(&mut self, link: &Link) -> bool {
        let who = xxh3_64_with_seed(link.did.as_str().as_bytes(), self.seed);
        let bucket = (u128::from(who) * self.buckets.len() as u128) >> 64;
        let Some(slots) = self.buckets.get_mut(bucket as usize) else { return false };
        let Some((_, last)) = slots.iter_mut().find(|(known, last)| *known == who && *last != 0) else {
            // who hasn't committed for the longest is the least likely to
            if let Some(slot) = slots.iter_mut().min_by_key(|(_, last)| *last & !BROKEN) {
                *slot = (who, link.rev.0);
            }
            return false;
        };
        let (known, is_broken) = (Tid(*last & !BROKEN), *last & BROKEN != 0);
        if link.rev <= known {
            return false;
        }
        if link.since.is_none_or(|since| since == known) {
            *last = link.rev.0;
            return false;
        }
        if is_broken && link.rev.micros() - known.micros() < AGAIN_US {
            // it stands where it broke, so that a later commit has it read anew
            return false;
        }
        *last = link.rev.0 | BROKEN;
        true
    }

    /// Knows nothing any more: behind a gap nearly all chains are broken, and it is for a backfill to mend them.
    pub(super) fn forget(&mut self) {
        self.buckets.fill([(0, 0); WAYS]);
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
        Link { did, since: (since > 0).then(|| rev(since)), rev: rev(second) }
    }

    #[test]
    fn a_commit_that_does_not_follow_on_the_last_one_breaks_its_chain() {
        let mut chains = Chains::new(1_000, 3);
        assert!(!chains.breaks(&link(1, 1, 2)), "nothing is known of it");
        assert!(!chains.breaks(&link(2, 8, 9)), "it is another account");
        assert!(!chains.breaks(&link(1, 2, 4)));
        for second in [2, 4] {
            assert!(!chains.breaks(&link(1, 1, second)), "told again");
        }
        assert!(chains.breaks(&link(1, 5, 6)));
        assert!(!chains.breaks(&link(1, 5, 6)), "told again");
        assert!(!chains.breaks(&link(1, 6, 7)));
        assert!(!chains.breaks(&link(1, 0, 20)), "it begins anew, or is read anew anyway");
        assert!(!chains.breaks(&link(1, 20, 21)));
        assert!(chains.breaks(&link(1, 20, 22)), "the one before isn't the last");
    }

    #[test]
    fn an_account_whose_chain_is_always_broken_is_read_now_and_then() {
        let mut chains = Chains::new(8, 3);
        let broken = (0..3_600).filter(|second| chains.breaks(&link(1, second + 10_000, second + 1)));
        assert_eq!(broken.collect::<Vec<_>>(), [1, 601, 1_201, 1_801, 2_401, 3_001]);
        // what was lost meanwhile is mended by a commit that follows on another
        let mut chains = Chains::new(8, 3);
        let told = [(1, 2), (3, 4), (5, 6), (6, 7), (7, 604), (604, 605)];
        let broken = told.map(|(since, second)| chains.breaks(&link(1, since, second)));
        assert_eq!(broken, [false, true, false, false, true, false]);
    }

    #[test]
    fn when_it_is_full_who_committed_last_the_longest_ago_is_forgotten() {
        let mut chains = Chains::new(WAYS, 3);
        for account in 0..WAYS {
            assert!(!chains.breaks(&link(account, 0, account as u64 + 10)));
        }
        assert!(!chains.breaks(&link(0, 10, 30)));
        assert!(!chains.breaks(&link(99, 0, 40)), "one more than there is room for");
        assert!(!chains.breaks(&link(1, 50, 51)), "forgotten, so nothing is known to break");
        for account in [0, 3, 4, 5, 6, 7] {
            assert!(chains.breaks(&link(account, 60, 61)), "{account}");
        }
        assert!(!chains.breaks(&link(2, 60, 62)), "it made room for the one that came again");
        chains.forget();
        assert!(!chains.breaks(&link(0, 70, 71)));
        let mut none = Chains::new(0, 3);
        assert!(!none.breaks(&link(1, 0, 1)) && !none.breaks(&link(1, 2, 3)));
        assert_eq!(size_of::<Slot>(), 16);
    }

    #[test]
    fn with_room_for_all_it_is_a_map() {
        let (mut chains, mut last) = (Chains::new(100_000, 3), HashMap::new());
        let (mut rng, mut broken) = (SmallRng::seed_from_u64(1), 0);
        for second in (1..20_000).map(|n| n * AGAIN_US / 1_000_000) {
            let account = rng.random_range(0..1_000);
            let before = last.insert(account, second);
            let since = if rng.random_bool(0.1) { second - 1 } else { before.unwrap_or(0) };
            let breaks = before.is_some_and(|before| before != since);
            broken += u32::from(breaks);
            assert_eq!(chains.breaks(&link(account, since, second)), breaks, "{second}");
        }
        assert!(broken > 1_000);
    }
}
