//! What is known of one timeline without reading it: generation, floor, rate, about how long it is, when it was read.

use skyweir_store::is_visit;
use skyweir_types::{ActorId, DidHash, DrawKey, Generation, Reference};

/// A timeline that fills may hold this many caps; only then its oldest leave.
const FILLING_CAPS: usize = 4;

/// One enrolled timeline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) generation: Generation,
    /// Nothing is missing strictly above it. Of a filling one: what its publication has to reckon with.
    pub(super) floor: i64,
    /// When it was published, milliseconds; `None` while it fills.
    pub(super) since_ms: Option<i64>,
    pub(super) did_hash: DidHash,
    pub(super) rate: f32,
    /// How many references it holds: about this many once counted. Fewer if some were written twice since, more by
    /// those that were under way while its rows were read.
    pub(super) len: u32,
    /// Its rows were counted since this process began; `len` is a guess before.
    pub(super) counted: bool,
    pub(super) visits: Visits,
}

/// When a timeline was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Visits {
    /// Seconds since 1970.
    pub(super) last_read: u32,
    /// Visits after the one that enrolled it.
    pub(super) again: u8,
    /// The last checkpoint knows it.
    pub(super) saved: bool,
}

/// What became of a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Took {
    Hibernating,
    SampledOut,
    Below,
    Written,
}

/// How long timelines get.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lengths {
    /// What a trim leaves.
    pub(super) cap: usize,
    /// How far over that a timeline gets before it is trimmed.
    pub(super) over: usize,
}

impl Lengths {
    /// What a trim leaves of a timeline that is filling or not.
    pub(super) fn kept(self, filling: bool) -> usize {
        if filling { self.cap.saturating_mul(FILLING_CAPS) } else { self.cap }
    }

    /// What a timeline holds before it is trimmed.
    pub(super) fn most(self, filling: bool) -> usize {
        self.kept(filling).saturating_add(self.over)
    }
}

impl Visits {
    /// The one that enrols.
    pub(super) fn first(now_us: i64) -> Self {
        Self { last_read: seconds(now_us.div_euclid(1_000)), again: 0, saved: true }
    }

    pub(super) fn note(&mut self, now_ms: i64) {
        let (now, before) = (seconds(now_ms), (self.last_read, self.again));
        self.again = self.again.saturating_add(u8::from(is_visit(self.last_read.into(), now.into())));
        self.last_read = self.last_read.max(now);
        // what is heard twice changes nothing
        self.saved &= before == (self.last_read, self.again);
    }
}

/// Whole seconds of a time in milliseconds.
pub(super) fn seconds(ms: i64) -> u32 {
    ms.div_euclid(1_000).clamp(0, u32::MAX.into()) as u32
}

impl Line {
    /// A generation that takes inserts and answers nothing yet.
    pub(super) fn filling(generation: Generation, did_hash: DidHash, rate: f32, visits: Visits) -> Self {
        Self { generation, floor: i64::MIN, since_ms: None, did_hash, rate, len: 0, counted: true, visits }
    }

    pub(super) fn is_filling(&self) -> bool {
        self.since_ms.is_none()
    }

    /// What becomes of a reference, as far as floor and draw decide.
    #[inline]
    pub(super) fn takes(&self, viewer: ActorId, reference: &Reference, draw: &DrawKey) -> Took {
        let own = reference.author == viewer;
        if !own && !draw.keeps(reference.uri_hash, self.did_hash, self.rate) {
            Took::SampledOut
        } else if reference.sort_at <= self.floor {
            Took::Below
        } else {
            Took::Written
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skyweir_types::{ItemId, UriHash};

    #[test]
    fn draw_then_floor_decide_and_own_items_are_never_drawn() {
        let visits = Visits::first(0);
        let line = Line { floor: 10, ..Line::filling(Generation(1), DidHash(7), 0.0, visits) };
        let reference = |author, sort_at| Reference {
            item: ItemId(1),
            sort_at,
            uri_hash: UriHash(3),
            author: ActorId(author),
        };
        let took = |line: &Line, author, sort_at| {
            line.takes(ActorId(4), &reference(author, sort_at), &DrawKey::default())
        };
        assert_eq!((took(&line, 1, 11), took(&line, 4, 11)), (Took::SampledOut, Took::Written));
        assert_eq!((took(&line, 4, 10), took(&line, 1, 10)), (Took::Below, Took::SampledOut));
        let all = Line { rate: 1.0, ..line };
        assert_eq!((took(&all, 1, 11), took(&all, 1, 10)), (Took::Written, Took::Below));
    }

    #[test]
    fn visits_are_a_minute_apart() {
        let mut visits = Visits::first(5_000_000);
        for (now_ms, again) in [(64_000, 0), (123_000, 0), (183_000, 1), (100_000, 1)] {
            visits.note(now_ms);
            assert_eq!((visits.again, visits.saved), (again, false), "{now_ms}");
        }
        assert_eq!(visits.last_read, 183);
        assert_eq!((seconds(-1), seconds(i64::MAX)), (0, u32::MAX));
    }

    #[test]
    fn one_that_fills_is_given_room() {
        let lengths = Lengths { cap: 10, over: 3 };
        assert_eq!((lengths.kept(false), lengths.most(false)), (10, 13));
        assert_eq!((lengths.kept(true), lengths.most(true)), (40, 43));
    }
}
