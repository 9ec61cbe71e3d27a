//! Trying again what failed and may pass by itself.

use std::time::Duration;

use skyweir_store::{Error, Result};

use crate::{Config, metrics};

/// How failed operations are tried again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry {
    least: Duration,
    most: Duration,
}

impl Retry {
    pub(crate) fn of(config: &Config) -> Self {
        let least = Duration::from_millis(config.retry_least_ms.max(1));
        Self { least, most: Duration::from_millis(config.retry_most_ms).max(least) }
    }

    /// Tries again, with growing pauses, whatever may pass by itself.
    ///
    /// # Errors
    /// Corruption, at once.
    pub(crate) async fn run<T, F>(&self, operation: &'static str, mut attempt: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut pause = self.pause(operation);
        loop {
            match attempt().await {
                Err(error) => pause.after(error).await?,
                done => return done,
            }
        }
    }

    /// The pauses between attempts at one operation.
    pub(crate) fn pause(&self, operation: &'static str) -> Pause {
        Pause { operation, next: self.least, most: self.most }
    }
}

/// See [`Retry::pause`].
pub(crate) struct Pause {
    operation: &'static str,
    next: Duration,
    most: Duration,
}

impl Pause {
    /// Waits after a failed attempt.
    ///
    /// # Errors
    /// Corruption is handed back at once.
    pub(crate) async fn after(&mut self, error: Error) -> Result<()> {
        if matches!(error, Error::Corrupt(_)) {
            return Err(error);
        }
        let operation = self.operation;
        metrics::retried(operation);
        tracing::warn!(%error, operation, retry.ms = self.next.as_millis() as u64, "storage failed, trying again");
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(self.most);
        Ok(())
    }
}
