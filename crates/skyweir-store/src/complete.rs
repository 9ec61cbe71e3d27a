//! How much of the follow graph is known: whoever fills the store tells whoever answers from it.

/// How much of the follow graph is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Completeness {
    /// All follows up to the stream's place.
    Whole,
    /// An archive is being read. This share of it is known, from 0 to 1.
    Loading(f64),
    /// Some follows are missing, and nothing is under way that would bring them.
    Partial,
}

/// Knows how much is known.
pub trait Complete: Send + Sync {
    /// How much it is now. Asked by every read.
    fn completeness(&self) -> Completeness;
}
