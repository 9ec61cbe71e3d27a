//! The records that later events may speak of, as many as fit.

use crate::network::records::Strong;
use crate::prng::Prng;
use std::collections::BTreeSet;

/// How many posts, reposts and follows are remembered as subjects of later events, each.
const REMEMBERED: usize = 16_384;

/// A record that later events may speak of.
pub(super) struct Known {
    pub(super) actor: u32,
    pub(super) rkey: String,
    /// The post's own reference, and that of its thread's root; none for follows and reposts.
    pub(super) post: Option<(Strong, Strong)>,
}

/// A bounded memory of records; a newcomer to a full pool takes the place of a random one.
#[derive(Default)]
pub(super) struct Pool(Vec<Known>);

impl Pool {
    pub(super) fn push(&mut self, prng: &mut Prng, known: Known) {
        if self.0.len() < REMEMBERED {
            self.0.push(known);
        } else {
            self.0[prng.below(REMEMBERED as u64) as usize] = known;
        }
    }

    /// A record, leaning to the newer ones.
    pub(super) fn pick(&self, prng: &mut Prng) -> Option<&Known> {
        let age = (prng.unit() * prng.unit() * self.0.len() as f64) as usize;
        self.0.get(self.0.len().checked_sub(age + 1)?)
    }

    /// Takes a record of an account that may act now.
    pub(super) fn take(&mut self, prng: &mut Prng, inactive: &BTreeSet<u32>) -> Option<Known> {
        let len = self.0.len() as u64;
        let at = (0..8).find_map(|_| {
            let at = prng.below(len.max(1)) as usize;
            self.0.get(at).filter(|known| !inactive.contains(&known.actor)).map(|_| at)
        })?;
        Some(self.0.swap_remove(at))
    }
}
