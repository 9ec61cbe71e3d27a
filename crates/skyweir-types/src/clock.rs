//! Time as a parameter: whoever needs the wall clock is handed one.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The wall clock, or a hand-cranked one in tests. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    /// The machine's own clock.
    #[must_use]
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands still until [`Clock::advance_ms`] moves it; it starts at this many microseconds.
    #[must_use]
    pub fn manual(unix_micros: i64) -> Self {
        Self(Some(Arc::new(AtomicI64::new(unix_micros))))
    }

    /// Microseconds since 1970.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    pub fn now_micros(&self) -> i64 {
        match &self.0 {
            Some(hand) => hand.load(Ordering::SeqCst),
            None => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
                Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
            },
        }
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.now_micros().div_euclid(1000)
    }

    /// Moves a manual clock forward; a system clock takes no notice.
    pub fn advance_ms(&self, ms: i64) {
        if let Some(hand) = &self.0 {
            hand.fetch_add(ms * 1000, Ordering::SeqCst);
        }
    }
}
