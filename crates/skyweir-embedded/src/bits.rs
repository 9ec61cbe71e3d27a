//! Numbers of any width in a row of bits, low bits first, and a code for numbers that are mostly of about one length.
//!
//! That code is exponential Golomb of order `k`: the number's bits above the low `k`, plus one, as so many zeros as they
//! have digits after the first, a one, and these digits; then the low `k` bits. A number below `2^k` takes `k + 1` bits,
//! a longer one two more for each digit: outliers cost themselves only.

/// One call writes or reads at most so many bits.
const MOST: u32 = 56;

fn mask(width: u32) -> u64 {
    (1 << width) - 1
}

/// Appends bits to bytes.
pub(crate) struct BitWriter {
    out: Vec<u8>,
    held: u64,
    bits: u32,
}

impl BitWriter {
    /// Goes on after these whole bytes.
    pub(crate) fn after(out: Vec<u8>) -> Self {
        Self { out, held: 0, bits: 0 }
    }

    /// Appends the low bits of a number that has no others, at most 56.
    pub(crate) fn push(&mut self, n: u64, width: u32) {
        self.held |= n << self.bits;
        self.bits += width;
        while self.bits >= 8 {
            self.out.push(self.held as u8);
            self.held >>= 8;
            self.bits -= 8;
        }
    }

    /// Appends a number below 2^56 in the code of this order.
    pub(crate) fn push_golomb(&mut self, n: u64, k: u32) {
        let above = (n >> k) + 1;
        let digits = above.ilog2();
        self.push(0, digits);
        self.push(1, 1);
        self.push(above & mask(digits), digits);
        self.push(n & mask(k), k);
    }

    /// The bytes, the last one filled up with zeros.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        if self.bits > 0 {
            self.out.push(self.held as u8);
        }
        self.out
    }
}

/// The order in which these numbers below 2^56 take about the fewest bits.
pub(crate) fn golomb_order(numbers: impl Iterator<Item = u64>) -> u32 {
    let mut lengths = [0u64; MOST as usize + 1];
    let mut count = 0;
    for n in numbers {
        lengths[(u64::BITS - n.leading_zeros()) as usize] += 1;
        count += 1;
    }
    let (mut longer, mut excess) = (0, 0);
    let (mut best, mut least) = (MOST, u64::MAX);
    for k in (0..=MOST).rev() {
        let cost = count * u64::from(k + 1) + 2 * excess - longer;
        if cost < least {
            (best, least) = (k, cost);
        }
        longer += lengths[k as usize];
        excess += longer;
    }
    best
}

/// Reads what a [`BitWriter`] wrote. Past the end there are zeros: [`BitReader::is_at_end`] tells.
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next bits, at least 57 of them.
    fn peek(&self) -> u64 {
        let byte = self.at / 8;
        let word = match self.bytes.get(byte..byte + 8) {
            Some(word) => word.try_into().expect("eight bytes"),
            None => {
                let mut word = [0; 8];
                let rest = self.bytes.get(byte..).unwrap_or_default();
                word[..rest.len()].copy_from_slice(rest);
                word
            }
        };
        u64::from_le_bytes(word) >> (self.at % 8)
    }

    /// A number of at most 56 bits.
    pub(crate) fn take(&mut self, width: u32) -> u64 {
        let n = self.peek() & mask(width);
        self.at += width as usize;
        n
    }

    /// A number in the code of this order; `None` if it is none below 2^57.
    pub(crate) fn take_golomb(&mut self, k: u32) -> Option<u64> {
        let digits = self.peek().trailing_zeros();
        if digits + k > MOST {
            return None;
        }
        self.at += digits as usize + 1;
        let above = (1 << digits | self.take(digits)) - 1;
        Some(above << k | self.take(k))
    }

    /// Whether all bytes are read, and what fills the last one is zeros.
    pub(crate) fn is_at_end(&self) -> bool {
        self.at.div_ceil(8) == self.bytes.len() && self.peek() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number() -> impl Strategy<Value = u64> {
        (0..=MOST).prop_flat_map(|bits| 0..=mask(bits))
    }

    proptest! {
        #[test]
        fn round_trip(numbers in prop::collection::vec((number(), 0..=MOST), 0..50)) {
            let mut writer = BitWriter::after(vec![7]);
            for (n, k) in &numbers {
                writer.push_golomb(*n, *k);
                writer.push(n & mask(*k), *k);
            }
            let bytes = writer.finish();
            let mut reader = BitReader::new(&bytes[1..]);
            for (n, k) in &numbers {
                prop_assert_eq!(reader.take_golomb(*k), Some(*n));
                prop_assert_eq!(reader.take(*k), n & mask(*k));
            }
            prop_assert!(reader.is_at_end());
            let mut longer = BitReader::new(&bytes);
            longer.at = 8 + reader.at;
            prop_assert!(longer.is_at_end());
            longer.at += 8;
            prop_assert!(!longer.is_at_end());
        }

        #[test]
        fn an_order_that_is_close_to_the_best(numbers in prop::collection::vec(number(), 1..50)) {
            let bits = |k: u32| numbers.iter().map(|n| ((n >> k) + 1).ilog2() * 2 + 1 + k).sum::<u32>();
            let least = (0..=MOST).map(bits).min().unwrap();
            prop_assert!(bits(golomb_order(numbers.iter().copied())) <= least + 2 * numbers.len() as u32);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40), k in 0..=MOST) {
            let mut reader = BitReader::new(&bytes);
            while reader.at < bytes.len() * 8 + 100 {
                match reader.take_golomb(k) {
                    Some(n) => prop_assert!(n >> 57 == 0),
                    None => break,
                }
            }
        }
    }
}
