//! Commands that work for long and then end: told to stop by a signal, with a word from time to time about how far they
//! are.

use anyhow::{Context as _, Result};
use indicatif::ProgressBar;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::pace::{self, Said};
use crate::serve::Signals;

/// Opens what blocks meanwhile.
pub(crate) async fn opened<T: Send + 'static>(
    open: impl FnOnce() -> skyweir_store::Result<T> + Send + 'static,
) -> Result<T> {
    Ok(spawn_blocking(open).await.context("opening the data directory")??)
}

/// Waits for what is at work, says how far it is, and hands on that it shall stop.
pub(crate) struct Attended<'a> {
    signals: Signals,
    pub(crate) stop: CancellationToken,
    bar: Option<&'a ProgressBar>,
}

impl<'a> Attended<'a> {
    /// From now on a signal stops what is at work. How far it is says the bar, else the log.
    pub(crate) fn new(bar: Option<&'a ProgressBar>) -> Result<Self> {
        Ok(Self { signals: Signals::new()?, stop: CancellationToken::new(), bar })
    }

    /// `None` when it was stopped before.
    pub(crate) async fn until_stopped<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let stop = self.stop.clone();
        self.attend(stop.run_until_cancelled(work), || None).await
    }

    /// Does it to its end; it has to look at `stop` by itself.
    pub(crate) async fn attend<T>(
        &mut self,
        work: impl Future<Output = T>,
        say: impl FnMut() -> Option<Said>,
    ) -> T {
        let mut work = std::pin::pin!(pace::beside(self.bar, say, work));
        loop {
            tokio::select! {
                ended = &mut work => return ended,
                signal = self.signals.next() => {
                    info!(signal, "stopping");
                    self.stop.cancel();
                }
            }
        }
    }
}
