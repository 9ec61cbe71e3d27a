//! Reads as an open loop: the clock says when, and waiting counts.

use super::check::Walk;
use super::client::Client;
use super::options::RunOptions;
use super::screen::Screen;
use super::shared::{Shared, lock};
use super::world::{Account, World};
use crate::network::Network;
use crate::prng::Prng;
use anyhow::Context;
use skyweir_proto::skyweir::v1::GetTimelineResponse;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tonic::Code;

/// What is still waiting so long after the phase's end is given up.
const GRACE: Duration = Duration::from_secs(5);
/// Reads that are due and not taken up; then the schedule itself waits, and keeps its times.
const QUEUE: usize = 1_024;
/// How far a reader scrolls at the most.
const PAGES: usize = 50;
/// How often a reader tries that comes for the first time and finds no room, as an AppView does.
const TRIES: u32 = 3;
/// How unevenly readers read: the weight of the n-th is n to the power of minus this.
const SKEW: f64 = 0.8;

mod purpose {
    pub(super) const WHO: u64 = 32;
    pub(super) const SCHEDULE: u64 = 33;
    pub(super) const CHOICE: u64 = 34;
}

/// An account that reads.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) did: String,
    actor: u32,
    /// Set if its pages are compared with what was sent.
    pub(super) checked: Option<Account>,
    /// It follows more than the reasonable limit, as far as the graph says.
    pub(super) lossy: bool,
}

/// All accounts that read, and how often each does.
#[derive(Debug)]
pub(super) struct Crowd {
    pub(super) readers: Vec<Reader>,
    by_account: HashMap<Account, usize>,
    cumulated: Vec<f64>,
}

impl Crowd {
    /// Draws the readers: two mass followers, if there are any, among accounts drawn evenly.
    pub(super) fn draw(network: &Network, options: &RunOptions) -> Self {
        let spec = network.spec();
        let mut prng = Prng::new(spec.seed, purpose::WHO, 0);
        let wanted = options.readers as usize;
        let mass = spec.celebrities..spec.celebrities + spec.mass_followers.min(2);
        let mut actors: Vec<u32> = mass.take(wanted).collect();
        let mass = actors.len();
        let mut known: std::collections::HashSet<u32> = actors.iter().copied().collect();
        while actors.len() < wanted {
            let actor = prng.below(spec.actors.into()) as u32;
            if known.insert(actor) {
                actors.push(actor);
            }
        }
        let limit = options.reasonable_limit as usize;
        let readers: Vec<Reader> = actors
            .iter()
            .enumerate()
            .map(|(at, actor)| {
                let did = network.did(*actor);
                // who reads often comes last; the mass followers are the sampled ones, and checked too
                let often = at + options.checked_readers as usize >= wanted;
                let checked = if often || at < mass { Account::of(&did) } else { None };
                let lossy = network.followees(*actor).len() > limit;
                Reader { lossy, checked, did, actor: *actor }
            })
            .collect();
        let by_account = readers.iter().enumerate().filter_map(|(at, reader)| Some((reader.checked?, at)));
        let mut sum = 0.0;
        let cumulated = (1..=readers.len()).map(|rank| {
            sum += (rank as f64).powf(-SKEW);
            sum
        });
        Self { by_account: by_account.collect(), cumulated: cumulated.collect(), readers }
    }

    /// The accounts whose pages are compared.
    pub(super) fn checked(&self) -> impl Iterator<Item = Account> + '_ {
        self.readers.iter().filter_map(|reader| reader.checked)
    }

    /// Tells whom these accounts follow by the graph, if no event is going to.
    pub(super) fn follows_of_checked(&self, network: &Network, world: &mut World) {
        for reader in &self.readers {
            let Some(account) = reader.checked else { continue };
            for (number, followee) in (0..).zip(network.followees(reader.actor)) {
                if let Some(followee) = Account::of(&network.did(followee)) {
                    world.follows_already(account, followee, number);
                }
            }
        }
    }

    pub(super) fn of(&self, account: Account) -> Option<&Reader> {
        Some(&self.readers[*self.by_account.get(&account)?])
    }

    /// Someone, by how often they read: the last most, the first, among them the mass followers, least.
    fn pick(&self, prng: &mut Prng) -> usize {
        let total = self.cumulated.last().copied().unwrap_or(0.0);
        let at = prng.unit() * total;
        let rank = self.cumulated.partition_point(|sum| *sum <= at).min(self.cumulated.len() - 1);
        self.cumulated.len() - 1 - rank
    }
}

/// The reading of a phase.
#[derive(Clone)]
pub(super) struct Reads {
    pub(super) shared: Arc<Shared>,
    pub(super) client: Arc<Client>,
    pub(super) crowd: Arc<Crowd>,
    pub(super) options: Arc<RunOptions>,
}

impl Reads {
    /// Reads from now until then.
    pub(super) async fn run(self, start: Instant, end: Instant, step: u64) {
        let rate = self.options.reads_per_second;
        if rate <= 0.0 {
            return;
        }
        let seed = self.options.network.seed;
        let (sender, mut due) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        tasks.spawn_blocking(move || {
            schedule(&sender, start, end, rate, &mut Prng::new(seed, purpose::SCHEDULE, step));
        });
        let permits = Arc::new(Semaphore::new(self.options.in_flight));
        let mut prng = Prng::new(seed, purpose::CHOICE, step);
        while let Some(due) = due.recv().await {
            let waited = permits.available_permits() == 0;
            let permit = permits.clone().acquire_owned().await.expect("it is never closed");
            let now = Instant::now();
            {
                let mut latencies = lock(&self.shared.latencies);
                if now > end + GRACE {
                    latencies.unsent += 1;
                    latencies.first.record(now - due);
                    continue;
                }
                if !waited {
                    latencies.late.record(now.saturating_duration_since(due));
                }
            }
            let pages = (1..PAGES).take_while(|_| prng.chance(self.options.deeper)).count();
            let reader = self.crowd.pick(&mut prng);
            let this = self.clone();
            tasks.spawn(async move { this.read(reader, due, pages, permit).await });
            while tasks.try_join_next().is_some() {}
        }
        tasks.join_all().await;
    }

    /// A first page, and so many more.
    async fn read(&self, reader: usize, due: Instant, more: usize, _permit: OwnedSemaphorePermit) {
        let reader = &self.crowd.readers[reader];
        let limit = self.options.reasonable_limit as usize;
        let mut walk = reader.checked.map(|account| Walk::new(account, limit));
        let (mut cursor, mut since) = (String::new(), due);
        for page in 0..=more {
            let first = self.shared.settled();
            let sent = Instant::now();
            let answer = self.client.page(&reader.did, self.options.page, &cursor).await;
            let (took, answered) = (since.elapsed(), sent.elapsed());
            {
                let mut latencies = lock(&self.shared.latencies);
                match &answer {
                    Err(status) => {
                        latencies.failed(status);
                        latencies.window_errors += 1;
                    }
                    Ok(_) if page == 0 => {
                        latencies.first.record(took);
                        latencies.sent.record(answered);
                        latencies.window.record(took);
                    }
                    Ok(_) => latencies.deeper.record(took),
                }
            }
            let Ok(answer) = answer else { return };
            if let Some(walk) = &mut walk {
                self.judge(reader, walk, first, &answer);
            }
            if answer.cursor.is_empty() {
                return;
            }
            cursor = answer.cursor;
            since = Instant::now();
        }
    }

    /// Compares a page that was asked for once this state was settled.
    pub(super) fn judge(&self, reader: &Reader, walk: &mut Walk, first: u64, page: &GetTimelineResponse) {
        let world = self.shared.world();
        let faults = walk.page(&world, self.shared.states_since(first, &world), page);
        drop(world);
        self.shared.judged(&reader.did, &faults);
    }

    /// Reads each reader's first page once, and waits until their timelines are enrolled.
    pub(super) async fn come(&self, screen: &Screen) -> anyhow::Result<()> {
        let bar = screen.bar(self.crowd.readers.len() as u64, "readers");
        let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
        for at in 0..self.crowd.readers.len() {
            while tasks.len() >= self.options.in_flight.min(16) {
                tasks.join_next().await.transpose()?.transpose()?;
            }
            let this = self.clone();
            tasks.spawn(async move { this.visit(at).await });
            bar.set_position(at as u64);
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        bar.finish_and_clear();
        let mut metrics = self.shared.metrics.subscribe();
        // the first figures may be from before the last read
        metrics.changed().await?;
        metrics.changed().await?;
        let patience = Duration::from_secs_f64(self.options.patience);
        let enrolled = metrics.wait_for(|metrics| metrics.enrolling == 0.0);
        timeout(patience, enrolled).await.context("the readers' timelines are not enrolled")??;
        Ok(())
    }

    /// One reader's first page.
    async fn visit(&self, at: usize) -> anyhow::Result<()> {
        let reader = &self.crowd.readers[at];
        let first = self.shared.settled();
        let mut tries = 1;
        let page = loop {
            match self.client.page(&reader.did, self.options.page, "").await {
                Err(status) if status.code() == Code::Unavailable && tries < TRIES => tries += 1,
                answer => break answer.with_context(|| format!("the first read of {}", reader.did))?,
            }
        };
        if let Some(account) = reader.checked {
            let mut walk = Walk::new(account, self.options.reasonable_limit as usize);
            self.judge(reader, &mut walk, first, &page);
        }
        Ok(())
    }
}

/// Sends the times of a Poisson stream when they come: from a thread of its own, as timers of tasks have milliseconds.
fn schedule(sender: &mpsc::Sender<Instant>, start: Instant, end: Instant, rate: f64, prng: &mut Prng) {
    let mut due = start;
    loop {
        due += Duration::from_secs_f64(prng.exponential() / rate);
        if due >= end {
            return;
        }
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if sender.blocking_send(due).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::options::tests::parse;
    use crate::network::NetworkSpec;

    #[test]
    fn some_read_often_and_those_are_checked() {
        let line = ["--readers", "200", "--checked-readers", "50", "--reasonable-limit", "100"];
        let options = parse(&line);
        let network =
            Network::new(NetworkSpec { actors: 500, mean_follows: 5.0, ..NetworkSpec::default() }).unwrap();
        let crowd = Crowd::draw(&network, &options);
        assert!(crowd.readers[0].lossy && crowd.readers[0].did == network.did(1), "the mass follower");
        assert_eq!(crowd.checked().count(), 51);
        let distinct: std::collections::HashSet<_> = crowd.readers.iter().map(|reader| &reader.did).collect();
        assert_eq!(distinct.len(), 200);
        let (mut prng, mut reads) = (Prng::new(1, 1, 1), vec![0; 200]);
        (0..20_000).for_each(|_| reads[crowd.pick(&mut prng)] += 1);
        let often: u32 = reads[180..].iter().sum();
        assert!((8_000..13_000).contains(&often), "a tenth of them read {often} of 20,000");
        assert!(reads.iter().all(|count| *count > 0));
        let known = crowd.checked().filter(|account| crowd.of(*account).is_some()).count();
        assert_eq!(known, 51);
    }
}
