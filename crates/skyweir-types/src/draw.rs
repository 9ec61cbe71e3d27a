//! The draw: which references an account that follows too many others keeps (contract, rule 24).

use std::hash::Hasher;

use siphasher::sip::SipHasher24;

use crate::UriHash;

/// A 64-bit hash of a viewer's DID, alike in every process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct DidHash(pub u64);

impl DidHash {
    /// Hashes a DID.
    #[must_use]
    pub fn of(did: &str) -> Self {
        let mut hash = SipHasher24::new_with_keys(0x736b_7977_6569_7202, 0x6469_642d_6861_7368);
        hash.write(did.as_bytes());
        Self(hash.finish())
    }
}

/// The key of the draw: all processes of a service share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrawKey {
    low: u64,
    high: u64,
}

impl Default for DrawKey {
    fn default() -> Self {
        Self::new(0x736b_7977_6569_7221_6c6f_7373_7921_2121)
    }
}

impl DrawKey {
    /// Takes a key of 128 bits.
    #[must_use]
    pub fn new(key: u128) -> Self {
        let bytes = key.to_le_bytes();
        let half = |from: usize| u64::from_le_bytes(bytes[from..from + 8].try_into().expect("eight bytes"));
        Self { low: half(0), high: half(8) }
    }

    /// A number in [0, 1) that belongs to this item's record and this viewer for ever.
    #[must_use]
    pub fn draw(&self, uri: UriHash, viewer: DidHash) -> f64 {
        let mut hash = SipHasher24::new_with_keys(self.low, self.high);
        hash.write_u64(uri.0);
        hash.write_u64(viewer.0);
        (hash.finish() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Whether the viewer keeps the item at this rate. Nested: what a lower rate keeps, a higher one keeps too.
    #[must_use]
    pub fn keeps(&self, uri: UriHash, viewer: DidHash, rate: f32) -> bool {
        rate >= 1.0 || self.draw(uri, viewer) < f64::from(rate)
    }
}

/// `min(1, reasonable limit / follows)`: the share of references that a timeline keeps.
#[must_use]
pub fn rate_for(follows: u32, reasonable_limit: u32) -> f32 {
    if follows <= reasonable_limit { 1.0 } else { (f64::from(reasonable_limit) / f64::from(follows)) as f32 }
}

/// Whether a timeline's rate has come off the wanted one by more than a tenth.
#[must_use]
pub fn rate_is_off(rate: f32, wanted: f32) -> bool {
    (rate - wanted).abs() > 0.1 * wanted.min(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_draw_is_fixed_for_ever() {
        let (uri, viewer) = (UriHash::of("did:plc:a", "app.bsky.feed.post", "1"), DidHash::of("did:plc:b"));
        let draw = DrawKey::default().draw(uri, viewer);
        assert_eq!(draw.to_bits(), DrawKey::default().draw(uri, viewer).to_bits());
        assert!((0.0..1.0).contains(&draw));
    }

    #[test]
    fn the_draw_is_even() {
        let key = DrawKey::default();
        let viewer = DidHash::of("did:plc:viewer");
        let kept = (0..20_000u64).filter(|n| key.keeps(UriHash(n * 0x9e37_79b9), viewer, 0.25)).count();
        assert!((4_700..5_300).contains(&kept), "{kept}");
    }

    #[test]
    fn rates() {
        assert_eq!(rate_for(2_000, 2_000), 1.0);
        assert_eq!(rate_for(8_000, 2_000), 0.25);
        assert!(!rate_is_off(0.25, 0.26));
        assert!(rate_is_off(0.25, 0.3));
        assert!(rate_is_off(1.0, 0.5));
    }
}
