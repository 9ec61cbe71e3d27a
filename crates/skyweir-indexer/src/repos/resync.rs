//! Accounts that the firehose says have to be read anew (`#sync`): their repositories are fetched while it goes on.
//!
//! Which those are stands in the store, as marks that are saved with the cursor: a kill loses none, and what there is
//! no room for is counted. The ones that are committed while this runs come by a queue; what doesn't fit in is looked
//! for in the store. Who can't be had now keeps the mark, and is asked for again, with pauses that grow.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use skyweir_store::Store;
use skyweir_types::{Clock, Did, Tid};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

use super::fetch::{Fetcher, Outcome, Shared, Stop};
use super::held::Held;
use super::place::Common;
use super::turns::Turns;
use crate::apply::SYNCS_MOST;
use crate::source::{Backoff, FrameSender, SourceConfig, Stream};
use crate::{Skip, metrics};

/// So many accounts may be told at a time; more are looked for in the store.
const MOST_TOLD: usize = 1_000;

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
type Download = (Did, Fetcher, Option<Result<Outcome, Stop>>);

/// Fetches them.
pub(crate) struct Resync {
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
    asked: mpsc::Receiver<Did>,
    /// The store has marks that aren't in `turns`.
    missed: Arc<AtomicBool>,
    turns: Turns,
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
        let (to, asked) = mpsc::channel(MOST_TOLD);
        // there may be some from before
        let missed = Arc::new(AtomicBool::new(true));
        let asker = Asker { to, missed: missed.clone() };
        let common = Common::default();
        // what becomes of accounts is told by the firehose
        let (accounts_us, events) = (None, AtomicU64::new(0));
        let turns = Turns::new(config.resync_pause(), config.backoff_least());
        // one for the others
        let (held, most_held) = (Held::default(), config.resync_downloads.saturating_sub(1).max(1));
        let shared =
            Arc::new(Shared { stream, config, clock, common, out, accounts_us, held, most_held, events });
        let (idle, running) = (Vec::new(), JoinSet::new());
        let resync = Self { store, shared, asked, missed, turns, idle, running };
        (asker, resync)
    }

    /// Runs until it is dropped.
    pub(crate) async fn run(mut self) -> Infallible {
        while self.step().await != Err(Stop::Unheard) {}
        pending().await
    }

    async fn step(&mut self) -> Result<(), Stop> {
        if self.turns.has_much_room() && self.missed.swap(false, Relaxed) {
            self.look().await;
        }
        self.turns.unpark(|host| self.shared.held.has_room(host, self.shared.most_held));
        let downloads = self.shared.config.resync_downloads;
        while self.running.len() < downloads
            && let Some(did) = self.turns.next(Instant::now())
        {
            self.begin(did);
        }
        let due = self.turns.due().filter(|_| self.running.len() < downloads);
        tokio::select! {
            Some(did) = self.asked.recv() => {
                self.ask(&did);
                Ok(())
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => Ok(()),
            Some(ended) = self.running.join_next() => match ended {
                Ok(download) => self.ended(download).await,
                Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
                Err(_) => Err(Stop::Unheard),
            },
            else => Err(Stop::Unheard),
        }
    }

    fn ask(&mut self, did: &Did) {
        if !self.turns.ask(did, Instant::now()) {
            self.missed.store(true, Relaxed);
        }
    }

    /// Looks for marks in the store, the oldest first.
    async fn look(&mut self) {
        let marked = async {
            let view = self.store.view().await?;
            let mut marks = view.sync_marks(SYNCS_MOST).await?;
            marks.sort_unstable_by_key(|(_, mark)| mark.since_ms);
            let actors: Vec<_> = marks.into_iter().map(|(actor, _)| actor).collect();
            view.dids(&actors).await
        };
        match marked.await {
            Ok(dids) => dids.iter().for_each(|did| self.ask(did)),
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
            Err(error) => {
                warn!(%error, "no repository can be fetched, later again");
                self.turns.failed(&did, Instant::now(), None);
                return;
            }
        };
        let (store, backoff) = (self.store.clone(), Backoff::new(&shared.config, seed));
        self.running.spawn(async move {
            let outcome = match marked(store.as_ref(), &did, backoff).await {
                Some(rev) => Some(fetcher.repository(&shared, &did, Some(rev)).await),
                None => None,
            };
            (did, fetcher, outcome)
        });
    }

    async fn ended(&mut self, (did, fetcher, outcome): Download) -> Result<(), Stop> {
        self.idle.push(fetcher);
        let now = Instant::now();
        let Some(outcome) = outcome else {
            self.turns.unasked(&did, now);
            return Ok(());
        };
        match outcome {
            Ok(Outcome::Done) => {
                metrics::resynced("done");
                info!(did = did.as_str(), "repository was read anew");
                self.turns.read(&did, now);
                Ok(())
            }
            Ok(Outcome::Taken(host)) => {
                self.turns.park(&did, host);
                Ok(())
            }
            Ok(Outcome::Later(Skip::RepoUnreachable, why, pause)) => {
                self.later(&did, &why, pause.map(|pause| pause.until), now);
                Ok(())
            }
            Ok(Outcome::Later(skip, why, _)) => {
                self.given_up(&did, &why, now);
                self.shared.send(Vec::new(), vec![skip]).await
            }
            // the host sends no repositories at all: for now, as far as can be known
            Err(Stop::Failed(why)) => {
                self.later(&did, &why, None, now);
                Ok(())
            }
            Err(Stop::Unheard) => Err(Stop::Unheard),
        }
    }

    fn later(&mut self, did: &Did, why: &str, until: Option<Instant>, now: Instant) {
        metrics::resynced("later");
        let (failures, pause) = self.turns.failed(did, now, until);
        let (did, pause_s) = (did.as_str(), pause.as_secs());
        if failures == 1 {
            warn!(did, reason = %why, "repository can't be read anew now, asking again until it can");
        } else {
            debug!(did, reason = %why, pause.s = pause_s, "repository can't be read anew yet");
        }
    }

    fn given_up(&mut self, did: &Did, why: &str, now: Instant) {
        metrics::resynced("failed");
        warn!(did = did.as_str(), reason = %why, "repository can't be read anew, and stays as it was");
        self.turns.read(did, now);
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
