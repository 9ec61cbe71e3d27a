//! Which cursor to ask for at the next connection.

use super::kind::Protocol;
use super::{SavedPosition, SourceConfig, StartAt};

/// Jetstream takes greater cursors for times in microseconds, smaller ones for sequence numbers.
const TIME_CURSOR: u64 = 1_000_000_000_000_000;

/// What to fall back to when the server no longer has the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fallback {
    None,
    /// The time of the last applied event.
    Time,
    /// The first that the server has.
    Oldest,
    Live,
}

/// Where we stand upstream.
#[derive(Debug)]
pub(super) struct Place {
    protocol: Protocol,
    overlap_us: u64,
    start: Option<u64>,
    last: Option<SavedPosition>,
    fallback: Fallback,
    /// How often a connection broke on an unreadable message since we last moved on.
    stuck: u32,
}

impl Place {
    pub(super) fn new(protocol: Protocol, config: &SourceConfig, start: StartAt) -> Self {
        let (start, last) = match start {
            StartAt::Live => (None, None),
            StartAt::From(number) => (Some(number), None),
            StartAt::Resume(saved) => (None, Some(saved)),
        };
        Self { protocol, overlap_us: config.overlap_us(), start, last, fallback: Fallback::None, stuck: 0 }
    }

    /// The cursor; `None` asks for what happens from now on.
    pub(super) fn cursor(&self) -> Option<u64> {
        match (self.fallback, self.last) {
            (Fallback::Live, _) => None,
            (Fallback::Oldest, _) => Some(0),
            (Fallback::Time, Some(last)) => Some(
                u64::try_from(last.time_us).unwrap_or(0).saturating_sub(self.overlap_us).max(TIME_CURSOR),
            ),
            (_, None) => self.start.map(|start| start.saturating_add(self.step())),
            (_, Some(last)) => Some(self.behind(last.position)),
        }
    }

    fn behind(&self, position: u64) -> u64 {
        if self.stuck > 0 {
            // step over what can't be read, further each time
            return position.saturating_add(self.step());
        }
        match self.protocol {
            // not before it: an archive may have left out what later took away, see decision 41. 0 would be everything,
            // and sequence numbers begin with 1
            Protocol::V2 => position.max(1),
            Protocol::V1 => position.saturating_sub(self.overlap_us),
            Protocol::Firehose => position,
        }
    }

    fn step(&self) -> u64 {
        if self.stuck == 0 { 0 } else { 1 << (self.stuck - 1).min(20) }
    }

    /// A frame was handed on.
    pub(super) fn moved(&mut self, position: u64, time_us: i64) {
        let further = self.last.is_none_or(|last| position > last.position);
        // behind a gap the sequence may begin anew
        if further || self.is_lost() {
            let before = self.last.filter(|_| !self.is_lost()).map_or(i64::MIN, |last| last.time_us);
            self.last = Some(SavedPosition { position, time_us: before.max(time_us) });
            self.stuck = 0;
        }
        self.fallback = Fallback::None;
    }

    /// Whether a connection that was asked for this cursor and begins here begins too early: the sequence is another
    /// one, as that of a server set up anew or of its neighbour. Some servers don't say so and send what is new.
    pub(super) fn is_another_sequence(&self, asked: Option<u64>, position: u64) -> bool {
        let is_sequence = self.protocol != Protocol::V1 && !self.is_lost() && self.stuck == 0;
        is_sequence && asked.is_some_and(|asked| asked < TIME_CURSOR && position < asked)
    }

    /// Forgets where we stood: numbers may be smaller from here on.
    pub(super) fn begin_anew(&mut self) {
        self.last = None;
    }

    /// The connection broke on a message that can't be read.
    pub(super) fn unreadable(&mut self) {
        self.stuck += 1;
    }

    /// The last position applied; none while nothing is known of it.
    pub(super) fn position(&self) -> Option<u64> {
        self.last.map(|last| last.position)
    }

    /// The server no longer has the place (or, on the firehose, not yet): take the next best.
    pub(super) fn lost(&mut self) {
        let time =
            self.last.is_some_and(|last| u64::try_from(last.time_us).is_ok_and(|time| time >= TIME_CURSOR));
        self.fallback = match (self.protocol, self.fallback) {
            (Protocol::V2, Fallback::None) if time => Fallback::Time,
            (Protocol::V2, Fallback::None | Fallback::Time) => Fallback::Oldest,
            _ => Fallback::Live,
        };
    }

    /// Whether the place was lost and no frame has come since.
    pub(super) fn is_lost(&self) -> bool {
        self.fallback != Fallback::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(protocol: Protocol, start: StartAt) -> Place {
        let config = SourceConfig { overlap_ms: 1, ..SourceConfig::default() };
        Place::new(protocol, &config, start)
    }

    #[test]
    fn cursors_follow_the_protocol() {
        let saved = StartAt::Resume(SavedPosition { position: 2_000_000_000_000_000, time_us: 5 });
        assert_eq!(place(Protocol::V2, saved).cursor(), Some(2_000_000_000_000_000));
        assert_eq!(place(Protocol::V1, saved).cursor(), Some(1_999_999_999_999_000));
        assert_eq!(place(Protocol::Firehose, saved).cursor(), Some(2_000_000_000_000_000));
        assert_eq!(place(Protocol::V2, StartAt::From(0)).cursor(), Some(0));
        assert_eq!(place(Protocol::V2, StartAt::Live).cursor(), None);
        let none_yet = StartAt::Resume(SavedPosition { position: 0, time_us: 5 });
        assert_eq!(place(Protocol::V2, none_yet).cursor(), Some(1));
    }

    #[test]
    fn a_lost_place_falls_back_step_by_step() {
        let saved = SavedPosition { position: 77, time_us: 1_783_175_888_000_000 };
        let mut lost = place(Protocol::V2, StartAt::Resume(saved));
        lost.lost();
        assert_eq!(lost.cursor(), Some(1_783_175_887_999_000));
        lost.lost();
        assert_eq!(lost.cursor(), Some(0));
        lost.lost();
        assert_eq!(lost.cursor(), None);
        // numbers may be smaller behind the gap
        lost.moved(20, 1_783_175_889_000_000);
        assert_eq!(lost.cursor(), Some(20));
        let mut future = place(Protocol::Firehose, StartAt::Resume(saved));
        future.lost();
        assert_eq!(future.cursor(), None);
    }

    #[test]
    fn what_cannot_be_read_is_stepped_over() {
        let mut stuck = place(Protocol::Firehose, StartAt::From(7));
        stuck.moved(100, 0);
        for next in [101, 102, 104] {
            stuck.unreadable();
            assert_eq!(stuck.cursor(), Some(next));
        }
        stuck.moved(110, 0);
        assert_eq!(stuck.cursor(), Some(110));
    }
}
