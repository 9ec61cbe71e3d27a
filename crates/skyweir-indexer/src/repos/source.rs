//! A page of accounts as a source: their repositories side by side, handed on as they come. The place moves past an
//! account when all before it are done.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use skyweir_types::{AccountStatus, Clock};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::warn;

use super::Page;
use super::fetch::{ANY, Fetcher, Outcome, Shared, Stop, end};
use super::held::Held;
use super::place::Progress;
use crate::Skip;
use crate::decode::UNKNOWN_TIME;
use crate::source::{ArchiveProgress, Ended, Error, Frame, FrameSender, SourceConfig, SourceStatus, StartAt};

/// What a download leaves: which account it was for, who did it, and how it ended.
type Download = (usize, Fetcher, Result<Outcome, Stop>);

struct Reading<'a> {
    page: &'a Page,
    shared: Arc<Shared>,
    status: &'a SourceStatus,
    /// Which accounts are done, and whether nothing of them is missing.
    done: Vec<Option<bool>>,
    /// All before this one are done.
    reached: Progress,
    idle: Vec<Fetcher>,
    /// How many were made.
    made: u64,
    running: JoinSet<Download>,
    /// Those that couldn't be had, and are tried once more at the end.
    later: VecDeque<usize>,
    /// How many can't be had at all, and why the last one can't.
    missing: (usize, String),
}

/// Hands on all accounts of a page that are behind the start.
pub(crate) async fn run(
    page: &Page,
    config: &SourceConfig,
    clock: &Clock,
    start: StartAt,
    out: &FrameSender,
    status: &SourceStatus,
) -> Result<Ended, Error> {
    let before = status.snapshot().archive.unwrap_or_default().events;
    let shared = Arc::new(Shared {
        stream: page.stream.clone(),
        config: config.clone(),
        clock: clock.clone(),
        common: page.common.clone(),
        out: out.clone(),
        accounts_us: Some(page.place.time_us),
        held: Held::default(),
        most_held: config.repo_downloads,
        events: AtomicU64::new(before),
    });
    let reached = page.progress(start.done());
    let done = (0..page.accounts.len()).map(|account| (account < reached.done).then_some(true)).collect();
    status.connected();
    let mut reading = Reading {
        page,
        shared,
        status,
        done,
        reached,
        idle: Vec::new(),
        made: 0,
        running: JoinSet::new(),
        later: VecDeque::new(),
        missing: (page.unknown, "it is listed under a DID that can't be read".to_owned()),
    };
    match reading.all().await {
        Ok(()) => Ok(Ended::EndOfFile),
        Err(Stop::Unheard) => Ok(Ended::Stopped),
        Err(Stop::Failed(why)) => Err(Error::Repositories { host: page.stream.authority().to_owned(), why }),
    }
}

impl Reading<'_> {
    async fn all(&mut self) -> Result<(), Stop> {
        if self.reached.done == 0 && self.page.nameless > 0 {
            let nameless = vec![Skip::BadDid; self.page.nameless];
            self.shared.send(Vec::new(), nameless).await?;
        }
        self.progress();
        let waiting = (self.reached.done..self.page.accounts.len()).collect();
        self.round(waiting, false).await?;
        let later = std::mem::take(&mut self.later);
        self.round(later, true).await?;
        let (missing, why) = &self.missing;
        if *missing > 0 {
            warn!(
                repositories = missing, last.reason = %why,
                "repositories can't be had, and what is in them is not known"
            );
        }
        Ok(())
    }

    async fn round(&mut self, mut waiting: VecDeque<usize>, is_last: bool) -> Result<(), Stop> {
        let mut paused: Vec<(Instant, usize)> = Vec::new();
        // how often an account was asked for in vain before its host wanted to be left alone
        let mut in_vain: HashMap<usize, u32> = HashMap::new();
        // for nothing but pauses
        let mut patience = self.shared.config.archive_patience();
        loop {
            let now = Instant::now();
            waiting.extend(paused.extract_if(.., |(until, _)| *until <= now).map(|(_, account)| account));
            while self.running.len() < self.shared.config.repo_downloads
                && let Some(account) = waiting.pop_front()
            {
                self.begin(account).await?;
            }
            let next = paused.iter().map(|(until, _)| *until).min();
            let ended = match next {
                Some(until) if self.running.is_empty() => {
                    let since = Instant::now();
                    sleep(until.saturating_duration_since(since).min(patience)).await;
                    patience = patience.saturating_sub(since.elapsed());
                    if patience.is_zero() {
                        for (_, account) in paused.drain(..) {
                            let why = "its host wants to be left alone again and again".to_owned();
                            self.put_off(account, Skip::RepoUnreachable, why, is_last).await?;
                        }
                    }
                    continue;
                }
                Some(until) if self.running.len() < self.shared.config.repo_downloads => tokio::select! {
                    ended = self.running.join_next() => ended,
                    () = sleep_until(until) => continue,
                },
                _ => self.running.join_next().await,
            };
            let (account, fetcher, outcome) = match ended {
                None => return Ok(()),
                Some(Ok(download)) => download,
                // its account may not be passed over
                Some(Err(failed)) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
                Some(Err(_)) => return Err(Stop::Unheard),
            };
            self.idle.push(fetcher);
            match outcome? {
                Outcome::Done => self.done(account, true).await?,
                Outcome::Taken(_) => waiting.push_back(account),
                Outcome::Later(skip, why, pause) => {
                    // it comes back as a new one: one that is asked for in vain doesn't do so for ever
                    let vain = in_vain.entry(account).or_insert(0);
                    *vain += u32::from(pause.is_some_and(|pause| pause.is_again));
                    match pause.filter(|_| *vain < self.shared.config.archive_attempts) {
                        // a host that says so too often is taken for down, and patience ends
                        Some(pause) => paused.push((pause.until, account)),
                        None => self.put_off(account, skip, why, is_last).await?,
                    }
                }
            }
        }
    }

    /// An account can't be had: it is tried once more at the end, or passed over. Only what is there can be missing.
    async fn put_off(&mut self, account: usize, skip: Skip, why: String, is_last: bool) -> Result<(), Stop> {
        if !is_last {
            self.later.push_back(account);
            return Ok(());
        }
        // deleted or moved since it was listed, which the firehose tells: there is nothing to be had
        let is_had = skip == Skip::RepoNotFound;
        if !is_had {
            self.missing = (self.missing.0 + 1, why);
        }
        self.shared.send(Vec::new(), vec![skip]).await?;
        self.done(account, is_had).await
    }

    async fn begin(&mut self, account: usize) -> Result<(), Stop> {
        let (listed, shared) = (&self.page.accounts[account], self.shared.clone());
        if listed.status != AccountStatus::Active {
            // one that was being read before a kill may have ended in this
            end(&shared, &listed.did, ANY, false).await?;
            let event = shared.account(&listed.did, listed.status);
            shared.send(Vec::from_iter(event), Vec::new()).await?;
            return self.done(account, true).await;
        }
        let mut fetcher = match self.idle.pop() {
            Some(idle) => idle,
            None => {
                self.made += 1;
                let seed = shared.clock.now_micros().unsigned_abs().wrapping_add(self.made);
                Fetcher::new(&shared, seed).map_err(|error| Stop::Failed(error.to_string()))?
            }
        };
        let did = listed.did.clone();
        self.running.spawn(async move {
            let outcome = fetcher.repository(&shared, &did, None).await;
            (account, fetcher, outcome)
        });
        Ok(())
    }

    /// All that an account has is handed on: the place may move.
    async fn done(&mut self, account: usize, is_had: bool) -> Result<(), Stop> {
        self.done[account] = Some(is_had);
        let before = self.reached;
        while let Some(Some(is_had)) = self.done.get(self.reached.done) {
            self.reached.done += 1;
            self.reached.missing += usize::from(!is_had);
        }
        if self.reached != before {
            let position = Some(self.page.position(self.reached));
            let frame = Frame { position, time_us: UNKNOWN_TIME, events: Vec::new(), skipped: Vec::new() };
            self.shared.out.send(frame).await.map_err(|_| Stop::Unheard)?;
        }
        self.progress();
        Ok(())
    }

    fn progress(&self) {
        let reached = self.page.place.done + self.reached.done as u64;
        self.status.archive(ArchiveProgress { reached, tip: 0, events: self.shared.events.load(Relaxed) });
        self.status.frame(self.shared.clock.now_micros());
    }
}
