//! Pauses between attempts: they double up to a limit, and a random half is taken off.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::SourceConfig;

pub(crate) struct Backoff {
    least: u64,
    most: u64,
    next: u64,
    rng: SmallRng,
}

impl Backoff {
    pub(crate) fn new(config: &SourceConfig, seed: u64) -> Self {
        let (least, most) = (config.backoff_least_ms, config.backoff_most_ms);
        Self { least, most, next: least, rng: SmallRng::seed_from_u64(seed) }
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.least;
    }

    pub(crate) fn pause(&mut self) -> Duration {
        let full = self.next;
        self.next = full.saturating_mul(2).min(self.most);
        Duration::from_millis(self.rng.random_range(full / 2..=full))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_limit() {
        let config = SourceConfig { backoff_least_ms: 100, backoff_most_ms: 350, ..SourceConfig::default() };
        let mut backoff = Backoff::new(&config, 1);
        for full in [100, 200, 350, 350] {
            let pause = backoff.pause().as_millis() as u64;
            assert!((full / 2..=full).contains(&pause), "{pause} of {full}");
        }
        backoff.reset();
        assert!(backoff.pause().as_millis() <= 100);
    }
}
