//! A small seeded generator whose output never changes: a network is named by its seed, so the numbers behind it
//! must not depend on the version of a library.

/// SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Prng(u64);

impl Prng {
    /// A stream of its own for each `(seed, purpose, index)`.
    pub(crate) fn new(seed: u64, purpose: u64, index: u64) -> Self {
        let mut prng = Self(seed);
        let mixed = prng.u64() ^ purpose.wrapping_mul(0xd6e8_feb8_6659_fd93);
        let mut prng = Self(mixed);
        let mixed = prng.u64() ^ index.wrapping_mul(0xa076_1d64_78bd_642f);
        Self(mixed)
    }

    pub(crate) fn u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `0..bound`; `bound` must not be 0. The bias is below 2^-32 for the bounds used here.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Uniform in the open interval (0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        ((self.u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Standard normal, by Box and Muller.
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.unit().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Exponential with mean 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        -self.unit().ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_fixed_and_apart() {
        // the reference output of SplitMix64 for seed 0: a changed generator would rename every network
        assert_eq!(Prng(0).u64(), 0xe220_a839_7b1d_cdaf);
        assert_ne!(Prng::new(1, 2, 3).u64(), Prng::new(1, 3, 2).u64());
    }

    #[test]
    fn distributions_have_their_means() {
        let mut prng = Prng::new(1, 1, 1);
        let n = 20_000;
        let mean = |sum: f64| sum / f64::from(n);
        assert!((mean((0..n).map(|_| prng.unit()).sum()) - 0.5).abs() < 0.02);
        assert!(mean((0..n).map(|_| prng.normal()).sum()).abs() < 0.04);
        assert!((mean((0..n).map(|_| prng.exponential()).sum()) - 1.0).abs() < 0.04);
        assert!((0..n).all(|_| prng.below(7) < 7));
    }
}
