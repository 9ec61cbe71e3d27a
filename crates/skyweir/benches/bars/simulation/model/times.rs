//! Many times, counted in bins of less than a hundredth of themselves.

/// How many bins double a time.
const BITS: u32 = 7;

/// Nanoseconds, counted.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Times {
    bins: Vec<u64>,
    count: u64,
}

impl std::fmt::Debug for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { count, .. } = self;
        write!(
            f,
            "{count} times, P50 {} s, P99 {} s, all {} s",
            self.quantile(0.5),
            self.quantile(0.99),
            self.quantile(1.0)
        )
    }
}

/// Times below 256 ns have a bin each; then each power of two has 128.
fn bin(ns: u64) -> usize {
    let shift = (u64::BITS - ns.leading_zeros()).saturating_sub(BITS + 1);
    ((shift as usize) << BITS) + (ns >> shift) as usize
}

/// The greatest time of a bin.
fn most(bin: usize) -> u64 {
    let shift = (bin >> BITS).saturating_sub(1);
    let place = (bin - (shift << BITS)) as u64;
    (place << shift) + ((1 << shift) - 1)
}

impl Times {
    pub(crate) fn note(&mut self, ns: u64) {
        let bin = bin(ns);
        if bin >= self.bins.len() {
            self.bins.resize(bin + 1, 0);
        }
        self.bins[bin] += 1;
        self.count += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.bins.resize(self.bins.len().max(other.bins.len()), 0);
        self.bins.iter_mut().zip(&other.bins).for_each(|(bin, more)| *bin += more);
        self.count += other.count;
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The seconds within which a share of them lies; 0 of none.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let (wanted, mut seen) = ((self.count as f64 * share).ceil().max(1.0) as u64, 0);
        let at = self.bins.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        at.map_or(0.0, |bin| most(bin) as f64 / 1e9)
    }
}
