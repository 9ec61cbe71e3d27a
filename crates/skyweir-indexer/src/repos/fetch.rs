//! One repository after the other: asked for as often as it takes, taken apart as it comes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use skyweir_types::{AccountStatus, Body, Clock, Did, Event, RecordOp, Tid};
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::held::{Held, Hold};
use super::hosts::{Host, elsewhere};
use super::list::encoded;
use super::place::Common;
use super::{CarReader, Found, Pass, RepoFault, RepoWalk};
use crate::Skip;
use crate::archive::http::{Answer, Failure};
use crate::decode::{AHEAD_US, UNKNOWN_TIME, put};
use crate::source::{Backoff, Error, Frame, FrameSender, SourceConfig, Stream};

/// Ends whatever resync is under way: no rev is above it.
pub(super) const ANY: Tid = Tid(u64::MAX);
/// More events than these are handed on; a group has many of them.
const BATCH: usize = 16;
/// No more are handed on at a time.
const MOST_BATCH: usize = 256;

/// What the downloads of a page share.
pub(super) struct Shared {
    pub(super) stream: Stream,
    pub(super) config: SourceConfig,
    pub(super) clock: Clock,
    pub(super) common: Common,
    pub(super) out: FrameSender,
    /// The time of what is said of accounts: what the live stream tells of them later counts, whatever our clock says.
    /// None where that stream tells all of it.
    pub(super) accounts_us: Option<i64>,
    /// The downloads of hosts of accounts, and how many each of them may have.
    pub(super) held: Held,
    pub(super) most_held: usize,
    /// Events handed on so far.
    pub(super) events: AtomicU64,
}

/// What became of a repository.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Read, or known to be hidden.
    Done,
    /// It can't be had now: as what that is counted, why, and the pause that its own host wants, if that is why.
    Later(Skip, String, Option<Pause>),
    /// Its own host has as many downloads as it may.
    Taken(String),
}

/// A host wants to be left alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pause {
    pub(super) until: Instant,
    /// Whether the account was asked for before, in vain.
    pub(super) is_again: bool,
}

/// Why there is no use in going on with others.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Failed(String),
    /// Nobody takes it.
    Unheard,
}

/// Why a reading ended early.
enum Trouble {
    Closed(Instant, String),
    Taken(String),
    Http(Failure),
    Fault(RepoFault),
    Unheard,
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Http(failure)
    }
}

impl From<RepoFault> for Trouble {
    fn from(fault: RepoFault) -> Self {
        Self::Fault(fault)
    }
}

/// Who downloads; of use for one repository after the other.
pub(super) struct Fetcher {
    home: Host,
    /// Where the last account was that isn't at home: kept for others once its answer is read.
    away: Option<Host>,
    /// Whether the last question went there.
    is_away: bool,
    /// The download at the other host.
    hold: Option<Hold>,
    backoff: Backoff,
}

impl Shared {
    pub(super) async fn send(&self, events: Vec<Event>, skipped: Vec<Skip>) -> Result<(), Stop> {
        self.events.fetch_add(events.len() as u64, Relaxed);
        let frame = Frame { position: None, time_us: UNKNOWN_TIME, events, skipped };
        self.out.send(frame).await.map_err(|_| Stop::Unheard)
    }

    /// What is known of an account, if that isn't told otherwise.
    pub(super) fn account(&self, did: &Did, status: AccountStatus) -> Option<Event> {
        let time_us = self.accounts_us?;
        Some(Event { did: did.clone(), time_us, body: Body::Account(status) })
    }
}

impl Fetcher {
    pub(super) fn new(shared: &Shared, seed: u64) -> Result<Self, Error> {
        let home = Host::new(&shared.stream, &shared.config, &shared.common.gates, &shared.clock)?;
        let backoff = Backoff::new(&shared.config, seed);
        Ok(Self { home, away: None, is_away: false, hold: None, backoff })
    }

    /// Hands on the repository of an account. A host that doesn't answer at all, or has no time, is asked for ever, as
    /// long as it is the source's own; everything else some times. One older than `wanted`, which is the account's mark,
    /// is no use. What can't be had ends that mark, whichever it is if none is named; but what may pass leaves one that
    /// is named, and isn't tried again here.
    pub(super) async fn repository(
        &mut self,
        shared: &Shared,
        did: &Did,
        wanted: Option<Tid>,
    ) -> Result<Outcome, Stop> {
        let outcome = self.attempts(shared, did, wanted).await;
        self.hold = None;
        outcome
    }

    async fn attempts(&mut self, shared: &Shared, did: &Did, wanted: Option<Tid>) -> Result<Outcome, Stop> {
        let (mut pass, mut rev, mut attempts) = (Pass::Only, wanted.unwrap_or(Tid::ZERO), 0);
        let stays = |skip| wanted.is_some() && skip == Skip::RepoUnreachable;
        let over = async |skip, rev: Tid| match wanted {
            _ if stays(skip) => Ok(()),
            Some(wanted) => end(shared, did, wanted.max(rev), false).await,
            None => end(shared, did, ANY, false).await,
        };
        self.backoff.reset();
        loop {
            let (skip, why) = match self.whole(shared, did, pass, &mut rev).await {
                Ok(()) => {
                    end(shared, did, rev, true).await?;
                    return Ok(Outcome::Done);
                }
                Err(Trouble::Unheard) => return Err(Stop::Unheard),
                Err(Trouble::Taken(authority)) => return Ok(Outcome::Taken(authority)),
                Err(Trouble::Closed(until, why)) => {
                    over(Skip::RepoUnreachable, rev).await?;
                    let is_again = attempts > 0 || pass != Pass::Only;
                    let pause = Pause { until, is_again };
                    return Ok(Outcome::Later(Skip::RepoUnreachable, why, Some(pause)));
                }
                Err(Trouble::Fault(fault)) if pass == Pass::Only && fault.needs_two_passes() => {
                    pass = Pass::Tree;
                    continue;
                }
                Err(Trouble::Fault(fault)) => (fault.skip(), fault.to_string()),
                Err(Trouble::Http(Failure::NoRepository { error, why })) => {
                    over(Skip::RepoNotFound, rev).await?;
                    if error == "RepoNotFound" {
                        return Ok(Outcome::Later(Skip::RepoNotFound, why, None));
                    }
                    let hidden = shared.account(did, AccountStatus::Hidden);
                    shared.send(Vec::from_iter(hidden), Vec::new()).await?;
                    return Ok(Outcome::Done);
                }
                Err(Trouble::Http(Failure::Passing(why, _))) => {
                    // who is to be read anew keeps its mark, and lets others have the download
                    if wanted.is_none() && !self.is_away && !self.home.answered() {
                        warn!(reason = %why, "host doesn't answer, asking again");
                        sleep(self.backoff.pause()).await;
                        continue;
                    }
                    (Skip::RepoUnreachable, why)
                }
                Err(Trouble::Http(Failure::Refused(why))) if !self.is_away && self.home.lacks_method() => {
                    return Err(Stop::Failed(format!(
                        "{why}: it sends no repositories; name another with --from"
                    )));
                }
                Err(Trouble::Http(failure)) => {
                    over(Skip::RepoUnreachable, rev).await?;
                    return Ok(Outcome::Later(Skip::RepoUnreachable, failure.why(), None));
                }
            };
            attempts += 1;
            if attempts >= shared.config.archive_attempts || stays(skip) {
                over(skip, rev).await?;
                return Ok(Outcome::Later(skip, why, None));
            }
            sleep(self.backoff.pause()).await;
        }
    }

    /// All readings that it takes. `rev` is the least that may come, and becomes that of the last resync that was
    /// begun.
    async fn whole(&mut self, shared: &Shared, did: &Did, pass: Pass, rev: &mut Tid) -> Result<(), Trouble> {
        let mut walk = RepoWalk::new(pass, shared.config.repo_held_bytes);
        self.reading(shared, did, &mut walk, rev).await?;
        if pass == Pass::Tree {
            self.reading(shared, did, &mut walk, rev).await?;
        }
        Ok(())
    }

    /// Reads the repository once.
    async fn reading(
        &mut self,
        shared: &Shared,
        did: &Did,
        walk: &mut RepoWalk,
        rev: &mut Tid,
    ) -> Result<(), Trouble> {
        let mut answer = self.ask(shared, did).await?;
        let (now_us, most) = (shared.clock.now_micros(), shared.config.repo_bytes);
        let (mut car, mut found, mut length) = (CarReader::default(), Vec::new(), 0);
        let mut batch = Batch { shared, did, now_us, events: Vec::new(), skipped: Vec::new() };
        let (mut is_begun, mut is_known) = (false, false);
        while let Some(bytes) = answer.chunk().await? {
            length += bytes.len() as u64;
            if length > most {
                return Err(RepoFault::TooLong { most }.into());
            }
            car.feed(&bytes);
            while let Some((cid, block)) = car.next_block()? {
                if let Some(root) = car.root().filter(|_| !is_begun) {
                    walk.begin(root)?;
                    is_begun = true;
                }
                walk.block(cid, block, &mut found)?;
                if let Some(commit) = walk.commit().filter(|_| !is_known) {
                    // at the same rev a second time it is a replay
                    batch.begin(&commit.did, *rev, commit.rev)?;
                    (*rev, is_known) = (commit.rev, true);
                }
                if is_known {
                    found.drain(..).for_each(|record| batch.take(record, *rev));
                }
                batch.send(BATCH).await?;
            }
        }
        car.end()?;
        walk.end()?;
        batch.skipped.extend(walk.skipped());
        batch.send(0).await
    }

    /// Asks for a repository, also where the host sends us on: once, as no account is in three places.
    async fn ask(&mut self, shared: &Shared, did: &Did) -> Result<Answer, Trouble> {
        let call = format!("getRepo?did={}", encoded(did.as_str()));
        (self.is_away, self.hold) = (false, None);
        if let Some(host) = self.away.take() {
            shared.common.kept.keep(host);
        }
        let (why, to) = match self.home.get(&call).await {
            Err(Failure::Elsewhere { why, to }) => (why, to),
            answer => return Ok(answer?),
        };
        let Some(stream) = elsewhere(&to, self.home.stream()) else {
            return Err(Failure::Refused(why).into());
        };
        self.is_away = true;
        self.hold = shared.held.take(stream.authority(), shared.most_held);
        if self.hold.is_none() {
            return Err(Trouble::Taken(stream.authority().to_owned()));
        }
        let host = match shared.common.kept.take(&stream) {
            Some(host) => host,
            None => self.home.other(&stream).map_err(|error| Failure::Refused(error.to_string()))?,
        };
        let host = self.away.insert(host);
        aside(shared, host, host.closed())?;
        let answer = host.get(&call).await;
        if let Some(until) = host.not_now() {
            aside(shared, host, Some(until))?;
        }
        Ok(answer?)
    }
}

/// Refuses to wait for the host of an account that is down, or wants to be left alone until then.
fn aside(shared: &Shared, host: &Host, until: Option<Instant>) -> Result<(), Trouble> {
    let (attempts, authority) = (shared.config.archive_attempts, host.stream().authority());
    if host.is_down(attempts) {
        let why = format!("{authority} had no answer {attempts} times in a row");
        return Err(Failure::Refused(why).into());
    }
    match until {
        Some(until) => Err(Trouble::Closed(until, format!("{authority} wants to be left alone"))),
        None => Ok(()),
    }
}

fn micros(tid: Tid) -> i64 {
    // 54 bits of microseconds always fit
    i64::try_from(tid.micros()).unwrap_or(i64::MAX)
}

/// Ends the resync that was begun, here or before a kill.
pub(super) async fn end(shared: &Shared, did: &Did, rev: Tid, is_whole: bool) -> Result<(), Stop> {
    let time_us = shared.clock.now_micros();
    let event = Event { did: did.clone(), time_us, body: Body::SyncEnd { rev, is_whole } };
    shared.send(vec![event], Vec::new()).await
}

/// What a repository comes to, on its way.
struct Batch<'a> {
    shared: &'a Shared,
    did: &'a Did,
    /// When it was downloaded.
    now_us: i64,
    events: Vec<Event>,
    skipped: Vec<Skip>,
}

impl Batch<'_> {
    /// The commit is known: it says whose records come, and at which rev they stand.
    fn begin(&mut self, did: &str, least: Tid, rev: Tid) -> Result<(), RepoFault> {
        if did != self.did.as_str() {
            return Err(RepoFault::Commit("it is another account's"));
        }
        let rev_us = micros(rev);
        if rev_us > self.now_us.saturating_add(AHEAD_US) {
            return Err(RepoFault::FutureRev);
        }
        if rev < least {
            return Err(RepoFault::OlderRev);
        }
        // who commits is active: a deletion of before, told again, may not take what comes now
        let active = self.shared.account(self.did, AccountStatus::Active);
        let since = |event: Event| Event { time_us: event.time_us.max(rev_us.min(self.now_us)), ..event };
        self.events.extend(active.map(since));
        self.push(self.now_us, Body::Sync { rev, records_follow: true });
        Ok(())
    }

    /// A record's time is no later than its key says, as in an archive.
    fn take(&mut self, found: Found, rev: Tid) {
        let Found { collection, rkey, cid, bytes } = found;
        let said = Tid::parse(rkey.as_str()).map_or(i64::MAX, micros);
        match put(collection, cid, &bytes) {
            Ok(action) => {
                self.push(self.now_us.min(said), Body::Record(RecordOp { rev, collection, rkey, action }));
            }
            Err(skip) => self.skipped.push(skip),
        }
    }

    fn push(&mut self, time_us: i64, body: Body) {
        self.events.push(Event { did: self.did.clone(), time_us, body });
    }

    /// Hands on what there is, if it is more than this.
    async fn send(&mut self, more_than: usize) -> Result<(), Trouble> {
        if self.events.len() + self.skipped.len() <= more_than {
            return Ok(());
        }
        let skipped = std::mem::take(&mut self.skipped);
        let mut rest = std::mem::take(&mut self.events);
        let sent = async {
            while rest.len() > MOST_BATCH {
                let more = rest.split_off(MOST_BATCH);
                self.shared.send(std::mem::replace(&mut rest, more), Vec::new()).await?;
            }
            self.shared.send(rest, skipped).await
        };
        sent.await.map_err(|_: Stop| Trouble::Unheard)
    }
}
