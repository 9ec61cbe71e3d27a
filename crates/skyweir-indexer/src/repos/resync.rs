//! Accounts that the firehose says have to be read anew (`#sync`): their repositories are fetched while it goes on.
//!
//! Which those are stands in the store, as marks that are saved with the cursor: a kill loses none, and what there is
//! no room for is counted. The ones that are committed while this runs come by a queue; what doesn't fit in is looked
//! for in the store.

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use skyweir_store::Store;
use skyweir_types::{Clock, Did, Tid};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{info, warn};

use super::fetch::{Fetcher, Outcome, Shared, Stop, end};
use super::place::Common;
use crate::metrics;
use crate::source::{Backoff, FrameSender, SourceConfig, Stream};

/// So many accounts are known to wait; more are looked for in the store.
const MOST: usize = 1_000;

/// Who is told which accounts to read anew, once that is committed.
pub(crate) struct Asker {
    to: mpsc::Sender<Did>,
    missed: Arc<AtomicBool>,
}

impl Asker {
    pub(crate) fn ask(&self, did: &Did) {
        if self.to.try_send(did.clone()).is_err() {
            self.missed.store(true, Relaxed);
        }
    }
}

/// What an account's download leaves; no outcome if it had no mark any more. The rev is that of its mark.
type Download = (Did, Fetcher, Option<(Tid, Result<Outcome, Stop>)>);

/// Fetches them.
pub(crate) struct Resync {
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
    asked: mpsc::Receiver<Did>,
    /// The store has marks that aren't in `waiting`.
    missed: Arc<AtomicBool>,
    waiting: VecDeque<Did>,
    /// Whose repositories are being fetched: side by side, two of one would be in each other's way.
    fetched: HashSet<Did>,
    idle: Vec<Fetcher>,
    running: JoinSet<Download>,
}

impl Resync {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        stream: Stream,
        config: SourceConfig,
        clock: Clock,
        out: FrameSender,
    ) -> (Asker, Self) {
        let (to, asked) = mpsc::channel(MOST);
        // there may be some from before
        let missed = Arc::new(AtomicBool::new(true));
        let asker = Asker { to, missed: missed.clone() };
        let common = Common::default();
        // what becomes of accounts is told by the firehose
        let (accounts_us, events) = (None, AtomicU64::new(0));
        let shared =
            Arc::new(Shared { stream, config, clock, common, out, accounts_us, puts_aside: false, events });
        let (waiting, fetched, idle) = (VecDeque::new(), HashSet::new(), Vec::new());
        let resync = Self { store, shared, asked, missed, waiting, fetched, idle, running: JoinSet::new() };
        (asker, resync)
    }

    /// Runs until it is dropped.
    pub(crate) async fn run(mut self) -> Infallible {
        while self.step().await != Err(Stop::Unheard) {}
        pending().await
    }

    async fn step(&mut self) -> Result<(), Stop> {
        if self.waiting.is_empty() && self.missed.swap(false, Relaxed) {
            self.look().await;
        }
        while self.running.len() < self.shared.config.resync_downloads
            && let Some(next) = self.waiting.iter().position(|did| !self.fetched.contains(did))
            && let Some(did) = self.waiting.remove(next)
        {
            self.begin(did);
        }
        tokio::select! {
            Some(did) = self.asked.recv(), if self.waiting.len() < MOST => {
                if !self.waiting.contains(&did) {
                    self.waiting.push_back(did);
                }
                Ok(())
            }
            Some(ended) = self.running.join_next() => match ended {
                Ok(download) => self.ended(download).await,
                Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
                Err(_) => Err(Stop::Unheard),
            },
            else => Err(Stop::Unheard),
        }
    }

    /// Looks for marks in the store.
    async fn look(&mut self) {
        let marked = async {
            let view = self.store.view().await?;
            let actors: Vec<_> = view.sync_marks(MOST).await?.into_iter().map(|(actor, _)| actor).collect();
            view.dids(&actors).await
        };
        match marked.await {
            Ok(dids) => {
                self.missed.fetch_or(dids.len() == MOST, Relaxed);
                self.waiting.extend(dids);
            }
            Err(error) => {
                warn!(%error, "accounts to be read anew can't be looked for, later again");
                self.missed.store(true, Relaxed);
            }
        }
    }

    fn begin(&mut self, did: Did) {
        let shared = self.shared.clone();
        let seed = shared.clock.now_micros().unsigned_abs().wrapping_add(self.running.len() as u64);
        let made = self.idle.pop().map_or_else(|| Fetcher::new(&shared, seed), Ok);
        let mut fetcher = match made {
            Ok(fetcher) => fetcher,
            // it stays marked: the next start tries again
            Err(error) => return warn!(%error, "no repository can be fetched"),
        };
        self.fetched.insert(did.clone());
        let (store, backoff) = (self.store.clone(), Backoff::new(&shared.config, seed));
        self.running.spawn(async move {
            let outcome = match marked(store.as_ref(), &did, backoff).await {
                Some(rev) => Some((rev, fetcher.repository(&shared, &did, Some(rev)).await)),
                None => None,
            };
            (did, fetcher, outcome)
        });
    }

    async fn ended(&mut self, (did, fetcher, outcome): Download) -> Result<(), Stop> {
        self.idle.push(fetcher);
        self.fetched.remove(&did);
        let Some((rev, outcome)) = outcome else { return Ok(()) };
        match outcome {
            Ok(Outcome::Done) => {
                metrics::resynced("done");
                info!(did = did.as_str(), "repository was read anew");
                Ok(())
            }
            Ok(Outcome::Later(skip, why, _)) => {
                metrics::resynced("failed");
                warn!(did = did.as_str(), reason = %why, "repository can't be read anew, and stays as it was");
                self.shared.send(Vec::new(), vec![skip]).await
            }
            Err(Stop::Failed(why)) => {
                metrics::resynced("failed");
                warn!(did = did.as_str(), reason = %why, "repository can't be read anew, and stays as it was");
                end(&self.shared, &did, rev, false).await
            }
            Err(Stop::Unheard) => Err(Stop::Unheard),
        }
    }
}

/// The rev of an account's mark, if it still has one: it may have been read since it was asked for. In a view, as who
/// asks has no part in commits.
async fn marked(store: &dyn Store, did: &Did, mut backoff: Backoff) -> Option<Tid> {
    loop {
        let read = async {
            let view = store.view().await?;
            match view.actor(did).await? {
                Some(actor) => view.sync_mark(actor).await,
                None => Ok(None),
            }
        };
        match read.await {
            Ok(mark) => return mark.map(|mark| mark.rev),
            Err(error) => warn!(%error, "the mark of an account to be read anew can't be read, later again"),
        }
        sleep(backoff.pause()).await;
    }
}
