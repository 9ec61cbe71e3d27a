//! From an event's sending until its author's followers see it.

use super::check::Walk;
use super::measure::Seen;
use super::readers::{Reader, Reads};
use super::shared::lock;
use super::world::{Account, Cid, Record, States};
use crate::event::{Body, Event, Operation};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::task::TaskTracker;

/// So many items are watched at a time; others are passed over, and counted.
pub(super) const WATCHED: usize = 32;
/// A page on which a new item has to be.
const PAGE: i32 = 30;
/// The first pause between two questions, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));
/// The budget of so long may be used at once.
const BURST: Duration = Duration::from_secs(1);
/// An item whose author's clock is off by more than this, in milliseconds, isn't at the top.
const HONEST_MS: i64 = 5_000;

/// Asks the followers of some items when they see them.
pub(super) struct Visibility {
    reads: Reads,
    tasks: TaskTracker,
    budget: Budget,
    /// Ordinary posts so far.
    posts: AtomicU64,
    /// Posts that would have been watched, had there been room.
    passed_over: AtomicU64,
}

/// Questions no more often than so many a second.
struct Budget {
    next: Mutex<Instant>,
    gap: Duration,
}

impl Budget {
    async fn slot(&self) {
        let at = {
            let mut next = lock(&self.next);
            // what wasn't used lately may be used at once: a post is asked about by many at its beginning
            let at = (*next).max(Instant::now() - BURST);
            *next = at + self.gap;
            at
        };
        sleep_until(at).await;
    }
}

/// An item that is being watched.
struct Watched {
    uri: String,
    record: Record,
    cid: Cid,
    sent: Instant,
}

impl Visibility {
    pub(super) fn new(reads: Reads) -> Self {
        let gap = Duration::from_secs_f64(1.0 / reads.options.polls_per_second);
        let budget = Budget { next: Mutex::new(Instant::now()), gap };
        let (posts, passed_over) = Default::default();
        Self { reads, tasks: TaskTracker::new(), budget, posts, passed_over }
    }

    /// Whether followers are to be asked about this event: always for a celebrity's, now and then for other posts.
    pub(super) fn wants(&self, event: &Event, celebrity: bool) -> bool {
        let post = matches!(&event.body, Body::Commit { operation: Operation::Create, collection, .. }
            if collection == "app.bsky.feed.post");
        if !post {
            return false;
        }
        let one_in = self.reads.options.watch_one_in;
        let in_turn = || (self.posts.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(one_in);
        let wanted = celebrity || one_in > 0 && in_turn();
        let room = self.tasks.len() < WATCHED;
        self.passed_over.fetch_add(u64::from(wanted && !room), Ordering::Relaxed);
        wanted && room
    }

    /// How many posts would have been watched, had there been room.
    pub(super) fn passed_over(&self) -> u64 {
        self.passed_over.load(Ordering::Relaxed)
    }

    /// Asks, from now on: the event was sent just now.
    pub(super) fn watch(self: &std::sync::Arc<Self>, event: &Event, celebrity: bool) {
        let sent = Instant::now();
        let Body::Commit { collection, rkey, cid: Some(cid), .. } = &event.body else { return };
        let names = Account::of(&event.did)
            .and_then(|account| Some((Record::new(account, collection, rkey)?, Cid::of(cid)?)));
        let Some((record, cid)) = names else { return };
        let limit = self.reads.options.reasonable_limit as usize;
        let followers = {
            let world = self.reads.shared.world();
            let honest = world
                .version(record, cid)
                .is_some_and(|item| (event.time_us / 1_000) as i64 - item.place.sort_at < HONEST_MS);
            if honest { world.followers(record.author, limit) } else { Vec::new() }
        };
        if followers.is_empty() {
            return;
        }
        // any of them are as good as others: accounts were drawn, and a follower's place among them says nothing
        let step = followers.len().div_ceil(self.reads.options.sampled_followers.max(1));
        let asked: Vec<Account> = followers.into_iter().step_by(step).collect();
        let uri = format!("at://{}/{collection}/{rkey}", event.did);
        let (this, item) = (self.clone(), Watched { uri, record, cid, sent });
        self.tasks.spawn(async move { this.ask(item, asked, celebrity).await });
    }

    /// Waits until no question is open.
    pub(super) async fn drained(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }

    async fn ask(&self, item: Watched, followers: Vec<Account>, celebrity: bool) {
        let asked = followers.iter().map(|follower| self.follower(&item, *follower));
        let answers = futures::future::join_all(asked).await;
        let mut after: Vec<Duration> =
            answers.iter().filter_map(|answer| answer.as_ref().ok().copied()).collect();
        after.sort_unstable();
        let never = answers.iter().filter(|answer| matches!(answer, Err(Unseen::Never))).count();
        if !after.is_empty() || never > 0 {
            lock(&self.reads.shared.seen).push(Seen { celebrity, after, never });
        }
    }

    async fn follower(&self, item: &Watched, follower: Account) -> Result<Duration, Unseen> {
        let Some(reader) = self.reads.crowd.of(follower) else { return Err(Unseen::Void) };
        let patience = Duration::from_secs_f64(self.reads.options.visible_timeout);
        match timeout(patience, self.until_seen(item, follower, reader)).await {
            Ok(Some(after)) => Ok(after),
            Ok(None) => Err(Unseen::Void),
            Err(_) => Err(Unseen::Never),
        }
    }

    /// The time after which it was on the follower's page; nothing if it needn't be there any more.
    async fn until_seen(&self, item: &Watched, follower: Account, reader: &Reader) -> Option<Duration> {
        let shared = &self.reads.shared;
        let (mut pause, mut judged) = (PAUSE.0, false);
        loop {
            self.budget.slot().await;
            let first = shared.settled();
            let page = self.reads.client.page(&reader.did, PAGE, "").await;
            let after = item.sent.elapsed();
            if let Err(status) = &page {
                lock(&shared.latencies).failed(status);
            }
            if let Ok(page) = page {
                let world = shared.world();
                let states = shared.states_since(first, &world);
                // one page of each follower is compared: all of them would take from what is measured
                let mut walk = Walk::new(follower, self.reads.options.reasonable_limit as usize);
                let faults = (!judged).then(|| walk.page(&world, states, &page));
                let seen = page.items.iter().any(|shown| shown.uri == item.uri && !shown.is_repost);
                let now = States { first: states.last, last: states.last };
                let known = world.version(item.record, item.cid);
                let wanted = known.is_some_and(|known| world.may_show(follower, known, now).is_ok());
                let passed = page.items.len() == PAGE as usize
                    && page
                        .items
                        .last()
                        .zip(known)
                        .is_some_and(|(last, known)| last.sort_at > known.place.sort_at);
                drop(world);
                if let Some(faults) = faults {
                    shared.judged(&reader.did, &faults);
                    judged = true;
                }
                if seen {
                    return Some(after);
                }
                if !wanted || passed {
                    return None;
                }
            }
            sleep(pause).await;
            pause = pause.mul_f64(1.5).min(PAUSE.1);
        }
    }
}

/// Why nothing was measured.
enum Unseen {
    /// It didn't come within the patience.
    Never,
    /// It needn't come: deleted, unfollowed, or already below the page.
    Void,
}
