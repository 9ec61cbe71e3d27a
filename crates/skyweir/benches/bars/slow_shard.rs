//! A slow shard beside healthy ones: what its slowness costs whom.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use skyweir_embedded::{Config, EmbeddedStore, Rings, RingsConfig};
use skyweir_graph::Graph;
use skyweir_store::{Hook, HookedTimelines, Operation, Store as _, Timelines};
use skyweir_types::{Clock, DrawKey};
use skyweir_writer::{Deps, Handle, Writer};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::crowd::{Crowd, Shape};
use crate::events::Feed;
use crate::load;
use crate::machine::{Watch, quantile};
use crate::report::{Claim, Compared, Limit, Report, number};
use crate::rng::Rng;
use crate::served::{Setting, disturbed, fan_out_runtime};

/// The slow one.
const SLOW: u32 = 5;
/// How long each of its writes sleeps.
const SLEEP: Duration = Duration::from_millis(50);
/// Posts come in groups, this often.
const EVERY: Duration = Duration::from_millis(10);
/// References of a group, about.
const A_GROUP: u32 = 3_000;
/// Stretches without and with the slow shard alternate, so many of each.
const STRETCHES: usize = 3;
/// How long is posted before anything counts.
const WARM_UP: Duration = Duration::from_secs(1);

/// What was seen of one post's delivery.
struct Post {
    /// When it was due.
    due: Instant,
    /// Until the last reference was written.
    last: Duration,
    /// It has references for the slow shard.
    touches: bool,
}

/// Sleeps before the slow shard's writes, and notes when each reference was written.
#[derive(Default)]
struct Observer {
    slow: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// By `sortAt`, which no two posts share.
    posts: HashMap<i64, Post>,
    /// Milliseconds from when a post was due to a reference of it, on the slow shard and on the others.
    of_slow: Vec<f64>,
    of_others: Vec<f64>,
}

impl Observer {
    fn with<T>(&self, use_it: impl FnOnce(&mut Seen) -> T) -> T {
        use_it(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Hook for Observer {
    async fn before(&self, operation: &Operation<'_>) -> skyweir_store::Result<()> {
        if matches!(operation, Operation::Apply { shard: SLOW, .. }) && self.slow.load(Ordering::Relaxed) {
            tokio::time::sleep(SLEEP).await;
        }
        Ok(())
    }

    async fn after(&self, operation: &Operation<'_>) -> skyweir_store::Result<()> {
        if let Operation::Apply { shard, deliveries } = operation {
            self.with(|Seen { posts, of_slow, of_others }| {
                for delivery in *deliveries {
                    let Some(post) = posts.get_mut(&delivery.reference.sort_at) else { continue };
                    post.last = post.due.elapsed();
                    post.touches |= *shard == SLOW;
                    let list = if *shard == SLOW { &mut *of_slow } else { &mut *of_others };
                    let ms = post.last.as_secs_f64() * 1e3;
                    list.extend(std::iter::repeat_n(ms, delivery.viewers.len()));
                }
            });
        }
        Ok(())
    }
}

/// What was seen in all stretches of one kind, milliseconds.
#[derive(Default)]
struct Delays {
    of_slow: Vec<f64>,
    of_others: Vec<f64>,
    /// Of whole fan-outs without references for the slow shard.
    untouched: Vec<f64>,
}

impl Delays {
    fn add(&mut self, seen: Seen) {
        self.of_slow.extend(seen.of_slow);
        self.of_others.extend(seen.of_others);
        let untouched = seen.posts.into_values().filter(|post| !post.touches);
        self.untouched.extend(untouched.map(|post| post.last.as_secs_f64() * 1e3));
    }
}

/// Posts at a fixed pace, in turn with and without the slow shard.
pub(crate) fn run(report: &mut Report, dir: &Path, scale: f64) -> Result<()> {
    let shape = Shape { authors: 5_000, ..Shape::of(scale * 0.2) };
    let lasts = Duration::from_secs_f64((10.0 * scale).clamp(1.0, 10.0));
    report.bar(
        "a slow shard (one write sleeps 50 ms): p99 of the others' references grows by less than 2 ×",
        &format!(
            "{shape:?}; groups of about {A_GROUP} references every {} ms; {STRETCHES} stretches of {lasts:?} without \
             and with the slow shard, in turn, after a second that doesn't count; from when a group is due to the \
             reference written, the synced commit included",
            EVERY.as_millis()
        ),
    );
    let io = Builder::new_multi_thread().thread_name("io").worker_threads(1).enable_all().build()?;
    let mut served = Bed::start(&io, dir, shape)?;
    // the first posts meet cold caches, which would flatter what comes after them
    served.stretch(&io, false, WARM_UP)?;
    let watch = Watch::start()?;
    let (mut without, mut with) = (Delays::default(), Delays::default());
    for _ in 0..STRETCHES {
        without.add(served.stretch(&io, false, lasts)?);
        with.add(served.stretch(&io, true, lasts)?);
    }
    let others = watch.took()?.others;
    served.stop(&io)?;
    let seen = [&with.of_slow, &with.untouched, &without.of_slow, &without.untouched];
    ensure!(
        !seen.iter().any(|delays| delays.is_empty()),
        "the crowd is too small for this: give more --scale"
    );
    report.note(format!(
        "references of the slow shard itself: p50 {} ms and p99 {} ms, {} ms and {} ms without; {}",
        number(quantile(&mut with.of_slow, 0.5)),
        number(quantile(&mut with.of_slow, 0.99)),
        number(quantile(&mut without.of_slow, 0.5)),
        number(quantile(&mut without.of_slow, 0.99)),
        disturbed(others)
    ));
    let mut claim = |what, slow: &mut Vec<f64>, healthy: &mut Vec<f64>| {
        let (slow, healthy) = (quantile(slow, 0.99), quantile(healthy, 0.99));
        report.note(format!("{what}: {} ms without, {} ms with it", number(healthy), number(slow)));
        report.claim(Claim {
            what,
            value: slow / healthy,
            unit: "×",
            limit: Limit::AtMost(2.0),
            compared: Compared::measured("itself without the slow shard", 1.0),
        });
    };
    claim(
        "p99 of references on other shards beside a slow one, growth",
        &mut with.of_others,
        &mut without.of_others,
    );
    claim(
        "p99 of fan-outs that don't touch the slow shard, growth",
        &mut with.untouched,
        &mut without.untouched,
    );
    Ok(())
}

/// A store, timelines that are observed, and a writer at work.
struct Bed {
    store: EmbeddedStore,
    feed: Feed,
    crowd: Crowd,
    observer: Arc<Observer>,
    handle: Handle,
    rng: Rng,
    fan_out: Runtime,
    tasks: JoinSet<Result<()>>,
    stop: CancellationToken,
}

impl Bed {
    fn start(io: &Runtime, dir: &Path, shape: Shape) -> Result<Self> {
        let fan_out = fan_out_runtime(Setting::new()?.fan_out_threads)?;
        let store = EmbeddedStore::open(Config { data_dir: dir.to_owned(), ..Config::default() })?;
        let mut crowd = Crowd::draw(shape, 3);
        io.block_on(load::records(&store, &mut crowd))?;
        let config = RingsConfig { cap: shape.cap, ..RingsConfig::default() };
        let rings = Rings::open(&store, &config, DrawKey::default())?;
        io.block_on(load::timelines(&rings, &crowd))?;
        let observer = Arc::new(Observer::default());
        let shared: Arc<dyn skyweir_store::Store> = Arc::new(store.clone());
        let timelines: Arc<dyn Timelines> =
            Arc::new(HookedTimelines::new(Arc::new(rings), Arc::clone(&observer) as _));
        let graph = Graph::new(skyweir_graph::Config::default(), Arc::clone(&shared));
        let config = skyweir_writer::Config { cap: shape.cap, ..skyweir_writer::Config::default() };
        let deps = Deps::alone(shared, timelines, graph, Clock::system());
        let (writer, handle) = Writer::new(config, deps);
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let stopped = stop.clone();
        tasks.spawn_on(async move { Ok(writer.run(stopped).await?) }, fan_out.handle());
        let feed = io.block_on(Feed::new(store.clone()))?;
        Ok(Self { store, feed, crowd, observer, handle, rng: Rng::new(31), fan_out, tasks, stop })
    }

    /// Posts for a while, waits until all is delivered, and returns what was seen.
    fn stretch(&mut self, io: &Runtime, slow: bool, lasts: Duration) -> Result<Seen> {
        self.observer.slow.store(slow, Ordering::Relaxed);
        io.block_on(async {
            let end = Instant::now() + lasts;
            let mut next = Instant::now();
            while next < end {
                self.group(next).await?;
                next += EVERY;
                tokio::time::sleep_until(next).await;
            }
            let all = *self.store.next_task().borrow();
            self.handle.done().wait_for(|done| *done >= all).await.context("the writer ended")?;
            Ok(self.observer.with(std::mem::take))
        })
    }

    /// Posts a group that was due then.
    async fn group(&mut self, due: Instant) -> Result<()> {
        let (mut events, mut references) = (Vec::new(), 0);
        while references < A_GROUP {
            let author = 1 + self.rng.below(self.crowd.shape.authors);
            references += self.crowd.followers[author as usize];
            events.push(self.crowd.post(author)?);
            let sort_at = self.crowd.items[author as usize].last().context("it was just posted")?.sort_at;
            let post = Post { due, last: Duration::ZERO, touches: false };
            self.observer.with(|seen| seen.posts.insert(sort_at, post));
        }
        self.feed.group(&events).await?;
        Ok(())
    }

    fn stop(mut self, io: &Runtime) -> Result<()> {
        self.stop.cancel();
        let outcome = io.block_on(async {
            while let Some(ended) = self.tasks.join_next().await {
                ended??;
            }
            Ok(())
        });
        self.fan_out.shutdown_background();
        outcome
    }
}
