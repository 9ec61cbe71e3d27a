//! The usual hooks: refuse, lose the answer, delay, hold back. Each counts how often it fired.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::{Hook, Operation};
use crate::{Error, Result};

enum Effect {
    Refuse,
    LoseAnswer,
    Delay(Duration),
    Hold(Arc<Semaphore>),
}

type Matches = dyn Fn(&Operation<'_>) -> bool + Send + Sync;

/// One kind of fault on all operations that it matches, for ever or [`Fault::times`] so many times.
pub struct Fault {
    matches: Box<Matches>,
    effect: Effect,
    left: AtomicU64,
    fired: AtomicU64,
}

impl Fault {
    fn new(effect: Effect, matches: impl Fn(&Operation<'_>) -> bool + Send + Sync + 'static) -> Self {
        let matches = Box::new(matches);
        Self { matches, effect, left: AtomicU64::new(u64::MAX), fired: AtomicU64::new(0) }
    }

    /// The operation is not done, and the answer is [`Error::Unavailable`].
    pub fn refuse(matches: impl Fn(&Operation<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self::new(Effect::Refuse, matches)
    }

    /// The operation is done, but the answer is [`Error::Unavailable`].
    pub fn lose_answer(matches: impl Fn(&Operation<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self::new(Effect::LoseAnswer, matches)
    }

    /// The operation begins only after this time, by tokio's clock.
    pub fn delay(by: Duration, matches: impl Fn(&Operation<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self::new(Effect::Delay(by), matches)
    }

    /// The operation begins only once it gets a ticket, which is used up by it. A closed semaphore refuses.
    pub fn hold(
        tickets: Arc<Semaphore>,
        matches: impl Fn(&Operation<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self::new(Effect::Hold(tickets), matches)
    }

    /// Only the first `n` matching operations are hit.
    #[must_use]
    pub fn times(self, n: u64) -> Self {
        Self { left: AtomicU64::new(n), ..self }
    }

    /// How many operations were hit so far (the one that is still held or delayed as well).
    #[must_use]
    pub fn fired(&self) -> u64 {
        self.fired.load(Ordering::SeqCst)
    }

    fn fires(&self, operation: &Operation<'_>) -> bool {
        let take = |left: u64| left.checked_sub(1);
        let hit = (self.matches)(operation)
            && self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok();
        if hit {
            self.fired.fetch_add(1, Ordering::SeqCst);
        }
        hit
    }
}

fn injected() -> Error {
    Error::Unavailable("injected fault".into())
}

#[async_trait]
impl Hook for Fault {
    async fn before(&self, operation: &Operation<'_>) -> Result<()> {
        match &self.effect {
            Effect::LoseAnswer => {}
            _ if !self.fires(operation) => {}
            Effect::Refuse => return Err(injected()),
            Effect::Delay(by) => tokio::time::sleep(*by).await,
            Effect::Hold(tickets) => tickets.acquire().await.map_err(|_| injected())?.forget(),
        }
        Ok(())
    }

    async fn after(&self, operation: &Operation<'_>) -> Result<()> {
        match &self.effect {
            Effect::LoseAnswer if self.fires(operation) => Err(injected()),
            _ => Ok(()),
        }
    }
}
