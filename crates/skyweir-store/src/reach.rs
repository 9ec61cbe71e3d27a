//! Whether a server answers, as those find who ask it anyway.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::{Error, Result};

/// What is known of one server. Shared by all that ask it: the last call that ended says how it is. At least one of
/// those has to go on asking while it fails.
#[derive(Debug)]
pub struct Reach {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    answered: Instant,
    away: Option<Away>,
}

/// A server that gives no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Away {
    /// Nothing that was asked since then was answered.
    pub since: Instant,
    /// How the last call failed.
    pub why: String,
}

impl Default for Reach {
    /// Of a server that has just answered.
    fn default() -> Self {
        Self { state: Mutex::new(State { answered: Instant::now(), away: None }) }
    }
}

impl Reach {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when it gives no answer, unless it does.
    #[must_use]
    pub fn away(&self) -> Option<Away> {
        self.state().away.clone()
    }

    /// Makes a call, and notes how it ends. One that is dropped before tells nothing.
    ///
    /// # Errors
    /// The call's.
    pub async fn by<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let begun = Instant::now();
        let ended = call.await;
        match &ended {
            Err(Error::Unavailable(why)) => {
                self.failed(begun, why);
            }
            // what is corrupt, or too much, came from there
            Ok(_) | Err(Error::Corrupt(_) | Error::Limit(_)) => {
                self.answered();
            }
        }
        ended
    }

    /// A call that began then got no answer. Whether the one before did.
    pub fn failed(&self, begun: Instant, why: &str) -> bool {
        let mut state = self.state();
        let before = state.away.take();
        let is_first = before.is_none();
        // what was asked earlier may be answered later
        let since = before.map_or(begun.max(state.answered), |away| away.since);
        state.away = Some(Away { since, why: why.to_owned() });
        is_first
    }

    /// A call got its answer. Whether the one before didn't.
    pub fn answered(&self) -> bool {
        let mut state = self.state();
        state.answered = Instant::now();
        state.away.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn ends(reach: &Reach, after: Duration, ended: Result<()>) {
        let call = async {
            tokio::time::sleep(after).await;
            ended
        };
        // what it says is what is noted
        let _ = reach.by(call).await;
    }

    #[tokio::test(start_paused = true)]
    async fn away_is_who_gives_no_answer_since_the_first_call_that_failed() {
        let (reach, start) = (Reach::default(), Instant::now());
        assert_eq!(reach.away(), None);
        ends(&reach, SECOND, Ok(())).await;
        for why in ["one", "two"] {
            ends(&reach, 5 * SECOND, Err(Error::Unavailable(why.into()))).await;
            assert_eq!(reach.away(), Some(Away { since: start + SECOND, why: why.into() }));
        }
        ends(&reach, SECOND, Ok(())).await;
        assert_eq!(reach.away(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_bad_answer_is_one() {
        let reach = Reach::default();
        for ended in [Error::Corrupt("x".into()), Error::Limit("x".into())] {
            assert!(reach.failed(Instant::now(), "x"));
            assert!(!reach.failed(Instant::now(), "x"));
            ends(&reach, SECOND, Err(ended)).await;
            assert_eq!(reach.away(), None);
            assert!(!reach.answered());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hung_while_others_were_answered_counts_from_their_answers() {
        let (reach, start) = (Reach::default(), Instant::now());
        tokio::join!(
            ends(&reach, 5 * SECOND, Err(Error::Unavailable("hung".into()))),
            ends(&reach, 4 * SECOND, Ok(()))
        );
        assert_eq!(reach.away().map(|away| away.since), Some(start + 4 * SECOND));
    }
}
