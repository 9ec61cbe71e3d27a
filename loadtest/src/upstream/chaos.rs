//! What goes wrong at the stand-in's archive, drawn from a seed.

use crate::prng::Prng;

/// How an archive misbehaves.
#[derive(Clone, Copy, Debug)]
pub struct ArchiveFaults {
    /// The same seed and the same requests have the same faults.
    pub seed: u64,
    /// After so many it serves faultlessly; plans stay short and too rich for ever.
    pub faults: u64,
}

/// What an archive was asked for, and what went wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArchiveCounts {
    /// Plans asked for.
    pub plans: u64,
    /// Segments asked for, whole or from some byte on.
    pub segments: u64,
    /// Of those, the ones that went on in the middle.
    pub resumed: u64,
    /// Blocks asked for.
    pub blocks: u64,
    /// Answers with 429 or 503.
    pub refused: u64,
    /// Answers that ended early.
    pub cut: u64,
    /// Answers with a flipped bit.
    pub flipped: u64,
    /// Segments said to be gone.
    pub gone: u64,
    /// Compactions under way.
    pub compacted: u64,
    /// Segments sealed under way.
    pub sealed: u64,
}

impl ArchiveCounts {
    /// All that went wrong.
    pub fn faults(&self) -> u64 {
        self.refused + self.cut + self.flipped + self.gone + self.compacted + self.sealed
    }
}

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// An answer with this status, and how long to wait.
    Refuse(u16, u64),
    /// The answer ends after this share of it, in 1,000.
    Cut(u64),
    /// A bit flips at this place, of the body, in 1,000.
    Flip(u64),
    /// The segment is gone.
    Gone,
    /// Compaction, and then a good answer.
    Compact,
    /// What is live by now is sealed, and then a good answer.
    Seal,
}

/// The draw.
#[derive(Debug)]
pub(super) struct Chaos {
    prng: Prng,
    left: u64,
}

impl Chaos {
    pub(super) fn new(faults: ArchiveFaults) -> Self {
        Self { prng: Prng::new(faults.seed, 0xa4c1, 0), left: faults.faults }
    }

    /// What goes wrong with this request, if anything does.
    pub(super) fn draw(&mut self, is_plan: bool) -> Option<Fault> {
        if self.left == 0 || self.prng.chance(0.6) {
            return None;
        }
        self.left -= 1;
        let share = self.prng.below(1_000);
        Some(match self.prng.below(if is_plan { 4 } else { 7 }) {
            0 => Fault::Refuse(if share.is_multiple_of(2) { 429 } else { 503 }, u64::from(share < 50)),
            1 | 4 => Fault::Cut(share),
            2 => Fault::Compact,
            3 => Fault::Seal,
            5 => Fault::Flip(share),
            _ => Fault::Gone,
        })
    }

    /// How many entries a plan has at most.
    pub(super) fn page(&mut self) -> usize {
        1 + self.prng.below(4) as usize
    }

    /// Whether to plan a block that isn't wanted.
    pub(super) fn is_too_much(&mut self) -> bool {
        self.prng.chance(0.2)
    }
}
