//! Luck with a seed: every run meets the same crowd.

/// SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// The numbers of this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub(crate) fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which isn't zero.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        ((u128::from(self.any()) * u128::from(bound)) >> 64) as u32
    }

    /// `n` different numbers below `bound`, rising.
    pub(crate) fn distinct(&mut self, n: usize, bound: u32) -> Vec<u32> {
        let n = n.min(bound as usize);
        let mut drawn = Vec::with_capacity(n);
        while drawn.len() < n {
            let missing = n - drawn.len();
            drawn.extend((0..missing).map(|_| self.below(bound)));
            drawn.sort_unstable();
            drawn.dedup();
        }
        drawn
    }
}
