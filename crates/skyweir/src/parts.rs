//! The running parts of the service: each a task with a stop of its own, stopped in a fixed order.

use std::future::Future;

use anyhow::{Context, Result, anyhow};
use tokio::runtime::Handle;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// Parts, in the order in which they stop. Dropping them ends their tasks.
#[derive(Default)]
pub(crate) struct Parts {
    running: Vec<Part>,
    tasks: JoinSet<Result<()>>,
}

struct Part {
    id: Id,
    name: &'static str,
    stop: CancellationToken,
}

impl Parts {
    /// Starts a part on a runtime; it stops after those that were started before it.
    pub(crate) fn start<F, E>(
        &mut self,
        name: &'static str,
        on: &Handle,
        run: impl FnOnce(CancellationToken) -> F,
    ) where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<anyhow::Error>,
    {
        let stop = CancellationToken::new();
        let work = run(stop.clone());
        let task = self.tasks.spawn_on(async move { work.await.map_err(Into::into) }, on);
        self.running.push(Part { id: task.id(), name, stop });
    }

    /// Waits until a part ends: its name.
    ///
    /// # Errors
    /// Its own, or that it panicked.
    pub(crate) async fn ended(&mut self) -> Result<&'static str> {
        let Some(joined) = self.tasks.join_next_with_id().await else { return std::future::pending().await };
        let (id, result) = match joined {
            Ok((id, result)) => (id, result),
            Err(failed) => (failed.id(), Err(anyhow!("it panicked, see above"))),
        };
        let at = self.running.iter().position(|part| part.id == id);
        let name = at.map_or("a part", |at| self.running.remove(at).name);
        debug!(part = name, "ended");
        result.with_context(|| format!("{name} failed")).map(|()| name)
    }

    /// Stops all parts, one after the other.
    ///
    /// # Errors
    /// The first one's; the others are stopped all the same.
    pub(crate) async fn stop(&mut self) -> Result<()> {
        let mut outcome = Ok(());
        while let Some(next) = self.running.first() {
            let id = next.id;
            next.stop.cancel();
            while self.running.iter().any(|part| part.id == id) {
                outcome = outcome.and(self.ended().await.map(|_| ()));
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use anyhow::bail;

    use super::*;

    #[tokio::test]
    async fn parts_stop_in_their_order() {
        let (mut parts, order) = (Parts::default(), Arc::new(Mutex::new(Vec::new())));
        for name in ["first", "second", "third"] {
            let order = order.clone();
            parts.start(name, &Handle::current(), |stop| async move {
                stop.cancelled().await;
                order.lock().unwrap().push(name);
                if name == "second" { bail!("no luck") } else { Ok(()) }
            });
        }
        let error = parts.stop().await.unwrap_err();
        assert_eq!(format!("{error:#}"), "second failed: no luck");
        assert_eq!(*order.lock().unwrap(), ["first", "second", "third"]);
    }

    #[tokio::test]
    async fn a_panic_is_an_end() {
        let mut parts = Parts::default();
        parts.start("it", &Handle::current(), |_| async {
            if true { panic!("on purpose") } else { anyhow::Ok(()) }
        });
        let error = parts.ended().await.unwrap_err();
        assert_eq!(format!("{error:#}"), "it failed: it panicked, see above");
    }
}
